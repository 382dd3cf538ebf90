"""Whether compiled modules decide what OPA decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.rego import UNDEFINED, CompileError, EvalError, Policy
from gateway.rego.values import to_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.rego import Program
    from tests.support.opa import Opa, Said

NOW = 1_700_000_000.0


def difference(
    process: Opa,
    modules: Mapping[str, str],
    made: Program | CompileError,
    inputs: Sequence[object],
    data: object,
) -> str:
    """Say how OPA differs in the rules of modules; those that only its type checker refuses may.

    An input of None stands for none.
    """
    paths: list[str] = []
    if not isinstance(made, CompileError):
        rules = made.rules.items()
        paths = ["/".join(path) for path, (_, parameters) in rules if parameters == 2]
    asks = [(path.replace("/", "."), given) for path in paths for given in inputs]
    said = process.ask(modules, asks or [("nothing", None)], data)
    # Else it is what is asked that OPA refuses, for the characters in a rule's name.
    refused = all(
        one.kind == "refused" and any(name in one.text for name in modules) for one in said
    )
    if refused and "rego_type_error" in said[0].text:
        return ""
    if isinstance(made, CompileError):
        return "" if refused else f"refused here: {made}"
    if refused:
        return f"refused there: {said[0].text}"
    ours = [_decided(made, path, given, data) for path in paths for given in inputs]
    return next((f"{a} {b} {c}" for a, b, c in zip(asks, ours, said) if not _same(b, c)), "")


def _decided(program: Program, path: str, given: object, data: object) -> tuple[str, object]:
    try:
        document = UNDEFINED if given is None else given
        value = Policy(program, data).decide(path, document, now=NOW)
    except EvalError as error:
        return "error", error.code
    return ("undefined", None) if value is UNDEFINED else ("value", to_json(value))


def _same(ours: tuple[str, object], theirs: Said) -> bool:
    return theirs.kind == "refused" or (  # a part of a rule that cannot be asked for by itself
        ours[0] == theirs.kind and (ours[0] != "value" or _equal(ours[1], theirs.value))
    )


def _equal(ours: object, theirs: object) -> bool:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        named = {key if isinstance(key, str) else str(key): value for key, value in ours.items()}
        return named.keys() == theirs.keys() and all(_equal(named[k], theirs[k]) for k in named)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_equal, ours, theirs))
    return ours == theirs and isinstance(ours, bool) == isinstance(theirs, bool)
