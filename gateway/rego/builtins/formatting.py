"""`sprintf`: the verbs, flags, widths and precisions of Go's fmt package.

Numbers arrive as int or float64, everything else as its Rego text. What does not fit is shown
in the result (`%!d(string=x)`), never an error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from gateway.rego.builtins.operands import (
    CHARACTERS_A_STEP,
    array,
    charge_rego_text,
    charge_text,
    quote,
    rego_text,
    string,
    utf8,
)
from gateway.rego.builtins.registry import Builtin, State, charged
from gateway.rego.values import NUMBERS, Value, format_number, normalize_number

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_WIDTH: Final = 1_000_000

_NO_VERB: Final = "%!(NOVERB)"

Argument = int | float | str


@dataclass(slots=True)
class _Layout:
    """How one directive wants its argument."""

    flags: str
    width: int = 0
    precision: int | None = None

    def pad(self, text: str) -> str:
        missing = self.width - len(text)
        if missing <= 0:
            return text
        if "-" in self.flags:
            return text + " " * missing
        return ("0" if "0" in self.flags else " ") * missing + text

    def pad_number(self, sign: str, digits: str) -> str:
        if "0" in self.flags and "-" not in self.flags:
            return sign + "0" * (self.width - len(sign) - len(digits)) + digits
        text = sign + digits
        return text.ljust(self.width) if "-" in self.flags else text.rjust(self.width)

    def sign(self, *, negative: bool) -> str:
        if negative:
            return "-"
        return "+" if "+" in self.flags else " " if " " in self.flags else ""


class _Reader:
    """A template being read, and the arguments, taken in order or by their number."""

    def __init__(self, text: str, values: list[Argument]) -> None:
        self.text = text
        self.at = 0
        self.values = values
        self.next = 0
        self.reordered = False
        self.good = True

    def take(self) -> Argument | None:
        """Return the next argument, None after the last."""
        if self.next >= len(self.values):
            return None
        self.next += 1
        return self.values[self.next - 1]

    def skip(self, char: str) -> bool:
        """Go over a character if it is next."""
        found = self.text.startswith(char, self.at)
        self.at += found
        return found

    def flags(self) -> str:
        """Read the flags."""
        start = self.at
        while self.text[self.at : self.at + 1] in _FLAGS:
            self.at += 1
        return self.text[start : self.at]

    def index(self) -> bool:
        """Go to the argument numbered `[n]`, if that is next; whether a number was there."""
        if not self.text.startswith("[", self.at):
            return False
        self.reordered = True
        inside, closed, _ = self.text[self.at + 1 : self.at + 1 + _INDEX_LENGTH].partition("]")
        number = int(inside) if closed and inside.isascii() and inside.isdigit() else 0
        self.at += len(inside) + 2 if closed else 1
        if 0 < number <= len(self.values):
            self.next = number - 1
        else:
            self.good = False
        return bool(closed) and inside.isdigit()

    def number(self) -> int | None:
        """Read digits; None if there are none, or too many: then the template ends there."""
        start = self.at
        while self.text[self.at : self.at + 1] in _DIGITS:
            self.at += 1
        digits = self.text[start : self.at].lstrip("0")
        if len(digits) > _NUMBER_LENGTH or int(digits or "0") > MAX_WIDTH:
            self.at = len(self.text)
            return None
        return int(digits or "0") if self.at > start else None

    def argument(self) -> int | None:
        """Take the argument for a `*`; None if it is not a whole number of modest size."""
        value = self.take()
        return value if isinstance(value, int) and abs(value) <= MAX_WIDTH else None


_FLAGS: Final = frozenset("-+# 0")
_DIGITS: Final = frozenset("0123456789")
_DIRECTIVE_STEPS: Final = 60
_INDEX_LENGTH: Final = 8
_NUMBER_LENGTH: Final = 7


def sprintf(state: State, template: Value, values: Value) -> str:
    """Fill a template's verbs with the elements of an array."""
    text = string(template)
    for value in array(values, 2):
        charge_rego_text(state, value)
    charge_text(state, text)
    reader = _Reader(text, [_argument(value) for value in values])
    pieces: list[str] = []
    end = 0
    while (start := text.find("%", end)) >= 0:
        pieces.append(text[end:start])
        reader.at = start + 1
        pieces.append(_filled(state, reader))
        end = reader.at
    pieces.append(text[end:])
    if not reader.reordered and reader.next < len(reader.values):
        extra = [f"{_kind(value)}={_plain(value)}" for value in reader.values[reader.next :]]
        pieces.append("%!(EXTRA " + ", ".join(extra) + ")")
    return "".join(pieces)


