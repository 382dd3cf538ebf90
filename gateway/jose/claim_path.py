"""Claims by path: `realm_access.roles` goes one object deeper at the dot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()
"""There is no claim at the path; null is a value."""


def find(claims: Mapping[str, Any], path: str) -> Any:
    """The claim at `path`, else ABSENT.

    A claim whose own name holds dots (`https://example.com/roles`) is found first, then the
    longest such name with the rest of the path inside it.
    """
    if path in claims:
        return claims[path]
    cut = path.rfind(".")
    while cut >= 0:
        inner = claims.get(path[:cut])
        if isinstance(inner, dict):
            found = find(inner, path[cut + 1 :])
            if found is not ABSENT:
                return found
        cut = path.rfind(".", 0, cut)
    return ABSENT
