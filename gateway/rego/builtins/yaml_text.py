"""YAML, as far as it says what JSON can say.

Values are built from the parser's events: the depth is limited, an alias is a copy that is
charged for, and no tag makes anything but a JSON value.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import yaml

from gateway.rego.builtins.operands import COLLECTIONS, charge_value, string
from gateway.rego.builtins.registry import Builtin, State, charged
from gateway.rego.errors import BuiltinError
from gateway.rego.values import (
    MAX_DEPTH,
    Value,
    dumps,
    format_number,
    number_from_text,
    to_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

READ_STEPS: Final = 10
"""What reading one character costs."""

WRITE_STEPS: Final = 500
"""What writing one value costs, with the pure-Python emitter."""

LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG: Final = "tag:yaml.org,2002:"
MERGE: Final = object()
"""The key `<<`."""


def unmarshal(state: State, value: Value) -> Value:
    """Read one YAML document."""
    text = string(value)
    state.charge(len(text) * READ_STEPS)
    try:
        return Builder(state).build(yaml.parse(text, Loader=LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise BuiltinError(f"yaml: {error.problem or error.context}{place}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise BuiltinError(f"yaml: {str(error)[:200]}") from None


def is_valid(state: State, value: Value) -> bool:
    """Tell whether a string is YAML."""
    if value.__class__ is not str:
        return False
    try:
        unmarshal(state, value)
    except BuiltinError:
        return False
    return True


class Builder:
    """Builds the value of the first document from its events."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.anchors: dict[str, Value] = {}
        self.open: list[tuple[Any, str | None]] = []
        self.root: list[Value] = []

    def build(self, events: Iterator[Any]) -> Value:
        documents = 0
        for event in events:
            self.state.charge(1)
            documents += isinstance(event, yaml.DocumentStartEvent)
            if documents > 1:
                break
            self._take(event)
        return self.root[0] if self.root else None

    def _take(self, event: Any) -> None:
        if isinstance(event, yaml.ScalarEvent):
            scalar = self.scalar(event)
            self._name(event.anchor, scalar)
            self._put(scalar)
        elif isinstance(event, yaml.AliasEvent):
            self._put(self._copy(event.anchor))
        elif isinstance(event, yaml.CollectionStartEvent):
            if len(self.open) >= MAX_DEPTH:
                raise BuiltinError("yaml: nested too deeply")
            _check_tag(event)
            # A mapping is a list of keys and values in turn until it ends.
            self.open.append(([], event.anchor))
        elif isinstance(event, yaml.CollectionEndEvent):
            items, anchor = self.open.pop()
            is_mapping = isinstance(event, yaml.MappingEndEvent)
            made = self.mapping(items) if is_mapping else list(map(_merge_text, items))
            self._name(anchor, made)
            self._put(made)

    def scalar(self, event: Any) -> Any:
        """Return the value of a scalar, or MERGE."""
        return _scalar(event)

    def key(self, key: Any) -> str:
        """Return a value as the key that it is in an object."""
        return _key(key)

    def charge_copy(self, value: Any) -> None:
        """Charge for what an alias stands for."""
        charge_value(self.state, value)

    def mapping(self, items: list[Any]) -> dict[str, Any]:
        """Return an object of its keys and values in turn."""
        made: dict[str, Value] = {}
        merged: list[dict[str, Value]] = []
        for key, item in zip(items[::2], items[1::2], strict=True):
            if key is MERGE:
                merged += item if item.__class__ is list else [item]
            else:
                made[self.key(key)] = _merge_text(item)
        for base in merged:
            if base.__class__ is not dict:
                raise BuiltinError("yaml: map merge requires map or sequence of maps as the value")
            self.state.charge(len(base))
            made = base | made
        return made

    def _name(self, anchor: str | None, value: Value) -> None:
        if anchor is not None:
            self.anchors[anchor] = value

    def _copy(self, anchor: str | None) -> Value:
        if anchor is None or anchor not in self.anchors:
            raise BuiltinError("yaml: unknown anchor, or an alias inside of its anchor")
        value = self.anchors[anchor]
        self.charge_copy(value)
        if sum(1 for _ in levels(value)) + len(self.open) > MAX_DEPTH:
            raise BuiltinError("yaml: nested too deeply")
        return value

    def _put(self, value: Value) -> None:
        (self.open[-1][0] if self.open else self.root).append(value)


def levels(value: Value) -> Iterator[list[Value]]:
    """Yield what is nested equally deep, from the top down."""
    level = [value]
    while level:
        yield level
        level = [
            inner
            for item in level
            if item.__class__ in COLLECTIONS
            for inner in (item if item.__class__ is list else list(item.values()))
        ]


