"""Numbers: arithmetic, ranges, random numbers. Whole numbers are exact."""

from __future__ import annotations

import random
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP
from typing import TYPE_CHECKING, Final

from gateway.rego.builtins import binary_float
from gateway.rego.builtins.operands import (
    FLOAT_STEPS,
    MAX_BITS,
    charge_number,
    integer,
    number,
    string,
    to_decimal,
    wrong_type,
)
from gateway.rego.builtins.registry import Builtin, State, charged, impure
from gateway.rego.errors import BuiltinError
from gateway.rego.values import NUMBERS, RegoSet, Value

if TYPE_CHECKING:
    from collections.abc import Callable
    from fractions import Fraction

    from gateway.rego.values import Number


def _whole(value: Number) -> int | None:
    """Return the int that a number is, if it is one of reasonable size."""
    if value.__class__ is int:
        return value
    exact = to_decimal(value)
    return int(exact) if exact == exact.to_integral_value() else None


def _sized(value: int) -> int:
    if value.bit_length() > MAX_BITS:
        raise BuiltinError("number out of range")
    return value


def _calculate(
    state: State,
    left: Number,
    right: Number,
    exact: Callable[[int, int], int],
    float_: Callable[[Fraction, Fraction], Fraction],
) -> Number:
    charge_number(state, left)
    charge_number(state, right)
    whole_left, whole_right = _whole(left), _whole(right)
    if whole_left is not None and whole_right is not None:
        bits = whole_left.bit_length() + whole_right.bit_length()
        if bits > MAX_BITS:
            raise BuiltinError("number out of range")
        return exact(whole_left, whole_right)
    state.charge(FLOAT_STEPS)
    return binary_float.to_number(float_(binary_float.binary(left), binary_float.binary(right)))


def plus(state: State, left: Value, right: Value) -> Number:
    """Add two numbers."""
    return _calculate(state, number(left), number(right, 2), int.__add__, lambda a, b: a + b)


def multiply(state: State, left: Value, right: Value) -> Number:
    """Multiply two numbers."""
    return _calculate(state, number(left), number(right, 2), int.__mul__, lambda a, b: a * b)


def minus(state: State, left: Value, right: Value) -> Value:
    """Subtract two numbers, or take a set's members out of another."""
    if left.__class__ is RegoSet and right.__class__ is RegoSet:
        state.charge(len(left))
        return RegoSet((form, member) for form, member in left.items() if form not in right)
    if left.__class__ not in NUMBERS and left.__class__ is not RegoSet:
        raise wrong_type(left, 1, "number", "set")
    if right.__class__ not in NUMBERS:
        raise wrong_type(right, 2, "set" if left.__class__ is RegoSet else "number")
    if left.__class__ is RegoSet:
        raise wrong_type(right, 2, "set")
    return _calculate(state, left, right, int.__sub__, lambda a, b: a - b)


def divide(state: State, left: Value, right: Value) -> Number:
    """Divide two numbers; exact where a whole number divides another."""
    dividend, divisor = number(left), number(right, 2)
    if not divisor:
        raise BuiltinError("divide by zero")
    charge_number(state, dividend)
    charge_number(state, divisor)
    top, bottom = _whole(dividend), _whole(divisor)
    if top is not None and bottom is not None and top % bottom == 0:
        return top // bottom
    state.charge(4 * FLOAT_STEPS)  # a quotient has a long denominator, or many digits
    return binary_float.to_number(binary_float.binary(dividend) / binary_float.binary(divisor))


def remainder(state: State, left: Value, right: Value) -> int:
    """Return the remainder of whole numbers; its sign is the dividend's."""
    charge_number(state, number(left))
    charge_number(state, number(right, 2))
    top, bottom = _whole(left), _whole(right)
    if bottom == 0:
        raise BuiltinError("modulo by zero")
    if top is None or bottom is None:
        raise BuiltinError("modulo on floating-point number")
    rest = abs(top) % abs(bottom)
    return -rest if top < 0 else rest


def absolute(state: State, value: Value) -> Number:
    """Return the distance from zero."""
    charge_number(state, number(value))
    whole = _whole(value)
    if whole is not None:
        return abs(whole)
    return binary_float.to_number(abs(binary_float.binary(value)))


def _rounding(mode: str) -> Callable[[State, Value], int]:
    def to_whole(state: State, value: Value) -> int:
        if value.__class__ is int:
            return value
        state.charge(FLOAT_STEPS)
        return int(to_decimal(number(value)).to_integral_value(mode))

    return to_whole


def number_range(state: State, first: Value, last: Value) -> list[int]:
    """List the whole numbers from `first` to `last`, both included, up or down."""
    return _range(state, integer(first, 1, name="integer"), integer(last, 2, name="integer"), 1)


def number_range_step(state: State, first: Value, last: Value, step: Value) -> list[int]:
    """List every `step`-th whole number from `first` to `last`."""
    start, stop = integer(first, 1, name="integer"), integer(last, 2, name="integer")
    width = integer(step, 3, name="integer")
    if width <= 0:
        raise BuiltinError("numbers.range_step: step must be a positive integer")
    return _range(state, start, stop, width)


def _range(state: State, first: int, last: int, step: int) -> list[int]:
    state.charge(abs(last - first) // step)
    if first <= last:
        return list(range(first, last + 1, step))
    return list(range(first, last - 1, -step))


def random_number(state: State, name: Value, limit: Value) -> int:
    """Choose a number in [0, limit), the same for the same arguments within a decision."""
    bound = abs(integer(limit, 2))
    if bound == 0:
        return 0
    key = ("rand.intn", string(name), bound)
    if key not in state.memo:
        state.memo[key] = random.SystemRandom().randrange(bound)
    return state.memo[key]  # type: ignore[no-any-return]


BUILTINS: Final[tuple[Builtin, ...]] = (
    charged("plus", plus, 2),
    charged("minus", minus, 2),
    charged("mul", multiply, 2),
    charged("div", divide, 2),
    charged("rem", remainder, 2),
    charged("abs", absolute, 1),
    charged("round", _rounding(ROUND_HALF_UP), 1),
    charged("ceil", _rounding(ROUND_CEILING), 1),
    charged("floor", _rounding(ROUND_FLOOR), 1),
    charged("numbers.range", number_range, 2),
    charged("numbers.range_step", number_range_step, 3),
    impure("rand.intn", random_number, 2, steps=25),
)
