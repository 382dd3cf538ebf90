"""A place on the gateway's own hosts that somebody else names, such as where a login leads back."""

from __future__ import annotations

from gateway import wire
from gateway.errors import Code, RouteError
from gateway.route.path import canonical_path
from gateway.route.query import parse_query

MAX_PATH = 2000
"""Most bytes of a path with its query."""


def own_path(text: str) -> str:
    """`text`, which is a path, maybe with a query, that the router takes and browsers read alike.

    RouteError RETURN_REFUSED for anything else: another host in any spelling, a fragment, what is
    too long, and a path that the gateway answers itself.
    """
    try:
        raw = text.encode("ascii")
        path, mark, query = raw.partition(b"?")
        canonical = canonical_path(path, encoded_slashes=True)
        parse_query(query)
    except (UnicodeEncodeError, RouteError) as error:
        raise RouteError(Code.RETURN_REFUSED, str(error)) from None
    if len(raw) > MAX_PATH:
        raise RouteError(Code.RETURN_REFUSED, f"{len(raw)} bytes")
    if f"{canonical.text}/".startswith(wire.OWN_PREFIX.decode()):
        raise RouteError(Code.RETURN_REFUSED, "the gateway's own")
    return canonical.text + (mark + query).decode()
