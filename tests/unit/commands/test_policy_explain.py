"""`gateway policy explain`: the stages, then the policy's tree, of each kind of request."""

import json
import os

import pytest
import yaml
from click.testing import CliRunner

from gateway.commands import EXIT_USAGE, main
from tests.support.gateway import configured

SCENARIOS = """\
now: 2026-09-21T14:13:20Z
scenarios:
  - {name: reads, token: {claims: {roles: [reader]}}, request: GET /orders, expect: forwarded}
  - {name: late, token: {age: 1h}, request: GET /orders, expect: forwarded}
"""
EVENT = {
    "decision_id": "d1",
    "timestamp": "2026-09-21T14:13:20Z",
    "path": "gateway/authz/decision",
    "input": {"identity": {"roles": ["reader"]}, "request": {"method": "PUT", "path": "/orders"}},
    "result": {"allow": True},
    "masked": ["/input/request/headers/x"],
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["init", "."]).exit_code == 0
    (tmp_path / "policies" / "a.scenario.yaml").write_text(SCENARIOS)
    events = [
        EVENT,
        {
            "decision_id": "d2", "code": "token-missing", "partial": True, "status": 401,
            "route": "orders", "method": "GET", "target": "/a\x1b[31m",
            "error": {"message": "send one"},
        },
        {"decision_id": "d4"},
    ]  # fmt: skip
    asked = {"identity": {"roles": ["reader"]}, "request": {"method": "GET"}}
    (tmp_path / "input.json").write_text(json.dumps(asked))
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, events)))


def explain(*arguments, **more):
    return CliRunner().invoke(main, ["policy", "explain", *arguments], **more)


def test_a_refusal_of_the_policy():
    claims = json.dumps({"sub": "alice", "roles": ["reader"]})
    result = explain("--claims", claims, "-X", "POST", "--path", "/orders")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[:7] == [
        "POST /orders",
        "  route     orders: /orders",
        "  identify  alice (issuer dev)",
        "            roles: reader",
        "  decide    refused: 403 policy-denied: The policy refuses the request",
        "            reason role-missing: no role of yours grants this",
        "  forward   not reached",
    ]
    at = next(i for i, line in enumerate(lines) if "`input.request.method in grants[role]`" in line)
    assert [line.strip() for line in lines[at + 1 : at + 3]] == [
        'role is "reader"',
        'input.request.method is "POST"',
    ]


@pytest.mark.parametrize(
    ("arguments", "states", "said"),
    [
        (("--anonymous", "--path", "/nope"), "refused|not reached|not reached|not reached", "404"),
        (("--anonymous", "--path", "/orders"), "ok|refused|not reached|not reached", "401 token-"),
        (
            ("--claims", '{"sub": "a", "roles": ["admin"]}', "--path", "/orders"),
            "ok|ok|ok|ok",
            "gateway/authz/decision allows",
        ),
        (
            ("--anonymous", "-X", "OPTIONS", "--path", "//"),
            "refused|not reached|not reached|not reached",
            "400",
        ),
    ],
)
def test_stages(arguments, states, said):
    told = json.loads(explain(*arguments, "--format", "json").stdout)
    assert "|".join(stage["state"] for stage in told["stages"]) == states
    assert said in str(told["stages"])
    assert bool(told["trace"]["evaluations"]) is (told["outcome"]["decision"] is not None)


CLAIMS = json.dumps({"sub": "alice", "roles": ["reader"]})
POST = ("--claims", CLAIMS, "-X", "POST", "--path", "/orders")


def configure(folder, changes):
    path = folder / "gateway.yaml"
    path.write_text(configured(path.read_text(), changes))


def test_what_the_canary_decides_is_explained_with_its_rules(tmp_path):
    (tmp_path / "next").mkdir()
    text = 'package gateway.authz\n\ndecision := input.identity.subject == "alice"\n'
    (tmp_path / "next" / "authz.rego").write_text(text)
    configure(tmp_path, {"policy": {"canary": {"paths": ["next"], "share": "100%"}}})
    result = explain(*POST)
    assert result.exit_code == 0, result.output
    assert "  decide    gateway/authz/decision allows" in result.stdout
    assert "[next/authz.rego:3]" in result.stdout
    found = json.loads(explain(*POST, "--format", "json").stdout)
    assert found["outcome"]["canary"] is True
    shown = CliRunner().invoke(main, ["policy", "test", *POST]).stdout
    assert "(canary)" in shown
    configure(tmp_path, {"policy": {"canary": {"share": "0%"}}})
    assert "refused: 403 policy-denied" in explain(*POST).stdout