def _argument(value: Value) -> Argument:
    if value.__class__ is str or value.__class__ is int:
        return value
    if value.__class__ not in NUMBERS:
        return rego_text(value, quoted=False)
    exact = normalize_number(Decimal(repr(value)) if value.__class__ is float else value)
    if isinstance(exact, int):
        return exact
    text = format_number(exact)
    # OPA takes a number for a float where its text has a point.
    return float(exact) if "." in text and math.isfinite(float(exact)) else text


def _filled(state: State, reader: _Reader) -> str:
    """Return the text of a directive, which starts behind the percent sign."""
    state.charge(_DIRECTIVE_STEPS)
    reader.good = True
    layout = _Layout(reader.flags())
    indexed = reader.index()
    said, indexed = _read_width(reader, layout, indexed=indexed)
    if reader.skip("."):
        reader.good = reader.good and not indexed
        problem, indexed = _read_precision(reader, layout)
        said += problem
    if not indexed:
        reader.index()
    state.charge((layout.width + (layout.precision or 0)) // CHARACTERS_A_STEP)
    verb = reader.text[reader.at : reader.at + 1]
    reader.at += 1
    if not verb:
        return said + _NO_VERB
    if verb == "%":
        return said + "%"
    if not reader.good:
        return f"{said}%!{verb}(BADINDEX)"
    value = reader.take()
    if isinstance(value, str) and verb in "xXq":
        state.charge(6 * len(value))
    return said + (f"%!{verb}(MISSING)" if value is None else _formatted(verb, value, layout))


def _read_width(reader: _Reader, layout: _Layout, *, indexed: bool) -> tuple[str, bool]:
    """Read a width; returns what is wrong with it and whether an index was read last."""
    if reader.skip("*"):
        width = reader.argument()
        layout.width = abs(width or 0)
        layout.flags += "-" if width is not None and width < 0 else ""
        return "%!(BADWIDTH)" if width is None else "", False
    width = reader.number()
    layout.width = width or 0
    reader.good = reader.good and not (indexed and width is not None)
    return "", indexed


def _read_precision(reader: _Reader, layout: _Layout) -> tuple[str, bool]:
    """Read a precision; returns what is wrong with it and whether an index was read last."""
    indexed = reader.index()
    if not reader.skip("*"):
        layout.precision = reader.number() or 0
        return "", indexed
    layout.precision = reader.argument()
    if layout.precision is None or layout.precision < 0:
        layout.precision = None
        return "%!(BADPREC)", False
    return "", False


def _formatted(verb: str, value: Argument, layout: _Layout) -> str:
    kind = _kind(value)
    if verb == "T":
        return _text(verb, kind, layout)
    if verb == "v" and kind != "*big.Int":
        layout.flags = layout.flags.replace("+", "")
    function = _VERBS[kind].get(verb)
    if function is not None:
        return function(verb, value, layout)
    if kind == "*big.Int":
        return f"%!{verb}(big.Int={_plain(value)})"
    layout.flags = layout.flags.replace("#", "")
    return f"%!{verb}({kind}={_VERBS[kind]['v']('v', value, layout)})"


def _kind(value: Argument) -> str:
    if isinstance(value, str):
        return "string"
    if isinstance(value, float):
        return "float64"
    return "int64" if -(1 << 63) <= value < 1 << 63 else "*big.Int"


def _plain(value: Argument) -> str:
    return _VERBS[_kind(value)]["v"]("v", value, _Layout(""))


# --- whole numbers

_BASES: Final = {"b": "b", "o": "o", "O": "o", "x": "x", "X": "X"}
_PREFIXES: Final = {"b": "0b", "o": "0", "x": "0x", "X": "0X"}


def _whole(verb: str, value: Argument, layout: _Layout) -> str:
    assert isinstance(value, int)
    base = _BASES.get(verb)
    digits = format(abs(value), base) if base else format_number(abs(value))
    if layout.precision is not None:
        digits = "" if layout.precision == 0 and not value else digits.zfill(layout.precision)
    if verb == "O":
        digits = "0o" + digits
    elif "#" in layout.flags and base and not (verb == "o" and digits.startswith("0")):
        digits = _PREFIXES[verb] + digits
    sign = layout.sign(negative=value < 0)
    if layout.precision is not None:
        text = sign + digits
        return text.ljust(layout.width) if "-" in layout.flags else text.rjust(layout.width)
    return layout.pad_number(sign, digits)


def _rune(value: int) -> str:
    valid = 0 <= value <= 0x10FFFF and not 0xD800 <= value <= 0xDFFF
    return chr(value) if valid else "\ufffd"


def _character(_: str, value: Argument, layout: _Layout) -> str:
    assert isinstance(value, int)
    return layout.pad(_rune(value))


def _quoted_character(_: str, value: Argument, layout: _Layout) -> str:
    assert isinstance(value, int)
    return layout.pad(quote(_rune(value), "'"))


def _code_point(_: str, value: Argument, layout: _Layout) -> str:
    assert isinstance(value, int)
    shown = f" '{_rune(value)}'" if "#" in layout.flags and _rune(value).isprintable() else ""
    return layout.pad(f"U+{value:04X}{shown}")


# --- numbers that are not whole


def _float(verb: str, value: Argument, layout: _Layout) -> str:
    assert isinstance(value, float)
    style = "g" if verb == "v" else verb
    if layout.precision is None and style in "gG":
        digits = _shortest(abs(value))
        digits = digits.upper() if style == "G" else digits
    else:
        precision = 6 if layout.precision is None else layout.precision
        digits = format(abs(value), f".{precision}{style}")
    return layout.pad_number(layout.sign(negative=value < 0), digits)


def _shortest(value: float) -> str:
    """Write the shortest text of a float, with an exponent from 10**6 on and below 10**-4."""
    if not value:
        return "0"
    exact = Decimal(repr(value)).normalize()
    if -5 < exact.adjusted() < 6:
        return format(exact, "f")
    digits = "".join(map(str, exact.as_tuple().digits))
    point = "." if len(digits) > 1 else ""
    return f"{digits[0]}{point}{digits[1:]}e{exact.adjusted():+03d}"


# --- text


def _text(_: str, value: Argument, layout: _Layout) -> str:
    assert isinstance(value, str)
    return layout.pad(value if layout.precision is None else value[: layout.precision])


def _value(_: str, value: Argument, layout: _Layout) -> str:
    return (_quoted if "#" in layout.flags else _text)("v", value, layout)


def _quoted(_: str, value: Argument, layout: _Layout) -> str:
    assert isinstance(value, str)
    text = value if layout.precision is None else value[: layout.precision]
    return layout.pad(quote(text))


def _hexadecimal(verb: str, value: Argument, layout: _Layout) -> str:
    assert isinstance(value, str)
    separator = " " if " " in layout.flags else ""
    mark = "0x" if "#" in layout.flags else ""
    octets = [f"{octet:02x}" for octet in utf8(value)[: layout.precision]]
    if separator:
        text = " ".join(mark + octet for octet in octets)
    else:
        text = (mark if octets else "") + "".join(octets)
    return layout.pad(text.upper() if verb == "X" else text)


_WHOLE: Final = dict.fromkeys("vdboOxX", _whole)
_VERBS: Final[dict[str, dict[str, Callable[[str, Argument, _Layout], str]]]] = {
    "int64": {**_WHOLE, "c": _character, "q": _quoted_character, "U": _code_point},
    "*big.Int": {**_WHOLE, "s": _whole},
    "float64": dict.fromkeys("veEfFgG", _float),
    "string": {"v": _value, "s": _text, "q": _quoted, "x": _hexadecimal, "X": _hexadecimal},
}

BUILTINS: Final[tuple[Builtin, ...]] = (charged("sprintf", sprintf, 2, steps=60),)
