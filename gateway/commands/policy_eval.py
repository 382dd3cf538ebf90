"""`gateway policy eval`: any query over policies, data and an input."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from gateway.bundle.folder import parse_files, read_files
from gateway.bundle.root import unverified
from gateway.commands import report
from gateway.commands.inputs import read_input
from gateway.commands.logs import STDIN
from gateway.commands.options import examples
from gateway.errors import ConfigError
from gateway.record.encode import displayed, plain
from gateway.record.text import one_line
from gateway.rego import UNDEFINED, CompileError, EvalError
from gateway.rego.program import DEFAULT_STEPS
from gateway.rego.query import Query
from gateway.rego.values import to_json
from gateway.snapshot import as_config_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.rego.query import Row

MAX_CELL = 80
EXIT_FAIL, EXIT_ERROR = 1, 2  # those of `opa eval`


@click.command(
    "eval",
    short_help="Evaluate a query as `opa eval` does.",
    epilog=examples(
        "gateway policy eval -d policies -i input.json 'data.gateway.authz.allow'",
        "gateway policy eval -d policies --package gateway.authz 'allow' -f pretty",
        "gateway policy eval 'x := 1; y := 2; x < y'",
    ),
)
@click.argument("query", required=False)
@click.option(
    "--data", "-d", "--bundle", "-b", "paths", multiple=True, type=click.Path(path_type=Path),
    help="Policies and data: a file or a folder.",
)  # fmt: skip
@click.option(
    "--input", "-i", "given", type=click.Path(path_type=Path, allow_dash=True),
    help="The input: a file with JSON or YAML (- is stdin).",
)  # fmt: skip
@click.option("--stdin-input", "-I", is_flag=True, help="Read the input from stdin.")
@click.option("--stdin", is_flag=True, help="Read QUERY from stdin.")
@click.option("--package", default="", help="Read QUERY as in this package, such as a.b.")
@click.option("--import", "imports", multiple=True, help="Import this for QUERY, such as data.a.b.")
@click.option(
    "--format", "-f", "shape", default="json", show_default=True,
    type=click.Choice(["json", "values", "bindings", "pretty", "raw", "discard"]),
    help="All; only values; only variables; for people; texts as they are; whether there is any.",
)  # fmt: skip
@click.option("--fail", is_flag=True, help="Exit with 2 if there is no result.")
@click.option("--fail-defined", is_flag=True, help="Exit with 2 if there is a result.")
@click.option("--strict-builtin-errors", "strict", is_flag=True, help="Errors of builtins end it.")
@click.option("--steps", type=click.IntRange(1), default=DEFAULT_STEPS, help="The work limit.")
def evaluate(
    query: str | None,
    paths: tuple[Path, ...],
    given: Path | None,
    package: str,
    imports: tuple[str, ...],
    shape: str,
    steps: int,
    *,
    stdin_input: bool,
    stdin: bool,
    fail: bool,
    fail_defined: bool,
    strict: bool,
) -> None:
    """Evaluate QUERY, which is Rego, and print what `opa eval` would.

    What the policies print goes to standard error. Unless --strict-builtin-errors, an error of a
    builtin makes its expression undefined, as in OPA; the gateway itself always is strict.

    Exit codes, those of `opa eval`: 0 evaluated; 1 --fail or --fail-defined applies; 2 it could
    not be evaluated.
    """
    file = Path(STDIN) if stdin_input else given
    _check_usage(
        {
            "give either QUERY or --stdin": stdin is (query is not None),
            "give either --input or --stdin-input": stdin_input and given is not None,
            "standard input cannot be both the query and the input": stdin and str(file) == STDIN,
            "give either --fail or --fail-defined": fail and fail_defined,
        }
    )
    output: list[str] = []
    try:
        document = UNDEFINED if file is None else read_input(file)
        text = sys.stdin.read() if query is None else query
        absolute = tuple(path.absolute() for path in paths)
        sources = parse_files(read_files(unverified(absolute)), absolute)
        asked = Query(
            text, {**sources.modules, **sources.tests}, sources.data,
            strict=strict, package=package, imports=imports,
        )  # fmt: skip
        rows = asked.ask(document, now=time.time(), steps=steps, output=output)
    except (CompileError, EvalError, ConfigError) as error:
        _show_error(error, shape)
        raise click.exceptions.Exit(EXIT_ERROR) from None
    finally:
        for line in output:
            click.echo(one_line(line), err=True)
    found = [_row(asked, row) for row in rows]
    printed = SHAPES[shape](found)
    if printed:
        click.echo(printed)
    if fail_defined if found else fail:
        raise click.exceptions.Exit(EXIT_FAIL)


def _check_usage(wrong: dict[str, bool]) -> None:
    for said, is_wrong in wrong.items():
        if is_wrong:
            raise click.UsageError(said)


def _show_error(error: CompileError | EvalError | ConfigError, shape: str) -> None:
    if isinstance(error, ConfigError):
        report.show_problems(error.problems)
    elif shape == "json":
        click.echo(_json({"errors": _errors(error)}))
    elif isinstance(error, CompileError):
        report.show_problems(as_config_error(error).problems)
    else:
        report.show_error(error.told)


def _row(query: Query, row: Row) -> dict[str, Any]:
    told = [
        {"value": to_json(value), "text": each.text, "location": {"row": each.row, "col": each.col}}
        for each, value in zip(query.expressions, row.values, strict=True)
    ]
    bindings = {name: to_json(value) for name, value in row.bindings.items()}
    return {"expressions": told} | ({"bindings": bindings} if bindings else {})


def _errors(error: CompileError | EvalError) -> list[dict[str, Any]]:
    if isinstance(error, EvalError):
        location = {"file": error.file, "row": error.row, "col": 0} if error.row else None
        return [{"message": str(error), "code": error.code, "location": location}]
    return [
        {
            "message": f"{each.message} ({each.remedy})" if each.remedy else each.message,
            "code": each.code,
            "location": {"file": each.file, "row": each.row, "col": each.col},
        }
        for each in error.problems
    ]


def _json(value: Any, *, indented: bool = True) -> str:
    option = orjson.OPT_INDENT_2 if indented else 0
    return displayed(orjson.dumps(plain(value), option=option)).decode()


def _whole(found: Sequence[dict[str, Any]]) -> str:
    return _json({"result": found} if found else {})


def _discarded(found: Sequence[dict[str, Any]]) -> str:
    return _json({"result": "discarded"} if found else {})


def _values(found: Sequence[dict[str, Any]]) -> str:
    return "\n".join(_json(_values_of(row)) for row in found)


def _values_of(row: Mapping[str, Any]) -> list[Any]:
    return [each["value"] for each in row["expressions"]]


def _bindings(found: Sequence[dict[str, Any]]) -> str:
    return "\n".join(_json(row.get("bindings")) for row in found)


def _raw(found: Sequence[dict[str, Any]]) -> str:
    return "\n".join(
        " ".join(
            value if isinstance(value, str) else _json(value, indented=False)
            for value in _values_of(row)
        )
        for row in found
    )


def _pretty(found: Sequence[dict[str, Any]]) -> str:
    """Return a value that is alone, or else a table of variables and values."""
    if not found:
        return "undefined"
    first = found[0]
    values = _values_of(first)
    if len(found) == 1 and "bindings" not in first and (len(values) == 1 or _only_true(values)):
        return _json(values[0])
    # Beside variables, that an expression is true says nothing.
    numbers = [
        number
        for number, value in enumerate(values)
        if "bindings" not in first or not isinstance(value, bool)
    ]
    names = sorted(first.get("bindings", ()))
    head = [*names, *(first["expressions"][number]["text"] for number in numbers)]
    rows = [
        [row["bindings"][name] for name in names] + [_values_of(row)[number] for number in numbers]
        for row in found
    ]
    return _table(head, [[_cell(value) for value in row] for row in rows])


def _only_true(values: Sequence[Any]) -> bool:
    return all(isinstance(value, bool) for value in values)


def _cell(value: Any) -> str:
    text = _json(value, indented=False)
    return text if len(text) <= MAX_CELL else f"{text[:MAX_CELL]}..."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = [" ".join(text.split()) for text in head]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    line = f"+{'+'.join('-' * (width + 2) for width in widths)}+"
    shown = [_line([text.center(width) for text, width in zip(head, widths, strict=True)])]
    shown += [
        _line([text.ljust(width) for text, width in zip(row, widths, strict=True)]) for row in rows
    ]
    return "\n".join((line, shown[0], line, *shown[1:], line))


def _line(cells: Sequence[str]) -> str:
    return f"|{'|'.join(f' {cell} ' for cell in cells)}|"


SHAPES: Mapping[str, Callable[[Sequence[dict[str, Any]]], str]] = {
    "json": _whole,
    "values": _values,
    "bindings": _bindings,
    "pretty": _pretty,
    "raw": _raw,
    "discard": _discarded,
}