def test_a_route_that_only_reports(tmp_path):
    path = tmp_path / "gateway.yaml"
    path.write_text(
        path.read_text().replace("- id: orders", "- enforcement: report\n    id: orders")
    )
    result = explain(*POST)
    assert result.exit_code == 0, result.output
    told = "gateway/authz/decision refuses (policy-denied), but the route only reports"
    assert f"  decide    {told}" in result.stdout
    assert "            reason role-missing" in result.stdout
    assert "  forward   to " in result.stdout
    shown = CliRunner().invoke(main, ["policy", "test", *POST]).stdout
    assert "  reported  policy-denied" in shown


def test_a_scenario():
    result = explain("--scenario", "policies/a.scenario.yaml", "--run", "reads")
    assert result.stdout.splitlines()[0] == "policies/a.scenario.yaml: reads"
    assert "  forward   to http" in result.stdout
    assert "body holds" in result.stdout
    result = explain("--scenario", "policies/a.scenario.yaml", "--run", "late")
    assert "refused: 401 token-expired" in result.stdout
    assert '  differs   outcome: expected "forwarded", got "refused"' in result.stdout
    result = explain("--scenario", "policies/a.scenario.yaml")
    assert (result.exit_code, "2 scenarios fit: 'reads', 'late'" in result.stderr) == (1, True)


def test_a_recorded_decision():
    result = explain("--decision", "d1", "--log", "log.jsonl")
    lines = result.stdout.splitlines()
    assert lines[:3] == [
        "decision d1 2026-09-21T14:13:20Z",
        '  decide    gateway/authz/decision was {"allow":true}',
        '            gateway/authz/decision is now {"allow":false,"reasons":[{"code":'
        '"role-missing","message":"no role of yours grants this"}]}',
    ]
    assert "            without what the log hides: /input/request/headers/x" in lines
    assert '  role is "reader"' in result.stdout
    piped = explain("--decision", "d1", "--log", "-", input=json.dumps(EVENT))
    assert piped.exit_code == 0


def test_a_decision_before_the_policy():
    """What the event knows of the stages is told, and nothing of it forges a line."""
    result = explain("--decision", "d2", "--log", "log.jsonl")
    assert result.stdout.splitlines() == [
        "decision d2 GET /a\\x1b[31m",
        "  route     orders: /a\\x1b[31m",
        "  identify  refused: 401 token-missing send one",
        "  decide    not reached",
        "  forward   not reached",
    ]
    told = json.loads(explain("--decision", "d2", "--log", "log.jsonl", "--format", "json").stdout)
    assert told["trace"] is None
    assert told["stages"][1]["state"] == "refused"


OWN = EVENT | {
    "decision_id": "01K5PQ7S00ORDERS0000000003",
    "outcome": "forwarded",
    "status": 204,
    "route": "orders",
    "subject": "alice",
    "target": "/orders?x=1",
    "method": "GET",
}


@pytest.mark.parametrize("word", [OWN["decision_id"], "00000003"])
def test_a_decision_of_our_own_tells_all_stages(tmp_path, word):
    (tmp_path / "own.jsonl").write_text(json.dumps(OWN))
    lines = explain("--decision", word, "--log", "own.jsonl").stdout.splitlines()
    assert lines[:3] == [
        f"decision {OWN['decision_id']} GET /orders?x=1 2026-09-21T14:13:20Z",
        "  route     orders: /orders",
        "  identify  anonymous",
    ]
    assert "  forward   answered with 204" in lines


@pytest.mark.parametrize("options", [(), ("--entrypoint", "gateway/authz/decision")])
def test_an_input_for_the_policy_alone(options):
    lines = explain("-i", "input.json", *options).stdout.splitlines()
    assert lines[:2] == [
        "gateway/authz/decision on input.json",
        '  decide    gateway/authz/decision is {"allow":true,"reasons":[]}',
    ]
    assert any("data.gateway.authz.allow is true" in line for line in lines)


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ({"erased": ["/input/identity/roles"]},
         "of that the policy reads /input/identity/roles: it may have decided otherwise"),
        ({"erased": 7, "masked": None}, "it is not known what the log hides: erased is no array"),
        ({"masked": [7]}, "it is not known what the log hides: what was erased or masked is told"),
        ({"masked": None}, "with revision"),
    ],
)  # fmt: skip
def test_what_a_log_hides(listed, said):
    result = explain("--decision", "d1", "--log", "-", input=json.dumps(EVENT | listed))
    assert result.exit_code == 0, result.output
    assert f"            {said}" in result.stdout


