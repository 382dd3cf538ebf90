"""Sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.rego.builtins.operands import set_of
from gateway.rego.builtins.registry import Builtin, State, charged
from gateway.rego.values import RegoSet

if TYPE_CHECKING:
    from gateway.rego.values import Value


def both(state: State, left: Value, right: Value) -> RegoSet:
    """Return the members that two sets share: `left & right`."""
    first, second = set_of(left), set_of(right, 2)
    state.charge(3 + 2 * len(first))
    return _shared(first, second)


def either(state: State, left: Value, right: Value) -> RegoSet:
    """Return the members of two sets: `left | right`."""
    first, second = set_of(left), set_of(right, 2)
    state.charge(3 + len(first) + len(second))
    joined = RegoSet(first)
    joined.update(second)
    return joined


def intersection(state: State, value: Value) -> RegoSet:
    """Return the members that all sets of a set share."""
    sets = [set_of(member) for member in set_of(value).values()]
    state.charge(3 * (len(sets) + sum(map(len, sets))))
    if not sets:
        return RegoSet()
    shared = min(sets, key=len)
    for other in sets:
        shared = _shared(shared, other)
    return shared


def _shared(left: RegoSet, right: RegoSet) -> RegoSet:
    return RegoSet((form, member) for form, member in left.items() if form in right)


def union(state: State, value: Value) -> RegoSet:
    """Return the members of all sets of a set."""
    joined = RegoSet()
    for member in set_of(value).values():
        state.charge(3 + len(set_of(member)))
        joined.update(member)
    return joined


BUILTINS: Final[tuple[Builtin, ...]] = (
    charged("and", both, 2),
    charged("or", either, 2),
    charged("intersection", intersection, 1),
    charged("union", union, 1),
)
