"""`gateway policy replay`: exit codes, what it is given, and what it says."""

import gzip
import json

import pytest
from click.testing import CliRunner

from gateway.commands import main

POLICY = """package gateway.authz

default allow := false

allow if input.role == "reader"
"""


def event(number, role, result):
    made = {
        "decision_id": f"id-{number}",
        "timestamp": "2026-09-21T14:13:20.123456789Z",
        "path": "gateway/authz/allow",
        "input": {"role": role},
        "result": result,
    }
    return json.dumps(made) + "\n"


SAME = event(1, "reader", True) + event(2, "nobody", False)
CHANGED = SAME + event(3, "writer", True)


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "authz.rego").write_text(POLICY)
    (tmp_path / "same.jsonl").write_text(SAME)
    (tmp_path / "changed.jsonl").write_text(CHANGED)
    return tmp_path


def run(*arguments, **options):
    return CliRunner().invoke(main, ["policy", "replay", *arguments], **options)


def test_nothing_changes():
    result = run("same.jsonl", "--against", "new")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("2 events, 2 replayed, 2 unchanged; policy revision ")
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == ""


def test_a_change_is_told_with_the_rule_that_decides():
    result = run("changed.jsonl", "--against", "new")
    assert result.exit_code == 2
    assert (
        result.stdout.split("\n", 1)[1]
        == """
allow → deny: 1
  1 of gateway/authz/allow: no reason → no reason
    decided by data.gateway.authz.allow, its default  [new/authz.rego:3]
    id-3  changed.jsonl:3
"""
    )


def test_what_was_not_read_may_change(files):
    packed = gzip.compress(SAME.encode() * 1000)
    (files / "cut.gz").write_bytes(packed[:-9])
    (files / "array").write_text(f"[{SAME.splitlines()[0]},")
    for log in ("cut.gz", "array"):
        result = run(log, "--against", "new")
        assert result.exit_code == 1, result.output
        assert "a log was not read to its end: 1\n" in result.stdout
        assert "not all was read: what is missing may change" in result.stderr


def test_an_entrypoint_of_which_nothing_could_be_replayed(files):
    (files / "log").write_text(SAME + SAME.replace("authz", "gone"))
    result = run("log", "--against", "new")
    assert result.exit_code == 1
    assert "nothing of gateway/gone/allow could be replayed" in result.stderr
    assert run("log", "--against", "new", "--entrypoint", "gateway/authz/allow").exit_code == 0


def test_the_configuration_that_is_there_tells_the_dialects(files):
    (files / "gateway.yaml").write_text(
        'routes: [{id: a, paths: /a, upstream: "http://127.0.0.1:9", dialect: envoy}]\n'
    )
    made = json.loads(event(1, "reader", {"allowed": True})) | {"route": "a"}
    (files / "log").write_text(json.dumps(made | {"path": "gateway/authz/decision"}))
    policy = f'{POLICY}\ndecision := {{"allow": true}}\n'
    (files / "new" / "authz.rego").write_text(policy)
    result = run("log", "--against", "new")
    assert result.exit_code == 2
    assert "no reason → decision-shape\n" in result.stdout


def test_several_logs_packed_and_from_standard_input(files):
    (files / "old.gz").write_bytes(gzip.compress(CHANGED.encode()))
    upload = json.dumps([json.loads(line) for line in SAME.splitlines()])
    result = run("old.gz", "-", "same.jsonl", "--against", "new", "--format", "json", input=upload)
    found = json.loads(result.stdout)
    assert (result.exit_code, found["events"], found["replayed"]) == (2, 7, 7)
    assert found["changes"][0]["examples"] == [{"decision_id": "id-3", "place": "old.gz:3"}]
    packed = gzip.compress(upload.encode())
    assert run("-", "--against", "new", input=packed).exit_code == 0


def test_a_limit_ends_it():
    assert run("changed.jsonl", "--against", "new", "--limit", "2").exit_code == 0


def test_approved_changes_do_not_count_and_idle_approvals_are_told(files):
    (files / "ok.yaml").write_text(
        "approved:\n  - {change: allow-to-deny, because: they left}\n  - {change: result, route: x, because: y}\n"
    )
    result = run("changed.jsonl", "--against", "new", "--allow-list", "ok.yaml")
    assert result.exit_code == 0
    assert "approved: 1\n" in result.stdout
    assert "allow → deny; they left  [ok.yaml:2]\n" in result.stdout
    assert result.stderr == "warning: ok.yaml:3: approves nothing that changed\n"


def test_results_count_only_where_asked(files):
    policy = POLICY + '\ndecision := {"allow": allow, "headers": {"x": "new"}}\n'
    (files / "new" / "authz.rego").write_text(policy)
    made = json.loads(event(1, "reader", {"allow": True, "headers": {"x": "old"}}))
    (files / "log").write_text(json.dumps(made | {"path": "gateway/authz/decision"}))
    assert run("log", "--against", "new").exit_code == 0
    result = run("log", "--against", "new", "--results")
    assert result.exit_code == 2
    assert "another result, same outcome: 1\n" in result.stdout


def test_the_policies_and_the_work_limit_of_the_configuration(files):
    (files / "gateway.yaml").write_text(
        "policy: {paths: [new], steps: 1000}\n"
        'routes: [{id: a, paths: /a, upstream: "http://127.0.0.1:9"}]\n'
    )
    heavy = "allow if count({n | some n in numbers.range(1, 9999)}) > input.least\n"
    (files / "new" / "authz.rego").write_text(f"{POLICY}\n{heavy}")
    result = run("changed.jsonl")
    assert result.exit_code == 2, result.output
    assert "no reason → work-limit\n" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("same.jsonl", "--against", "nowhere"), 1, "Path 'nowhere' does not exist."),
        (("same.jsonl",), 64, "no gateway.yaml and no policies/ here; name PATHS"),
        (("--against", "new"), 64, "Missing argument 'LOGS...'."),
        (("nowhere", "--against", "new"), 1, "nowhere: No such file or directory"),
        (("bad.jsonl", "--against", "new"), 1, "no event could be replayed"),
        (("same.jsonl", "--against", "bad"), 1, "bad/a.rego:1:"),
        (("same.jsonl", "--against", "new", "--allow-list", "ok.yaml"), 1,
         "ok.yaml:1:14: approved.0.rout: unknown key (did you mean 'route'?)"),
    ],
)  # fmt: skip
def test_what_cannot_be_run(arguments, code, said, files):
    (files / "bad").mkdir()
    (files / "bad" / "a.rego").write_text("package")
    (files / "bad.jsonl").write_text("what?\n")
    (files / "ok.yaml").write_text("approved: [{ rout: x, change: result, because: y}]")
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert said in result.stderr
