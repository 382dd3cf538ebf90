"""Whether a request is sent once more: a table, and a budget; no I/O, the clock an argument."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from gateway.errors import Code

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.model import Retries

REASONS: Final[Mapping[Code, str]] = {
    Code.UPSTREAM_CONNECT: "connect",
    Code.UPSTREAM_BUSY: "busy",
    Code.UPSTREAM_PROTOCOL: "protocol",
    Code.UPSTREAM_RESET: "reset",
    Code.UPSTREAM_TIMEOUT: "timeout",
}
"""Faults on the way to an answer, as the metrics name them. Any other is the gateway's own, or
the client's."""

UNANSWERED: Final = frozenset({Code.UPSTREAM_RESET, Code.UPSTREAM_TIMEOUT})

BURST_TIME: Final = 10
"""Seconds whose unused budget is kept; where nothing is granted by the second, so many requests."""

Verdict = Literal["no", "yes", "by budget"]
Blame = Literal["none", "possible", "certain"]


def verdict(code: Code, *, sent: bool, answered: bool, replayable: bool) -> Verdict:
    """Whether a request may be sent once more after a fault.

    `sent`: some of it may have left the gateway. `answered`: a byte of an answer came.
    `replayable`: it may be carried out twice, and its content is at hand.
    """
    if code not in REASONS:
        return "no"
    if not sent:
        return "yes"
    return "by budget" if replayable and not answered and code in UNANSWERED else "no"


def blame(code: Code | None, *, begun: bool, sent: bool) -> Blame:
    """Whether a fault is the target's; only possibly, where a request can bring it about.

    `begun`: some of the request may have left the gateway. `sent`: all of it has.
    """
    if code not in REASONS or code is Code.UPSTREAM_BUSY:  # our limits, or the client's doing
        return "none"
    if not begun:
        return "certain"
    # Who sends content slowly, or more than the target takes, has it end the connection.
    return "possible" if sent or code is not Code.UPSTREAM_RESET else "none"


class Budget:
    """How many requests may be sent again though they may have been sent.

    In any time at most `burst` + `budget_percent` of its requests + `budget_per_second` times its
    seconds: an upstream that fails does not get a multiple of its load. `requests` counts up with
    every request, and is taken into account here.
    """

    __slots__ = ("_at", "_percent", "_rate", "_tokens", "burst", "requests")

    def __init__(self, retries: Retries) -> None:
        self._percent = retries.budget_percent
        self._rate = retries.budget_per_second
        self.burst = BURST_TIME * float(self._rate or bool(self._percent))
        self._tokens = self.burst
        self._at: float | None = None
        self.requests = 0

    def take(self, now: float) -> bool:
        """Whether one more may be sent again, which is then counted."""
        elapsed = 0.0 if self._at is None else max(0.0, now - self._at)
        earned = self.requests * self._percent / 100 + elapsed * self._rate
        self._at, self.requests = now, 0
        self._tokens = min(self.burst, self._tokens + earned)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
