"""Time, in nanoseconds since 1970; the clock is the decision's own."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from gateway.rego.builtins import go_layout
from gateway.rego.builtins.go_layout import EPOCH, NANOSECONDS
from gateway.rego.builtins.operands import (
    charge_text,
    integer,
    number,
    string,
    to_decimal,
    wrong_type,
)
from gateway.rego.builtins.registry import Builtin, State, charged, impure, pure
from gateway.rego.errors import BuiltinError
from gateway.rego.values import NUMBERS

if TYPE_CHECKING:
    from datetime import tzinfo

    from gateway.rego.values import Value

INT64: Final = 1 << 63
MAX_TEXT: Final = 1_024
PARSE_STEPS: Final = 50


def now(state: State) -> int:
    """Return the time of the decision."""
    return state.now_ns


def _in_range(nanoseconds: int) -> int:
    if not -INT64 <= nanoseconds < INT64:
        raise BuiltinError("time outside of valid range")
    return nanoseconds


# --- reading


def parse(state: State, layout: Value, value: Value) -> int:
    """Read a time by a layout of Go or the name of one."""
    shape, text = string(layout), string(value, 2)
    if len(shape) > MAX_TEXT or len(text) > MAX_TEXT:
        raise BuiltinError("time or layout too long")
    state.charge(PARSE_STEPS + 4 * len(shape))
    try:
        return _in_range(go_layout.read(shape, text))
    except go_layout.LayoutError as error:
        raise BuiltinError(f"parsing time: {error}") from None


def parse_rfc3339(state: State, value: Value) -> int:
    """Read a time as RFC 3339 writes it."""
    charge_text(state, string(value))
    return parse(state, "RFC3339", value)


_DURATION_PART: Final = re.compile(
    r"(?=\.?[0-9])([0-9]*+)(?:\.([0-9]*+))?+(ns|us|µs|μs|ms|s|m|h|d|w|y)", re.ASCII
)
_HOURS: Final = 3600 * NANOSECONDS
_DURATIONS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": NANOSECONDS,
    "m": 60 * NANOSECONDS,
    "h": _HOURS,
    "d": 24 * _HOURS,
    "w": 7 * 24 * _HOURS,
    "y": 365 * 24 * _HOURS,
}


def parse_duration(state: State, value: Value) -> int:
    """Read a duration like `1h30m`, `-1.5s` or `2d`: nanoseconds."""
    text = string(value)
    state.charge(6 * len(text))
    sign = -1 if text.startswith("-") else 1
    rest = text[1:] if text[:1] in ("+", "-") else text
    total = 0 if rest == "0" else _duration(rest)
    if total is None or not -INT64 <= sign * total < INT64:
        raise BuiltinError(f'time: invalid duration "{text[:100]}"')
    return sign * total


def _duration(text: str) -> int | None:
    total = at = 0
    while at < len(text) <= MAX_TEXT:
        part = _DURATION_PART.match(text, at)
        if part is None:
            return None
        whole, fraction, unit = part.groups()
        total += int(whole or 0) * _DURATIONS[unit] + _of_unit(fraction or "", _DURATIONS[unit])
        at = part.end()
    return total if text and at == len(text) else None


def _of_unit(fraction: str, unit: int) -> int:
    """Return a decimal fraction of a unit as Go rounds it: 64-bit digits, then binary floats."""
    digits, scale = 0, 1.0
    for digit in fraction:
        longer = digits * 10 + int(digit)
        if digits > (INT64 - 1) // 10 or longer > INT64:
            break
        digits, scale = longer, scale * 10
    return int(digits * (unit / scale))


# --- a time with its zone


@lru_cache(maxsize=1024)
def _zone(name: str) -> tzinfo | None:
    if name in ("", "UTC"):
        return UTC
    if not _ZONE_NAME.fullmatch(name):
        return None
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        return None


# No way out of the zone database's folder, and nothing that depends on the machine (`Local`).
_ZONE_NAME: Final = re.compile(
    r"(?!Local\Z|localtime\Z)[A-Za-z0-9_+-]{1,40}(?:/[A-Za-z0-9_+-]{1,40}){0,2}"
)


def _moment(value: Value) -> tuple[datetime, int, str]:
    """Read `ns` or `[ns, zone, layout]`: the time, its nanosecond, the layout."""
    if value.__class__ in NUMBERS:
        return *_at(value, "UTC"), ""
    if value.__class__ is not list or not value:
        raise wrong_type(value, 1, "either number (ns) or [number (ns), string (tz)]")
    zone = string(value[1]) if len(value) > 1 else "UTC"
    layout = string(value[2]) if len(value) > 2 else ""
    return *_at(number(value[0]), zone), layout


def _at(nanoseconds: Value, zone_name: str) -> tuple[datetime, int]:
    exact = to_decimal(nanoseconds)
    if exact != exact.to_integral_value() or not -INT64 <= exact < INT64:
        raise BuiltinError("timestamp too big")
    zone = _zone(zone_name)
    if zone is None:
        raise BuiltinError(f"unknown time zone {zone_name[:100]}")
    seconds, nanosecond = divmod(int(exact), NANOSECONDS)
    return (EPOCH + timedelta(seconds=seconds)).astimezone(zone), nanosecond


def date(value: Value) -> list[int]:
    """Return [year, month, day]."""
    moment, _, _ = _moment(value)
    return [moment.year, moment.month, moment.day]


def clock(value: Value) -> list[int]:
    """Return [hour, minute, second]."""
    moment, _, _ = _moment(value)
    return [moment.hour, moment.minute, moment.second]


def weekday(value: Value) -> str:
    """Return the English name of the day of the week."""
    moment, nanosecond, _ = _moment(value)
    return go_layout.write("Monday", moment, nanosecond)


def write(state: State, value: Value) -> str:
    """Write a time by a layout of Go or the name of one, RFC3339Nano if there is none."""
    moment, nanosecond, layout = _moment(value)
    if len(layout) > MAX_TEXT:
        raise BuiltinError("layout too long")
    state.charge(PARSE_STEPS + 6 * len(layout))
    return go_layout.write(layout or "RFC3339Nano", moment, nanosecond)


def add_date(value: Value, years: Value, months: Value, days: Value) -> int:
    """Add years, months and days on the calendar; a day past the month's end runs over."""
    moment, nanosecond, _ = _moment(value)
    added = [integer(item, position) for position, item in enumerate((years, months, days), 2)]
    month = moment.year * 12 + moment.month - 1 + added[0] * 12 + added[1]
    try:
        first = datetime(
            month // 12, month % 12 + 1, 1,
            moment.hour, moment.minute, moment.second, tzinfo=moment.tzinfo,
        )  # fmt: skip
        moved = first + timedelta(days=moment.day - 1 + added[2])
        seconds = (moved.astimezone(UTC) - EPOCH) // timedelta(seconds=1)
    except (ValueError, OverflowError):
        raise BuiltinError("time outside of valid range") from None
    return _in_range(seconds * NANOSECONDS + nanosecond)


