"""`gateway policy eval`: any query over policies, data and an input."""

from __future__ import annotations

import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click
import orjson

from gateway.bundle.folder import parse_files, read_files
from gateway.commands.inputs import read_json
from gateway.decide.programs import as_config_error
from gateway.record.encode import plain
from gateway.rego import UNDEFINED, CompileError, EvalError
from gateway.rego.program import DEFAULT_STEPS
from gateway.rego.query import Query
from gateway.rego.values import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.rego.query import Row

MAX_CELL = 80
EXIT_FAIL = 2


@click.command("eval", short_help="Evaluate a query as `opa eval` does.")
@click.argument("query")
@click.option(
    "--data", "-d", "paths", multiple=True, type=click.Path(path_type=Path, exists=True),
    help="Policies and data: a file or a folder.",
)  # fmt: skip
@click.option(
    "--input", "-i", "given", type=click.File("rb"), help="The input, as JSON (- is stdin)."
)
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
    query: str,
    paths: tuple[Path, ...],
    given: IO[bytes] | None,
    shape: str,
    steps: int,
    *,
    fail: bool,
    fail_defined: bool,
    strict: bool,
) -> None:
    """Evaluate QUERY, which is Rego, and print what `opa eval` would.

    What the policies print goes to standard error. Unless --strict-builtin-errors, an error of a
    builtin makes its expression undefined, as in OPA; the gateway itself always is strict.

    Exit codes: 0 evaluated; 2 --fail or --fail-defined applies; 1 it could not be evaluated.

    Example: gateway policy eval -d policies -i input.json 'data.gateway.authz.allow'
    """
    document = UNDEFINED if given is None else read_json(given, "--input")
    absolute = tuple(path.absolute() for path in paths)
    sources = parse_files(read_files(absolute), absolute)
    output: list[str] = []
    try:
        asked = Query(query, {**sources.modules, **sources.tests}, sources.data, strict=strict)
        rows = asked.ask(document, now=time.time(), steps=steps, output=output)
    except (CompileError, EvalError) as error:
        if shape == "json":
            click.echo(_json({"errors": _errors(error)}))
            raise click.exceptions.Exit(1) from None
        if isinstance(error, CompileError):
            raise as_config_error(error) from None
        raise click.ClickException(error.told) from None
    finally:
        for line in output:
            click.echo(line, err=True)
    found = [_row(asked, row) for row in rows]
    text = SHAPES[shape](found)
    if text:
        click.echo(text)
    if fail_defined if found else fail:
        raise click.exceptions.Exit(EXIT_FAIL)


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
    return orjson.dumps(plain(value), option=orjson.OPT_INDENT_2 if indented else 0).decode()


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