def test_what_strangers_wrote_cannot_control_a_terminal(folder):
    evil = "\x1b]0;pwn\x07\u009b31m\u202e\n::error::x"
    shown = r"\x1b]0;pwn\x07\x9b31m\u202e\x0a::error::x"
    claims = json.dumps({"sub": evil, "roles": [evil]})
    result = explain("--claims", claims, "--path", "/orders")
    assert f"  identify  {shown} (issuer dev)" in result.stdout.splitlines()
    event = EVENT | {"decision_id": evil, "input": {"identity": {"roles": [evil]}}}
    decided = explain("--decision", evil, "--log", "-", input=json.dumps(event))
    assert decided.stdout.splitlines()[0] == f"decision {shown} 2026-09-21T14:13:20Z"
    printed = result.stdout + decided.stdout
    assert all(map(str.isprintable, printed.splitlines()))
    assert "\n::" not in printed


def test_a_decision_that_a_running_gateway_keeps(monkeypatch):
    asked = []

    def find(admin, decision):
        asked.append((admin.url, admin.token, decision))
        return EVENT if decision == "d1" else None

    monkeypatch.setattr("gateway.commands.admin_client.Admin.find", find)
    place = ("--admin", "http://127.0.0.1:9901")
    assert explain("--decision", "d1", *place).stdout.startswith("decision d1 2026-09-21")
    result = explain("--decision", "d3", *place)
    assert (result.exit_code, "no decision 'd3'" in result.stderr) == (1, True)
    assert asked == [(place[1], None, "d1"), (place[1], None, "d3")]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            (),
            EXIT_USAGE,
            "give one of --token, --claims, --anonymous, --scenario, --decision, --input",
        ),
        (("--anonymous", "--decision", "x"), EXIT_USAGE, "are different things"),
        (("--decision", "x"), EXIT_USAGE, "give --log or --admin"),
        (("--decision", "x", "--log", "log.jsonl"), 1, "no decision 'x' in log.jsonl"),
        (("--decision", "d4", "--log", "log.jsonl"), 1, "d4: the event names no rule"),
        (("-i", "input.json", "--entrypoint", "a/b"), 1, "the policies define no a/b"),
        (("-i", "absent.json"), 1, "absent.json: cannot be read"),
        (("-i", "input.json", "--decision", "d1"), EXIT_USAGE, "are different things"),
        (("--anonymous", "--entrypoint", "a/b"), EXIT_USAGE, "is for --input"),
        (("--anonymous", "--run", "x"), EXIT_USAGE, "give --scenario"),
        (("--anonymous", "--log", "log.jsonl"), EXIT_USAGE, "give --decision"),
        (("--decision", "d1", "--log", "log.jsonl", "-X", "PUT"), EXIT_USAGE, "-X describes"),
        (
            ("--scenario", "policies/a.scenario.yaml", "--run", "none"),
            1,
            "no scenario fits; name one with --run",
        ),
    ],
)
def test_what_cannot_be_explained(arguments, code, said):
    result = explain(*arguments)
    assert result.exit_code == code, result.output
    assert said in result.stderr.replace("--method", "-X")


def test_lines_are_broken_where_a_terminal_is_narrow(monkeypatch):
    from gateway.commands import policy_explain

    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((50, 20)))
    made = policy_explain._wrapped([f"{' ' * 40}{'word ' * 20}", "short", ""])
    assert all(len(line) <= 50 for line in made)
    assert made[0].startswith(f"{' ' * 25}word")
    assert made[-2:] == ["short", ""]


@pytest.mark.parametrize(("grant", "what"), [
    ("token_exchange", "in exchange for the client's"),
    ("client_credentials", "of the gateway's own"),
])  # fmt: skip
def test_a_token_for_the_upstream_is_told_of_and_not_fetched(tmp_path, grant, what):
    route = yaml.safe_load((tmp_path / "gateway.yaml").read_text())["routes"][0]
    token = {"endpoint": "corp", "grant": grant, "audience": "orders-api"}
    # Nobody is there: a call would fail, and so would the command.
    endpoint = {"url": "http://127.0.0.1:1/token", "client": {"id": "gw", "secret": "hidden"}}
    routes = [{**route, "upstream_token": token}]
    configure(tmp_path, {"token_endpoints": {"corp": endpoint}, "routes": routes})
    arguments = "--claims", CLAIMS, "--path", "/orders"
    shown = explain(*arguments)
    assert f"with a token {what}, from token endpoint corp" in shown.stdout
    assert "audience: orders-api" in shown.stdout
    tested = CliRunner().invoke(main, ["policy", "test", *arguments])
    assert f"token     {what}, from token endpoint corp" in tested.stdout
    tested = CliRunner().invoke(main, ["policy", "test", *arguments, "--format", "json"])
    asked = json.loads(tested.stdout)["upstream_token"]
    assert (asked["endpoint"], asked["exchange"]) == ("corp", grant == "token_exchange")
    assert not any(field.startswith("subject_token=") for field in asked["fields"])
    assert "hidden" not in shown.stdout + tested.stdout
