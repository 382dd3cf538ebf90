"""The functions of Go's templates, and how Go shows and compares the values in one.

Numbers of the variables are texts there, as Go's JSON reader may keep them: `eq .n 5` compares a
text with an int, which is an error; `eq .n "5"` is true.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_plus

from gateway.rego.builtins.charges import dear
from gateway.rego.builtins.formatting import sprintf
from gateway.rego.builtins.internal import UNDEFINED_TEXT
from gateway.rego.builtins.operands import charge_value, utf8
from gateway.rego.errors import BuiltinError
from gateway.rego.values import NUMBERS, UNDEFINED, Undefined, Value, format_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.rego.builtins.registry import State


class JsonNumber(str):
    """A number of the variables, as its text."""

    __slots__ = ()


def converted(value: Value) -> Value:
    """Return a JSON value with its numbers as texts."""
    kind = value.__class__
    if kind is list:
        return list(map(converted, value))
    if kind is dict:
        return {key: converted(item) for key, item in value.items()}
    return JsonNumber(format_number(value)) if kind in NUMBERS else value


def truth(value: Value) -> bool:
    """Tell whether a value is not the empty one of its type."""
    return value is not UNDEFINED and bool(value)


def shown(state: State, value: Value) -> str:
    """Return what an action writes for a value."""
    if value is UNDEFINED or value is None:
        return UNDEFINED_TEXT
    return printed(state, value)


def printed(state: State, value: Value) -> str:
    """Return a value as Go's `%v` shows it."""
    state.charge(3)
    charge_value(dear(state, 5), value)
    return _text(value)


def _text(value: Value) -> str:
    kind = value.__class__
    if isinstance(value, str):
        return str(value)
    if kind is list:
        return "[" + " ".join(map(_text, value)) + "]"
    if kind is dict:
        return "map[" + " ".join(f"{key}:{_text(value[key])}" for key in sorted(value)) + "]"
    if value is None or value is UNDEFINED:
        return "<nil>"
    if kind is bool:
        return str(value).lower()
    return f"{value:g}" if kind is float and abs(value) >= _EXPONENT else format_number(value)


_EXPONENT: Final = 10**21


# --- comparison


def _kind(value: Value) -> str:
    if value.__class__ is bool:
        return "bool"
    if isinstance(value, str):
        return "string"
    return {int: "int", float: "float"}.get(value.__class__, "")


def _equals(state: State, first: Value, *others: Value) -> bool:
    charge_value(state, first)
    return any(_equal(first, other) for other in others)


def _equal(left: Value, right: Value) -> bool:
    if _kind(left) != _kind(right):
        if left is None or right is None:
            return False
        raise BuiltinError("template: incompatible types for comparison")
    if _kind(left):
        return bool(left == right)
    if left is None or right is None:
        return left is right
    raise BuiltinError("template: non-comparable types")


def _less(left: Value, right: Value) -> bool:
    if _kind(left) != _kind(right):
        raise BuiltinError("template: incompatible types for comparison")
    if _kind(left) in ("", "bool"):
        raise BuiltinError("template: invalid type for comparison")
    return bool(left < right)


def _at_most(left: Value, right: Value) -> bool:
    return _less(left, right) or _equal(left, right)


# --- parts


def _length(_: State, value: Value) -> int:
    if isinstance(value, str):
        return len(utf8(value))
    if value.__class__ not in (list, dict):
        raise BuiltinError("template: len of the value")
    return len(value)


def _index(_: State, value: Value, *keys: Value) -> Value:
    for key in keys:
        if value.__class__ is dict and key.__class__ is str:
            value = value.get(key)
        elif key.__class__ is int and isinstance(value, (list, str)):
            items = utf8(value) if isinstance(value, str) else value
            if not 0 <= key < len(items):
                raise BuiltinError("template: index out of range")
            value = items[key]
        else:
            raise BuiltinError("template: error calling index")
    return value