def difference(left: Value, right: Value) -> list[int]:
    """Return [years, months, days, hours, minutes, seconds] between two times."""
    (first, first_ns, _), (second, second_ns, _) = _moment(left), _moment(right)
    second = second.astimezone(first.tzinfo)
    if (first.astimezone(UTC), first_ns) > (second.astimezone(UTC), second_ns):
        first, second = second, first
    parts = [
        later - earlier for earlier, later in zip(_fields(first), _fields(second), strict=True)
    ]
    # Borrow from the next larger unit, from the seconds up; days of the earlier month.
    sizes = (0, 12, monthrange(first.year, first.month)[1], 24, 60, 60)
    for unit in range(5, 0, -1):
        if parts[unit] < 0:
            parts[unit] += sizes[unit]
            parts[unit - 1] -= 1
    return parts


def _fields(moment: datetime) -> tuple[int, ...]:
    return moment.timetuple()[:6]


BUILTINS: Final[tuple[Builtin, ...]] = (
    impure("time.now_ns", now, 0),
    charged("time.parse_ns", parse, 2),
    charged("time.parse_rfc3339_ns", parse_rfc3339, 1, steps=90),
    charged("time.parse_duration_ns", parse_duration, 1, steps=60),
    pure("time.date", date, 1, steps=35),
    pure("time.clock", clock, 1, steps=35),
    pure("time.weekday", weekday, 1, steps=40),
    charged("time.format", write, 1),
    pure("time.add_date", add_date, 4, steps=65),
    pure("time.diff", difference, 2, steps=100),
)
