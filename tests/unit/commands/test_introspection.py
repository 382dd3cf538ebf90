"""Dry runs with tokens that an issuer would be asked about: scenarios, one request, verify."""

import json

import pytest
import yaml
from click.testing import CliRunner

from gateway.commands import main
from gateway.jose.sign import generate, public_jwks

POLICY = """package gateway.authz

allow if "reader" in input.identity.roles
"""
CLIENT = {"id": "gateway", "secret": "s"}
ASKED = {"url": "https://idp.example/introspect", "client": CLIENT}
CORP = {"issuer": "https://idp.example", "audience": "api"}
SIGNED = {"algorithms": ["ES256"], "keys": {"jwks_file": "jwks.json"}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "authz.rego").write_text(POLICY)
    (tmp_path / "jwks.json").write_text(json.dumps(public_jwks([generate("ES256")])))
    (tmp_path / "opaque.txt").write_text("2YotnFZF\n")
    configure(tmp_path)
    return tmp_path


def configure(folder, asked=ASKED, **issuer):
    corp = {**CORP, **({"introspection": asked} if asked else {}), **issuer}
    route = {"id": "items", "paths": ["/items"], "upstream": "http://127.0.0.1:9"}
    config = {"issuers": {"corp": corp}, "routes": [route]}
    (folder / "gateway.yaml").write_text(yaml.safe_dump(config))


def run(*words):
    result = CliRunner().invoke(main, list(words))
    return result.exit_code, result.output


def scenarios(folder, *rows):
    made = [{"name": f"row {n}", "request": "GET /items", **row} for n, row in enumerate(rows)]
    tokens = {"alice": {"introspection": {"roles": ["reader"]}}}
    text = json.dumps({"tokens": tokens, "scenarios": made})  # YAML would have aliases
    (folder / "policies" / "a.scenario.yaml").write_text(text)
    return run("policy", "test", "--run", "scenario")


ROWS = [
    {"token": "alice", "expect": {"outcome": "forwarded", "subject": "alice"}},
    {"token": {"introspection": {"active": False}}, "expect": "401 token-inactive"},
    {"token": {"introspection": {"active": None}}, "expect": "token-inactive"},
    {"token": {"like": "alice", "introspection": {"aud": "other"}}, "expect": "audience-mismatch"},
    {"token": {"like": "alice", "introspection": {"token_type": None}}, "expect": "token-type"},
    {"token": {"like": "alice", "lifetime": 0, "age": 60}, "expect": "token-expired"},
    {"token": {"introspection": {"iss": "other"}}, "expect": "issuer-unknown"},
]


def test_scenarios_of_an_issuer_that_is_only_asked(folder):
    rows = [*ROWS, {"token": {"claims": {"roles": ["reader"]}}, "expect": "forwarded"},
            {"token": {"claims": {"roles": []}}, "expect": "403 undefined"}]  # fmt: skip
    code, output = scenarios(folder, *rows)
    assert (code, output) == (0, "9 tests: 9 passed\n"), output


def test_scenarios_of_an_issuer_that_signs_too(folder):
    configure(folder, **SIGNED)
    signed = {"claims": {"roles": ["reader"]}}
    rows = [*ROWS, {"token": signed, "expect": "forwarded"},
            {"token": {**signed, "signed_by": "stranger"}, "expect": "signature-invalid"}]  # fmt: skip
    assert scenarios(folder, *rows) == (0, "9 tests: 9 passed\n")


def test_scenarios_of_an_issuer_that_is_always_asked(folder):
    configure(folder, {**ASKED, "tokens": "always"}, **SIGNED)
    signed = {"claims": {"roles": ["reader"]}}
    rows = [
        {"token": signed, "expect": "forwarded"},
        {"token": {**signed, "introspection": {"active": False}}, "expect": "token-inactive"},
        {"token": {**signed, "introspection": {"sub": "other"}}, "expect": "token-inactive"},
        {"token": {**signed, "signed_by": "stranger"}, "expect": "signature-invalid"},
    ]
    assert scenarios(folder, *rows) == (0, "4 tests: 4 passed\n")


def test_an_issuer_that_nobody_asks(folder):
    configure(folder, None, **SIGNED)
    code, output = scenarios(folder, ROWS[0])
    assert code != 0
    assert "the issuer corp is not asked about tokens" in output


def test_an_opaque_token_in_a_file(folder):
    file = {"file": "../opaque.txt"}
    good = {"active": True, "aud": "api", "exp": 2_000_000_000, "token_type": "Bearer",
            "roles": ["reader"]}  # fmt: skip
    rows = [{"token": {**file, "introspection": good}, "expect": "forwarded"},
            {"token": {**file, "introspection": {"active": False}}, "expect": "token-inactive"},
            {"token": file, "expect": "token-type"}]  # fmt: skip
    assert scenarios(folder, *rows) == (0, "3 tests: 3 passed\n")


GOOD = json.dumps({"active": True, "aud": "api", "sub": "alice", "exp": 2_000_000_000,
                   "token_type": "Bearer", "roles": ["reader"]})  # fmt: skip


def test_one_request(folder):
    words = ("policy", "test", "--token", "opaque.txt", "--path", "/items")
    code, output = run(*words)
    assert code == 1
    assert "issuer 'corp' would be asked" in output
    code, output = run(*words, "--introspection", GOOD)
    assert code == 0
    assert "subject   alice (issuer corp)" in output
    (folder / "answer.json").write_text('{"active": false}')
    code, output = run(*words, "--introspection", "answer.json")
    assert code == 2
    assert "401 token-inactive" in output
    code, output = run(*words, "--introspection", "[]")
    assert "--introspection: [] : expected a JSON object" in output.replace("[]:", "[] :")
    assert (
        "is about --token"
        in run("policy", "test", "--anonymous", "--path", "/items", "--introspection", GOOD)[1]
    )
    code, output = run("policy", "test", "--claims", '{"roles": ["reader"]}', "--path", "/items")
    assert code == 0


def test_explain(folder):
    code, output = run(
        "policy", "explain", "--token", "opaque.txt", "--path", "/items", "--introspection", GOOD
    )
    assert code == 0
    assert "alice (issuer corp)" in output
    assert "the issuer answers that the token is active" in output


def test_verify(folder):
    code, output = run("token", "verify", "opaque.txt")
    assert "issuer 'corp' would be asked" in output
    code, output = run("token", "verify", "opaque.txt", "--introspection", GOOD)
    assert (code, output) == (0, "good: subject 'alice' of issuer corp\n")
    code, output = run("token", "verify", "opaque.txt", "--introspection", '{"active": false}')
    assert code == 1
    assert "refused: token-inactive" in output


def test_config_check_reads_the_deny_list(folder):
    path = folder / "gateway.yaml"
    path.write_text(path.read_text() + "revocation: {file: denied.jsonl}\n")
    code, output = run("config", "check")
    assert (code, "denied.jsonl: revocation.file: cannot be read" in output) == (1, True), output
    (folder / "denied.jsonl").write_text('{"issuer": "crop", "jti": "a"}\n{"end": true}\n')
    code, output = run("config", "check")
    assert (code, "denied.jsonl:1: there is no issuer 'crop'" in output) == (1, True), output
    (folder / "denied.jsonl").write_text('{"issuer": "corp", "jti": "a"}\n{"end": true}\n')
    assert run("config", "check")[0] == 0