def _slice(state: State, value: Value, *bounds: Value) -> Value:
    if not isinstance(value, (list, str)) or len(bounds) > (2 if isinstance(value, str) else 3):
        raise BuiltinError("template: can't slice the value")
    items = utf8(value) if isinstance(value, str) else value
    state.charge(1 + len(items))
    if any(bound.__class__ is not int for bound in bounds):
        raise BuiltinError("template: cannot index slice with the value")
    start, stop, *_ = *bounds, len(items), len(items)
    if not bounds:
        start, stop = 0, len(items)
    elif len(bounds) == 1:
        stop = len(items)
    if not all(0 <= bound <= len(items) for bound in (start, stop, *bounds)) or start > stop:
        raise BuiltinError("template: slice index out of range")
    part = items[start:stop]
    return part.decode("utf-8", "replace") if isinstance(part, bytes) else part


# --- text


def _print(state: State, *values: Value) -> str:
    """Join values, with a space between two of which neither is text."""
    parts: list[str] = []
    for number, value in enumerate(values):
        if number and not isinstance(value, str) and not isinstance(values[number - 1], str):
            parts.append(" ")
        parts.append(printed(state, value))
    return "".join(parts)


def _println(state: State, *values: Value) -> str:
    return " ".join(printed(state, value) for value in values) + "\n"


def _printf(state: State, template: Value, *values: Value) -> str:
    state.charge(25)
    if template.__class__ is not str:
        raise BuiltinError("template: wrong type for value; expected string")
    return sprintf(state, template, [_argument(state, value) for value in values])


def _argument(state: State, value: Value) -> Value:
    return value if value.__class__ in NUMBERS else printed(state, value)


def _joined(state: State, values: tuple[Value, ...]) -> str:
    """Return the text that an escaping function escapes."""
    if len(values) == 1 and values[0].__class__ is str:
        text: str = values[0]
    else:
        text = _print(state, *("<no value>" if v is None else v for v in values))
    state.charge(1 + len(text))
    return text


def _html(state: State, *values: Value) -> str:
    escaped = html.escape(_joined(state, values))
    return escaped.replace("&quot;", "&#34;").replace("&#x27;", "&#39;").replace("\0", "\ufffd")


def _js(state: State, *values: Value) -> str:
    return "".join(map(_js_character, _joined(state, values)))


def _js_character(char: str) -> str:
    if char in _JS:
        return _JS[char]
    if char < " " or not (char.isprintable() or char == " "):
        return f"\\u{ord(char):04X}"
    return char


_JS: Final = {
    "\\": "\\\\", "'": "\\'", '"': '\\"',
    **{char: f"\\u{ord(char):04X}" for char in "<>&="},
}  # fmt: skip


def _urlquery(state: State, *values: Value) -> str:
    return quote_plus(utf8(_joined(state, values)))


# --- the table


def _and(_: State, *values: Value) -> Value:
    return next((value for value in values if not truth(value)), values[-1])


def _or(_: State, *values: Value) -> Value:
    return next((value for value in values if truth(value)), values[-1])


_MANY: Final = 100
FUNCTIONS: Final[dict[str, tuple[Callable[..., Value], int, int]]] = {
    "and": (_and, 1, _MANY),
    "or": (_or, 1, _MANY),
    "not": (lambda _, value: not truth(value), 1, 1),
    "eq": (_equals, 2, _MANY),
    "ne": (lambda state, left, right: not _equals(state, left, right), 2, 2),
    "lt": (lambda _, left, right: _less(left, right), 2, 2),
    "le": (lambda _, left, right: _at_most(left, right), 2, 2),
    "gt": (lambda _, left, right: not _at_most(left, right), 2, 2),
    "ge": (lambda _, left, right: not _less(left, right), 2, 2),
    "len": (_length, 1, 1),
    "index": (_index, 1, _MANY),
    "slice": (_slice, 1, 4),
    "print": (_print, 0, _MANY),
    "println": (_println, 0, _MANY),
    "printf": (_printf, 1, _MANY),
    "html": (_html, 0, _MANY),
    "js": (_js, 0, _MANY),
    "urlquery": (_urlquery, 0, _MANY),
}
"""Each function, and how many arguments it takes at least and at most."""


def apply(state: State, name: str, arguments: list[Value | Undefined]) -> Value:
    """Call a function of templates."""
    function, low, high = FUNCTIONS[name]
    if not low <= len(arguments) <= high:
        raise BuiltinError(f"template: wrong number of args for {name}")
    return function(state, *(None if each is UNDEFINED else each for each in arguments))
