"""Checks of a builtin's arguments, with OPA's messages, and what arguments cost."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from gateway.rego.errors import BuiltinError
from gateway.rego.values import (
    NUMBERS,
    RegoSet,
    Value,
    dumps,
    from_key_form,
    key_form,
    sorted_items,
    sorted_members,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from gateway.rego.builtins.registry import State
    from gateway.rego.values import Number


TYPE_NAMES: Final[Mapping[type, str]] = {
    type(None): "null",
    bool: "boolean",
    int: "number",
    float: "number",
    Decimal: "number",
    str: "string",
    list: "array",
    dict: "object",
    RegoSet: "set",
}

COLLECTIONS: Final[frozenset[Any]] = frozenset((list, dict, RegoSet))

CHARACTERS_A_STEP: Final = 32
"""Text handled for one step: about 100 ns of the slowest operation on it."""

COMPARED_A_STEP: Final = 1024
"""Characters compared with others for one step."""

MAX_BITS: Final = 13_000
"""Longest integer that a builtin makes: below Python's limit for int <-> str."""

MAX_DIGITS: Final = 4_000
"""Most digits of a whole number with which a builtin calculates."""

MAX_DECIMALS: Final = 400
"""Most digits before, behind and in all of a number that is not written as a whole one: beyond
every double, and few enough that exact fractions stay cheap."""

LONG: Final = 1 << 1024
"""Operations on whole numbers below take no more than their step."""

FLOAT_STEPS: Final = 150
"""What one operation on numbers that are not written as whole ones costs."""


class OperandError(BuiltinError):
    """An argument has the wrong type."""

    code = "eval_type_error"


def type_name(value: Value) -> str:
    """Name the Rego type of `value`."""
    return TYPE_NAMES[value.__class__]


def wrong_type(value: Value, position: int, *expected: str) -> OperandError:
    """Make the error for an argument that has none of the `expected` types."""
    wanted = expected[0] if len(expected) == 1 else "one of {" + ", ".join(expected) + "}"
    return OperandError(f"operand {position} must be {wanted} but got {type_name(value)}")


def wrong_element(value: Value, element: Value, position: int, expected: str) -> OperandError:
    """Make the error for a collection that holds an element of the wrong type."""
    name = type_name(value)
    return OperandError(
        f"operand {position} must be {name} of {expected}s but got {name} containing "
        f"{type_name(element)}"
    )


def string(value: Value, position: int = 1) -> str:
    """Return a string argument."""
    if value.__class__ is not str:
        raise wrong_type(value, position, "string")
    return value


def number(value: Value, position: int = 1) -> Number:
    """Return a number argument."""
    if value.__class__ not in NUMBERS:
        raise wrong_type(value, position, "number")
    return value  # type: ignore[no-any-return]


def integer(value: Value, position: int = 1, *, name: str = "number") -> int:
    """Return an argument that is a whole number of at most 4,000 digits."""
    if value.__class__ is int:
        return value
    if value.__class__ not in NUMBERS:
        raise wrong_type(value, position, name)
    exact = to_decimal(value)
    if exact != exact.to_integral_value():
        raise _not_whole(position)
    return int(exact)


def small_integer(value: Value, position: int = 1) -> int:
    """Return an argument that is a whole number of at most 64 bits."""
    small = integer(value, position)
    if not -(1 << 63) <= small < 1 << 63:
        raise _not_whole(position)
    return small


def _not_whole(position: int) -> OperandError:
    return OperandError(f"operand {position} must be integer number but got floating-point number")


def to_decimal(value: Number) -> Decimal:
    """Return a number as the decimal that its text names; refuses what is too large to handle."""
    if value.__class__ is float:
        return Decimal(repr(value))
    exact = Decimal(value)
    if value.__class__ is int:
        fits = exact.adjusted() < MAX_DIGITS
    else:
        _, digits, exponent = exact.as_tuple()
        fits = (
            isinstance(exponent, int)
            and len(digits) <= MAX_DECIMALS
            and abs(exponent) <= MAX_DECIMALS
        )
    if not fits:
        raise BuiltinError("number out of range")
    return exact


def charge_number(state: State, value: Number) -> None:
    """Charge for an operation on a number, by the square of its length."""
    if value.__class__ is not int:
        state.charge(FLOAT_STEPS)
    elif not -LONG < value < LONG:
        state.charge(value.bit_length() ** 2 >> 15)


def array(value: Value, position: int = 1) -> list[Value]:
    """Return an array argument."""
    if value.__class__ is not list:
        raise wrong_type(value, position, "array")
    return value


def mapping(value: Value, position: int = 1) -> dict[Any, Value]:
    """Return an object argument: key form -> value."""
    if value.__class__ is not dict:
        raise wrong_type(value, position, "object")
    return value


def set_of(value: Value, position: int = 1) -> RegoSet:
    """Return a set argument."""
    if value.__class__ is not RegoSet:
        raise wrong_type(value, position, "set")
    return value


def members(value: Value, position: int = 1) -> list[Value]:
    """Return the elements of an array, or the members of a set in Rego order."""
    if value.__class__ is list:
        return value
    if value.__class__ is RegoSet:
        return sorted_members(value)
    raise wrong_type(value, position, "set", "array")


def strings(value: Value, position: int = 1) -> list[str]:
    """Return the elements of an array or set of strings."""
    elements = members(value, position)
    for element in elements:
        if element.__class__ is not str:
            raise wrong_element(value, element, position, "string")
    return elements


