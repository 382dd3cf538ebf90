"""What a YAML scalar means to Go's yaml.v2: YAML 1.1 with some of 1.2, numbers of 64 bits."""

from __future__ import annotations

import re
import struct
from decimal import Decimal
from math import copysign, inf, isfinite, isnan, nan
from typing import TYPE_CHECKING, Any, Final

from gateway.rego.builtins import go_layout
from gateway.rego.builtins.encoding import base64_bytes, text_of
from gateway.rego.errors import BuiltinError

if TYPE_CHECKING:
    from collections.abc import Callable

TAG: Final = "tag:yaml.org,2002:"
MERGE: Final = object()
"""The scalar `<<`, which as a key takes over the members of its value."""

INT64: Final = 1 << 63
UINT64: Final = 1 << 64
MAX_NUMBER: Final = 4_000
"""Longest number, in characters."""

_CONSTANTS: Final[dict[str, Any]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **{
        spelling: truth
        for truth, words in (
            (True, ("true", "yes", "on", "y")),
            (False, ("false", "no", "off", "n")),
        )
        for word in words
        for spelling in (word, word.capitalize(), word.upper())
    },
    **{
        sign + spelling: value
        for sign, value in (("", inf), ("+", inf), ("-", -inf))
        for spelling in (".inf", ".Inf", ".INF")
    },
    **dict.fromkeys((".nan", ".NaN", ".NAN"), nan),
    "<<": MERGE,
}
_INTEGER: Final = re.compile(
    r"([-+]?)(?:0[bB]([01]+)|0[xX]([0-9a-fA-F]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))"
)
_BASES: Final = (2, 16, 8, 10)
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_BASE_60: Final = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")


def plain(text: str) -> Any:
    """Return the value of a scalar without quotes: MERGE, or a float that is not finite, too."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[:1] not in "+-.0123456789":
        return text
    found = _number(text if text[0] == "." else text.replace("_", ""))
    return text if found is None else found


def _number(text: str) -> int | float | None:
    if not _FLOAT.fullmatch(text) and not _INTEGER.fullmatch(text):
        return None
    if len(text) > MAX_NUMBER + 1:
        raise BuiltinError("yaml: number too long")
    integer = _INTEGER.fullmatch(text)
    if integer:
        sign, *digits = integer.groups()
        base, found = next(pair for pair in zip(_BASES, digits, strict=True) if pair[1])
        whole = int(found, base) * (-1 if sign == "-" else 1)
        if -INT64 <= whole < INT64 or (not sign and whole < UINT64):
            return whole
    if not _FLOAT.fullmatch(text):
        return None
    binary = float(text)
    return binary if isfinite(binary) else None


def tagged(tag: str, text: str) -> Any:
    """Return the value of a scalar with a tag; one that is not known makes it a string."""
    read = _TAGGED.get(tag.removeprefix(TAG)) if tag.startswith(TAG) else None
    return read(text) if read else text


def _required(*kinds: type) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        value = plain(text)
        if value.__class__ not in kinds:
            raise BuiltinError("yaml: a scalar does not have the type of its tag")
        return value

    return read


def _timestamp(text: str) -> str:
    if not is_timestamp(text):
        raise BuiltinError("yaml: a scalar does not have the type of its tag")
    return text


_TAGGED: Final[dict[str, Callable[[str], Any]]] = {
    "binary": lambda text: text_of(base64_bytes(text)),
    "null": _required(type(None)),
    "bool": _required(bool),
    "int": _required(int),
    "float": _required(int, float),
    "timestamp": _timestamp,
    "merge": lambda text: MERGE if text == "<<" else text,
}

_TIMESTAMPS: Final = (
    "2006-1-2T15:4:5.999999999Z07:00",
    "2006-1-2t15:4:5.999999999Z07:00",
    "2006-1-2 15:4:5.999999999",
    "2006-1-2",
)
_YEAR: Final = re.compile(r"[0-9]{4}-", re.ASCII)


def is_timestamp(text: str) -> bool:
    """Tell whether a scalar is a time."""
    return bool(_YEAR.match(text)) and len(text) < 64 and any(map(_fits(text), _TIMESTAMPS))


def _fits(text: str) -> Callable[[str], bool]:
    def fits(layout: str) -> bool:
        try:
            go_layout.read(layout, text)
        except go_layout.LayoutError:
            return False
        return True

    return fits


def is_text(text: str) -> bool:
    """Tell whether a scalar without quotes means itself, in YAML 1.1 with its base 60, too."""
    try:
        itself = plain(text) in (text, MERGE)
    except BuiltinError:
        return False
    return itself and not is_timestamp(text) and not _BASE_60.fullmatch(text)


def float_text(value: float, *, single: bool = False) -> str:
    """Write a float as Go's `%g` does, in as few digits as tell it (`single`: at 32 bits)."""
    if not isfinite(value):
        return ".nan" if isnan(value) else "-.inf" if value < 0 else ".inf"
    text = _single_digits(value) if single else repr(value)
    if text is None:
        return "-.inf" if value < 0 else ".inf"
    sign, digits, exponent = Decimal(text).as_tuple()
    shown = "".join(map(str, digits)).rstrip("0") or "0"
    place = len(digits) + int(exponent) - 1 if shown != "0" else 0
    minus = "-" if sign or copysign(1, value) < 0 else ""
    if not -5 < place < 6 + 15 * (shown == "0"):
        fraction = "." + shown[1:] if len(shown) > 1 else ""
        return f"{minus}{shown[0]}{fraction}e{'-' if place < 0 else '+'}{abs(place):02}"
    if place < 0:
        return f"{minus}0.{'0' * (-place - 1)}{shown}"
    whole = shown[: place + 1].ljust(place + 1, "0")
    return minus + whole + ("." + shown[place + 1 :] if len(shown) > place + 1 else "")


def _single_digits(value: float) -> str | None:
    try:
        octets = struct.pack("f", value)
    except OverflowError:
        return None
    (rounded,) = struct.unpack("f", octets)
    texts = (f"{rounded:.{digits}g}" for digits in range(1, 10))
    return next(text for text in texts if struct.pack("f", float(text)) == octets)
