"""JSON with one reading only: what two parsers could read differently is refused (RFC 8259)."""

from __future__ import annotations

import json
import re
from collections import Counter
from decimal import Decimal
from itertools import accumulate
from typing import NoReturn

JsonValue = bool | int | float | Decimal | str | list["JsonValue"] | dict[str, "JsonValue"] | None

MAX_DIGITS = 4300
"""Longest whole number; Python's own limit."""

MAX_DECIMALS = 400
"""Longest number with a point or an exponent, and largest exponent: beyond every double, and
few enough that exact arithmetic stays cheap."""

SAFE_DECIMAL = 16
"""A decimal this short has at most 15 digits, which every double keeps (IEEE 754)."""

MAX_MEMBERS = 50_000
"""Most members, of all containers together, of what a stranger wrote; 2 bytes make one."""

# An unterminated string runs to the end, so that no text is scanned twice.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")


class JsonError(ValueError):
    """The text is not JSON, or JSON that could be read in two ways."""


def loads(data: bytes | str, *, max_depth: int = 64, max_members: int = MAX_MEMBERS) -> JsonValue:
    """The value of a JSON text in UTF-8 (or already decoded).

    Integers are exact; a decimal is a float where that is exact as written, else a Decimal.
    Refused with JsonError: duplicate names, NaN and Infinity, a byte order mark, what is not
    UTF-8, lone surrogates, more than `max_depth` nested containers or `max_members` members, whole
    numbers over 4,300 digits, others over 400 digits written out, and anything after the value.
    """
    try:
        raw = data if isinstance(data, bytes) else data.encode()
        text = raw.decode()
        _check_size(raw, max_depth, max_members)
        value: JsonValue = _DECODER.decode(text)
        if _SURROGATE.search(raw):
            json.dumps(value, ensure_ascii=False, default=str).encode()
    except JsonError:
        raise
    except UnicodeError:
        raise JsonError("not well-formed Unicode") from None
    except json.JSONDecodeError as error:
        # Python ends some of its words as if the place followed.
        said = re.sub(r"(?: starting)? at$", "", error.msg)
        raise JsonError(f"{said} at line {error.lineno}, column {error.colno}") from None
    except ValueError:
        # The only one left is int()'s for a long number, and it advises to lift the limit.
        raise JsonError("a number is too long") from None
    except RecursionError:
        raise JsonError("nested too deep") from None
    return value


def _check_size(raw: bytes, max_depth: int, max_members: int) -> None:
    """Refuse before anything is built; marks are first counted with those in strings."""
    opening = raw.count(b"[") + raw.count(b"{")
    many = opening + raw.count(b",") > max_members
    if opening <= max_depth and not many:
        return
    bare = _STRING.sub(b"", raw)
    # The first member of each container follows its bracket, all others a comma.
    if many and sum(map(bare.count, (b"[", b"{", b","))) > max_members:
        raise JsonError(f"more than {max_members} members")
    # One step up or down for each bracket outside strings, as signed bytes; summed in C.
    steps = bare.translate(_STEPS, _NOT_BRACKETS)
    if max(accumulate(memoryview(steps).cast("b")), default=0) > max_depth:
        raise JsonError(f"nested deeper than {max_depth}")


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    members = dict(pairs)
    if len(members) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise JsonError(f"the name {twice[:64]!r} occurs twice in an object")
    return members


def _decimal(text: str) -> float | Decimal:
    mantissa, _, exponent = text.lower().partition("e")
    if not exponent and len(mantissa) <= SAFE_DECIMAL:
        return float(text)
    if len(text) > MAX_DECIMALS or abs(int(exponent or "0")) > MAX_DECIMALS:
        raise JsonError("a number is too long")
    number, exact = float(text), Decimal(text)
    return number if Decimal(repr(number)) == exact else exact


def _constant(name: str) -> NoReturn:
    raise JsonError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_decimal, parse_constant=_constant
)
