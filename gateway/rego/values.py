"""Rego values as plain Python, so that a JSON document is a Rego value as it stands.

    null, boolean, string, array    None, bool, str, list
    number                          int; float where its shortest text is exact; else Decimal
    object                          dict: key form -> value
    set                             RegoSet: key form -> member

A *key form* is hashable, and two forms are equal exactly where the Rego values are: strings,
numbers and null stand for themselves, the booleans are two singletons (Python's True equals 1,
Rego's does not), arrays, objects and sets are tagged tuples over frozensets. Thousands of numbers
can be chosen whose hashes collide in Python, and frozensets of any numbers: the former are tagged
texts, and members of frozensets stand beside a text, whose hash nobody can foresee. A form can be
turned back into its value, so an object needs no second table. Values are never changed after they
leave the function that made them: data is shared by all decisions.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "MAX_DEPTH",
    "NUMBERS",
    "UNDEFINED",
    "Number",
    "RegoSet",
    "Undefined",
    "Value",
    "compare_key",
    "dumps",
    "equal",
    "format_number",
    "from_key_form",
    "key_form",
    "less",
    "loads",
    "make_set",
    "normalize_number",
    "number_from_text",
    "sorted_items",
    "sorted_members",
    "sorted_values",
    "to_json",
]

Value = Any
"""None, bool, int, float, Decimal, str, list, dict or RegoSet; inside, the same."""

Number = int | float | Decimal

MAX_DEPTH: Final = 100
"""Deepest nesting that `loads` and the builtins that build values accept."""

MAX_NUMBER_TEXT: Final = 4_000
"""Longest number, in characters: below Python's own limit for int <-> str."""

MAX_INTEGER_EXPONENT: Final = 308
"""A number written with this exponent or a larger one stays a Decimal, which is small."""

EXACT_FLOAT: Final = 2.0**53
"""From here on a float's shortest text is not its binary value."""


OWN_HASH: Final = 2**61 - 1
"""Below it an integer is its own hash; of all other numbers that is the value modulo this."""


_ENTRY: Final = "entry"
"""Stands beside what is in a frozenset; see above."""


class Undefined:
    """The type of `UNDEFINED`: no value, which is neither false nor null."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "UNDEFINED"

    def __bool__(self) -> bool:
        return False

    def __reduce__(self) -> str:
        return "UNDEFINED"


UNDEFINED: Final = Undefined()


class _Boolean:
    """The key form of a boolean."""

    __slots__ = ("name", "value")

    def __init__(self, name: str, value: bool) -> None:
        self.name = name
        self.value = value

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> str:
        return self.name


_TRUE: Final = _Boolean("_TRUE", value=True)
_FALSE: Final = _Boolean("_FALSE", value=False)


class RegoSet(dict[Any, Any]):
    """A set: key form -> member."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "{" + ", ".join(map(repr, self.values())) + "}" if self else "set()"

    def __eq__(self, other: object) -> bool:
        return other.__class__ is RegoSet and self.keys() == other.keys()

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None


NUMBERS: Final[frozenset[Any]] = frozenset((int, float, Decimal))


def make_set(members: Iterable[Value]) -> RegoSet:
    """Build the set of `members`."""
    made = RegoSet()
    for member in members:
        made[key_form(member)] = member
    return made


# --- key forms


def key_form(value: Value) -> Any:
    """Return the hashable form that stands for `value` as an object's key or a set's member."""
    kind = value.__class__
    if kind is str:
        return value
    if kind is int:
        return value if -OWN_HASH < value < OWN_HASH else _number_form(value)
    if kind is bool:
        return _TRUE if value else _FALSE
    if kind is list:
        return ("a", *map(key_form, value))
    if kind is dict:
        return ("o", frozenset([(_ENTRY, key, key_form(item)) for key, item in value.items()]))
    if kind is RegoSet:
        return ("s", frozenset([(_ENTRY, form) for form in value]))
    if kind is Decimal or (kind is float and not -EXACT_FLOAT < value < EXACT_FLOAT):
        number = _exact(value)
        return number if isinstance(number, float) else _number_form(number)
    return value


def _number_form(number: int | Decimal) -> Any:
    if number.__class__ is int and -OWN_HASH < number < OWN_HASH:
        return number
    mantissa, _, exponent = f"{Decimal(number):E}".partition("E")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return ("n", f"{mantissa}E{exponent}")  # a text's hash differs from process to process


