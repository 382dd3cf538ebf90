"""Objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.rego.builtins.operands import (
    COLLECTIONS,
    OperandError,
    array,
    charge_order,
    charge_value,
    mapping,
    wrong_element,
    wrong_type,
)
from gateway.rego.builtins.registry import Builtin, State, charged
from gateway.rego.values import (
    NUMBERS,
    UNDEFINED,
    RegoSet,
    Undefined,
    Value,
    equal,
    from_key_form,
    key_form,
)

if TYPE_CHECKING:
    from collections.abc import Collection


def get(state: State, value: Value, key: Value, default: Value) -> Value:
    """Look up a key, or an array of keys one below the other, else `default`."""
    found: Value | Undefined = mapping(value)
    charge_value(state, key, each=3)
    for step in key if key.__class__ is list else (key,):
        found = child(found, step)
        if found is UNDEFINED:
            return default
    return found


def child(value: Value, key: Value) -> Value | Undefined:
    """Return what a collection holds under `key`, as a reference would."""
    kind = value.__class__
    if kind is dict or kind is RegoSet:
        return value.get(key_form(key), UNDEFINED)
    if kind is list and key.__class__ in NUMBERS and 0 <= key < len(value) and key == int(key):
        return value[int(key)]
    return UNDEFINED


def keys(state: State, value: Value) -> RegoSet:
    """Return the set of an object's keys."""
    state.charge(4 + 2 * len(mapping(value)))
    return RegoSet((form, from_key_form(form)) for form in value)


def _key_forms(state: State, value: Value) -> Collection[Any]:
    kind = value.__class__
    if kind is list:
        charge_value(state, value)
        return set(map(key_form, value))
    if kind is dict or kind is RegoSet:
        return value.keys()  # type: ignore[no-any-return]
    raise wrong_type(value, 2, "object", "set", "array")


def remove(state: State, value: Value, unwanted: Value) -> dict[Any, Value]:
    """Leave out the given keys."""
    state.charge(3 + 2 * len(mapping(value)))
    forms = _key_forms(state, unwanted)
    return {form: item for form, item in value.items() if form not in forms}


def keep(state: State, value: Value, wanted: Value) -> dict[Any, Value]:
    """Keep only the given keys."""
    state.charge(3 + 2 * len(mapping(value)))
    forms = _key_forms(state, wanted)
    return {form: item for form, item in value.items() if form in forms}


def union(state: State, left: Value, right: Value) -> dict[Any, Value]:
    """Join two objects, and objects inside them; the right one wins."""
    return _merged(state, mapping(left), mapping(right, 2))


def union_n(state: State, value: Value) -> dict[Any, Value]:
    """Join the objects of an array, and objects inside them; the later one wins."""
    joined: dict[Any, Value] = {}
    for element in array(value):
        if element.__class__ is not dict:
            raise wrong_element(value, element, 1, "object")
        joined = _merged(state, joined, element)
    return joined


def _merged(state: State, left: dict[Any, Value], right: dict[Any, Value]) -> dict[Any, Value]:
    state.charge(4 + len(left) + 2 * len(right))
    joined = dict(left)
    for form, item in right.items():
        known = joined.get(form)
        if known.__class__ is dict and item.__class__ is dict:
            joined[form] = _merged(state, known, item)
        else:
            joined[form] = item
    return joined


def subset(state: State, superset: Value, part: Value) -> bool:
    """Tell whether `part` is inside: keys and values, members, or a run of elements."""
    whole, wanted = superset.__class__, part.__class__
    if whole is dict and wanted is dict:
        return _object_subset(state, superset, part)
    if whole is RegoSet and wanted is RegoSet:
        state.charge(len(part))
        return all(form in superset for form in part)
    if whole is list and wanted is list:
        return _array_subset(state, superset, part)
    if whole is list and wanted is RegoSet:
        charge_value(state, superset)
        forms = set(map(key_form, superset))
        return all(form in forms for form in part)
    raise OperandError("both arguments object.subset must be of the same type or array and set")


def _object_subset(state: State, superset: Any, part: Any) -> bool:
    state.charge(8 * (1 + len(part)))
    return all(
        (found := superset.get(form, UNDEFINED)) is not UNDEFINED and _fits(state, found, item)
        for form, item in part.items()
    )


def _fits(state: State, whole: Value, part: Value) -> bool:
    if whole.__class__ is part.__class__ and whole.__class__ in COLLECTIONS:
        return subset(state, whole, part)
    charge_order(state, part)
    return equal(whole, part)


def _array_subset(state: State, superset: list[Value], part: list[Value]) -> bool:
    """Find `part` as a run, in linear time (Knuth, Morris, Pratt)."""
    charge_order(state, superset, part)
    if not part:
        return True
    wanted = list(map(key_form, part))
    borders = [0]
    length = 0
    for form in wanted[1:]:
        while length and form != wanted[length]:
            length = borders[length - 1]
        length += form == wanted[length]
        borders.append(length)
    length = 0
    for form in map(key_form, superset):
        while length and form != wanted[length]:
            length = borders[length - 1]
        length += form == wanted[length]
        if length == len(wanted):
            return True
    return False


BUILTINS: Final[tuple[Builtin, ...]] = (
    charged("object.get", get, 3),
    charged("object.keys", keys, 1),
    charged("object.remove", remove, 2, steps=4),
    charged("object.filter", keep, 2, steps=4),
    charged("object.union", union, 2),
    charged("object.union_n", union_n, 1),
    charged("object.subset", subset, 2),
)
