"""How the commands show problems: one line each for programs, set out for people's terminals."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any

import click

from gateway.record.text import one_line, readable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.errors import Problem


def show_problems(problems: Iterable[Problem], *, kind: str = "error") -> None:
    """Write problems to stderr; `kind` is `error` or `warning`."""
    if sys.stderr.isatty():
        _set_out(problems, kind)
        return
    for problem in problems:
        click.echo(readable(f"{kind}: {problem}"), err=True)


def show_error(message: str) -> None:
    """Write an error without a place to stderr."""
    told = "\n".join(map(one_line, message.split("\n")))  # it may tell what a stranger wrote
    said = f"{click.style('error', fg='red', bold=True)}: {told}"
    click.echo(said, err=True, color=_colour())


def show_results(text: str) -> None:
    """Write what became of tests to stdout."""
    click.echo(
        _OUTCOME.sub(lambda found: click.style(found[0], _COLOURS[found[0]]), text), color=_colour()
    )


_COLOURS = {"PASS": "green", "FAIL": "red", "ERROR": "red", "SKIP": "yellow"}
_OUTCOME = re.compile(rf"(?<=: )(?:{'|'.join(_COLOURS)})$", re.MULTILINE)


def _colour() -> bool | None:
    """Whether there is colour: None leaves it to what is written to."""
    return False if os.environ.get("NO_COLOR") else None


def show_usage(error: click.UsageError) -> None:
    """Write what is wrong with the command line, and how it is used, to stderr."""
    if error.ctx is not None:
        click.echo(error.ctx.get_usage(), err=True)
        click.echo(f"Try `{error.ctx.command_path} --help`.\n", err=True)
    show_error(error.format_message())


def counted(number: int, noun: str) -> str:
    """A number and its noun: `1 test`, `2 tests`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def as_json(problem: Problem) -> dict[str, Any]:
    """A problem as JSON; line and column are 0 where unknown."""
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "key": problem.key,
        "message": problem.message,
        "remedy": problem.remedy,
    }


def _set_out(problems: Iterable[Problem], kind: str) -> None:
    # Slow to import, and only terminals need them.
    from rich.console import Console  # noqa: PLC0415
    from rich.padding import Padding  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(stderr=True, highlight=False)
    colour = "red" if kind == "error" else "yellow"
    for problem in problems:
        where = ":".join(str(each) for each in (problem.file, problem.line, problem.column) if each)
        head = [(kind, f"bold {colour}"), (where, "bold"), (problem.key, "cyan")]
        told = (Text(readable(text), style) for text, style in head if text)
        console.print(Text(" ").join(told))
        console.print(Padding(Text(readable(problem.message)), (0, 0, 0, 4)))
        if problem.remedy:
            console.print(Padding(Text(readable(problem.remedy), "green"), (0, 0, 0, 4)))
