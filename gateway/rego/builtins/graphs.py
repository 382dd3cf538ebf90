"""Graphs (objects from a node to its neighbours) and the tree of a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.rego.builtins.charges import dear
from gateway.rego.builtins.operands import (
    COLLECTIONS,
    charge_sort,
    charge_value,
    mapping,
    wrong_type,
)
from gateway.rego.builtins.registry import Builtin, State, charged
from gateway.rego.values import (
    UNDEFINED,
    RegoSet,
    Value,
    from_key_form,
    key_form,
    sorted_items,
    sorted_members,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


NODE_STEPS: Final = 7
"""What a visit of a node costs."""


def reachable(state: State, graph: Value, initial: Value) -> RegoSet:
    """Return the nodes of the graph that can be reached from the initial ones."""
    nodes = mapping(graph)
    pending = _initial(state, initial)
    reached = RegoSet()
    while pending:
        form = pending.pop()
        if form in reached or form not in nodes:
            continue
        state.charge(NODE_STEPS)
        reached[form] = from_key_form(form)
        pending.extend(_neighbours(state, nodes[form]))
    return reached


def _initial(state: State, value: Value) -> list[Any]:
    if value.__class__ is not list and value.__class__ is not RegoSet:
        raise wrong_type(value, 2, "{array, set}")
    return _neighbours(state, value)


def _neighbours(state: State, value: Value) -> list[Any]:
    """List the key forms of an array or a set; anything else has none."""
    if value.__class__ is RegoSet:
        state.charge(2 * (1 + len(value)))
        return list(value)
    if value.__class__ is list:
        charge_value(dear(state, 5), value)
        return list(map(key_form, value))
    state.charge(1)
    return []


def reachable_paths(state: State, graph: Value, initial: Value) -> RegoSet:
    """Return paths from the initial nodes to an end, a missing node or one reached before.

    A node counts as reached for all paths that begin with the same two nodes, so there are no
    more paths than edges. That is what OPA's conformance suite asks for; OPA itself, since some
    version before 1.20, counts only the nodes of the path.
    """
    nodes = mapping(graph)
    paths = RegoSet()
    for form in _initial(state, initial):
        if form not in nodes:
            continue
        neighbours = _ordered_neighbours(state, nodes[form])
        if not neighbours:
            _add_path(paths, (form,))
        for neighbour in neighbours:
            _explore(state, nodes, paths, form, neighbour)
    return paths


def _add_path(paths: RegoSet, forms: tuple[Any, ...]) -> None:
    paths["a", *forms] = list(map(from_key_form, forms))


def _explore(
    state: State, nodes: dict[Any, Value], paths: RegoSet, start: Any, neighbour: Any
) -> None:
    reached = {start}
    pending: list[tuple[tuple[Any, ...], Iterator[Any]]] = []

    def enter(form: Any, path: tuple[Any, ...]) -> None:
        state.charge(NODE_STEPS + len(path))
        neighbours = _ordered_neighbours(state, nodes[form]) if form in nodes else []
        path = (*path, form) if form in nodes else path
        if neighbours:
            pending.append((path, iter(neighbours)))
        else:
            _add_path(paths, path)

    enter(neighbour, (start,))
    while pending:
        path, neighbours = pending[-1]
        form = next(neighbours, UNDEFINED)
        if form is UNDEFINED:
            pending.pop()
        elif form in reached:
            state.charge(NODE_STEPS + len(path))
            _add_path(paths, path)
        else:
            reached.add(path[-1])
            enter(form, path)


def _ordered_neighbours(state: State, value: Value) -> list[Any]:
    if value.__class__ is RegoSet:
        charge_value(dear(state, 6), value)
        charge_sort(state, value)
        return list(map(key_form, sorted_members(value)))
    return _neighbours(state, value)


def walk(state: State, value: Value) -> list[Value]:
    """List [path, value] of a value and everything inside it, in Rego order."""
    visited: list[Value] = []
    pending: list[tuple[list[Value], Value]] = [([], value)]
    while pending:
        path, item = pending.pop()
        state.charge(8 + len(path))
        visited.append([path, item])
        if item.__class__ in COLLECTIONS:
            state.charge(len(item) * (6 + len(path)))
            if item.__class__ is not list:
                charge_sort(state, item)
            inside = [([*path, key], inner) for key, inner in _entries(item)]
            pending.extend(reversed(inside))
    return visited


def _entries(value: Value) -> Iterable[tuple[Value, Value]]:
    kind = value.__class__
    if kind is dict:
        return sorted_items(value)
    if kind is list:
        return enumerate(value)
    return ((member, member) for member in sorted_members(value))


BUILTINS: Final[tuple[Builtin, ...]] = (
    charged("graph.reachable", reachable, 2),
    charged("graph.reachable_paths", reachable_paths, 2),
    charged("walk", walk, 1),
)
