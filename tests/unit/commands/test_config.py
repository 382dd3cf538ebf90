"""`gateway config check`, `show` and `schema`."""

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from gateway.commands import main

TEXT = """\
issuers:
  shared:
    issuer: https://a.example/
    audience: api
    algorithms: HS256
    keys: {secret: hunter2-hunter2-hunter2-hunter2-hunter2}
routes:
  - id: a
    paths: /a
    upstream: http://127.0.0.1:1
"""
POLICY = "package gateway.authz\n\nimport rego.v1\n\ndefault allow := false\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "authz.rego").write_text(POLICY)
    (tmp_path / "gateway.yaml").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments, **environ):
    return CliRunner().invoke(main, ["config", *arguments], env=environ)


def on_terminal(arguments, *, columns, colour):
    """What the command writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    environ = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    environ |= {} if colour else {"NO_COLOR": "1"}
    environ.pop("FORCE_COLOR", None)
    repository = Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, repository / "cli.py", *arguments],
        stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environ,
    )  # fmt: skip
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # the other end is closed: EIO on Linux
        while piece := os.read(ours, 4096):
            written += piece
    os.close(ours)
    process.wait(30)
    return written.decode().replace("\r\n", "\n")


class TestCheck:
    def test_a_good_configuration(self, folder):
        result = run("check")
        assert result.exit_code == 0
        assert result.stdout.startswith("gateway.yaml: ok, 1 route, 1 issuer, 1 policy module, ")
        assert result.stderr == ""

    def test_every_problem_of_the_file(self, folder):
        text = TEXT.replace("paths:", "path:").replace("audience: api", "audience: ${NOT_SET}")
        (folder / "gateway.yaml").write_text(text)
        result = run("check")
        assert result.exit_code == 1
        assert result.stdout == ""
        assert result.stderr.splitlines() == [
            "error: gateway.yaml:4:15: issuers.shared.audience: the environment variable NOT_SET "
            "is not set (set it, or give a default: ${NOT_SET:-value})",
            "error: gateway.yaml:9:5: routes.0.path: unknown key (did you mean 'paths'?)",
        ]

    @pytest.mark.parametrize(
        ("old", "new", "place"),
        [
            ("paths: /a", "paths: ['/{x']", "gateway.yaml:9:13: routes.0.paths.0"),
            ("paths: /a", "paths: /a\n    strip_prefix: /b", "gateway.yaml:10:19: routes.0.strip"),
            ("id: a", "id: a\n    entrypoint: no/such/rule", "gateway.yaml:9:17: routes.0.entry"),
            ("hunter2-hunter2-", "", "gateway.yaml:6:5: issuers.shared.keys"),
            (
                "routes:",
                "identity_headers: {host: identity.subject}\nroutes:",
                "gateway.yaml:7:26: identity_headers.host",
            ),
        ],
    )
    def test_what_the_stages_find_has_its_place(self, folder, old, new, place):
        (folder / "gateway.yaml").write_text(TEXT.replace(old, new, 1))
        result = run("check")
        assert result.exit_code == 1
        assert f"error: {place}" in result.stderr

    def test_a_policy_that_does_not_compile(self, folder):
        (folder / "policies" / "authz.rego").write_text(POLICY + "\nallow if input.x ==\n")
        result = run("check")
        assert result.exit_code == 1
        assert "policies/authz.rego:" in result.stderr
        assert "Traceback" not in result.output

    def test_a_policy_whose_test_fails(self, folder):
        test = "package t_test\n\nimport rego.v1\n\ntest_it if data.gateway.authz.allow\n"
        (folder / "policies" / "authz_test.rego").write_text(test)
        result = run("check")
        assert result.exit_code == 1
        assert "test_it" in result.stderr

    def test_json(self, folder):
        (folder / "gateway.yaml").write_text(TEXT.replace("paths:", "path:"))
        result = run("check", "--format", "json")
        assert result.exit_code == 1
        assert json.loads(result.stdout) == {
            "ok": False,
            "problems": [
                {
                    "file": "gateway.yaml",
                    "line": 9,
                    "column": 5,
                    "key": "routes.0.path",
                    "message": "unknown key",
                    "remedy": "did you mean 'paths'?",
                }
            ],
            "warnings": [],
        }

    def test_warnings_do_not_fail(self, folder):
        text = TEXT.replace("audience: api", "insecure_any_audience: true")
        (folder / "gateway.yaml").write_text(text)
        result = run("check")
        assert result.exit_code == 0
        assert result.stderr == (
            "warning: gateway.yaml:4:28: issuers.shared.insecure_any_audience: "
            "insecure_any_audience is switched on\n"
        )
        report = json.loads(run("check", "--format", "json").stdout)
        assert report["ok"] is True
        assert [each["key"] for each in report["warnings"]] == [
            "issuers.shared.insecure_any_audience"
        ]

    def test_a_file_that_is_not_there(self, folder):
        result = run("check", "--config", "absent.yaml")
        assert result.exit_code == 1
        assert result.stderr == (
            "error: absent.yaml: cannot be read: No such file or directory "
            "(gateway init DIR writes one)\n"
        )

    @pytest.mark.parametrize("colour", [True, False])
    def test_a_narrow_terminal(self, folder, colour):
        (folder / "gateway.yaml").write_text(TEXT.replace("paths:", "path:"))
        text = on_terminal(["config", "check"], columns=30, colour=colour)
        plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
        assert bool(re.search(r"\x1b\[(\d+;)*3\d", text)) is colour
        assert [line.rstrip() for line in plain.splitlines()] == [
            "error gateway.yaml:9:5",
            "routes.0.path",
            "    unknown key",
            "    did you mean 'paths'?",
        ]

    def test_the_environment_names_the_file(self, folder):
        (folder / "gateway.yaml").rename(folder / "other.yaml")
        assert run("check", GATEWAY_CONFIG="other.yaml").exit_code == 0


class TestShow:
    @pytest.mark.parametrize(("form", "parse"), [("yaml", yaml.safe_load), ("json", json.loads)])
    def test_masked_and_complete(self, folder, form, parse):
        result = run("show", "--format", form)
        assert result.exit_code == 0
        shown = parse(result.stdout)
        assert shown["issuers"]["shared"]["keys"]["secret"] == "**********"
        assert shown["limits"]["url"] == 8192
        assert "hunter2" not in result.output

    def test_problems_are_told_as_by_check(self, folder):
        (folder / "gateway.yaml").write_text("routes: 5\n")
        result = run("show")
        assert result.exit_code == 1
        assert result.stderr == "error: gateway.yaml:1:9: routes: expected a list, got a number\n"


def test_schema():
    result = run("schema")
    assert result.exit_code == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(result.stdout))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"keys": [}', "not a JWK Set: Expecting value at line 1, column 11"),
        ("-----BEGIN PUBLIC KEY-----", "not a JWK Set"),
        ('{"keys": []}', "the set is empty (`gateway keys jwks FILE`"),
    ],
)
def test_a_faulty_key_file_is_named(folder, content, said):
    (folder / "jwks.json").write_text(content)
    keys = "algorithms: ES256\n    keys: {jwks_file: jwks.json}"
    text = TEXT.replace(TEXT[TEXT.index("algorithms") : TEXT.index("\nroutes")], keys)
    (folder / "gateway.yaml").write_text(text)
    result = run("check")
    assert result.exit_code == 1
    (line,) = [line for line in result.output.splitlines() if "jwks_file" in line]
    assert line.startswith("error: gateway.yaml:6:")
    assert str(folder / "jwks.json") in result.output.replace("\n", "")
    assert said in result.output.replace("\n", " ")
