"""`gateway policy diff`: its sources, its answers and what it refuses."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.commands import EXIT_USAGE, main

CONFIG = """\
issuers:
  dev:
    issuer: https://dev.invalid/
    audience: orders-api
    algorithms: [ES256]
    keys: {discovery: true}
upstreams: {orders: {url: "http://127.0.0.1:9000"}}
routes:
  - {id: orders, paths: [/orders], upstream: orders}
  - {id: other, paths: [/other], upstream: orders, entrypoint: gateway/authz/other}
policy: {paths: old}
"""
OLD = """\
package gateway.authz

import rego.v1

default allow := false

allow if {
	"reader" in input.identity.roles
	input.request.method == "GET"
}

other if input.request.method == "GET"
"""
NEW = OLD.replace('\tinput.request.method == "GET"\n', "")
SCENARIOS = """\
tokens:
  alice: {claims: {roles: [reader]}}
scenarios:
  - {name: a reader writes, token: alice, request: POST /orders, expect: 403}
  - {name: no route, token: alice, request: GET /none, expect: 404}
  - {name: another rule, token: alice, request: GET /other, expect: forwarded}
"""
EVENT = {
    "path": "gateway/authz/allow",
    "timestamp": "2026-09-21T14:13:20.000000Z",
    "input": {"identity": {"roles": ["reader"]}, "request": {"method": "PUT", "path": "/orders"}},
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("old/authz.rego", OLD)
    write("new/authz.rego", NEW)
    write("gateway.yaml", CONFIG)
    return tmp_path


def write(name, text):
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def run(*arguments):
    return CliRunner().invoke(main, ["policy", "diff", *arguments])


def answer(*arguments):
    result = run(*arguments, "--format", "json")
    assert result.exit_code in (0, 2), result.output
    return json.loads(result.stdout)


def test_a_difference():
    result = run("old", "new", "--tries", "2000")
    assert result.exit_code == 2
    lines = result.stdout.splitlines()
    assert lines[:6] == [
        "1. deny → allow: gateway/authz/allow",
        '   holds in NEW  new/authz.rego:8  "reader" in input.identity.roles',
        '   fails in OLD  old/authz.rego:9  input.request.method == "GET"',
        '   input  {"identity":{"roles":["reader"]}}',
        "   OLD    false",
        "   NEW    true",
    ]
    assert lines[-2] == "tried 0 scenarios, 0 recorded decisions, 2000 generated inputs"
    assert result.stderr == ""


def test_none():
    result = run("old", "old", "--tries", "200")
    assert result.exit_code == 0
    assert result.stdout.endswith("no difference found, which is no proof that there is none\n")


def test_single_files():
    assert run("old/authz.rego", "new/authz.rego", "--tries", "2000").exit_code == 2


def test_the_same_twice():
    one, two = (run("old", "new", "--tries", "1500", "--seed", "5").stdout for _ in range(2))
    assert one == two


def test_nothing_tried_is_no_answer():
    result = run("old", "old", "--tries", "0")
    assert result.exit_code == 1
    assert result.stderr.endswith(
        "error: gateway/authz/allow, gateway/authz/other: nothing was tried\n"
    )


def test_a_rule_that_nothing_asked():
    write("decisions.log", json.dumps(EVENT))
    result = run("old", "old", "--log", "decisions.log", "--tries", "0")
    assert result.exit_code == 1
    assert result.stderr.endswith("error: gateway/authz/other: nothing was tried\n")


def test_the_time_that_it_may_take():
    write("decisions.log", json.dumps(EVENT))
    found = answer("old", "new", "--seconds", "0", "--log", "decisions.log")
    assert found["stopped"]
    assert found["tried"] == {"scenario": 0, "recorded": 1, "generated": 0}


class TestScenarios:
    def test_those_beside_the_policies(self):
        write("new/orders.scenario.yaml", SCENARIOS)
        found = answer("old", "new", "--tries", "0")
        (difference,) = found["differences"]
        assert difference["names"] == ["new/orders.scenario.yaml:4: a reader writes"]
        assert difference["input"] == {"identity": {"roles": ["reader"]}}
        assert found["tried"] == {"scenario": 2, "recorded": 0, "generated": 0}  # one has no route

    def test_of_the_same_file_in_both_only_one(self):
        for side in ("old", "new"):
            write(f"{side}/orders.scenario.yaml", SCENARIOS)
        assert answer("old", "new", "--tries", "0")["tried"]["scenario"] == 2

    def test_elsewhere(self):
        write("more/orders.scenario.yaml", SCENARIOS)
        assert answer("old", "new", "--scenarios", "more", "--tries", "0")["differences"]

    def test_one_rule_for_all(self):
        write("new/orders.scenario.yaml", SCENARIOS)
        found = answer("old", "new", "--tries", "0", "--entrypoint", "gateway/authz/other")
        assert found["tried"]["scenario"] == 2
        assert found["differences"] == []

    def test_without_a_configuration(self):
        write("new/orders.scenario.yaml", SCENARIOS)
        Path("gateway.yaml").unlink()
        result = run("old", "new", "--tries", "10")
        assert "note: scenarios are left out" in result.stderr
        result = run("old", "new", "--scenarios", "new")
        assert result.exit_code == 1
        assert "name it with --config" in result.stderr

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("scenarios: [{name: a}]", "new/orders.scenario.yaml:1"),
            (SCENARIOS.replace("{roles: [reader]}", "{}, issuer: x"), "no issuer 'x'"),
        ],
    )
    def test_faults(self, text, said):
        write("new/orders.scenario.yaml", text)
        result = run("old", "new")
        assert result.exit_code == 1
        assert said in result.stderr


class TestLogs:
    def test_its_inputs_are_decided_again(self):
        early = {"path": "gateway/authz/allow", "input": {"request": {}}, "partial": True}
        write("decisions.log", f"{json.dumps(EVENT)}\n\n{json.dumps(early)}\n")
        found = answer("old", "new", "--log", "decisions.log", "--tries", "0")
        assert found["tried"]["recorded"] == 1
        (difference,) = found["differences"]
        assert difference["names"] == ["decisions.log:1"]
        assert difference["counts"]["recorded"] == 1

    def test_decisions_of_rules_that_are_not_compared(self):
        write("decisions.log", json.dumps(EVENT | {"path": "some/rule"}))
        result = run("old", "new", "--log", "decisions.log", "--tries", "0")
        assert "note: 1 recorded decision of other rules left out" in result.stderr
        found = answer(
            "old", "new", "--log", "decisions.log", "--tries", "0",
            "--entrypoint", "gateway/authz/allow",
        )  # fmt: skip
        assert found["tried"]["recorded"] == 1

    @pytest.mark.parametrize(("pointer", "tried"), [
        ("/input/request/method", 0),
        ("/input/request", 0),
        ("/input/identity/roles/0", 0),
        ("/input/request/path", 1),  # not read
    ])  # fmt: skip
    @pytest.mark.parametrize("way", ["erased", "masked"])
    def test_what_is_gone_is_not_decided_as_if_it_never_was(self, way, pointer, tried):
        write("decisions.log", json.dumps(EVENT | {way: [pointer]}))
        result = run("old", "old", "--log", "decisions.log", "--tries", "50", "--format", "json")
        assert json.loads(result.stdout)["tried"]["recorded"] == tried
        assert ("note: 1 recorded decision left out" in result.stderr) == (tried == 0)

    def test_a_decision_without_its_time(self):
        write("decisions.log", json.dumps({**EVENT, "timestamp": None}))
        result = run("old", "old", "--log", "decisions.log", "--tries", "50")
        assert "note: 1 recorded decision left out" in result.stderr

    @pytest.mark.parametrize("line", ["[1]", "{", "\udcff"])
    def test_what_is_no_event(self, line):
        event = json.dumps(EVENT).encode()
        Path("decisions.log").write_bytes(event + b"\n" + line.encode(errors="surrogateescape"))
        result = run("old", "new", "--log", "decisions.log")
        assert result.exit_code == 1
        assert "error: decisions.log:2: not " in result.stderr


class TestRefused:
    def test_a_folder_without_policies(self):
        Path("empty").mkdir()
        result = run("old", "empty")
        assert result.exit_code == 1
        assert "empty: no .rego file" in result.stderr

    def test_a_policy_that_does_not_compile(self):
        write("new/authz.rego", OLD + "\nother if x\n")
        result = run("old", "new")
        assert result.exit_code == 1
        assert "new/authz.rego:14" in result.stderr

    def test_a_rule_that_one_version_lacks(self):
        write("new/authz.rego", OLD.replace("other if", "others if"))
        result = run("old", "new", "--entrypoint", "gateway/authz/other")
        assert result.exit_code == 1
        assert "gateway/authz/other" in result.stderr

    @pytest.mark.parametrize(("old", "new", "said"), [
        (OLD, OLD.replace("other if", "others if"), "OLD is asked for gateway/authz/other, which NEW does not define"),
        (OLD.replace("other if", "others if"), OLD, "NEW is asked for gateway/authz/other, which OLD does not define"),
    ])  # fmt: skip
    def test_a_rule_of_a_route_that_one_version_lacks(self, old, new, said):
        write("old/authz.rego", old)
        write("new/authz.rego", new)
        result = run("old", "new")
        assert result.exit_code == 1
        assert said in result.stderr

    def test_no_rule_to_ask(self):
        write("new/authz.rego", "package other\n\nimport rego.v1\n\nallow := true\n")
        result = run("old", "new")
        assert result.exit_code == 1
        assert "name a rule with --entrypoint" in result.stderr

    def test_a_configuration_that_is_not_there(self):
        assert run("old", "new", "--config", "none.yaml").exit_code == 1

    def test_the_command_line(self):
        assert run("old").exit_code == EXIT_USAGE
        assert run("old", "none").exit_code == 1
