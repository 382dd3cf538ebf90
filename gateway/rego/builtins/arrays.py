"""Arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.rego.builtins.operands import array, small_integer
from gateway.rego.builtins.registry import Builtin, State, charged

if TYPE_CHECKING:
    from gateway.rego.values import Value


def concat(state: State, left: Value, right: Value) -> list[Value]:
    """Join two arrays."""
    first, second = array(left), array(right, 2)
    state.charge(len(first) + len(second))
    return first + second


def reverse(state: State, value: Value) -> list[Value]:
    """Turn an array round."""
    elements = array(value)
    state.charge(len(elements))
    return elements[::-1]


def flatten(state: State, value: Value) -> list[Value]:
    """Put the elements of inner arrays in their place, one level deep."""
    flat: list[Value] = []
    for element in array(value):
        inner = element if element.__class__ is list else (element,)
        state.charge(1 + len(inner))
        flat.extend(inner)
    return flat


def cut(state: State, value: Value, start: Value, stop: Value) -> list[Value]:
    """Return the elements from `start` up to `stop`, both clamped to the array."""
    elements = array(value)
    first, last = max(0, small_integer(start, 2)), min(small_integer(stop, 3), len(elements))
    state.charge(max(0, last - first))
    return elements[first:last] if first < last else []


BUILTINS: Final[tuple[Builtin, ...]] = (
    charged("array.concat", concat, 2),
    charged("array.reverse", reverse, 1),
    charged("array.flatten", flatten, 1),
    charged("array.slice", cut, 3),
)
