"""Go's time layouts: a text that shows how the reference time would be written.

`Mon Jan 2 15:04:05 MST 2006` is that time. A layout is a list of elements, each literal text or
one part of a time, that both writes and reads.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable


def quoted(text: str) -> str:
    """Quote a piece of a time for a message."""
    return json.dumps(text[:40], ensure_ascii=False)


NAMED: Final = {
    "ANSIC": "Mon Jan _2 15:04:05 2006",
    "UnixDate": "Mon Jan _2 15:04:05 MST 2006",
    "RubyDate": "Mon Jan 02 15:04:05 -0700 2006",
    "RFC822": "02 Jan 06 15:04 MST",
    "RFC822Z": "02 Jan 06 15:04 -0700",
    "RFC850": "Monday, 02-Jan-06 15:04:05 MST",
    "RFC1123": "Mon, 02 Jan 2006 15:04:05 MST",
    "RFC1123Z": "Mon, 02 Jan 2006 15:04:05 -0700",
    "RFC3339": "2006-01-02T15:04:05Z07:00",
    "RFC3339Nano": "2006-01-02T15:04:05.999999999Z07:00",
}

NANOSECONDS: Final = 1_000_000_000
NO_OFFSET: Final = -1
"""Stands for no zone, as in Go, where `-00:00:01` is none either."""

_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July",
    "August", "September", "October", "November", "December",
)  # fmt: skip

# In Go's order of preference; `Jan` and `Mon` do not begin a longer word.
_ELEMENT: Final = re.compile(
    r"January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST|0[1-6]|002|15|1|2006|2"
    r"|_(?=2006)|_2|__2|3|4|5|PM|pm"
    r"|[-Z]070000|[-Z]07:00:00|[-Z]0700|[-Z]07:00|[-Z]07"
    r"|[.,](?:0+|9+)(?![0-9])"
)


class LayoutError(ValueError):
    """A text does not have the form of a layout."""


@dataclass(slots=True)
class _Reading:
    """A text being read by a layout, and what was found so far."""

    text: str
    year: int = 0
    month: int = 0
    day: int = 0
    day_of_year: int = 0
    hour: int = 0
    minute: int = 0
    second: int = 0
    nanosecond: int = 0
    afternoon: bool | None = None
    offset: int = NO_OFFSET
    is_utc: bool = False

    def take(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self.text)
        if found is None:
            raise LayoutError(f"cannot parse {quoted(self.text)}")
        self.text = self.text[found.end() :]
        return found

    def number(self, pattern: re.Pattern[str], valid: range) -> int:
        value = int(self.take(pattern)[0])
        if value not in valid:
            raise LayoutError("time: value out of range")
        return value


def write(layout: str, moment: datetime, nanosecond: int) -> str:
    """Write a time with its nanosecond of the second."""
    return "".join(
        element if handler is None else handler(element, moment, nanosecond)
        for element, handler, _ in _elements(NAMED.get(layout, layout))
    )


def read(layout: str, text: str) -> int:
    """Read a time: nanoseconds since 1970. LayoutError where the text does not fit."""
    reading = _Reading(text)
    elements = _elements(NAMED.get(layout, layout))
    for number, (element, _, reader) in enumerate(elements):
        if reader is None:
            _skip(reading, element)
            continue
        reader(reading, element)
        if element in ("5", "05"):
            _unannounced_fraction(reading, elements[number + 1 :])
    if reading.text:
        raise LayoutError(f"extra text: {quoted(reading.text)}")
    return _instant(reading)


# --- the parts

_ONE_OR_TWO: Final = re.compile(r"[0-9]{1,2}", re.ASCII)
_TWO: Final = re.compile(r"[0-9]{2}", re.ASCII)
_FOUR: Final = re.compile(r"[0-9]{4}", re.ASCII)
_PADDED: Final = re.compile(r" ?[0-9]{1,2}", re.ASCII)
_DAY_OF_YEAR: Final = {
    "__2": re.compile(r" {0,2}[0-9]{1,3}", re.ASCII),
    "002": re.compile(r"[0-9]{3}", re.ASCII),
}
_FRACTION: Final = re.compile(r"[.,]([0-9]+)", re.ASCII)
_ZONE: Final = re.compile(
    r"(?=...)(?:(UTC)|GMT(?:[+-]0*(?:1?[0-9]|2[0-3])(?![0-9]))?|ChST|MeST"
    r"|(?:[A-Z]{3}|[A-Z]{3,4}T|WITA)(?![A-Z])|[+-]0*(?:1?[0-9]|2[0-3])(?![0-9]))",
    re.DOTALL,
)
_WORDS: Final = {
    "January": re.compile("|".join(_MONTHS), re.IGNORECASE),
    "Jan": re.compile("|".join(name[:3] for name in _MONTHS), re.IGNORECASE),
    "Monday": re.compile("|".join(_DAYS), re.IGNORECASE),
    "Mon": re.compile("|".join(name[:3] for name in _DAYS), re.IGNORECASE),
    "PM": re.compile("AM|PM"),
    "pm": re.compile("am|pm"),
}
_OFFSETS: Final = {
    "07": re.compile(r"([+-])([0-9]{2})", re.ASCII),
    "0700": re.compile(r"([+-])([0-9]{2})([0-9]{2})", re.ASCII),
    "07:00": re.compile(r"([+-])([0-9]{2}):([0-9]{2})", re.ASCII),
    "070000": re.compile(r"([+-])([0-9]{2})([0-9]{2})([0-9]{2})", re.ASCII),
    "07:00:00": re.compile(r"([+-])([0-9]{2}):([0-9]{2}):([0-9]{2})", re.ASCII),
}


def _number(
    get: Callable[[datetime], int],
    style: str,
    field: str,
    pattern: re.Pattern[str],
    valid: range,
) -> tuple[Callable[[str, datetime, int], str], Callable[[_Reading, str], None]]:
    def writer(_: str, moment: datetime, __: int) -> str:
        return format(get(moment), style)

    def reader(reading: _Reading, _: str) -> None:
        setattr(reading, field, reading.number(pattern, valid))

    return writer, reader


def _hour12(moment: datetime) -> int:
    return moment.hour % 12 or 12


def _day_of_year(moment: datetime) -> int:
    return moment.timetuple().tm_yday


def _read_short_year(reading: _Reading, _: str) -> None:
    year = int(reading.take(_TWO)[0])
    reading.year = year + (1900 if year >= 69 else 2000)


def _read_month(reading: _Reading, element: str) -> None:
    word = reading.take(_WORDS[element])[0][:3].capitalize()
    reading.month = 1 + next(i for i, name in enumerate(_MONTHS) if name.startswith(word))


def _read_weekday(reading: _Reading, element: str) -> None:
    reading.take(_WORDS[element])


def _write_half(element: str, moment: datetime, _: int) -> str:
    half = "PM" if moment.hour >= 12 else "AM"
    return half if element == "PM" else half.lower()


def _read_half(reading: _Reading, element: str) -> None:
    reading.afternoon = reading.take(_WORDS[element])[0] in ("PM", "pm")


def _write_zone(_: str, moment: datetime, __: int) -> str:
    return moment.tzname() or ""


def _read_zone(reading: _Reading, _: str) -> None:
    # Go knows no offset for an abbreviation, not even for `GMT+3`.
    reading.is_utc |= reading.take(_ZONE)[1] is not None


def _write_offset(element: str, moment: datetime, _: int) -> str:
    offset = moment.utcoffset() or timedelta()
    if element[0] == "Z" and not offset:
        return "Z"
    seconds = int(abs(offset).total_seconds())
    parts = [f"{seconds // 3600:02}", f"{seconds // 60 % 60:02}", f"{seconds % 60:02}"]
    shown = (len(element.replace(":", "")) - 1) // 2
    sign = "-" if offset < timedelta() else "+"
    return sign + (":" if ":" in element else "").join(parts[:shown])


def _read_offset(reading: _Reading, element: str) -> None:
    if element[0] == "Z" and reading.text.startswith("Z"):
        reading.text = reading.text[1:]
        reading.is_utc = True
        return
    sign, *numbers = reading.take(_OFFSETS[element[1:]]).groups()
    hours, minutes, seconds = (*map(int, numbers), 0, 0)[:3]
    if hours > 24 or minutes > 60 or seconds > 60:
        raise LayoutError("time zone offset out of range")
    size = hours * 3600 + minutes * 60 + seconds
    reading.offset = -size if sign == "-" else size


def _write_fraction(element: str, _: datetime, nanosecond: int) -> str:
    digits = f"{nanosecond:09}"[: len(element) - 1]
    if element[1] == "9":
        digits = digits.rstrip("0")
    return element[0] + digits if digits else ""


def _read_fraction(reading: _Reading, element: str) -> None:
    found = _FRACTION.match(reading.text)
    if element[1] == "9":
        if found is not None:
            _take_fraction(reading, found[1][:9])
        return
    digits = len(element) - 1
    if found is None or len(found[1]) < digits:
        raise LayoutError("fractional second missing")
    _take_fraction(reading, found[1][:digits])


def _take_fraction(reading: _Reading, digits: str) -> None:
    reading.nanosecond = int(digits[:9].ljust(9, "0"))
    reading.text = reading.text[1 + len(digits) :]


def _unannounced_fraction(reading: _Reading, rest: tuple[_Element, ...]) -> None:
    """Read a fraction that follows the seconds though the layout does not show one."""
    following = next((element for element, _, reader in rest if reader is not None), "")
    found = _FRACTION.match(reading.text)
    if found is not None and following[:1] not in (".", ","):
        _take_fraction(reading, found[1])


_PARTS: Final = {
    "2006": _number(lambda t: t.year, "04", "year", _FOUR, range(10000)),
    "1": _number(lambda t: t.month, "", "month", _ONE_OR_TWO, range(1, 13)),
    "01": _number(lambda t: t.month, "02", "month", _TWO, range(1, 13)),
    "2": _number(lambda t: t.day, "", "day", _ONE_OR_TWO, range(1, 32)),
    "_2": _number(lambda t: t.day, "2", "day", _PADDED, range(1, 32)),
    "02": _number(lambda t: t.day, "02", "day", _TWO, range(1, 32)),
    "__2": _number(_day_of_year, "3", "day_of_year", _DAY_OF_YEAR["__2"], range(1, 367)),
    "002": _number(_day_of_year, "03", "day_of_year", _DAY_OF_YEAR["002"], range(1, 367)),
    "15": _number(lambda t: t.hour, "02", "hour", _ONE_OR_TWO, range(24)),
    "3": _number(_hour12, "", "hour", _ONE_OR_TWO, range(13)),
    "03": _number(_hour12, "02", "hour", _TWO, range(13)),
    "4": _number(lambda t: t.minute, "", "minute", _ONE_OR_TWO, range(60)),
    "04": _number(lambda t: t.minute, "02", "minute", _TWO, range(60)),
    "5": _number(lambda t: t.second, "", "second", _ONE_OR_TWO, range(60)),
    "05": _number(lambda t: t.second, "02", "second", _TWO, range(60)),
    "06": (lambda _, t, __: format(t.year % 100, "02"), _read_short_year),
    "January": (lambda _, t, __: _MONTHS[t.month - 1], _read_month),
    "Jan": (lambda _, t, __: _MONTHS[t.month - 1][:3], _read_month),
    "Monday": (lambda _, t, __: _DAYS[t.weekday()], _read_weekday),
    "Mon": (lambda _, t, __: _DAYS[t.weekday()][:3], _read_weekday),
    "PM": (_write_half, _read_half),
    "pm": (_write_half, _read_half),
    "MST": (_write_zone, _read_zone),
}
_OFFSET: Final = (_write_offset, _read_offset)
_FRACTIONS: Final = (_write_fraction, _read_fraction)

_Element = tuple[
    str, "Callable[[str, datetime, int], str] | None", "Callable[[_Reading, str], None] | None"
]


@lru_cache(maxsize=256)
def _elements(layout: str) -> tuple[_Element, ...]:
    elements: list[_Element] = []
    end = 0
    for found in _ELEMENT.finditer(layout):
        element = found[0]
        if found.start() > end:
            elements.append((layout[end : found.start()], None, None))
        end = found.end()
        if element == "_":
            elements.append((element, None, None))
            continue
        part = _PARTS.get(element) or (_FRACTIONS if element[0] in ".," else _OFFSET)
        elements.append((element, *part))
    if end < len(layout):
        elements.append((layout[end:], None, None))
    return tuple(elements)


def _skip(reading: _Reading, literal: str) -> None:
    """Read literal text; a run of blanks stands for any number of them."""
    for piece in re.findall(r" +|[^ ]+", literal):
        if piece[0] == " ":
            if reading.text and reading.text[0] != " ":
                raise LayoutError(f"cannot parse {quoted(reading.text)}")
            reading.text = reading.text.lstrip(" ")
        elif reading.text.startswith(piece):
            reading.text = reading.text[len(piece) :]
        else:
            raise LayoutError(f"cannot parse {quoted(reading.text)} as {quoted(piece)}")


def _instant(reading: _Reading) -> int:
    if reading.afternoon and reading.hour < 12:
        reading.hour += 12
    elif reading.afternoon is False and reading.hour == 12:
        reading.hour = 0
    try:
        moment = datetime(
            reading.year, reading.month or 1, reading.day or 1,
            reading.hour, reading.minute, reading.second, tzinfo=UTC,
        )  # fmt: skip
    except ValueError as error:
        raise LayoutError(str(error)) from None
    if reading.day_of_year:
        moment = _on_day(moment, reading)
    offset = 0 if reading.is_utc or reading.offset == NO_OFFSET else reading.offset
    seconds = (moment - EPOCH) // timedelta(seconds=1) - offset
    return seconds * NANOSECONDS + reading.nanosecond


def _on_day(moment: datetime, reading: _Reading) -> datetime:
    """Apply a day of the year, which a month or day that are given too must agree with."""
    day = moment.replace(month=1, day=1) + timedelta(days=reading.day_of_year - 1)
    if (
        day.year != moment.year
        or reading.month not in (0, day.month)
        or reading.day not in (0, day.day)
    ):
        raise LayoutError("day-of-year out of range")
    return day


EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
