"""Counting requests: three floats of state for each key, and a clock that is given."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.model import Quota

State = tuple[float, float, float]
"""What is kept for a key; (0, 0, 0) for one that was never charged."""

Step = tuple[State, bool, int, float, float]
"""The state after a charge, whether it is allowed, requests that remain, seconds until all are
there again, and seconds until the charge would be allowed. A refused charge changes no state."""

TICK: Final = 1e-6
"""Seconds that rounding may take."""
ERROR: Final = 1e-9
"""Part of a request that rounding may take."""


def step(state: State, quota: Quota, cost: int, now: float) -> Step:
    """Charge a key; `now` in seconds, never less than before. `cost` is not above the quota."""
    return _ALGORITHMS[quota.algorithm](state, quota, cost, now)


def forgotten_at(state: State, quota: Quota) -> float:
    """When a state is as good as none."""
    if quota.algorithm == "gcra":
        return state[0]
    return (state[0] + (1 if quota.algorithm == "fixed" else 2)) * quota.per


def _gcra(state: State, quota: Quota, cost: int, now: float) -> Step:
    """The generic cell rate algorithm (ITU-T I.371): the time at which nothing would be owed."""
    interval = quota.per / quota.requests
    whole = interval * quota.burst
    owed = max(state[0] - now, 0.0)
    after = owed + interval * cost
    late = after - whole
    if late > TICK:
        return state, False, int((whole - owed + TICK) / interval), owed, late
    return (now + after, 0.0, 0.0), True, int((whole - after + TICK) / interval), after, 0.0


def _fixed(state: State, quota: Quota, cost: int, now: float) -> Step:
    """Windows that follow one another; the state begins with the window's number."""
    window = now // quota.per
    spent = state[1] if state[0] == window else 0.0
    left = (window + 1) * quota.per - now
    if spent + cost > quota.requests:
        remaining = int(quota.requests - spent)
        return state, False, remaining, left, left
    return (window, spent + cost, 0.0), True, int(quota.requests - spent - cost), left, 0.0


def _sliding(state: State, quota: Quota, cost: int, now: float) -> Step:
    """Two windows, of which the earlier counts for the part that is less than `per` ago."""
    per = quota.per
    window = now // per
    spent, before = 0.0, 0.0
    if state[0] == window:
        spent, before = state[1], state[2]
    elif state[0] == window - 1:
        before = state[1]
    elapsed = now - window * per
    weighed = before * (1 - elapsed / per)
    free = quota.requests - spent - weighed
    if cost > free + ERROR:
        wait = _wait(quota, cost, spent, before, elapsed)
        reset = 2 * per - elapsed if spent else per - elapsed
        return state, False, _floor(free), reset, wait
    return (window, spent + cost, before), True, _floor(free - cost), 2 * per - elapsed, 0.0


def _wait(quota: Quota, cost: int, spent: float, before: float, elapsed: float) -> float:
    """Seconds until enough of what was spent is long enough ago."""
    room = quota.requests - cost
    if spent <= room:  # then `before` alone is too much yet
        return max(quota.per * (1 - (room - spent) / before) - elapsed, 0.0)
    # In the next window, `spent` will be what came before.
    return quota.per - elapsed + quota.per * (1 - max(room, 0) / spent)


def _floor(requests: float) -> int:
    return max(math.floor(requests + ERROR), 0)


_ALGORITHMS: Final[Mapping[str, Callable[[State, Quota, int, float], Step]]] = {
    "gcra": _gcra,
    "fixed": _fixed,
    "sliding": _sliding,
}
