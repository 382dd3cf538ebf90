"""Amounts with a unit: `10Gi`, `500m`, `1.5MB`."""

from __future__ import annotations

import re
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final

from gateway.rego.builtins.operands import MAX_DECIMALS, string
from gateway.rego.builtins.registry import Builtin, pure
from gateway.rego.errors import BuiltinError
from gateway.rego.values import normalize_number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.rego.values import Number, Value

MAX_LENGTH: Final = 256
MAX_DECIMALS_DIGITS: Final = 6

_AMOUNT: Final = re.compile(r"[0-9.+-]*(?:[eE][+-]?[0-9][0-9.]*)?", re.ASCII)
_EXPONENT: Final = re.compile(r"[eE][+-]?([0-9]+)")
_EXACT: Final = Context(prec=MAX_DECIMALS + MAX_LENGTH)
_TENTH_DECIMAL: Final = Decimal("1e-10")


def _scales(base: int, suffix: str = "") -> dict[str, Decimal]:
    return {letter + suffix: Decimal(base**power) for power, letter in enumerate("kmgtpe", start=1)}


_BYTES: Final[Mapping[str, Decimal]] = {
    "": Decimal(1),
    **_scales(1000),
    **_scales(1000, "b"),
    **_scales(1024, "i"),
    **_scales(1024, "ib"),
}
_LARGE: Final = {**_scales(1000), **_scales(1024, "i")}
_UNITS: Final[Mapping[str, Decimal]] = {
    **_LARGE,
    **{name.capitalize(): scale for name, scale in _LARGE.items()},
    "": Decimal(1),
    "m": Decimal("0.001"),
}


def _scaled(builtin: str, amount: str, text: str, scales: Mapping[str, Decimal]) -> Decimal:
    """Read an amount; `amount` is the word for it in messages."""

    def problem(message: str) -> BuiltinError:
        return BuiltinError(f"{builtin}: {message}")

    if " " in text:
        raise problem("spaces not allowed in resource strings")
    if len(text) > MAX_LENGTH:
        raise problem(f"could not parse {amount} to a number")
    number = _AMOUNT.match(text)
    digits = number[0] if number else ""
    if not digits:
        raise problem(f"no {amount} provided")
    exponent = _EXPONENT.search(digits)
    if exponent is not None and len(exponent[1]) > MAX_DECIMALS_DIGITS:
        raise problem("exponent too large")
    unit = text[len(digits) :]
    if unit not in scales:
        kind = "byte unit" if amount.startswith("byte") else "unit"
        raise problem(f"{kind} {unit} not recognized")
    try:
        value = Decimal(digits)
    except InvalidOperation:
        raise problem(f"could not parse {amount} to a number") from None
    if abs(value.adjusted()) > MAX_DECIMALS:
        raise problem("exponent too large")
    return _EXACT.multiply(value, scales[unit])


def parse(value: Value) -> Number:
    """Read an amount with an SI or binary unit; `m` is a thousandth, `M` a million."""
    text = string(value).replace('"', "")
    unit = re.search(r"[A-Za-z]+\Z", text)
    if unit:
        text = text[: unit.start() + 1] + text[unit.start() + 1 :].lower()
    amount = _scaled("units.parse", "amount", text, _UNITS)
    if amount != amount.to_integral_value():
        amount = amount.quantize(_TENTH_DECIMAL, ROUND_HALF_UP, context=_EXACT)
    return normalize_number(amount)


def parse_bytes(value: Value) -> int:
    """Read a number of bytes, `kb` being 1000 and `kib` 1024; a fraction is cut off."""
    text = string(value).replace('"', "").lower()
    amount = _scaled("units.parse_bytes", "byte amount", text, _BYTES)
    return int(amount.to_integral_value(ROUND_DOWN))


BUILTINS: Final[tuple[Builtin, ...]] = (
    pure("units.parse", parse, 1, steps=45),
    pure("units.parse_bytes", parse_bytes, 1, steps=35),
)
