"""Numbers: arithmetic, ranges, random numbers. Whole numbers are exact."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import TYPE_CHECKING, Final, TypeGuard

from gateway.rego.builtins import binary_float
from gateway.rego.builtins.operands import (
    FLOAT_STEPS,
    MAX_BITS,
    charge_number,
    integer,
    number,
    small_integer,
    string,
    to_decimal,
    wrong_type,
)
from gateway.rego.builtins.registry import Builtin, State, charged, impure
from gateway.rego.errors import BuiltinError
from gateway.rego.values import NUMBERS, RegoSet, Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.rego.values import Number


_BINARY: Final = 1 << binary_float.MANTISSA_BITS
"""Whole numbers below are exact in the binary format, too."""

_HALF: Final = Fraction(1, 2)


def whole(value: Number) -> int | None:
    """Return the int that a number is, if it is one of reasonable size."""
    if value.__class__ is int:
        return value
    exact = to_decimal(value)
    return int(exact) if exact == exact.to_integral_value() else None


def _exact(value: Number) -> TypeGuard[int]:
    return value.__class__ is int and -_BINARY < value < _BINARY


def _calculate(
    state: State,
    left: Number,
    right: Number,
    exact: Callable[[int, int], int],
    float_: Callable[[Fraction, Fraction], Fraction],
) -> Number:
    charge_number(state, left)
    charge_number(state, right)
    whole_left, whole_right = whole(left), whole(right)
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
        state.charge(2 * len(left))
        return RegoSet((form, member) for form, member in left.items() if form not in right)
    if left.__class__ not in NUMBERS and left.__class__ is not RegoSet:
        raise wrong_type(left, 1, "number", "set")
    if right.__class__ not in NUMBERS:
        raise wrong_type(right, 2, "set" if left.__class__ is RegoSet else "number")
    if left.__class__ is RegoSet:
        raise wrong_type(right, 2, "set")
    return _calculate(state, left, right, int.__sub__, lambda a, b: a - b)


def divide(state: State, left: Value, right: Value) -> Number:
    """Divide two numbers; whole ones beyond 64 bits are rounded to that before."""
    dividend, divisor = number(left), number(right, 2)
    if not divisor:
        raise BuiltinError("divide by zero")
    if _exact(dividend) and _exact(divisor) and not dividend % divisor:
        return dividend // divisor
    charge_number(state, dividend)
    charge_number(state, divisor)
    state.charge(4 * FLOAT_STEPS)  # a quotient has a long denominator, or many digits
    return binary_float.to_number(binary_float.binary(dividend) / binary_float.binary(divisor))


def remainder(state: State, left: Value, right: Value) -> int:
    """Return the remainder of whole numbers; its sign is the dividend's."""
    charge_number(state, number(left))
    charge_number(state, number(right, 2))
    top, bottom = whole(left), whole(right)
    if bottom == 0:
        raise BuiltinError("modulo by zero")
    if top is None or bottom is None:
        raise BuiltinError("modulo on floating-point number")
    rest = abs(top) % abs(bottom)
    return -rest if top < 0 else rest


def absolute(state: State, value: Value) -> Number:
    """Return the distance from zero."""
    given = number(value)
    if _exact(given):
        return abs(given)
    _charge_binary(state, given)
    return binary_float.to_number(abs(binary_float.binary(given)))


def _charge_binary(state: State, value: Number) -> None:
    state.charge(FLOAT_STEPS)
    charge_number(state, value)


def _rounding(to_whole: Callable[[Fraction], int]) -> Callable[[State, Value], int]:
    def rounding(state: State, value: Value) -> int:
        given = number(value)
        if _exact(given):
            return given
        _charge_binary(state, given)
        return to_whole(binary_float.binary(given))

    return rounding


def _nearest(value: Fraction) -> int:
    return int(binary_float.rounded(value + (_HALF if value > 0 else -_HALF)))


def _ceiling(value: Fraction) -> int:
    # As OPA does it, the sign of zero being lost: 1 between -1 and 0.
    towards_zero = int(value)
    return towards_zero + (towards_zero >= 0 and towards_zero != value)


def _floor(value: Fraction) -> int:
    # As OPA does it, the sign of zero being lost: 0 between -1 and 0.
    towards_zero = int(value)
    return towards_zero - (towards_zero < 0 and towards_zero != value)


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
    key = ("rand.intn", string(name), bound := abs(small_integer(limit, 2)))
    if bound == 0:
        return 0
    if key not in state.memo:
        state.memo[key] = random.SystemRandom().randrange(bound)
    return state.memo[key]  # type: ignore[no-any-return]


BUILTINS: Final[tuple[Builtin, ...]] = (
    charged("plus", plus, 2, steps=8),
    charged("minus", minus, 2, steps=8),
    charged("mul", multiply, 2, steps=8),
    charged("div", divide, 2, steps=8),
    charged("rem", remainder, 2, steps=8),
    charged("abs", absolute, 1),
    charged("round", _rounding(_nearest), 1),
    charged("ceil", _rounding(_ceiling), 1),
    charged("floor", _rounding(_floor), 1),
    charged("numbers.range", number_range, 2),
    charged("numbers.range_step", number_range_step, 3),
    impure("rand.intn", random_number, 2, steps=25),
)