def from_key_form(form: Any) -> Value:
    """Return the value that `form` stands for: the inverse of `key_form`."""
    kind = form.__class__
    if kind is tuple:
        return _COMPOSITES[form[0]](form)
    if kind is _Boolean:
        return form.value
    return form


_COMPOSITES: Final[Mapping[str, Callable[[Any], Value]]] = {
    "a": lambda form: list(map(from_key_form, form[1:])),
    "o": lambda form: {key: from_key_form(item) for _, key, item in form[1]},
    "s": lambda form: RegoSet((item, from_key_form(item)) for _, item in form[1]),
    "n": lambda form: normalize_number(Decimal(form[1])),
}


def _exact(number: float | Decimal) -> Number:
    """Return the one representation of a decimal, or of the one that a float's text names."""
    try:
        return normalize_number(Decimal(repr(number)) if isinstance(number, float) else number)
    except (InvalidOperation, ValueError, OverflowError):
        return number


# --- equality and order


def equal(left: Value, right: Value) -> bool:
    """Tell whether two values are the same Rego value."""
    kind = left.__class__
    if kind is not right.__class__:
        return kind in NUMBERS and right.__class__ in NUMBERS and _same_number(left, right)
    if kind is list:
        if len(left) != len(right):
            return False
        for item, other in zip(left, right, strict=True):  # noqa: SIM110  a generator costs twice
            if not equal(item, other):
                return False
        return True
    if kind is dict:
        if len(left) != len(right):
            return False
        for key, item in left.items():
            other = right.get(key, UNDEFINED)
            if other is UNDEFINED or not equal(item, other):
                return False
        return True
    return bool(left == right)


def _same_number(left: Any, right: Any) -> bool:
    return bool(left == right) or key_form(left) == key_form(right)


def less(left: Value, right: Value) -> bool:
    """Tell whether `left` comes before `right` in Rego's total order."""
    kind = left.__class__
    if kind is right.__class__ and (kind is str or kind is int or kind is float):
        return bool(left < right)
    return compare_key(left) < compare_key(right)


def compare_key(value: Value) -> tuple[Any, ...]:
    """Return a key by which Python sorts values in Rego's total order.

    null < booleans < numbers < strings < arrays < objects < sets; composites element by element,
    objects by (key, value) in key order.
    """
    kind = value.__class__
    if kind is str:
        return (3, value)
    if kind is int:
        return (2, value)
    if kind is bool:
        return (1, value)
    if kind is list:
        return (4, tuple(map(compare_key, value)))
    if kind is dict:
        items = [(compare_key(from_key_form(key)), compare_key(value[key])) for key in value]
        items.sort()
        return (5, tuple(items))
    if kind is RegoSet:
        return (6, tuple(sorted(map(compare_key, value.values()))))
    if kind is float:
        # Against a Decimal, Python compares a float's binary value, Rego its decimal text.
        return (
            2,
            int(value)
            if value.is_integer() and -EXACT_FLOAT < value < EXACT_FLOAT
            else Decimal(repr(value)),
        )
    if kind is Decimal:
        return (2, value)
    return (0,)


def sorted_values(values: Iterable[Value]) -> list[Value]:
    """Return `values` in Rego order; equal values keep their order."""
    members = list(values)
    kinds = {member.__class__ for member in members}
    if len(kinds) == 1 and kinds <= _NATURAL_ORDER:
        members.sort()
    else:
        members.sort(key=compare_key)
    return members


_NATURAL_ORDER: Final = frozenset((str, int))


def sorted_items(mapping: Mapping[Any, Value]) -> list[tuple[Value, Value]]:
    """Return an object's (key, value) pairs in Rego order, the keys as values."""
    for key in mapping:
        if key.__class__ is not str:
            pairs = [(from_key_form(form), item) for form, item in mapping.items()]
            pairs.sort(key=_by_first)
            return pairs
    return [(key, mapping[key]) for key in sorted(mapping)]


def _by_first(pair: tuple[Value, Value]) -> tuple[Any, ...]:
    return compare_key(pair[0])


def sorted_members(members: RegoSet) -> list[Value]:
    """Return a set's members in Rego order."""
    return sorted_values(members.values())


