"""The rule index: of a rule's many bodies, find the few that an input can satisfy.

A body is left out only for a condition that it tests before anything in it could fail with an
error, so that the index never changes a result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.rego.plan import (
    Add,
    Append,
    Assign,
    Block,
    Blocks,
    Call,
    Compare,
    Const,
    Dot,
    Insert,
    IsDefined,
    IsKind,
    IsUndefined,
    Length,
    Make,
    Not,
    Operand,
    Reset,
    Scan,
    Statement,
    steps,
)
from gateway.rego.runtime import COLLECTIONS, State, lookup
from gateway.rego.values import UNDEFINED, RegoSet, Value, key_form

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from gateway.rego.usage import Usage

SMALLEST: Final = 8
"""Fewer bodies are tried one after the other."""

WORTHWHILE: Final = 0.3
"""A test must leave out at least this part of the bodies."""

GLOB_SPECIAL: Final = frozenset("[]{}\\!,")

Place = tuple[int, tuple[str | int, ...]]
"""A parameter's position and the keys below it."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What must hold for a body: values that a place must have, or starts of its text."""

    equal: Mapping[Place, frozenset[Any]]
    prefix: Mapping[Place, str]


def conditions(block: Block, parameters: Sequence[int], usage: Usage) -> Conditions:
    """Return the conditions that the first statements of a body test."""
    reader = _Reader(parameters, usage)
    for position, step in enumerate(block):
        after = block[position + 1] if position + 1 < len(block) else None
        if not reader.passes(step, after):
            break
    return Conditions(reader.equal, reader.prefix)


class _Reader:
    """Follows the statements of a body as long as none can raise an error."""

    def __init__(self, parameters: Sequence[int], usage: Usage) -> None:
        self.usage = usage
        self.equal: dict[Place, frozenset[Any]] = {}
        self.prefix: dict[Place, str] = {}
        self.places: dict[int, Place] = {
            local: (position, ())
            for position, local in enumerate(parameters)
            if usage.stable(local)
        }

    def passes(self, step: Statement, after: Statement | None) -> bool:
        """Take a statement in; False if the ones after it are out of reach."""
        match step:
            case Dot(target=target, source=source):
                above, key = self.place(source), self.usage.constant(step.key)
                if above is None:
                    self.has(self.usage.constant(source), step.key)
                elif key.__class__ in (str, int) and self.usage.stable(target):
                    self.places[target] = (above[0], (*above[1], key))
                return True
            case Assign(target=target, source=int() as source):
                if source in self.places and self.usage.stable(target):
                    self.places[target] = self.places[source]
                return True
            case Compare(left=left, right=right, negate=False):
                self.compare(left, right)
                self.compare(right, left)
                return True
            case Call():
                return self.call(step, after)
            case _:
                return all(map(_harmless, steps(((step,),))))

    def place(self, operand: Operand) -> Place | None:
        return self.places.get(operand) if isinstance(operand, int) else None

    def has(self, collection: Value, key: Operand) -> None:
        """Take in that a constant collection has the key at a place."""
        place = self.place(key)
        if place is not None and collection.__class__ in (RegoSet, dict):
            forms = frozenset(collection)
            if not any(form.__class__ is tuple for form in forms):
                self.require(place, forms)

    def compare(self, left: Operand, right: Operand) -> None:
        place, value = self.place(left), self.usage.constant(right)
        if place is not None and value is not UNDEFINED and value.__class__ not in COLLECTIONS:
            self.require(place, frozenset((key_form(value),)))

    def require(self, place: Place, forms: frozenset[Any]) -> None:
        self.equal[place] = forms & self.equal.get(place, forms)

    def call(self, step: Call, after: Statement | None) -> bool:
        if step.function in _HARMLESS_CALLS:
            return True
        match after:
            case Compare(left=left, right=Const(value=False), negate=True) if left == step.target:
                constants = tuple(map(self.usage.constant, step.arguments))
                read = _CALLS.get(step.function)
                return read is not None and read(self, step, constants)
            case _:
                return False

    def member(self, step: Call, constants: tuple[Value, ...]) -> bool:
        place, members = self.place(step.arguments[0]), constants[1]
        if place is None or members.__class__ not in (RegoSet, list):
            return False
        if any(member.__class__ in COLLECTIONS for member in _members(members)):
            return False
        self.require(place, frozenset(map(key_form, _members(members))))
        return True

    def starts(self, step: Call, constants: tuple[Value, ...]) -> bool:
        place, start = self.place(step.arguments[0]), constants[1]
        if place is not None and start.__class__ is str and start:
            self.prefix[place] = start
        return False

    def matches(self, step: Call, constants: tuple[Value, ...]) -> bool:
        pattern, delimiters, _ = constants
        place = self.place(step.arguments[2])
        given = delimiters is not UNDEFINED or self.usage.empty(step.arguments[1])
        known = pattern.__class__ is str and given
        if place is None or not known or GLOB_SPECIAL & set(pattern):
            return False
        start = pattern.split("*")[0].split("?")[0]
        if start:
            self.prefix[place] = start
        return False


def _members(collection: Any) -> Iterable[Value]:
    return collection if collection.__class__ is list else collection.values()


def _harmless(step: Statement) -> bool:
    """Whether a statement cannot fail with an error, whatever its values are."""
    if isinstance(step, Call):
        return step.function in _HARMLESS_CALLS
    if isinstance(step, Insert):
        return not step.once
    return isinstance(step, _HARMLESS)


_HARMLESS: Final = (
    *(Add, Append, Assign, Blocks, Compare, Dot, IsDefined, IsKind, IsUndefined, Length, Make),
    *(Not, Reset, Scan),
)

