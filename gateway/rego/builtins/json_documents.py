"""Parts of documents: json.filter, json.remove and json.patch (RFC 6902, extended to sets)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from gateway.rego.builtins.charges import dear
from gateway.rego.builtins.operands import (
    OperandError,
    array,
    charge_value,
    mapping,
    type_name,
    wrong_type,
)
from gateway.rego.builtins.registry import Builtin, State, charged
from gateway.rego.errors import BuiltinError
from gateway.rego.values import (
    MAX_DEPTH,
    NUMBERS,
    UNDEFINED,
    RegoSet,
    Undefined,
    Value,
    equal,
    key_form,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Path = list[Value]
Tree = dict[Any, Any]
"""Paths joined at common beginnings: key form -> Tree, or None where a path ends."""


def _path(value: Value) -> Path:
    """Read a path: `a/b` with the escapes of a JSON pointer, or an array of keys."""
    if value.__class__ is list:
        return value
    if value.__class__ is not str:
        raise OperandError(
            "operand 2 must be one of {set, array} containing string paths or array of path "
            f"segments but got {type_name(value)}"
        )
    if not value:
        return []
    parts = value.lstrip("/").split("/")
    return [part.replace("~1", "/").replace("~0", "~") for part in parts]


def _tree(state: State, value: Value) -> Tree:
    if value.__class__ is not list and value.__class__ is not RegoSet:
        raise wrong_type(value, 2, "set", "array")
    charge_value(dear(state, 3), value)
    root: Tree = {}
    for item in value.values() if value.__class__ is RegoSet else value:
        path = _path(item)
        state.charge(5 * (1 + len(path)))
        _plant(root, [key_form(part) for part in path])
    return root


def _plant(node: Tree, forms: list[Any]) -> None:
    if not forms:
        return
    for form in forms[:-1]:
        inner = node.setdefault(form, {})
        if inner is None:
            return
        node = inner
    node[forms[-1]] = None


def keep(state: State, value: Value, paths: Value) -> Value:
    """Keep what lies at the paths; the elements of an array move together."""
    mapping(value)
    return _kept(state, value, _tree(state, paths))


def _kept(state: State, value: Value, tree: Tree | None) -> Value:
    if tree is None:
        return value
    kind = value.__class__
    if kind is dict:
        state.charge(4 * (1 + min(len(value), len(tree))))
        if len(tree) < len(value):
            return {
                form: _kept(state, value[form], inner)
                for form, inner in tree.items()
                if form in value
            }
        return {
            form: _kept(state, item, tree[form]) for form, item in value.items() if form in tree
        }
    if kind is list:
        state.charge(4 * (1 + len(value)))
        return [
            _kept(state, item, tree[str(index)])
            for index, item in enumerate(value)
            if str(index) in tree
        ]
    if kind is RegoSet:
        state.charge(4 * (1 + len(value)))
        return _as_set(
            _kept(state, item, tree[form]) for form, item in value.items() if form in tree
        )
    return value


def _as_set(members: Iterable[Value]) -> RegoSet:
    return RegoSet((key_form(member), member) for member in members)


def remove(state: State, value: Value, paths: Value) -> Value:
    """Leave out what lies at the paths."""
    mapping(value)
    return _without(state, value, _tree(state, paths))


def _without(state: State, value: Value, tree: Tree) -> Value:
    """Copy a value without what the tree names; members it does not name are shared."""

    def inside(item: Value, key: Any) -> Value:
        inner = tree.get(key, UNDEFINED)
        if inner is None:
            return UNDEFINED
        return item if inner is UNDEFINED else _without(state, item, inner)

    kind = value.__class__
    if kind is dict:
        state.charge(4 * (1 + len(value)))
        pairs = ((form, inside(item, form)) for form, item in value.items())
        return {form: item for form, item in pairs if item is not UNDEFINED}
    if kind is list:
        state.charge(4 * (1 + len(value)))
        items = (inside(item, str(index)) for index, item in enumerate(value))
        return [item for item in items if item is not UNDEFINED]
    if kind is RegoSet:
        state.charge(4 * (1 + len(value)))
        items = (inside(item, form) for form, item in value.items())
        return _as_set(item for item in items if item is not UNDEFINED)
    return value


# --- patches


class _PatchError(BuiltinError):
    """An operation does not apply."""

    def __init__(self, why: str = "an operation's path leads nowhere") -> None:
        super().__init__(f"json.patch: {why}")


# As Go's Atoi reads them, but for leading zeros.
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,15}|\+0*[0-9]{1,16}|-0+")


def _index(key: Value, length: int) -> int:
    """Return the index that a key means in an array of `length` elements."""
    if key == "-" and key.__class__ is str:
        return length
    if key.__class__ is str and _INDEX.fullmatch(key):
        return int(key)
    if key.__class__ in NUMBERS and 0 <= key <= length and key == int(key):
        return int(key)
    raise _PatchError


class _Patcher:
    """Applies operations to a document, copying the collections that change."""

    def __init__(self, state: State, document: Value | Undefined) -> None:
        self.state = state
        self.document = document

    def find(self, path: Path) -> Value:
        value = self.document
        if value is UNDEFINED:
            raise _PatchError
        for key in path:
            self.state.charge(8)
            value = self._child(value, key)
        return value

    def _child(self, value: Value, key: Value) -> Value:
        kind = value.__class__
        if kind is list:
            index = _index(key, len(value))
            if index >= len(value):
                raise _PatchError
            return value[index]
        if kind is dict or kind is RegoSet:
            charge_value(dear(self.state, 3), key)
            form = key_form(key)
            if form in value:
                return value[form]
        raise _PatchError

    def insert(self, path: Path, value: Value) -> None:
        if not path:
            self.document = value
        else:
            self._change(path, lambda parent, key: _inserted(parent, key, value))

    def delete(self, path: Path) -> None:
        if not path:
            self.document = UNDEFINED
        else:
            self.find(path)
            self._change(path, _deleted)

    def _change(self, path: Path, change: Callable[[Value, Value], Value]) -> None:
        if len(path) > MAX_DEPTH:
            raise _PatchError
        if self.document is UNDEFINED:
            raise _PatchError
        parents = [self.document]
        for key in path[:-1]:
            self.state.charge(14)
            parents.append(self._child(parents[-1], key))
        for parent in parents:
            self.state.charge(1 + (0 if parent.__class__ is str else _length(parent)))
        made = change(parents.pop(), path[-1])
        for parent, key in zip(reversed(parents), reversed(path[:-1]), strict=True):
            made = _replaced(self.state, parent, key, made)
        self.document = made


def _length(value: Value) -> int:
    return len(value) if value.__class__ in (list, dict, RegoSet) else 0


def _inserted(parent: Value, key: Value, value: Value) -> Value:
    kind = parent.__class__
    if kind is list:
        index = _index(key, len(parent))
        if index > len(parent):
            raise _PatchError
        return [*parent[:index], value, *parent[index:]]
    if kind is dict:
        return {**parent, key_form(key): value}
    if kind is RegoSet and equal(key, value):
        return RegoSet({**parent, key_form(value): value})
    raise _PatchError


def _deleted(parent: Value, key: Value) -> Value:
    if parent.__class__ is list:
        index = _index(key, len(parent))
        return parent[:index] + parent[index + 1 :]
    form = key_form(key)
    return parent.__class__((other, item) for other, item in parent.items() if other != form)


def _replaced(state: State, parent: Value, key: Value, value: Value) -> Value:
    if parent.__class__ is list:
        index = _index(key, len(parent))
        return [*parent[:index], value, *parent[index + 1 :]]
    if parent.__class__ is dict:
        return {**parent, key_form(key): value}
    charge_value(dear(state, 4), value)
    kept = _deleted(parent, key)
    return RegoSet({**kept, key_form(value): value})


def _add(patcher: _Patcher, path: Path, operation: dict[str, Value]) -> None:
    patcher.insert(path, _attribute(operation, "value"))


def _remove(patcher: _Patcher, path: Path, _: dict[str, Value]) -> None:
    patcher.delete(path)


def _replace(patcher: _Patcher, path: Path, operation: dict[str, Value]) -> None:
    value = _attribute(operation, "value")
    patcher.delete(path)
    patcher.insert(path, value)


def _move(patcher: _Patcher, path: Path, operation: dict[str, Value]) -> None:
    source = _path(_attribute(operation, "from"))
    value = patcher.find(source)
    patcher.delete(source)
    patcher.insert(path, value)


def _copy(patcher: _Patcher, path: Path, operation: dict[str, Value]) -> None:
    patcher.insert(path, patcher.find(_path(_attribute(operation, "from"))))


def _test(patcher: _Patcher, path: Path, operation: dict[str, Value]) -> None:
    expected = _attribute(operation, "value")
    found = patcher.find(path)
    charge_value(patcher.state, found)
    if not equal(found, expected):
        raise _PatchError


_OPERATIONS: Final[dict[str, Callable[[_Patcher, Path, dict[str, Value]], None]]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}


def _attribute(operation: dict[str, Value], name: str) -> Value:
    if name not in operation:
        raise _PatchError(f"an operation has no `{name}`")
    return operation[name]


def patch(state: State, value: Value, operations: Value) -> Value:
    """Apply JSON Patch operations in order; an error if one does not apply."""
    patcher = _Patcher(state, value)
    charge_value(state, array(operations, 2))
    for operation in operations:
        state.charge(35)
        if operation.__class__ is not dict:
            raise _PatchError("an operation is not an object")
        name = _attribute(operation, "op")
        apply = _OPERATIONS.get(name) if name.__class__ is str else None
        if apply is None:
            raise _PatchError("an operation has an unknown `op`")
        apply(patcher, _path(_attribute(operation, "path")), operation)
    if patcher.document is UNDEFINED:
        raise _PatchError("the whole document is removed")
    return patcher.document


BUILTINS: Final[tuple[Builtin, ...]] = (
    charged("json.filter", keep, 2),
    charged("json.remove", remove, 2),
    charged("json.patch", patch, 2),
)