def utf8(text: str) -> bytes:
    """Encode a string; a lone surrogate, which no JSON text can hold, is refused."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise BuiltinError("string is not Unicode text") from None


def answers(check: Callable[[str], object]) -> Callable[[State, Value], bool]:
    """Make an `is_valid` builtin from one that raises: whether it takes the string."""

    def is_valid(state: State, value: Value) -> bool:
        if value.__class__ is not str:
            return False
        charge_text(state, value)
        try:
            check(value)
        except BuiltinError:
            return False
        return True

    return is_valid


def charge_text(state: State, *texts: str) -> None:
    """Charge for work that is linear in the length of `texts`."""
    length = 0
    for text in texts:
        length += len(text)
    if length >= CHARACTERS_A_STEP:
        state.charge(length // CHARACTERS_A_STEP)


def charge_order(state: State, *values: Value) -> None:
    """Charge for comparing values with others by all that is inside."""
    for value in values:
        if value.__class__ in COLLECTIONS:
            charge_value(state, value, each=ORDER_STEPS)
        elif value.__class__ is float or value.__class__ is Decimal:
            state.charge(DECIMAL_STEPS)


def charge_sort(state: State, values: Collection[Any]) -> None:
    """Charge for sorting values, or their key forms, by their number and kind.

    What is inside composites is charged elsewhere: here they are only told apart.
    """
    rounds = len(values).bit_length()
    kinds = set(map(type, values))
    if not kinds <= _SCALARS:
        weight = 24
    elif len(kinds) > 1 or not kinds <= _PLAIN:
        weight = 6
    else:
        weight = 2
    state.charge(3 + len(values) * rounds * weight // 8)
    if str in kinds:
        length = sum([len(value) for value in values if value.__class__ is str])
        state.charge(length * rounds // COMPARED_A_STEP)


_PLAIN: Final[frozenset[type]] = frozenset((str, int))
_SCALARS: Final[frozenset[type]] = frozenset(
    (str, int, bool, type(None), type(key_form(value=True)))
)


def charge_rego_text(state: State, value: Value) -> None:
    """Charge for writing a value as Rego source."""
    state.charge(ORDER_STEPS)
    kind = value.__class__
    if kind is str:
        charge_text(state, value)
        if not value.isprintable():
            state.charge(4 * len(value))
    elif kind is list or kind is RegoSet:
        for item in value if kind is list else value.values():
            charge_rego_text(state, item)
    elif kind is dict:
        for form, item in value.items():
            charge_rego_text(state, from_key_form(form))
            charge_rego_text(state, item)
    elif kind is int:
        charge_number(state, value)
    elif kind is float or kind is Decimal:
        state.charge(DECIMAL_STEPS)


ORDER_STEPS: Final = 6
DECIMAL_STEPS: Final = 30


def charge_value(state: State, value: Value, *, each: int = 1) -> None:
    """Charge for work that visits everything inside `value`, taking `each` steps for it."""
    if value.__class__ in COLLECTIONS:
        _charge_inside(state, value, each)
    elif value.__class__ is str:
        charge_text(state, value)
    elif value.__class__ is int:
        charge_number(state, value)


def _charge_inside(state: State, value: Value, each: int) -> None:
    pending = [value]
    while pending:
        collection = pending.pop()
        state.charge(each * (1 + len(collection)))
        text = 0
        for item in collection if collection.__class__ is list else collection.values():
            kind = item.__class__
            if kind is str:
                text += len(item)
            elif kind is int:
                if not -LONG < item < LONG:
                    charge_number(state, item)
            elif kind in COLLECTIONS:
                pending.append(item)
            elif kind is Decimal:
                state.charge(DECIMAL_STEPS)
        if collection.__class__ is dict:
            text += _key_text(state, collection, pending)
        if text >= CHARACTERS_A_STEP:
            state.charge(text // CHARACTERS_A_STEP)


def _key_text(state: State, keys: Iterable[Any], pending: list[Value]) -> int:
    """Return the length of keys that are strings; composite ones join what is still to visit."""
    text = 0
    for key in keys:
        if key.__class__ is str:
            text += len(key)
        elif key.__class__ is tuple:
            inner = from_key_form(key)
            if inner.__class__ in COLLECTIONS:
                pending.append(inner)
            else:
                state.charge(DECIMAL_STEPS)
    return text


def quote(text: str, mark: str = '"') -> str:
    """Write a string or character as Go does it: what is not printable as an escape."""
    if text.isprintable() and mark not in text and "\\" not in text:
        return mark + text + mark
    return mark + "".join([_escaped(char, mark) for char in text]) + mark


def _escaped(char: str, mark: str) -> str:
    if char == mark:
        return "\\" + mark
    return _ESCAPES.get(char) or (char if char.isprintable() else _code(ord(char)))


_ESCAPES: Final = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
    "\\": "\\\\",
}  # fmt: skip


def _code(point: int) -> str:
    if point < 0x80:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def rego_text(value: Value, *, quoted: bool = True) -> str:
    """Write `value` as Rego source; a string at the top without quotes unless `quoted`."""
    kind = value.__class__
    if kind is str:
        return quote(value) if quoted else value
    if kind is list:
        return "[" + ", ".join(map(rego_text, value)) + "]"
    if kind is dict:
        pairs = [f"{rego_text(key)}: {rego_text(item)}" for key, item in sorted_items(value)]
        return "{" + ", ".join(pairs) + "}"
    if kind is RegoSet:
        return "{" + ", ".join(map(rego_text, sorted_members(value))) + "}" if value else "set()"
    return dumps(value)