_HARMLESS_CALLS: Final = frozenset(
    ("neq", "lt", "lte", "gt", "gte", "internal.member_3", "is_string", "is_array", "is_object")
)

_CALLS: Final[Mapping[str, Callable[[_Reader, Call, tuple[Value, ...]], bool]]] = {
    "internal.member_2": _Reader.member,
    "startswith": _Reader.starts,
    "glob.match": _Reader.matches,
}


# --- building


Leaf = tuple[tuple[int, Any], ...]
"""Bodies to try, each with its number, by which they are put in order."""


@dataclass(frozen=True, slots=True)
class Test:
    """Picks by the value at a place.

    `equal` holds the bodies that need a certain value there, by its key form; `starts` those
    that need a text which starts so, `lengths` being the lengths of the starts. Text is what
    they need to not fail, so anything else at the place picks all of `texts`. `rest` holds the
    bodies that need nothing there.
    """

    place: Place
    equal: Mapping[Any, Node]
    starts: Mapping[str, Node]
    lengths: tuple[int, ...]
    texts: Leaf
    rest: Node


Node = Leaf | Test

_Body = tuple[int, Conditions]


def build(bodies: Sequence[Conditions]) -> Test | None:
    """Return the index over bodies with these conditions; None where none is worthwhile."""
    node = _build(list(enumerate(bodies)), frozenset())
    return node if isinstance(node, Test) else None


def _build(bodies: list[_Body], used: frozenset[Place]) -> Node:
    leaf = tuple((number, number) for number, _ in bodies)
    if len(bodies) < SMALLEST:
        return leaf
    places = {place: None for _, body in bodies for place in (*body.equal, *body.prefix)}
    gains = {place: _gain(bodies, place) for place in places if place not in used}
    place = max(gains, key=gains.__getitem__, default=None)
    if place is None or gains[place] < len(bodies) * WORTHWHILE:
        return leaf
    return _test(bodies, place, used | {place})


def _gain(bodies: list[_Body], place: Place) -> int:
    """Return how many bodies a test of the place leaves out, whatever the value."""
    equal: dict[Any, int] = {}
    starts: dict[str, int] = {}
    covered = 0
    for _, body in bodies:
        forms = body.equal.get(place)
        for form in forms or ():
            equal[form] = equal.get(form, 0) + 1
        if forms is None and place in body.prefix:
            starts[body.prefix[place]] = starts.get(body.prefix[place], 0) + 1
        covered += forms is not None or place in body.prefix
    lengths = sorted({len(start) for start in starts})

    def starting(text: str) -> int:
        return sum(starts.get(text[:length], 0) for length in lengths if length <= len(text))

    worst = [n + (starting(f) if f.__class__ is str else 0) for f, n in equal.items()]
    return covered - max([*worst, *map(starting, starts)], default=0)


def _test(bodies: list[_Body], place: Place, used: frozenset[Place]) -> Test:
    equal: dict[Any, list[_Body]] = {}
    starts: dict[str, list[_Body]] = {}
    rest: list[_Body] = []
    for pair in bodies:
        forms, start = pair[1].equal.get(place), pair[1].prefix.get(place)
        for form in forms or ():
            equal.setdefault(form, []).append(pair)
        if forms is None:
            (rest if start is None else starts.setdefault(start, [])).append(pair)
    return Test(
        place=place,
        equal={form: _build(some, used) for form, some in equal.items()},
        starts={start: _build(some, used) for start, some in starts.items()},
        lengths=tuple(sorted({len(start) for start in starts})),
        texts=tuple((number, number) for some in starts.values() for number, _ in some),
        rest=_build(rest, used),
    )


def bind(node: Node, functions: Sequence[Any]) -> Node:
    """Return the same index with functions in place of the numbers of bodies."""
    if not isinstance(node, Test):
        return tuple((number, functions[number]) for number, _ in node)
    return Test(
        place=node.place,
        equal={form: bind(below, functions) for form, below in node.equal.items()},
        starts={start: bind(below, functions) for start, below in node.starts.items()},
        lengths=node.lengths,
        texts=tuple((number, functions[number]) for number, _ in node.texts),
        rest=bind(node.rest, functions),
    )


def places(node: Node) -> Iterator[Place]:
    """Yield what an index looks at."""
    if isinstance(node, Test):
        yield node.place
        for below in (*node.equal.values(), *node.starts.values(), node.rest):
            yield from places(below)


# --- looking up


def select(state: State, node: Node, arguments: tuple[Value, ...]) -> list[tuple[int, Any]]:
    """Return the bodies that these arguments can satisfy, with their numbers, in order."""
    found: list[tuple[int, Any]] = []
    _collect(state, node, arguments, found)
    if len(found) > 1:
        found.sort()  # numbers differ, so functions are never compared
    return found


def _collect(
    state: State, node: Node, arguments: tuple[Value, ...], found: list[tuple[int, Any]]
) -> None:
    while isinstance(node, Test):
        position, path = node.place
        value = arguments[position]
        for key in path:
            value = lookup(state, value, key)
        if value.__class__ is str:
            for below in _by_text(node, value):
                _collect(state, below, arguments, found)
        elif value is not UNDEFINED:
            found += node.texts
            if value.__class__ not in COLLECTIONS:
                _collect(state, node.equal.get(key_form(value), ()), arguments, found)
        node = node.rest
    found += node


def _by_text(node: Test, text: str) -> Iterator[Node]:
    below = node.equal.get(text)
    if below is not None:
        yield below
    for length in node.lengths:
        if length > len(text):
            break
        below = node.starts.get(text[:length])
        if below is not None:
            yield below