# --- numbers


_NUMBER: Final = re.compile(r"-?[0-9]+((?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)")


def number_from_text(text: str) -> Number:
    """Read a JSON or Rego number exactly; ValueError if it is none or longer than 4,000."""
    if len(text) > MAX_NUMBER_TEXT:
        raise ValueError("number too long")
    shape = _NUMBER.fullmatch(text)
    if shape is None:
        raise ValueError("not a number")
    if not shape[1]:
        return int(text)
    try:
        return normalize_number(Decimal(text))
    except InvalidOperation as error:
        raise ValueError("not a number") from error


def normalize_number(number: Decimal) -> Number:
    """Return the one representation of a decimal: int, else float if exact, else Decimal.

    ValueError for NaN and the infinities.
    """
    if not number.is_finite():
        raise ValueError("not a finite number")
    if not number:
        return 0
    if number.adjusted() >= MAX_INTEGER_EXPONENT:
        return number
    if number == number.to_integral_value():
        return int(number)
    binary = float(number)
    return binary if Decimal(repr(binary)) == number else number


def format_number(number: Number) -> str:
    """Write a number as Rego prints it: exact, whole numbers without a point or exponent."""
    if isinstance(number, float):
        number = _exact(number)
        if isinstance(number, float):
            return repr(number)
    if isinstance(number, int):
        try:
            return str(number)
        except ValueError:  # past Python's limit on digits
            number = Decimal(number)
    return (
        format(number, "f")
        if -40 < number.adjusted() < 40
        else str(number).lower().replace("+", "")
    )


# --- JSON


def to_json(value: Value) -> Any:
    """Return `value` as JSON: sets as arrays in order, keys that are no strings as JSON text."""
    kind = value.__class__
    if kind is dict:
        return {
            (key if key.__class__ is str else dumps(from_key_form(key))): to_json(item)
            for key, item in value.items()
        }
    if kind is list:
        return list(map(to_json, value))
    if kind is RegoSet:
        return list(map(to_json, sorted_members(value)))
    return value


def dumps(value: Value) -> str:
    """Write `value` as compact JSON, keys sorted, numbers exact, other text as it is."""
    kind = value.__class__
    if kind is str:
        return _quote(value)
    if kind is dict:
        texts = {_key_text(from_key_form(form)): item for form, item in value.items()}
        pairs = [(text, texts[text]) for text in sorted(texts)]
        return "{" + ",".join([f"{_quote(key)}:{dumps(item)}" for key, item in pairs]) + "}"
    if kind is list:
        return "[" + ",".join(map(dumps, value)) + "]"
    if kind is RegoSet:
        return "[" + ",".join(map(dumps, sorted_members(value))) + "]"
    if kind is bool:
        return "true" if value else "false"
    return "null" if value is None else format_number(value)


_quote: Final[Callable[[str], str]] = json.JSONEncoder(ensure_ascii=False).encode


def _key_text(key: Value) -> str:
    return key if key.__class__ is str else dumps(key)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(
    parse_float=number_from_text, parse_int=number_from_text, parse_constant=_refuse_constant
)
# An unterminated string runs to the end, so that no text is scanned twice.
_STRING: Final = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def loads(text: str) -> Value:
    """Read JSON as OPA's json.unmarshal does: a repeated name's last value counts.

    ValueError for text that is no JSON, numbers over 4,000 characters and nesting over
    MAX_DEPTH. Escaped lone surrogates become U+FFFD.
    """
    _check_depth(text)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        # Python's words for an open string end in "starting at".
        said = error.msg.removesuffix(" starting at").replace(" enclosed in double quotes", "")
        raise ValueError(f"{said} at line {error.lineno}, column {error.colno}") from None
    return _without_surrogates(value) if "\\u" in text or not text.isascii() else value


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    # One step up or down for each bracket outside strings, as signed bytes; summed in C.
    bare = _STRING.sub("", text).encode(errors="replace")
    steps = memoryview(bare.translate(_STEPS, _NOT_BRACKETS)).cast("b")
    if max(accumulate(steps), default=0) > MAX_DEPTH:
        raise ValueError("nested too deeply")


def _without_surrogates(value: Value) -> Value:
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return list(map(_without_surrogates, value))
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value
