"""The rule index: of a rule's many bodies, find the few that an input can satisfy.

A body is left out only for a condition that it tests before anything in it could fail with an
error, so that the index never changes a result. A node is a tuple of bodies, in their order, or
a test that leads to another node.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.rego.plan import (
    Add,
    Append,
    Assign,
    Block,
    Call,
    Compare,
    Const,
    Dot,
    Insert,
    IsDefined,
    Make,
    Operand,
    Statement,
)
from gateway.rego.runtime import COLLECTIONS, State, lookup
from gateway.rego.values import UNDEFINED, RegoSet, Value, key_form

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.rego.usage import Usage

SMALLEST: Final = 8
"""Fewer bodies are tried one after the other."""

WORTHWHILE: Final = 0.7
"""A test must leave at most this part of the bodies in the worst case."""

MAX_ENTRIES: Final = 50_000
"""Most bodies that the leaves of one index list together."""

GLOB_SPECIAL: Final = frozenset("[]{}\\!,")

Place = tuple[int, tuple[str, ...]]
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
            case Dot(target=target, source=int() as source, key=Const(value=str() as key)):
                if source in self.places and self.usage.stable(target):
                    position, path = self.places[source]
                    self.places[target] = (position, (*path, key))
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
                return isinstance(step, _HARMLESS)

    def place(self, operand: Operand) -> Place | None:
        return self.places.get(operand) if isinstance(operand, int) else None

    def compare(self, left: Operand, right: Operand) -> None:
        place, value = self.place(left), self.usage.constant(right)
        if place is not None and value is not UNDEFINED and value.__class__ not in COLLECTIONS:
            self.require(place, frozenset((key_form(value),)))

    def require(self, place: Place, forms: frozenset[Any]) -> None:
        self.equal[place] = forms & self.equal.get(place, forms)

    def call(self, step: Call, after: Statement | None) -> bool:
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
        known = pattern.__class__ is str and delimiters is not UNDEFINED
        if place is None or not known or GLOB_SPECIAL & set(pattern):
            return False
        start = pattern.split("*")[0].split("?")[0]
        if start:
            self.prefix[place] = start
        return False


def _members(collection: Any) -> Iterable[Value]:
    return collection if collection.__class__ is list else collection.values()  # type: ignore[no-any-return]


_HARMLESS: Final = (Add, Append, Assign, Compare, Dot, Insert, IsDefined, Make)

_CALLS: Final[Mapping[str, Callable[[_Reader, Call, tuple[Value, ...]], bool]]] = {
    "internal.member_2": _Reader.member,
    "startswith": _Reader.starts,
    "glob.match": _Reader.matches,
}


# --- building


Leaf = tuple[Any, ...]
"""Bodies to try, in order: their numbers, or once loaded their functions."""


@dataclass(frozen=True, slots=True)
class Equal:
    """Leads on by the value at a place: `table` by key form, else `rest`."""

    place: Place
    table: Mapping[Any, Node]
    rest: Node


@dataclass(frozen=True, slots=True)
class Prefix:
    """Leads on by the start of the text at a place.

    `table` maps a start to (number, body) pairs, `lengths` are those of the starts, `rest` are
    pairs that need none. Anything but text at the place: `every` body, for its error.
    """

    place: Place
    table: Mapping[str, tuple[tuple[int, Any], ...]]
    lengths: tuple[int, ...]
    rest: tuple[tuple[int, Any], ...]
    every: Leaf


Node = Leaf | Equal | Prefix

_Body = tuple[int, Conditions]


def build(bodies: Sequence[Conditions]) -> Node | None:
    """Return the index over bodies with these conditions; None where none is worthwhile."""
    node = _build(list(enumerate(bodies)), frozenset())
    return None if isinstance(node, tuple) else node


def _build(bodies: list[_Body], used: frozenset[Place]) -> Node:
    numbers = tuple(number for number, _ in bodies)
    if len(bodies) < SMALLEST:
        return numbers
    equal = _cheapest(bodies, used, _equal_cost)
    prefix = _cheapest(bodies, used, _prefix_cost)
    best = min((cost for cost, _ in (*equal, *prefix)), default=len(bodies))
    if best > len(bodies) * WORTHWHILE:
        return numbers
    if equal and equal[0][0] == best:
        return _build_equal(bodies, equal[0][1], used)
    return _build_prefix(bodies, prefix[0][1])


def _cheapest(
    bodies: list[_Body],
    used: frozenset[Place],
    cost: Callable[[list[_Body], Place], int],
) -> list[tuple[int, Place]]:
    field = "equal" if cost is _equal_cost else "prefix"
    places = {place: None for _, body in bodies for place in getattr(body, field)}
    found = [(cost(bodies, place), place) for place in places if place not in used]
    return [min(found, key=lambda pair: pair[0])] if found else []


def _equal_cost(bodies: list[_Body], place: Place) -> int:
    counts: dict[Any, int] = {}
    rest = 0
    for _, body in bodies:
        forms = body.equal.get(place)
        if forms is None:
            rest += 1
        for form in forms or ():
            counts[form] = counts.get(form, 0) + 1
    if len(counts) * rest > MAX_ENTRIES:
        return len(bodies)
    return rest + max(counts.values(), default=0)


def _prefix_cost(bodies: list[_Body], place: Place) -> int:
    counts: dict[str, int] = {}
    for _, body in bodies:
        start = body.prefix.get(place)
        if start is not None:
            counts[start] = counts.get(start, 0) + 1
    rest = len(bodies) - sum(counts.values())
    lengths = sorted({len(start) for start in counts})
    worst = max(
        (sum(counts.get(start[:length], 0) for length in lengths if length <= len(start)))
        for start in counts
    )
    return rest + worst


def _build_equal(bodies: list[_Body], place: Place, used: frozenset[Place]) -> Node:
    forms = {form: None for _, body in bodies for form in body.equal.get(place, ())}
    below = used | {place}
    listed: dict[Any, list[_Body]] = {form: [] for form in forms}
    rest: list[_Body] = []
    for pair in bodies:
        wanted = pair[1].equal.get(place)
        if wanted is None:
            rest.append(pair)
        for form in forms if wanted is None else wanted:
            listed[form].append(pair)
    return Equal(
        place, {form: _build(some, below) for form, some in listed.items()}, _build(rest, below)
    )


def _build_prefix(bodies: list[_Body], place: Place) -> Node:
    table: dict[str, list[tuple[int, Any]]] = {}
    rest: list[tuple[int, Any]] = []
    for number, body in bodies:
        start = body.prefix.get(place)
        (rest if start is None else table.setdefault(start, [])).append((number, number))
    return Prefix(
        place=place,
        table={start: tuple(pairs) for start, pairs in table.items()},
        lengths=tuple(sorted({len(start) for start in table})),
        rest=tuple(rest),
        every=tuple(number for number, _ in bodies),
    )


def bind(node: Node, functions: Sequence[Any]) -> Node:
    """Return the same index with functions in place of the numbers of bodies."""
    match node:
        case Equal(place=place, table=table, rest=rest):
            bound = {form: bind(below, functions) for form, below in table.items()}
            return Equal(place, bound, bind(rest, functions))
        case Prefix():
            return Prefix(
                place=node.place,
                table={start: _bound(pairs, functions) for start, pairs in node.table.items()},
                lengths=node.lengths,
                rest=_bound(node.rest, functions),
                every=tuple(functions[number] for number in node.every),
            )
        case _:
            return tuple(functions[number] for number in node)


def _bound(
    pairs: tuple[tuple[int, Any], ...], functions: Sequence[Any]
) -> tuple[tuple[int, Any], ...]:
    return tuple((number, functions[body]) for number, body in pairs)


# --- looking up


def select(state: State, node: Node, arguments: tuple[Value, ...]) -> Leaf:
    """Return the bodies that these arguments can satisfy, in order."""
    while node.__class__ is not tuple:
        position, path = node.place  # type: ignore[union-attr]
        value = arguments[position]
        for key in path:
            if value.__class__ is dict:
                value = value.get(key, UNDEFINED)
            else:
                value = lookup(state, value, key)
        if node.__class__ is Equal:
            if value.__class__ in COLLECTIONS:
                node = node.rest
            else:
                node = node.table.get(
                    value if value.__class__ is str else key_form(value), node.rest
                )
        else:
            return _by_start(node, value)  # type: ignore[arg-type]
    return node  # type: ignore[return-value]


def _by_start(node: Prefix, value: Value) -> Leaf:
    if value.__class__ is not str:
        return node.every
    found: list[tuple[int, Any]] = list(node.rest)
    for length in node.lengths:
        if length > len(value):
            break
        found += node.table.get(value[:length], ())
    if len(found) > 1:
        found.sort(key=_number)
    return tuple([body for _, body in found])


def _number(pair: tuple[int, Any]) -> int:
    return pair[0]
