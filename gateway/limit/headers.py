"""The RateLimit fields and Retry-After: how limits stand, in the words of HTTP."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.model import Headers, Standing


def rate_limit_headers(standings: Iterable[Standing]) -> Headers:
    """RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers), a member each."""
    shown = list(standings)
    policy = ", ".join(
        f'"{one.charge.limit}";q={_at_once(one)};w={math.ceil(one.charge.quota.per)}'
        for one in shown
    )
    now = ", ".join(
        f'"{one.charge.limit}";r={one.remaining};t={math.ceil(one.reset)}' for one in shown
    )
    return ((b"ratelimit-policy", policy.encode()), (b"ratelimit", now.encode()))


def retry_after(standings: Iterable[Standing]) -> int:
    """Whole seconds, at least one (RFC 9110 §10.2.3)."""
    return max(1, *(math.ceil(one.retry_after) for one in standings))


def _at_once(standing: Standing) -> int:
    quota = standing.charge.quota
    return quota.burst if quota.algorithm == "gcra" else quota.requests
