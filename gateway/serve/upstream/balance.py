"""Which target gets a request, and which is left out for a time; no I/O, the clock an argument.

Ejection is passive, as Envoy's outlier detection and nginx's max_fails: it learns from requests
alone. When its time is over, a single request decides whether the target takes part again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gateway.config.model import Ejection

State = Literal["healthy", "ejected", "probing"]


class Candidate(Protocol):
    """What requests are spread over."""

    @property
    def health(self) -> Health:
        """What is known of it."""

    @property
    def pending(self) -> int:
        """How many requests are under way there, or wait."""


T = TypeVar("T", bound=Candidate)


@dataclass(frozen=True, slots=True, eq=False)
class Pick(Generic[T]):
    """A request's target: its outcome is told to the target's health.

    `ejections` is how often the target had been ejected by `began`. `probe` tells that this
    request decides whether it takes part again.
    """

    target: T
    began: float = 0.0
    ejections: int = 0
    probe: bool = False


class Health:
    """What one target's requests have shown; times are those of one clock, in seconds.

    An outcome counts only if the target was not ejected since its request began: what ends late
    says nothing of the target as it is now.

    A failure is `certain` if no request can bring it about. Others may be one client's doing, who
    would take a target out of use for all: they eject only while the target answers nobody.
    """

    __slots__ = (
        "_answered", "_failures", "_probe", "_rules", "_silent_since", "_streak", "ejections",
        "until",
    )  # fmt: skip

    def __init__(self, rules: Ejection) -> None:
        self._rules = rules
        self._failures = 0
        self._answered = -math.inf
        self._silent_since = 0.0  # as the first of the failures shows
        self._streak = 0  # ejections without a success since
        self._probe: object = None  # the Pick that decides
        self.ejections = 0
        self.until = 0.0  # 0 while it takes part

    def is_open(self, now: float) -> bool:
        """Whether it takes a request: it takes part, or it is time for a probe."""
        return not self.until or (now >= self.until and self._probe is None)

    def state(self) -> State:
        """`probing` while the request that decides is under way."""
        if not self.until:
            return "healthy"
        return "probing" if self._probe else "ejected"

    def begin(self, target: T, now: float) -> Pick[T]:
        """Begin a request to this health's target."""
        probe = bool(self.until) and self.is_open(now)
        pick = Pick(target, now, self.ejections, probe)
        if probe:
            self._probe = pick
        return pick

    def succeeded(self, pick: Pick[T], now: float) -> bool:
        """Note an answer; True where the target takes part again by it."""
        self.abandoned(pick)
        if pick.ejections != self.ejections:
            return False
        returned = bool(self.until)
        self._failures = self._streak = 0
        self._answered = now
        self.until = 0.0
        return returned

    def failed(self, pick: Pick[T], now: float, *, certain: bool) -> bool:
        """Note a failure; True where the target is ejected by it."""
        self.abandoned(pick)
        if pick.ejections != self.ejections or (self.until and not pick.probe):
            return False
        if not self._failures:
            self._silent_since = max(pick.began, self._answered)
        self._failures += 1
        limit = self._rules.failures
        proven = certain or now - self._silent_since >= self._rules.silence
        if not limit or not (self.until or (proven and self._failures >= limit)):
            return False
        self._failures = 0
        # A probe that fails at once may be a client's doing as well: that makes nothing longer.
        self._streak = max(1, self._streak + proven)
        self.ejections += 1
        self.until = now + self._time()
        return True

    def abandoned(self, pick: Pick[T]) -> None:
        """Note the end of a request that says nothing of the target: another may probe it."""
        if self._probe is pick:
            self._probe = None

    def _time(self) -> float:
        doublings = min(self._streak - 1, 64)
        return min(self._rules.base_time * 2.0**doublings, self._rules.max_time)


class Balancer:
    """Picks targets in turn, or the one with the fewest requests; an ejected one only if all are.

    With `least_pending` equal ones take turns.
    """

    def __init__(self, policy: Literal["round_robin", "least_pending"]) -> None:
        self._least = policy == "least_pending"
        # Retries take turns of their own: two targets would else take turns as the first and the
        # second that one request tries, and the load of one that fails would not be spread.
        self._turns = [0, 0]

    def pick(self, targets: Sequence[T], now: float, tried: Collection[T] = ()) -> Pick[T] | None:
        """Begin a request to one that was not tried; None where there is none."""
        chosen = self._choose(targets, now, tried)
        if chosen is None:
            return None
        self._turns[bool(tried)] = chosen + 1
        target = targets[chosen]
        return target.health.begin(target, now)

    def _choose(self, targets: Sequence[T], now: float, tried: Collection[T]) -> int | None:
        count = len(targets)
        best, fewest, any_open = None, 0, False
        first = self._turns[bool(tried)]
        for turn in range(first, first + count):
            target = targets[turn % count]
            if not target.health.is_open(now):
                continue
            any_open = True
            if target in tried:
                continue
            if not self._least:
                return turn % count
            if best is None or target.pending < fewest:
                best, fewest = turn % count, target.pending
        if any_open:
            return best
        # All are ejected: to refuse every request would be worse than to try.
        turns = (turn % count for turn in range(first, first + count))
        return next((turn for turn in turns if targets[turn] not in tried), None)
