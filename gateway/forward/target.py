"""Where a request goes: the upstream, and the path and query that it gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from gateway.config.model import Upstream

if TYPE_CHECKING:
    from gateway.config.model import Config, Route
    from gateway.model import Head, Match


def resolve(config: Config, route: Route) -> Upstream:
    """The upstream that a route names, or whose URL it gives; ValueError if it is neither."""
    named = config.upstreams.get(route.upstream)
    try:
        return named or Upstream(url=route.upstream)
    except ValidationError:
        raise ValueError(f"{route.upstream!r} is no upstream's name and no URL of one") from None


def target(match: Match, head: Head, stripped: int) -> bytes:
    """The request target in origin form: the canonical path and the query as it came.

    The first `stripped` segments are left out. They are counted, not compared: the router
    matches decoded segments, so that a prefix may have come with an escape in it.
    """
    path = match.path
    if stripped:
        path = "/" + "/".join(path.split("/")[stripped + 1 :])
    query = head.query_string
    return path.encode() + b"?" + query if query else path.encode()
