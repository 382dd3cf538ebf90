"""YAML, as far as it says what JSON can say.

Values are built from the parser's events, and events from values: the depth is limited, an alias
is a copy that is charged for, and no tag makes anything but a JSON value.
"""

from __future__ import annotations

import re
from functools import cmp_to_key
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

import yaml

from gateway.rego.builtins.charges import dear
from gateway.rego.builtins.operands import COLLECTIONS, charge_value, string
from gateway.rego.builtins.registry import Builtin, State, charged
from gateway.rego.builtins.yaml_scalars import (
    INT64,
    MERGE,
    float_text,
    is_text,
    plain,
    tagged,
)
from gateway.rego.errors import BuiltinError
from gateway.rego.values import (
    MAX_DEPTH,
    NUMBERS,
    Value,
    format_number,
    number_from_text,
    to_json,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

READ_STEPS: Final = 18
"""What reading one character costs."""

WRITE_STEPS: Final = 330
"""What writing one value costs."""

LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Final[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def unmarshal(state: State, value: Value) -> Value:
    """Read the first YAML document of a text."""
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
        self.anchors: dict[str, Any] = {}
        self.open: list[tuple[list[Any], str | None]] = []
        self.root: list[Any] = []

    def build(self, events: Iterator[Any]) -> Value:
        for event in events:
            self.state.charge(1)
            if isinstance(event, yaml.DocumentEndEvent):
                break  # what follows is not looked at
            if isinstance(event, yaml.DocumentStartEvent) and event.version not in (None, (1, 1)):
                raise BuiltinError("yaml: found incompatible YAML document")
            self._take(event)
        return _item(self.root[0]) if self.root else None

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
            # A mapping is a list of keys and values in turn until it ends.
            self.open.append(([], event.anchor))
        elif isinstance(event, yaml.CollectionEndEvent):
            items, anchor = self.open.pop()
            is_mapping = isinstance(event, yaml.MappingEndEvent)
            made = self.mapping(items) if is_mapping else list(map(_item, items))
            self._name(anchor, made)
            self._put(made)

    def scalar(self, event: Any) -> Any:
        """Return the value of a scalar, or MERGE."""
        if event.tag is not None:
            return tagged(event.tag, event.value)
        return plain(event.value) if event.implicit[0] else event.value

    def key(self, key: Any) -> str:
        """Return a value as the key that it is in an object."""
        return _key(key)

    def charge_copy(self, value: Any) -> None:
        """Charge for what an alias stands for."""
        charge_value(self.state, value)

    def mapping(self, items: list[Any]) -> dict[str, Any]:
        """Return an object of its keys and values in turn."""
        made: dict[str, Any] = {}
        merged: list[Any] = []
        for key, item in zip(items[::2], items[1::2], strict=True):
            if key is MERGE:
                merged += item if item.__class__ is list else [item]
            else:
                made[self.key(key)] = _item(item)
        for base in merged:
            if base.__class__ is not dict:
                raise BuiltinError("yaml: map merge requires map or sequence of maps as the value")
            self.state.charge(1 + 2 * len(base))
            for name, item in base.items():
                made.setdefault(name, item)
        return made

    def _name(self, anchor: str | None, value: Any) -> None:
        if anchor is not None:
            self.anchors[anchor] = value

    def _copy(self, anchor: str | None) -> Any:
        if anchor is None or anchor not in self.anchors:
            raise BuiltinError("yaml: unknown anchor, or an alias inside of its anchor")
        value = self.anchors[anchor]
        self.charge_copy(value)
        if sum(1 for _ in levels(value)) + len(self.open) > MAX_DEPTH:
            raise BuiltinError("yaml: nested too deeply")
        return value

    def _put(self, value: Any) -> None:
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


def _item(value: Any) -> Value:
    if value is MERGE:
        return "<<"
    if value.__class__ is float:
        if not isfinite(value):
            raise BuiltinError("yaml: JSON has no infinity and no NaN")
        return number_from_text(repr(value))
    return value


def _key(key: Any) -> str:
    kind = key.__class__
    if kind is str:
        return str(key)
    if kind is bool:
        return "true" if key else "false"
    if kind is int and key < INT64:
        return str(key)
    if kind is float:
        return float_text(key, single=True)
    raise BuiltinError("yaml: a key must be a string, a number of 64 bits or a boolean")


# --- writing

# OPA writes JSON first and reads it as YAML, which these may not be in.
_CONTROL: Final = re.compile("[\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")


def marshal(state: State, value: Value) -> str:
    """Write YAML, keys in natural order."""
    charge_value(dear(state, 16), value)
    state.charge(WRITE_STEPS * sum(map(len, levels(value))))
    events = [
        yaml.StreamStartEvent(),
        yaml.DocumentStartEvent(explicit=False),
        *_events(to_json(value)),
        yaml.DocumentEndEvent(explicit=False),
        yaml.StreamEndEvent(),
    ]
    text: str = yaml.emit(events, Dumper=_DUMPER, allow_unicode=True)
    # libyaml marks the end of a document that blank lines end.
    return text[:-4] if text.endswith("\n...\n") else text


def _events(value: Value) -> Iterator[Any]:
    kind = value.__class__
    if kind is dict:
        yield yaml.MappingStartEvent(None, None, implicit=True, flow_style=not value)
        for key in sorted(value, key=_NATURAL):
            yield _written(key)
            yield from _events(value[key])
        yield yaml.MappingEndEvent()
    elif kind is list:
        yield yaml.SequenceStartEvent(None, None, implicit=True, flow_style=not value)
        for item in value:
            yield from _events(item)
        yield yaml.SequenceEndEvent()
    else:
        yield _written(value)


def _written(value: Value) -> Any:
    style = None
    if value.__class__ is str:
        if _CONTROL.search(value):
            raise BuiltinError("yaml: control characters are not allowed")
        text = value
        style = "|" if "\n" in text else None if is_text(text) else '"'
    elif value.__class__ in NUMBERS:
        # What OPA writes as JSON is read as YAML.
        text = format_number(value)
        number = plain(text)
        text = float_text(number) if number.__class__ is float else text
    else:
        text = "null" if value is None else "true" if value else "false"
    return yaml.ScalarEvent(None, None, (True, True), text, style=style)


def _natural(left: str, right: str) -> int:
    """Compare two keys where they begin to differ: numbers by value, letters last."""
    at = _first_difference(left, right)
    if at == min(len(left), len(right)):
        return len(left) - len(right)
    one, other = left[at], right[at]
    if one.isalpha() or other.isalpha():
        both = one.isalpha() and other.isalpha()
        return -1 if (one < other if both else other.isalpha()) else 1
    # A zero behind other digits does not lead.
    before = left[:at].rstrip("0")
    lead = "1" if "0" in (one, other) and before[-1:].isdecimal() else ""
    runs = [lead + _OTHER.split(text[at:], maxsplit=1)[0] for text in (left, right)]
    shown = [(len(run.lstrip("0")), run.lstrip("0"), len(run)) for run in runs]
    return -1 if (*shown[0], one) < (*shown[1], other) else 1


def _first_difference(left: str, right: str) -> int:
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


_NATURAL: Final = cmp_to_key(_natural)
_OTHER: Final = re.compile(r"[^0-9]")


BUILTINS: Final[tuple[Builtin, ...]] = (
    charged("yaml.marshal", marshal, 1, steps=150),
    charged("yaml.unmarshal", unmarshal, 1, steps=120),
    charged("yaml.is_valid", is_valid, 1, steps=120),
)
