"""Functions of a whole collection."""

from __future__ import annotations

from fractions import Fraction
from functools import partial, reduce
from operator import add, mul
from typing import TYPE_CHECKING, Any, Final

from gateway.rego.builtins import binary_float
from gateway.rego.builtins.numbers import whole
from gateway.rego.builtins.operands import (
    COLLECTIONS,
    FLOAT_STEPS,
    LONG,
    MAX_BITS,
    charge_number,
    charge_order,
    charge_sort,
    wrong_element,
    wrong_type,
)
from gateway.rego.builtins.registry import Builtin, State, charged, pure
from gateway.rego.errors import BuiltinError
from gateway.rego.values import (
    NUMBERS,
    UNDEFINED,
    RegoSet,
    Undefined,
    Value,
    compare_key,
    sorted_values,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.rego.values import Number


def count(value: Value) -> int:
    """Count elements, members, keys or characters."""
    if value.__class__ not in COLLECTIONS and value.__class__ is not str:
        raise wrong_type(value, 1, "array", "object", "set", "string")
    return len(value)


def _elements(state: State, value: Value) -> Iterable[Value]:
    """Return a collection's elements in any order, charged for."""
    if value.__class__ is not list and value.__class__ is not RegoSet:
        raise wrong_type(value, 1, "set", "array")
    state.charge(len(value))
    return value.values() if value.__class__ is RegoSet else value


def _fold(
    operation: Callable[[Any, Any], Any], start: int, bits: int
) -> Callable[[State, Value], Number]:
    """Make a sum or product: exact where all are whole, else in a mantissa of so many bits."""

    def fold(state: State, value: Value) -> Number:
        elements = _elements(state, value)
        state.charge(2 * len(value))
        numbers = list(elements) if value.__class__ is list else sorted_values(elements)
        for number in numbers:
            if number.__class__ not in NUMBERS:
                raise wrong_element(value, number, 1, "number")
            if number.__class__ is not int or not -LONG < number < LONG:
                charge_number(state, number)
        wholes = list(map(whole, numbers))
        if None not in wholes:
            return reduce(partial(_exact, state, operation), wholes, start)
        total = Fraction(start)
        for number in numbers:
            total = binary_float.rounded(operation(total, binary_float.binary(number)), bits)
            length = total.numerator.bit_length() + total.denominator.bit_length()
            if length > MAX_BITS:
                raise BuiltinError("number out of range")
            state.charge(FLOAT_STEPS + (length**2 >> 15))
        return binary_float.to_number(total, bits)

    return fold


def _exact(state: State, operation: Callable[[int, int], int], left: int, right: int) -> int:
    if left.bit_length() + right.bit_length() > MAX_BITS:
        raise BuiltinError("number out of range")
    if not -LONG < left < LONG:
        charge_number(state, left)
    return operation(left, right)


def _weigh(state: State, elements: Iterable[Value]) -> None:
    """Charge for what composite elements hold, each of which order looks into."""
    for element in elements:
        if element.__class__ is not int and element.__class__ is not str:
            charge_order(state, element)


def greatest(state: State, value: Value) -> Value | Undefined:
    """Return the last element in Rego order; undefined if there is none."""
    elements = _elements(state, value)
    _weigh(state, elements)
    return max(elements, key=compare_key, default=UNDEFINED)


def least(state: State, value: Value) -> Value | Undefined:
    """Return the first element in Rego order; undefined if there is none."""
    elements = _elements(state, value)
    _weigh(state, elements)
    return min(elements, key=compare_key, default=UNDEFINED)


def sort(state: State, value: Value) -> list[Value]:
    """List the elements in Rego order."""
    elements = _elements(state, value)
    _weigh(state, elements)
    charge_sort(state, value)
    return sorted_values(elements)


BUILTINS: Final[tuple[Builtin, ...]] = (
    pure("count", count, 1),
    charged("sum", _fold(add, 0, binary_float.MANTISSA_BITS), 1, steps=12),
    charged("product", _fold(mul, 1, 53), 1, steps=12),
    charged("max", greatest, 1, steps=10),
    charged("min", least, 1, steps=10),
    charged("sort", sort, 1, steps=10),
)
