"""Functions of a whole collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.rego.builtins import numbers
from gateway.rego.builtins.operands import (
    COLLECTIONS,
    charge_value,
    wrong_element,
    wrong_type,
)
from gateway.rego.builtins.registry import Builtin, State, charged, pure
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
    operation: Callable[[State, Any, Any], Number], start: int
) -> Callable[[State, Value], Number]:
    def fold(state: State, value: Value) -> Number:
        total: Number = start
        elements = _elements(state, value)
        for element in elements if value.__class__ is list else sorted_values(elements):
            if element.__class__ not in NUMBERS:
                raise wrong_element(value, element, 1, "number")
            total = operation(state, total, element)
        return total

    return fold


def _weigh(state: State, elements: Iterable[Value]) -> None:
    """Charge for what composite elements hold, each of which order looks into."""
    for element in elements:
        if element.__class__ in COLLECTIONS:
            charge_value(state, element)


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
    return sorted_values(elements)


BUILTINS: Final[tuple[Builtin, ...]] = (
    pure("count", count, 1),
    charged("sum", _fold(numbers.plus, 0), 1),
    charged("product", _fold(numbers.multiply, 1), 1),
    charged("max", greatest, 1),
    charged("min", least, 1),
    charged("sort", sort, 1),
)
