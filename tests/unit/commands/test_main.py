"""The group of all commands: what it loads, and what it makes of errors."""

import re
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gateway.commands import (
    COMMANDS,
    EXIT_BUG,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    Commands,
    main,
    report,
)
from gateway.errors import ConfigError, Problem
from gateway.rego import CompileError, RegoProblem


def failing_with(error, monkeypatch):
    @click.command()
    def failing():
        raise error

    monkeypatch.setattr(Commands, "get_command", lambda *_: failing)
    return CliRunner().invoke(main, ["failing"])


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            ConfigError((Problem("bad", file="a.yaml", line=2, column=3, key="x.y", remedy="do"),)),
            1,
            "error: a.yaml:2:3: x.y: bad (do)\n",
        ),
        (
            ConfigError((Problem("one"), Problem("two"))),
            1,
            "error: one\nerror: two\n",
        ),
        (
            CompileError([RegoProblem(file="a.rego", row=4, col=1, code="c", message="bad")]),
            1,
            "error: a.rego:4:1: bad\n",
        ),
        (PermissionError(13, "Permission denied", "x"), 1, "error: x: Permission denied\n"),
        (OSError("odd"), 1, "error: odd\n"),
        (KeyError("x"), 70, "error: KeyError: 'x'\nThis is a bug of the gateway."),
        (RecursionError("deep"), 70, "error: RecursionError: deep\nThis is a bug"),
        (click.ClickException("told"), 1, "error: told\n"),
        (click.UsageError("misused"), 64, "error: misused"),
        (click.ClickException("a\x1b]0;\x07\n::error::b"), 1, "error: a\\x1b]0;\\x07\n\\x3a:error"),
        (ConfigError((Problem("a\n::b", key="\x9b"),)), 1, "error: \\x9b: a\\x0a::b\n"),
        (click.exceptions.Exit(5), 5, ""),
    ],
)
def test_no_traceback_reaches_a_user(error, code, said, monkeypatch):
    result = failing_with(error, monkeypatch)
    assert result.exit_code == code
    assert said in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.output


def test_an_interrupt_is_quiet(monkeypatch):
    result = failing_with(KeyboardInterrupt(), monkeypatch)
    assert (result.exit_code, result.output) == (130, "")


@pytest.mark.parametrize("error", [KeyError("x"), ConfigError((Problem("bad"),))])
def test_a_traceback_is_shown_to_who_asks(error, monkeypatch):
    monkeypatch.setenv("GATEWAY_TRACEBACK", "1")
    result = failing_with(error, monkeypatch)
    assert "Traceback" in result.stderr
    assert "in failing" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["confg"], "error: no command 'confg'; did you mean 'config'?\n"),
        (["policy", "tset"], "error: no command 'tset'; did you mean 'test'?\n"),
        (["keys", "zzz"], "error: no command 'zzz'; known here: generate, jwks\n"),
        (["config", "check", "--cofig", "x"], "Did you mean"),
        (["--verson"], "Did you mean"),
        (["demo", "--port", "x"], "error: Invalid value for '--port'"),
    ],
)
def test_wrong_usage_says_what_was_meant(arguments, said):
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.stdout) == (EXIT_USAGE, "")
    assert result.stderr.startswith("Usage: main")
    assert "--help`.\n" in result.stderr
    assert said in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("policy", "test", "--token", "absent"),
        ("policy", "test", "--anonymous", "--jwks", "absent"),
        ("policy", "test", "--anonymous", "--body", "@absent"),
        ("policy", "test", "absent"),
        ("policy", "check", "absent"),
        ("token", "mint", "-k", "absent"),
        ("token", "inspect", "absent"),
        ("token", "verify", "absent"),
        ("keys", "jwks", "absent"),
        ("keys", "generate", "-o", "."),
        ("demo", "--policies", "absent"),
        ("config", "check", "-c", "absent"),
    ],
    ids=" ".join,
)
def test_a_bad_file_is_no_wrong_usage(arguments):
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("group", [(), ("config",), ("policy",), ("token",), ("keys",)])
def test_a_group_without_a_command_shows_its_help(group):
    result = CliRunner().invoke(main, group)
    assert (result.exit_code, result.stdout) == (EXIT_USAGE, "")
    assert result.stderr == CliRunner().invoke(main, [*group, "--help"]).stdout


def commands(group, path=()):
    context = click.Context(group)
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        yield [*path, word]
        if isinstance(command, click.Group):
            yield from commands(command, [*path, word])


@pytest.mark.parametrize("path", [*commands(main)], ids=" ".join)
def test_help_fits_a_terminal(path):
    result = CliRunner().invoke(main, [*path, "--help"], terminal_width=80)
    assert result.exit_code == 0
    assert "..." not in result.stdout.partition("\n\n")[2]
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


@pytest.mark.parametrize(("number", "said"), [(0, "0 tests"), (1, "1 test"), (2, "2 tests")])
def test_counts(number, said):
    assert report.counted(number, "test") == said


def test_what_is_exited_with_is_listed():
    text = (Path(__file__).parents[3] / "docs/commands.md").read_text()
    listed = re.findall(r"(?m)^\| (\d+) \|", text)
    assert listed == ["0", "1", "2", str(EXIT_USAGE), str(EXIT_BUG), str(EXIT_INTERRUPTED)]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_module(name):
    command = main.get_command(click.Context(main), name)
    assert command.name == name
    assert CliRunner().invoke(main, [name, "--help"]).exit_code == 0


def test_help_lists_the_commands_without_loading_them():
    script = (
        "import sys; from gateway.commands import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'gateway.snapshot', 'gateway.rego', 'pydantic', 'quart', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    for name, summary in COMMANDS.items():
        assert f"{name} " in done.stdout
        assert summary in done.stdout
    assert done.stdout.endswith("[]\n")


def test_the_version():
    result = CliRunner().invoke(main, ["--version"])
    assert result.exit_code == 0
    assert result.stdout.startswith("gateway ")


@pytest.mark.parametrize(
    ("shell", "marks"),
    [
        ("bash", ["complete -o nosort -F _gateway_completion gateway"]),
        ("zsh", ["#compdef gateway", "compdef _gateway_completion gateway"]),
        ("fish", ["complete --no-files --command gateway"]),
    ],
)
def test_shells_get_their_scripts(shell, marks):
    """As docs/commands.md has it."""
    script = "from gateway.commands import main; main(prog_name='gateway')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "_GATEWAY_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(mark in done.stdout for mark in marks), done.stdout


def test_words_are_completed():
    script = "from gateway.commands import main; main(prog_name='gateway')"
    asked = {"_GATEWAY_COMPLETE": "bash_complete", "COMP_WORDS": "gateway policy ex"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **asked, "COMP_CWORD": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "plain,explain\n"
