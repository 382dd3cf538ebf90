"""`sprintf`: the verbs, flags, widths and precisions of Go's fmt package.

Numbers arrive as int or float64, everything else as its Rego text. What does not fit is shown
in the result (`%!d(string=x)`), never an error.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from gateway.rego.builtins.operands import (
    array,
    charge_text,
    charge_value,
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

_DIRECTIVE: Final = re.compile(
    r"%(?P<flags>[-+# 0]*)(?P<at_width>\[\d+\])?(?P<width>\*|\d+)?"
    r"(?:(?P<dot>\.)(?P<at_precision>\[\d+\])?(?P<precision>\*|\d+)?)?"
    r"(?P<at>\[\d+\])?(?P<verb>.)?",
    re.DOTALL | re.ASCII,
)


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


class _Arguments:
    """The arguments, taken in order or by their number."""

    def __init__(self, values: list[Argument]) -> None:
        self.values = values
        self.next = 0
        self.reordered = False

    def select(self, index: str | None) -> bool:
        """Go to the argument numbered `[n]`, if given; whether there is one."""
        if index is None:
            return True
        self.reordered = True
        if len(index) > len("[9999999]") or not 0 < int(index[1:-1]) <= len(self.values):
            return False
        self.next = int(index[1:-1]) - 1
        return True

    def take(self) -> Argument | None:
        if self.next >= len(self.values):
            return None
        self.next += 1
        return self.values[self.next - 1]


def sprintf(state: State, template: Value, values: Value) -> str:
    """Fill a template's verbs with the elements of an array."""
    text = string(template)
    charge_value(state, array(values, 2))
    charge_text(state, text)
    arguments = _Arguments([_argument(value) for value in values])
    pieces: list[str] = []
    end = 0
    while (start := text.find("%", end)) >= 0:
        pieces.append(text[end:start])
        directive = _DIRECTIVE.match(text, start)
        assert directive is not None
        end = directive.end()
        filled = _filled(state, directive, arguments)
        pieces.append(_NO_VERB if filled is None else filled)
        if filled is None:
            break
    else:
        pieces.append(text[end:])
    if not arguments.reordered and arguments.next < len(arguments.values):
        extra = [f"{_kind(value)}={_plain(value)}" for value in arguments.values[arguments.next :]]
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
    binary = float(exact)
    return format_number(exact) if binary in (math.inf, -math.inf) else binary


def _number_of(state: State, text: str | None, arguments: _Arguments) -> int | None:
    """Read a width or precision; None where there is none or it is too large."""
    if text is None:
        return None
    if text == "*":
        value = arguments.take()
        if value.__class__ is not int or abs(value) > MAX_WIDTH:
            return None
        number = int(value)
    else:
        number = int(text[:8])
    if number > MAX_WIDTH:
        return None
    state.charge(abs(number) // 32)
    return number


def _filled(state: State, directive: re.Match[str], arguments: _Arguments) -> str | None:
    """Return a directive's text; None where it has no verb, which ends the template."""
    verb = directive["verb"]
    layout = _Layout(directive["flags"])
    good = arguments.select(directive["at_width"])
    width = _number_of(state, directive["width"], arguments)
    prefix = ""
    if width is None and directive["width"] is not None:
        if directive["width"] != "*":
            return None
        prefix = "%!(BADWIDTH)"
    elif width is not None:
        layout.width = abs(width)
        layout.flags += "-" if width < 0 else ""
    if directive["dot"]:
        good = arguments.select(directive["at_precision"]) and good
        precision = _number_of(state, directive["precision"], arguments)
        if (precision is None and directive["precision"] is not None) or (precision or 0) < 0:
            prefix += "%!(BADPREC)"
            precision = None
            layout.precision = None
        else:
            layout.precision = precision or 0
    good = arguments.select(directive["at"]) and good
    if verb is None:
        return None
    if verb == "%":
        return prefix + "%"
    if not good:
        return f"{prefix}%!{verb}(BADINDEX)"
    value = arguments.take()
    if value is None:
        return f"{prefix}%!{verb}(MISSING)"
    return prefix + _formatted(verb, value, layout)


def _formatted(verb: str, value: Argument, layout: _Layout) -> str:
    if verb == "T":
        return layout.pad(_kind(value))
    kind = _kind(value)
    function = _VERBS[kind].get(verb)
    if function is None:
        return f"%!{verb}({kind.removeprefix('*')}={_plain(value)})"
    return function(verb, value, layout)


def _kind(value: Argument) -> str:
    if isinstance(value, str):
        return "string"
    if isinstance(value, float):
        return "float64"
    return "int" if -(1 << 63) <= value < 1 << 63 else "*big.Int"


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


_DIGITS: Final = dict.fromkeys("vdboOxX", _whole)
_VERBS: Final[dict[str, dict[str, Callable[[str, Argument, _Layout], str]]]] = {
    "int": {**_DIGITS, "c": _character, "q": _quoted_character, "U": _code_point},
    "*big.Int": {**_DIGITS, "s": _whole},
    "float64": dict.fromkeys("veEfFgG", _float),
    "string": {"v": _value, "s": _text, "q": _quoted, "x": _hexadecimal, "X": _hexadecimal},
}

BUILTINS: Final[tuple[Builtin, ...]] = (charged("sprintf", sprintf, 2, steps=60),)
