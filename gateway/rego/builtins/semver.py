"""Semantic versions (semver.org 2.0.0), read as leniently as OPA does.

A `v` before them, leading zeros, and an empty pre-release or build are fine.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from gateway.rego.builtins.operands import string
from gateway.rego.builtins.registry import Builtin, pure
from gateway.rego.errors import BuiltinError

if TYPE_CHECKING:
    from gateway.rego.values import Value

MAX_LENGTH: Final = 1_024

_IDENTIFIERS: Final = r"((?:[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?)"
_VERSION: Final = re.compile(
    rf"v?([0-9]+)\.([0-9]+)\.([0-9]+)(?:-{_IDENTIFIERS})?(?:\+{_IDENTIFIERS})?"
)
_MOST: Final = (1 << 63) - 1


def _precedence(text: str) -> tuple[Any, ...] | None:
    """Return a key in order of precedence (item 11); None if `text` is no version."""
    version = _VERSION.fullmatch(text) if len(text) <= MAX_LENGTH else None
    if version is None:
        return None
    *numbers, release, _ = version.groups()
    core = tuple(map(int, numbers))
    if max(core) > _MOST:
        return None
    if not release:
        return (*core, (1,))
    identifiers = release.split(".")
    return (
        *core,
        (0, *((0, int(name), "") if name.isdigit() else (1, 0, name) for name in identifiers)),
    )


def compare(left: Value, right: Value) -> int:
    """Compare two versions: -1, 0 or 1."""
    keys = []
    for position, value in enumerate((left, right), 1):
        key = _precedence(string(value, position))
        if key is None:
            raise BuiltinError(f"operand {position}: string {value[:100]} is not a valid SemVer")
        keys.append(key)
    return (keys[0] > keys[1]) - (keys[0] < keys[1])


def is_valid(value: Value) -> bool:
    """Tell whether a value is a version."""
    return value.__class__ is str and _precedence(value) is not None


BUILTINS: Final[tuple[Builtin, ...]] = (
    pure("semver.compare", compare, 2, steps=250),
    pure("semver.is_valid", is_valid, 1, steps=250),
)
