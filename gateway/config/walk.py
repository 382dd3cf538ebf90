"""Every value of a Config with its key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.config.model import Section

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.config.document import Key
    from gateway.config.model import Canary, Config, Shadow

_Kind = TypeVar("_Kind", bound=Section)

WRITTEN = {("log", "decisions", "path"), ("log", "access", "path"), ("policy", "state")}
"""The paths that the gateway writes; it reads all others."""

APART = {("revocation", "file")}
"""Those that are read and watched apart, as they change without a reload."""

BESIDE = ("shadow", "canary")
"""The policy sets beside the enforced one, as sections of `policy`."""


def names_policies(key: Key) -> bool:
    """Whether a path at this key is a folder or file with policies, which are read as a set."""
    bundle = ("policy", "bundles", "file")
    return key[:2] == ("policy", "paths") or (*key[:2], *key[3:]) == bundle or is_beside(key)


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


def sections(node: Any, kind: type[_Kind], key: Key = ()) -> Iterator[tuple[Key, _Kind]]:
    """The sections of a kind, with their keys."""
    if isinstance(node, kind):
        yield key, node
    inner: Iterable[tuple[str | int, Any]] = ()
    if isinstance(node, Section):
        inner = [(name, getattr(node, name)) for name in type(node).model_fields]
    elif isinstance(node, dict):
        inner = node.items()
    elif isinstance(node, tuple):
        inner = enumerate(node)
    for name, value in inner:
        yield from sections(value, kind, (*key, name))


def files(node: Section) -> Iterator[tuple[Key, Path]]:
    """The files and folders that are read."""
    return (
        (key, value)
        for key, value in leaves(node)
        if isinstance(value, Path) and key not in WRITTEN | APART
    )


def is_beside(key: Key) -> bool:
    """Whether it leads into one whose faults keep nothing else from working."""
    return key[:1] == ("policy",) and any(name in key[1:2] for name in BESIDE)


def sets_beside(config: Config) -> Iterator[tuple[str, Shadow | Canary]]:
    """The policy sets beside the enforced one that are configured, by name."""
    for name in BESIDE:
        section = getattr(config.policy, name)
        if section is not None:
            yield name, section


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
