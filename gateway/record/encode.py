"""One event as one line of JSON, whatever it holds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set as AbstractSet
from decimal import Decimal
from typing import Any

import orjson

from gateway.rego.values import RegoSet, from_key_form, sorted_members

MAX_DEPTH = 128
TOO_DEEP = "[too deep]"

_INTEGERS = range(-(2**63), 2**64)  # what orjson writes exactly
_MAX_DIGITS_BITS = 13_000  # below Python's limit for int -> text

# Control characters that JSON does not escape, and those that reorder or break a displayed line.
_UNSAFE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")


def encode(event: Mapping[str, Any]) -> bytes:
    """Any event as one line of UTF-8 JSON without its end of line; never raises.

    Numbers are exact; NaN and infinities are null; sets are arrays; lone surrogates are
    backslash escapes in the text; nesting over 128 is cut.
    """
    try:
        line = orjson.dumps(event, option=orjson.OPT_PASSTHROUGH_SUBCLASS)
    except TypeError:
        line = orjson.dumps(plain(event))
    return displayed(line)


def displayed(line: bytes) -> bytes:
    """JSON that a terminal shows as it is: what would change how that looks is escaped."""
    if line.isascii() and b"\x7f" not in line:
        return line
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", line.decode()).encode()


def plain(value: Any, depth: int = 0) -> Any:
    """`value` with everything that orjson refuses or would round turned into what it writes."""
    kind = value.__class__
    if value is None or kind is bool or isinstance(value, float):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, int):
        return value if value in _INTEGERS else _big(value)
    if isinstance(value, Decimal):
        return _decimal(value)
    if depth >= MAX_DEPTH:
        return TOO_DEEP
    if isinstance(value, RegoSet):
        return [plain(item, depth + 1) for item in sorted_members(value)]
    if isinstance(value, Mapping):
        return {_key(key, depth): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, AbstractSet)):
        return [plain(item, depth + 1) for item in value]
    return f"[{kind.__name__}]"


def _big(value: int) -> Any:
    if value.bit_length() > _MAX_DIGITS_BITS:
        return hex(value)
    return orjson.Fragment(str(value).encode())


def _decimal(value: Decimal) -> Any:
    return orjson.Fragment(str(value).encode()) if value.is_finite() else None


def _key(key: Any, depth: int) -> str:
    if isinstance(key, str):
        return str(plain(key))
    made = orjson.dumps(plain(from_key_form(key), depth + 1))
    return made.decode()
