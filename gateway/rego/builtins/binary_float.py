"""Arithmetic on numbers that are not whole, as OPA does it.

OPA calculates in binary floating point with a 64-bit mantissa (53-bit in `product`) and writes
the shortest decimal that names the result among those numbers. Here such a number is an exact
fraction: an integer numerator over a power of two, or the exact quotient before it is rounded.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from gateway.rego.builtins.operands import to_decimal
from gateway.rego.values import normalize_number

if TYPE_CHECKING:
    from gateway.rego.values import Number

MANTISSA_BITS: Final = 64

# 15 digits name every decimal of up to 15 digits; 21 always tell two neighbours apart.
_PRECISIONS: Final = tuple(
    Context(prec=digits, rounding=ROUND_HALF_EVEN, Emin=-99_999, Emax=99_999, traps=[])
    for digits in range(15, 22)
)


def binary(value: Number) -> Fraction:
    """Read a number into the binary format."""
    return rounded(Fraction(value) if value.__class__ is int else Fraction(to_decimal(value)))


def rounded(exact: Fraction, bits: int = MANTISSA_BITS) -> Fraction:
    """Round to a mantissa of so many bits, half to even."""
    top, bottom = abs(exact.numerator), exact.denominator
    if not top:
        return exact
    shift = top.bit_length() - bottom.bit_length() - bits
    mantissa = _half_even(top, bottom, shift)
    if mantissa.bit_length() > bits:
        shift += 1
        mantissa = _half_even(top, bottom, shift)
    sized = mantissa if exact > 0 else -mantissa
    return Fraction(sized << shift) if shift >= 0 else Fraction(sized, 1 << -shift)


def _half_even(top: int, bottom: int, shift: int) -> int:
    """Divide top by bottom * 2**shift."""
    if shift >= 0:
        bottom <<= shift
    else:
        top <<= -shift
    quotient, rest = divmod(top, bottom)
    twice = 2 * rest
    return quotient + (twice > bottom or (twice == bottom and quotient & 1))


def to_number(exact: Fraction, bits: int = MANTISSA_BITS) -> Number:
    """Round an exact result and return it as the number that OPA would print."""
    value = rounded(exact, bits)
    top, bottom = abs(value.numerator), value.denominator
    if bottom == 1 and top < 1 << bits:
        return value.numerator
    # The bottom is a power of two. Half a unit in the last place is not less below a power of
    # two, where numbers are closer: so does OPA.
    shift = top.bit_length() - bottom.bit_length() + 1 - bits
    half = Fraction(2) ** (shift - 1)
    even = value / (4 * half)
    for precision in _PRECISIONS:
        quotient = precision.divide(Decimal(value.numerator), Decimal(bottom))
        text = precision.normalize(quotient)
        distance = abs(Fraction(text) - value)
        if distance < half or (distance == half and even.denominator == 1):
            break
    return normalize_number(text)
