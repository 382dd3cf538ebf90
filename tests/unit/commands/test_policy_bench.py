"""`gateway policy bench`: what it measures, and what it cannot."""

import json

import pytest
from click.testing import CliRunner

from gateway.commands import EXIT_USAGE, main

SCENARIOS = """\
now: 2026-09-21T14:13:20Z
scenarios:
  - {name: reads, token: {claims: {roles: [reader]}}, request: GET /orders, expect: forwarded}
  - {name: late, token: {age: 1h}, request: GET /orders, expect: forwarded}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["init", "."]).exit_code == 0
    (tmp_path / "policies" / "a.scenario.yaml").write_text(SCENARIOS)
    (tmp_path / "input.json").write_text("{}")


def bench(*arguments):
    return CliRunner().invoke(main, ["policy", "bench", "--seconds", "0", *arguments])


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ((), ["policies/a.scenario.yaml: reads"]),  # the other one does not get to the policy
        (("--claims", '{"sub": "a"}', "--path", "/orders"), ["GET /orders"]),
        (("-i", "input.json"), ["gateway/authz/decision"]),
        (("-i", "input.json", "--entrypoint", "gateway/authz/allow"), ["gateway/authz/allow"]),
    ],
)
def test_decisions(arguments, names):
    found = json.loads(bench(*arguments, "--format", "json").stdout)["decisions"]
    assert [each["name"] for each in found] == names
    assert all(each["steps"] > 0 and each["us"]["p50"] <= each["us"]["p99"] for each in found)
    lines = bench(*arguments).stdout.splitlines()
    assert lines[0].split() == [
        "p50",
        "µs",
        "p99",
        "µs",
        "steps",
        "bodies",
        "skipped",
        "reused",
        "decision",
    ]
    assert [line.endswith(name) for line, name in zip(lines[1:], names, strict=True)] == [True]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--run", "late"), 1, "no scenario asks the policy"),
        (("--run", "none"), 1, "no scenario"),
        (("--anonymous", "--path", "/orders"), 1, "the policy is not asked"),
        (("--anonymous", "--run", "reads"), EXIT_USAGE, "is about scenarios"),
        (("--anonymous", "-i", "input.json"), EXIT_USAGE, "different things"),
        (("--entrypoint", "a/b"), EXIT_USAGE, "is for --input"),
        (("-i", "input.json", "--entrypoint", "a/b"), 1, "the policies define no a/b"),
        (("--host", "x"), EXIT_USAGE, "describes a request"),
    ],
)
def test_what_cannot_be_measured(arguments, code, said):
    result = bench(*arguments)
    assert (result.exit_code, said in result.stderr) == (code, True), result.stderr