def _merge_text(value: Any) -> Value:
    return "<<" if value is MERGE else value


def _key(key: Value) -> str:
    if key.__class__ is str:
        return key
    if key is None or key.__class__ in (list, dict):
        raise BuiltinError("yaml: a key must be a string, a number or a boolean")
    return dumps(key)


def _check_tag(event: Any) -> None:
    if event.tag not in (None, "!", _TAG + "map", _TAG + "seq"):
        raise BuiltinError("yaml: unsupported tag")


_NULLS: Final = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLEANS: Final = {
    spelling: truth
    for truth, words in ((True, ("true", "yes", "on")), (False, ("false", "no", "off")))
    for word in words
    for spelling in (word, word.capitalize(), word.upper())
}
_INTEGER: Final = re.compile(
    r"([-+]?)(?:0b([01_]+)|0x([0-9a-fA-F_]+)|0o?([0-7_]+)|(0|[1-9][0-9_]*))"
)
_FLOAT: Final = re.compile(r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9_]+)(?:[eE][-+]?[0-9]+)?")
_SPECIAL: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_BASES: Final = (2, 16, 8, 10)


def _scalar(event: Any) -> Any:
    text = event.value
    if event.tag is not None and event.tag != "!":
        read = _TAGGED.get(event.tag.removeprefix(_TAG)) if event.tag.startswith(_TAG) else None
        if read is None:
            raise BuiltinError("yaml: unsupported tag")
        return read(text)
    if not event.implicit[0]:
        return text
    if text == "<<":
        return MERGE
    return _plain(text)


def _plain(text: str) -> Value:
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    return number_or_text(text)


def number_or_text(text: str) -> Value:
    """Read a plain scalar that is no word for null or a boolean."""
    integer = _INTEGER.fullmatch(text)
    if integer:
        return _read_integer(integer)
    if _SPECIAL.fullmatch(text):
        raise BuiltinError("yaml: JSON has no infinity and no NaN")
    return _read_float(text) if _FLOAT.fullmatch(text) else text


def _read_integer(found: re.Match[str]) -> Value:
    sign, *digits = found.groups()
    for base, text in zip(_BASES, digits, strict=True):
        plain = text.replace("_", "") if text else ""
        if plain:
            if base == 10:
                return number_from_text(("-" if sign == "-" else "") + plain)
            if len(plain) > 4_000:
                raise BuiltinError("yaml: number too long")
            return int(plain, base) * (-1 if sign == "-" else 1)
    return found[0]


def _read_float(text: str) -> Value:
    plain = text.replace("_", "").removeprefix("+")
    sign = "-" if plain.startswith("-") else ""
    whole, point, rest = plain.removeprefix("-").partition(".")
    fraction = re.match(r"[0-9]*", rest)
    digits = fraction[0] if fraction else ""
    exponent = rest[len(digits) :]
    return number_from_text(f"{sign}{whole or '0'}{point if digits else ''}{digits}{exponent}")


def _required(kinds: tuple[type, ...]) -> Callable[[str], Value]:
    def read(text: str) -> Value:
        value = _plain(text)
        if value.__class__ not in kinds:
            raise BuiltinError("yaml: a scalar does not have the type of its tag")
        return value

    return read


_TAGGED: Final[dict[str, Callable[[str], Value]]] = {
    "str": str,
    "null": _required((type(None),)),
    "bool": _required((bool,)),
    "int": _required((int,)),
    "float": _required((int, float, Decimal)),
}


# --- writing


class _Dumper(yaml.SafeDumper):
    """Writes each value in full: shared ones are not anchored."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  the emitter's interface
        return True


def _write_number(dumper: Any, value: Any) -> Any:
    return dumper.represent_scalar(_TAG + "float", format_number(value))


_Dumper.add_representer(float, _write_number)
_Dumper.add_representer(Decimal, _write_number)


def marshal(state: State, value: Value) -> str:
    """Write YAML, keys sorted."""
    charge_value(state, value)
    state.charge(WRITE_STEPS * sum(map(len, levels(value))))
    document = to_json(value)
    text: str = yaml.dump(document, Dumper=_Dumper, allow_unicode=True, width=1 << 30)
    return text.removesuffix("...\n")


BUILTINS: Final[tuple[Builtin, ...]] = (
    charged("yaml.marshal", marshal, 1),
    charged("yaml.unmarshal", unmarshal, 1),
    charged("yaml.is_valid", is_valid, 1),
)
