"""Single values as people write them: texts, sizes, durations."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE_UNITS: Final = {"": 1, "b": 1, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
DURATION_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
MAX_COUNT: Final = 2**31 - 1
MAX_SIZE: Final = 1024 * SIZE_UNITS["gib"]
MAX_DURATION: Final = 36_500 * DURATION_UNITS["d"]
"""What event loops and frames hold; nobody means more."""

_SIZE_FORM = "expected a size in bytes, or with a unit: 64KiB, 10MiB, 1GiB"
_DURATION_FORM = "expected seconds, or a duration with a unit: 500ms, 30s, 10m, 1h"
_DAY = r"\d{4}-\d\d-\d\d"
_TIME = rf"{_DAY}T\d\d:\d\d:\d\d(?:\.\d{{1,6}})?(?:Z|[+-]\d\d:\d\d)"
_SIZES_MEANT = {"k": "KiB", "m": "MiB", "g": "GiB"}
_DURATIONS_MEANT = (
    ("ms", r"ms|msecs?|millis?|milliseconds?"),
    ("s", r"s|secs?|seconds?"),
    ("m", r"m|mins?|minutes?"),
    ("h", r"h|hrs?|hours?"),
    ("d", r"d|days?"),
)


class Malformed(ValueError):  # noqa: N818  a fault of the file, not of the program
    """A value in a wrong form, and what to write instead.

    `key` leads from the value that was validated to the one that is wrong.
    """

    def __init__(self, message: str, remedy: str = "", *, key: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.key = key


def described(given: object) -> str:
    """How a value is spoken of; itself it may be a secret."""
    return next((text(given) for kind, text in _KINDS if isinstance(given, kind)), "something else")


_KINDS: tuple[tuple[Any, Callable[[Any], str]], ...] = (
    (type(None), lambda _: "nothing"),
    (bool, lambda given: str(given).lower()),
    (
        int | float | Decimal,
        lambda given: (
            "a number" if isinstance(given, int) or float(given).is_integer() else "a fraction"
        ),
    ),
    (str, lambda given: "text" if given else "empty text"),
    (dict, lambda _: "a mapping"),
    (list | tuple, lambda _: "a list"),
)


def many(value: object) -> object:
    """A list of texts, of which one may stand alone."""
    if isinstance(value, str | os.PathLike):
        return (value,)
    if not isinstance(value, list | tuple):
        number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
        remedy = "put it in quotes" if number else ""
        raise Malformed(f"expected text or a list, got {described(value)}", remedy)
    return value


def count(value: object) -> object:
    """A number of things."""
    return _at_most(_number(value), MAX_COUNT, str(MAX_COUNT))


def _number(value: object) -> object:
    """`value`, which is not true or false; pydantic would read them as 1 and 0."""
    if isinstance(value, bool):
        raise Malformed("expected a number, got true or false")
    return value


def size(value: object) -> object:
    """A size in bytes."""
    if isinstance(value, str):
        found = re.fullmatch(r"\s*(-?\d{1,40}(?:\.\d+)?)\s*([A-Za-z]*)\s*", value, re.ASCII)
        unit = found[2].lower() if found else "?"
        if not found or unit not in SIZE_UNITS or "." in found[1]:
            raise Malformed(_SIZE_FORM, _size_meant(found[1], unit) if found else "")
        value = int(found[1]) * SIZE_UNITS[unit]
    if not isinstance(_number(value), int | float | Decimal):
        raise Malformed(f"{_SIZE_FORM}; got {described(value)}")
    return _at_most(value, MAX_SIZE, "1024GiB")


def _size_meant(number: str, unit: str) -> str:
    meant = _SIZES_MEANT.get(unit[:1])
    if meant and unit in (meant[0].lower(), f"{meant[0].lower()}b", meant.lower()[:2]):
        return f"write {number}{meant}" if "." not in number else "write a whole number"
    if "." in number and unit in ("mib", "gib"):
        smaller = "KiB" if unit == "mib" else "MiB"
        return f"write {float(number) * 1024:.0f}{smaller}"
    return ""


def duration(value: object) -> object:
    """A duration in seconds."""
    if isinstance(value, str):
        found = re.fullmatch(r"\s*(-?\d+(?:\.\d+)?)\s*([a-z]*)\s*", value, re.ASCII)
        if not found or (found[2] or "s") not in DURATION_UNITS:
            raise Malformed(_DURATION_FORM, _duration_meant(value))
        value = float(found[1]) * DURATION_UNITS[found[2] or "s"]
    if not isinstance(_number(value), int | float | Decimal):
        raise Malformed(f"{_DURATION_FORM}; got {described(value)}")
    return _at_most(value, MAX_DURATION, "36500d")


def moment(text: str) -> float:
    """A day (its beginning, in UTC) or an RFC 3339 time, in Unix seconds."""
    if re.fullmatch(_DAY, text, re.ASCII) or re.fullmatch(_TIME, text, re.ASCII):
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            pass
        else:
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    raise Malformed("expected a day or a time with its zone: 2027-01-31 or 2027-01-31T12:00:00Z")


def moment_text(text: str) -> str:
    """A text that `moment` reads, as it is."""
    moment(text)
    return text


def _duration_meant(text: str) -> str:
    """`5min` and `1h30m` as they are written here."""
    pieces = re.findall(r"(\d+(?:\.\d+)?)\s*([a-z]+)", text.lower(), re.ASCII)
    if not re.fullmatch(r"(?:\s*\d+(?:\.\d+)?\s*[a-z]+)+\s*", text.lower(), re.ASCII):
        return ""
    units = [
        next((unit for unit, spelt in _DURATIONS_MEANT if re.fullmatch(spelt, word)), "")
        for _, word in pieces
    ]
    if not all(units):
        return ""
    if len(pieces) == 1:
        return f"write {pieces[0][0]}{units[0]}"
    total = sum(float(n) * DURATION_UNITS[u] for (n, _), u in zip(pieces, units, strict=True))
    return f"write {total:.15g}s"


def _at_most(value: Any, most: float, shown: str) -> Any:
    if isinstance(value, int | float | Decimal) and value > most:
        raise Malformed(f"expected at most {shown}")
    return value
