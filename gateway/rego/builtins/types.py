"""Types and casts."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

from gateway.rego.builtins.operands import (
    CHARACTERS_A_STEP,
    MAX_DIGITS,
    type_name,
    wrong_type,
)
from gateway.rego.builtins.registry import Builtin, State, charged, pure
from gateway.rego.errors import BuiltinError
from gateway.rego.values import NUMBERS, RegoSet, Value, number_from_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.rego.values import Number


def _is(kind: type) -> Callable[[Value], bool]:
    return lambda value: value.__class__ is kind


def is_number(value: Value) -> bool:
    """Tell whether a value is a number."""
    return value.__class__ in NUMBERS


def to_number(state: State, value: Value) -> Number:
    """Turn null, a boolean, a number or a string that names one into a number."""
    if value is None:
        return 0
    if value.__class__ is bool:
        return int(value)
    if value.__class__ in NUMBERS:
        return value  # type: ignore[no-any-return]
    if value.__class__ is not str:
        raise wrong_type(value, 1, "null", "boolean", "number", "string")
    if value.lstrip("+-").lower() in ("inf", "infinity", "nan"):
        raise wrong_type(value, 1, "valid number string")
    state.charge(50 + (min(len(value), MAX_DIGITS) // CHARACTERS_A_STEP) ** 2 // 16)
    shape = _DECIMAL.fullmatch(value)
    if shape is None or len(value) > MAX_DIGITS:
        raise BuiltinError(f'parsing "{value[:100]}": invalid syntax')
    sign, whole, fraction, exponent = shape.groups(default="")
    text = sign.strip("+") + (whole or "0") + (fraction and "." + fraction) + exponent
    if math.isinf(float(text)):
        raise BuiltinError(f'parsing "{value[:100]}": value out of range')
    return number_from_text(text)


_DECIMAL: Final = re.compile(r"([+-])?(?=\.?[0-9])([0-9]*)(?:\.([0-9]*))?([eE][+-]?[0-9]+)?")

BUILTINS: Final[tuple[Builtin, ...]] = (
    pure("type_name", type_name, 1),
    pure("is_null", _is(type(None)), 1),
    pure("is_boolean", _is(bool), 1),
    pure("is_number", is_number, 1),
    pure("is_string", _is(str), 1),
    pure("is_array", _is(list), 1),
    pure("is_object", _is(dict), 1),
    pure("is_set", _is(RegoSet), 1),
    charged("to_number", to_number, 1),
)
