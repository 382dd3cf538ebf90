"""What the documentation names exists."""

import re
import shlex
from pathlib import Path

import click
import pytest

from gateway.commands import main

ROOT = Path(__file__).parents[2]
PAGES = sorted(path.relative_to(ROOT) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
TEST = re.compile(r"`((?:tests/)?[\w/]+\.py)::(\w+)`")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_test_that_a_page_names_exists(page):
    for name, function in TEST.findall((ROOT / page).read_text()):
        file = ROOT / (name if name.startswith("tests/") else f"tests/live/{name}")
        assert f"def {function}(" in file.read_text(), f"{name}::{function}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere(page):
    for target, _ in LINK.findall((ROOT / page).read_text()):
        assert (ROOT / page).parent.joinpath(target).exists(), target


def test_the_pages_of_the_security_model_name_tests():
    for page in ("docs/security-model.md", "docs/servers.md"):
        assert len(TEST.findall((ROOT / page).read_text())) > 20


def commands(group, name):
    context = click.Context(group)
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}"


def test_every_command_has_its_row():
    rows = re.findall(r"^\| `(gateway [a-z ]+)` \|", (ROOT / "docs/commands.md").read_text(), re.M)
    assert sorted(rows) == sorted(commands(main, "gateway"))


def every_command(group, context):
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        if isinstance(command, click.Group):
            yield from every_command(command, context)
        else:
            yield command


def test_the_help_of_every_command_shows_an_example():
    for command in every_command(main, click.Context(main)):
        help_ = command.get_help(click.Context(command))
        assert re.search(r"^ *Examples?:\s+gateway ", help_, re.M), command.name


def test_the_rego_of_the_guide_compiles(tmp_path):
    """What authors copy works, its tests included."""
    from gateway.rego import Policy, compile as compile_rego
    from gateway.rego.testing import run_tests, suites

    text = (ROOT / "docs/policies.md").read_text()
    policy, annotated, tests = re.findall(r"```rego\n(.*?)```", text, re.S)
    data = {"roles": {"reader": [{"methods": ["GET"], "path": "/orders/*"}]}}
    (suite,) = suites({"authz.rego": policy}, {"authz_test.rego": tests})
    program = compile_rego(suite.modules)
    results = list(run_tests(program, suite.tests, data, now=0.0))
    assert [result.outcome for result in results] == ["pass", "pass", "skip"], results
    asked = {"identity": {"roles": []}, "request": {"method": "GET", "path": "/orders/1"}}
    decision = Policy(program, data).decide("gateway/authz/decision", asked, now=0.0)
    assert decision["allow"] is False
    assert len(decision["reasons"]) == 1
    own = compile_rego({"annotated.rego": f"package gateway.authz\n\n{annotated}"})
    (reason,) = Policy(own).decide("gateway/authz/reasons", asked, now=0.0).values()
    assert reason["code"] == "role-missing"


def test_the_python_of_the_engine_page_runs():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/engine.md").read_text(), re.S)
    exec(code, {})


def test_the_scenarios_of_the_guide_pass(tmp_path, monkeypatch):
    """With the configuration and the policies that it speaks of."""
    from click.testing import CliRunner

    (text,) = re.findall(r"```yaml\n(now: .*?)```", (ROOT / "docs/testing.md").read_text(), re.S)
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["init", "."]).exit_code == 0
    (tmp_path / "policies" / "orders.scenario.yaml").write_text(text)
    result = CliRunner().invoke(main, ["policy", "test", "--run", "scenario"])
    assert (result.exit_code, result.stdout) == (0, "14 tests: 14 passed\n"), result.stdout


def test_the_rights_that_the_deny_list_needs_on_redis_are_told():
    code = (ROOT / "gateway/serve/revocation/redis.py").read_text()
    (rights,) = re.findall(
        r"^ACL SETUSER gateway (.*)$", (ROOT / "docs/tokens.md").read_text(), re.M
    )
    needed = re.findall(r"\b_client\.(x\w+)\(", code)
    assert needed
    assert set(rights.split()) == {f"+{command}" for command in needed}


def test_every_key_of_a_scenario_is_explained():
    from gateway.workbench.scenario import Expectation, RequestRecipe, ScenarioRecipe, TokenRecipe

    page = (ROOT / "docs/testing.md").read_text()
    for section in (Expectation, RequestRecipe, ScenarioRecipe, TokenRecipe):
        for name in section.model_fields:
            assert f"`{name}`" in page or f"{name}:" in page, name


def test_every_key_of_an_allow_list_is_explained():
    from gateway.workbench.approved import Approval, read_approved

    page = (ROOT / "docs/testing.md").read_text()
    for name in Approval.model_fields:
        assert f"`{name}`" in page, name
    (text,) = re.findall(r"```yaml\n(approved:.*?)```", page, re.S)
    assert len(read_approved("approved.yaml", text.encode())) == 2


def test_every_reason_not_to_replay_is_explained():
    from gateway.workbench.replay import SKIPPED

    page = (ROOT / "docs/testing.md").read_text()
    for name in SKIPPED:
        assert f"| `{name}` |" in page, name


CONSOLE = re.findall(r"```console\n(.*?)```", (ROOT / "docs/testing.md").read_text(), re.S)


@pytest.mark.parametrize("shown", CONSOLE, ids=range(len(CONSOLE)))
def test_what_the_guide_shows_is_what_comes_out(monkeypatch, shown):
    from click.testing import CliRunner

    monkeypatch.chdir(ROOT)
    _, *commands_and_output = re.split(r"^\$ (.*)\n", shown, flags=re.M)
    lines, expected = commands_and_output[::2], commands_and_output[1::2]
    results = [CliRunner().invoke(main, shlex.split(line)[1:]) for line in lines]
    for result, wanted in zip(results, expected, strict=True):
        beginning, more, _ = wanted.partition("…\n")
        assert result.stdout[: len(beginning) if more else None] == beginning
    assert [result.exit_code for result in results] == [CODES.get(line, 0) for line in lines]


CODES = {
    "gateway policy diff policies docs/examples/next": 2,
    "gateway policy replay docs/examples/decisions.jsonl --against docs/examples/next": 2,
}
"""Exit codes of the commands that the guide shows, but for 0."""


def test_the_guide_shows_both_tools_that_find_the_mistake():
    assert set(CODES) <= set(re.findall(r"^\$ (.*)$", "".join(CONSOLE), re.M))


@pytest.mark.parametrize(
    "arguments", [("test", "--threshold", "100"), ("check", "--tests", "--strict")]
)
def test_the_example_is_tested_whole(monkeypatch, arguments):
    from click.testing import CliRunner

    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(main, ["policy", *arguments])
    assert result.exit_code == 0, result.output


def test_the_rules_and_scenarios_of_the_walk_are_those_of_the_example():
    page = (ROOT / "docs/testing.md").read_text()
    (rule,) = re.findall(r"```rego\n(.*?)```", page, re.S)
    assert rule in (ROOT / "policies/orders.rego").read_text()
    scenarios = next(
        text for text in re.findall(r"```yaml\n(.*?)```", page, re.S) if "acme" in text
    )
    for line in scenarios.splitlines():
        assert line in (ROOT / "policies/orders.scenario.yaml").read_text().splitlines()


def test_the_example_has_as_many_scenarios_as_the_guide_says(monkeypatch):
    from gateway.workbench.scenario import find_scenarios, read_scenarios

    files = find_scenarios([ROOT / "policies"])
    number = sum(len(read_scenarios(file, file.read_bytes())) for file in files)
    assert f"{number} scenarios" in (ROOT / "docs/testing.md").read_text()
    assert number >= 25
