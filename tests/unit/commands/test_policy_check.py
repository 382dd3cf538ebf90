"""`gateway policy check`: warnings, their codes and what they do to the exit code."""

import json

import pytest
from click.testing import CliRunner

from gateway.commands import main

POLICY = """package gateway.authz

allow if input.request.nothing

allow if input.request.path == "/a"
"""
TEST = """package gateway.authz_test

import data.gateway.authz

test_a if authz.allow with input as {"request": {"path": "/a"}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "a.rego").write_text(POLICY)
    (tmp_path / "policies" / "a_test.rego").write_text(TEST)


def check(*arguments):
    return CliRunner().invoke(main, ["policy", "check", *arguments])


@pytest.mark.parametrize(
    ("arguments", "exit_code", "codes"),
    [
        ((), 0, ["missing-default", "unknown-field"]),
        (("--strict",), 1, ["missing-default", "unknown-field"]),
        (("--tests",), 0, ["missing-default", "never-holds", "unknown-field"]),
    ],
)
def test_warnings(arguments, exit_code, codes):
    result = check(*arguments, "--format", "json")
    assert result.exit_code == exit_code
    assert [each["code"] for each in json.loads(result.stdout)["warnings"]] == codes
    result = check(*arguments)
    assert (result.exit_code, len(result.stderr.splitlines())) == (exit_code, len(codes))
    assert "policies/a.rego:3:1: missing-default: `allow` is undefined" in result.stderr


def test_a_new_project_has_none():
    assert CliRunner().invoke(main, ["init", "new"]).exit_code == 0
    result = check("--tests", "--strict", "-c", "new/gateway.yaml")
    assert (result.exit_code, result.stderr) == (0, "")


def test_scenarios_are_read(tmp_path):
    path = tmp_path / "policies" / "a.scenario.yaml"
    path.write_text("scenarios: [{name: x, request: GET /, expect: 403}]")
    assert "1 module, 1 test module, 1 scenario, no fault" in check().stdout
    path.write_text("scenarios: [{nam: x, request: GET /, expect: 403}]")
    result = check()
    assert (result.exit_code, result.stdout) == (1, "")
    assert "policies/a.scenario.yaml:1:14: scenarios.0.nam: unknown key" in result.stderr
    (problem, *_) = json.loads(check("--format", "json").stdout)["problems"]
    assert problem["file"] == "policies/a.scenario.yaml"
