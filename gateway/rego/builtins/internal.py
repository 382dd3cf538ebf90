"""What the compiler calls for `print` and template strings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.rego.builtins.operands import array, charge_rego_text, rego_text
from gateway.rego.builtins.registry import Builtin, State, charged, impure
from gateway.rego.errors import BuiltinError
from gateway.rego.values import RegoSet

if TYPE_CHECKING:
    from gateway.rego.values import Value

UNDEFINED_TEXT: Final = "<undefined>"


def print_line(state: State, values: Value) -> bool:
    """Keep a line of text; each part is a set that is empty where the part is undefined."""
    charge_rego_text(state, values)
    parts = [_parts(value) for value in array(values)]
    lines = [""]
    for number, texts in enumerate(parts):
        state.charge(len(lines) * len(texts))
        gap = " " if number else ""
        lines = [line + gap + text for line in lines for text in texts]
    for line in lines:
        state.print(line)
    return True


def _parts(value: Value) -> list[str]:
    if value.__class__ is not RegoSet:
        return [rego_text(value, quoted=False)]
    return [rego_text(item, quoted=False) for item in value.values()] or [UNDEFINED_TEXT]


def template_string(state: State, parts: Value) -> str:
    """Join text and values; a set of no or one member stands for an expression."""
    charge_rego_text(state, array(parts))
    return "".join(_part(part) for part in parts)


def _part(part: Value) -> str:
    if part.__class__ is not RegoSet:
        return rego_text(part, quoted=False)
    if not part:
        return UNDEFINED_TEXT
    if len(part) > 1:
        raise BuiltinError("template-strings must not produce multiple outputs")
    return rego_text(next(iter(part.values())), quoted=False)


BUILTINS: Final[tuple[Builtin, ...]] = (
    impure("internal.print", print_line, 1),
    charged("internal.template_string", template_string, 1),
)
