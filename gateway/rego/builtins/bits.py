"""Bitwise operations on whole numbers of any size, negative ones in two's complement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.rego.builtins.operands import MAX_BITS, OperandError, integer
from gateway.rego.builtins.registry import Builtin, pure
from gateway.rego.errors import BuiltinError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.rego.values import Value


def _binary(operation: Callable[[int, int], int]) -> Callable[[Value, Value], int]:
    def apply(left: Value, right: Value) -> int:
        return operation(integer(left, 1, name="integer"), integer(right, 2, name="integer"))

    return apply


def negate(value: Value) -> int:
    """Flip every bit."""
    return ~integer(value, 1, name="integer")


def shift_left(value: Value, count: Value) -> int:
    """Shift towards the higher bits."""
    whole, places = _shift(value, count)
    if whole and whole.bit_length() + places > MAX_BITS:
        raise BuiltinError("number out of range")
    return whole << places if whole else 0


def shift_right(value: Value, count: Value) -> int:
    """Shift towards the lower bits, keeping the sign."""
    whole, places = _shift(value, count)
    return whole >> places


def _shift(value: Value, count: Value) -> tuple[int, int]:
    whole, places = integer(value, 1, name="integer"), integer(count, 2, name="integer")
    if places < 0:
        raise OperandError(
            "operand 2 must be an unsigned integer number but got a negative integer"
        )
    return whole, places


BUILTINS: Final[tuple[Builtin, ...]] = (
    pure("bits.and", _binary(int.__and__), 2, steps=6),
    pure("bits.or", _binary(int.__or__), 2, steps=6),
    pure("bits.xor", _binary(int.__xor__), 2, steps=6),
    pure("bits.negate", negate, 1, steps=6),
    pure("bits.lsh", shift_left, 2, steps=6),
    pure("bits.rsh", shift_right, 2, steps=6),
)
