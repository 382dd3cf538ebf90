"""Every value of a Config with its key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.config.model import Section

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.config.document import Key

WRITTEN = {("log", "decisions", "path"), ("log", "access", "path"), ("policy", "state")}
"""The paths that the gateway writes; it reads all others."""


def names_policies(key: Key) -> bool:
    """Whether a path at this key is a folder or file with policies, which are read as a set."""
    return key[:2] == ("policy", "paths") or (*key[:2], *key[3:]) == ("policy", "bundles", "file")


def leaves(node: Any, key: Key = ()) -> Iterator[tuple[Key, Any]]:
    """The values below `node` that hold no others, in the order of the model."""
    if isinstance(node, Section):
        for name in type(node).model_fields:
            yield from leaves(getattr(node, name), (*key, name))
    elif isinstance(node, dict):
        for name, value in node.items():
            yield from leaves(value, (*key, name))
    elif isinstance(node, tuple):
        for number, value in enumerate(node):
            yield from leaves(value, (*key, number))
    else:
        yield key, node


def files(node: Section) -> Iterator[tuple[Key, Path]]:
    """The files and folders that are read."""
    return (
        (key, value)
        for key, value in leaves(node)
        if isinstance(value, Path) and key not in WRITTEN
    )


def map_paths(node: Any, change: Callable[[Path], Path]) -> Any:
    """A copy of `node` with every path changed."""
    if isinstance(node, Path):
        return change(node)
    if isinstance(node, tuple):
        return tuple(map_paths(value, change) for value in node)
    if isinstance(node, dict):
        return {name: map_paths(value, change) for name, value in node.items()}
    if isinstance(node, Section):
        names = type(node).model_fields
        return node.model_copy(
            update={name: map_paths(getattr(node, name), change) for name in names}
        )
    return node
