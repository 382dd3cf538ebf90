"""What every native input document holds, for policies that read what none does."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ANYTHING: Final = None
"""The configuration, the token or the request decides what is there."""

SCALAR: Final[Mapping[str, Any]] = {}

FIELDS: Final[Mapping[str, Any]] = {
    "request": {
        **dict.fromkeys(("id", "method", "scheme", "host", "path", "query_string"), SCALAR),
        **dict.fromkeys(("segments", "size"), SCALAR),
        **dict.fromkeys(("query", "headers", "cookies", "body"), ANYTHING),
    },
    "claims": ANYTHING,
    "identity": dict.fromkeys(
        ("authenticated", "subject", "issuer", "scopes", "groups", "roles"), SCALAR
    ),
    "token": {"header": ANYTHING, "expires_at": SCALAR},
    "route": {"id": SCALAR, "params": ANYTHING, "labels": ANYTHING},
    "source": dict.fromkeys(("address", "networks"), SCALAR),
    "time": dict.fromkeys(("unix", "rfc3339"), SCALAR),
}
"""The texts that are keys, by level."""

CREDENTIALS: Final = frozenset(("authorization", "proxy-authorization"))


def misread(path: Sequence[str]) -> str | None:
    """Return a remedy for a path below `input` that no document has; None where it can be there."""
    known: Mapping[str, Any] | None = FIELDS
    for depth, name in enumerate(path):
        if known is ANYTHING:
            break
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            meant = ".".join(("input", *path[:depth], *close))
            return f"did you mean {meant}?" if close else "docs/policies.md lists what input holds"
        known = known[name]
    match tuple(path):
        case ("request", "headers", name, *_) if name.lower() in CREDENTIALS:
            return "policies are not shown credentials; what a token says is in input.claims"
        case ("request", "headers", name, *_) if name != name.lower():
            return f'names of headers are lower-case: input.request.headers["{name.lower()}"]'
        case _:
            return None
