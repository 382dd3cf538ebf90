"""Equality, order and membership of any two values."""

from __future__ import annotations

from typing import Final

from gateway.rego.builtins.operands import COLLECTIONS, COMPARED_A_STEP, charge_order, charge_value
from gateway.rego.builtins.registry import Builtin, State, charged
from gateway.rego.values import NUMBERS, UNDEFINED, RegoSet, Value, equal, key_form, less


def _weigh_text(state: State, left: Value, right: Value) -> None:
    if left.__class__ is str and right.__class__ is str:
        state.charge(min(len(left), len(right)) // COMPARED_A_STEP)


def _weigh(state: State, left: Value, right: Value) -> None:
    """Charge for comparing two values: no more than the smaller one is ever visited."""
    _weigh_text(state, left, right)
    if left.__class__ is not right.__class__ or left.__class__ in COLLECTIONS:
        if left.__class__ in NUMBERS or right.__class__ in COLLECTIONS:
            charge_order(state, left)
        if right.__class__ in NUMBERS:
            charge_order(state, right)


def same(state: State, left: Value, right: Value) -> bool:
    """Tell whether two values are equal."""
    _weigh(state, left, right)
    return equal(left, right)


def differ(state: State, left: Value, right: Value) -> bool:
    """Tell whether two values are not equal."""
    return not same(state, left, right)


def before(state: State, left: Value, right: Value) -> bool:
    """Tell whether left < right."""
    _weigh_text(state, left, right)
    charge_order(state, left, right)
    return less(left, right)


def after(state: State, left: Value, right: Value) -> bool:
    """Tell whether left > right."""
    return before(state, right, left)


def not_after(state: State, left: Value, right: Value) -> bool:
    """Tell whether left <= right."""
    return not before(state, right, left)


def not_before(state: State, left: Value, right: Value) -> bool:
    """Tell whether left >= right."""
    return not before(state, left, right)


def member(state: State, value: Value, collection: Value) -> bool:
    """Tell whether a collection holds `value`: `value in collection`."""
    kind = collection.__class__
    if kind is RegoSet:
        if value.__class__ in COLLECTIONS:
            charge_value(state, value)
        return key_form(value) in collection
    if kind is list:
        return _holds(state, value, collection)
    return kind is dict and _holds(state, value, list(collection.values()))


def _holds(state: State, value: Value, items: list[Value]) -> bool:
    count, kind = len(items), value.__class__
    if kind is str:
        state.charge(count + count * len(value) // COMPARED_A_STEP)
        return value in items
    state.charge(count)
    composite = kind in COLLECTIONS
    for item in items:
        if item.__class__ is kind or item.__class__ in NUMBERS:
            if composite or item.__class__ is not kind:
                charge_order(state, value, item)
            if equal(value, item):
                return True
    return False


def member_at(state: State, key: Value, value: Value, collection: Value) -> bool:
    """Tell whether a collection holds `value` under `key`: `key, value in collection`."""
    kind = collection.__class__
    if kind is dict:
        if key.__class__ in COLLECTIONS:
            charge_value(state, key)
        found = collection.get(key_form(key), UNDEFINED)
        return found is not UNDEFINED and same(state, value, found)
    if kind is list:
        return (
            key.__class__ in NUMBERS
            and 0 <= key < len(collection)
            and key == int(key)
            and same(state, value, collection[int(key)])
        )
    return kind is RegoSet and same(state, key, value) and member(state, value, collection)


BUILTINS: Final[tuple[Builtin, ...]] = (
    charged("equal", same, 2),
    charged("neq", differ, 2),
    charged("lt", before, 2, steps=4),
    charged("lte", not_after, 2, steps=4),
    charged("gt", after, 2, steps=4),
    charged("gte", not_before, 2, steps=4),
    charged("internal.member_2", member, 2),
    charged("internal.member_3", member_at, 3),
)
