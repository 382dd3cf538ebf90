"""What the workers of a machine have done and do, as one."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from gateway.record import counts
from gateway.record.metrics import (
    AddressGauges,
    IntrospectionGauges,
    Metrics,
    RateLimitGauges,
    SessionGauges,
    SinkCounts,
    TargetGauges,
    TokenGauges,
    UpstreamGauges,
)
from gateway.record.shadow import merged
from gateway.serve.link import (
    MAX_SINKS,
    Compare,
    Comparison,
    Count,
    Recall,
    Recalled,
    Report,
)
from gateway.serve.workers import WorkerStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.serve.link import Answer, Order
    from gateway.serve.member import Member

_Each = TypeVar("_Each")

ANSWER_WITHIN: Final = 2.0
"""Seconds that a worker may take to report, or to look for a decision."""


class Tally:
    """Sums up what `members` report, and asks them.

    Counters are those of workers that have ended, too: they never go back.
    """

    def __init__(self, members: list[Member]) -> None:
        self.members = members
        self.metrics = Metrics()
        self._logs: dict[str, tuple[int, int, int]] = {}
        self._ended: dict[str, UpstreamGauges] = {}

    def add(self, member: Member, report: Report) -> None:
        """Add what a worker has counted since its last report; ValueError."""
        for key, number in report.counts:
            counts.add(self.metrics, tuple(key), number)
            if key[0] == "requests":
                member.requests += int(number)
        for name, (written, dropped, errors, _) in report.logs.items():
            if name not in self._logs and len(self._logs) >= MAX_SINKS:
                raise ValueError(f"no log: {name[:200]}")
            before = self._logs.get(name, (0, 0, 0))
            self._logs[name] = (before[0] + written, before[1] + dropped, before[2] + errors)

    async def refresh(self) -> None:
        """Have all workers report; those that do not in time count as they did last."""
        await self._ask_all("report", lambda number: Count(number=number))
        self.metrics.in_flight = sum(member.report.in_flight for member in self.members)

    async def recent(self, limit: int) -> list[bytes]:
        """The newest decision events of all workers, at most `limit`, newest first."""
        found = await self._recalled(limit=limit)
        found.sort(reverse=True)  # the ids begin with the time
        return [line.encode() for _, line in found[:limit]]

    async def find(self, decision: str) -> bytes | None:
        """The event of a decision, whoever has made it."""
        found = await self._recalled(decision=decision)
        return next((line.encode() for name, line in found if name == decision), None)

    async def _recalled(self, *, limit: int = 0, decision: str = "") -> list[tuple[str, str]]:
        order = functools.partial(Recall, limit=limit, decision=decision)
        answers = await self._ask_all("recalled", lambda number: order(number=number))
        return [event for answer in answers for event in cast("Recalled", answer).events]

    async def _ask_all(self, kind: str, order: Callable[[int], Order]) -> list[Answer]:
        asked = (member.ask(kind, order, ANSWER_WITHIN) for member in tuple(self.members))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    def sinks(self) -> dict[str, SinkCounts]:
        """What became of the log lines, by target."""
        queued = dict.fromkeys(self._logs, 0)
        for member in self.members:
            for name, (*_, waiting) in member.report.logs.items():
                queued[name] += waiting
        return {
            name: SinkCounts(written=written, dropped=dropped, errors=errors, queued=queued[name])
            for name, (written, dropped, errors) in self._logs.items()
        }

    def ended(self, member: Member) -> None:
        """Keep what a worker that has ended counted of the upstreams."""
        counted = {name: _without_now(gauges) for name, gauges in member.report.upstreams.items()}
        self._ended = _sum(self._ended, counted)

    def upstreams(self) -> dict[str, UpstreamGauges]:
        """The connections of all workers to the upstreams, by name."""
        found: dict[str, UpstreamGauges] = {}
        for member in self.members:
            found = _sum(found, member.report.upstreams)
        gone = {name: gauges for name, gauges in self._ended.items() if name in found}
        return _sum(found, gone)

    def rate_limits(self) -> RateLimitGauges:
        """How rate limits are counted."""
        found = [member.report.rate_limits for member in self.members]
        return RateLimitGauges(
            storage=found[0].storage if found else "memory",
            error=next((gauges.error for gauges in found if gauges.error), ""),
            evicted=sum(gauges.evicted for gauges in found),
        )

    def sessions(self) -> SessionGauges:
        """How the workers find the store of sessions, and the providers of logins."""
        found = [member.report.sessions for member in self.members]
        faults: dict[str, str] = {}
        for each in found:
            for name, error in each.providers.items():
                faults[name] = error or faults.get(name, "")
        return SessionGauges(
            storage=found[0].storage if found else "memory",
            error=next((gauges.error for gauges in found if gauges.error), ""),
            providers=faults,
        )

    def tokens(self) -> dict[str, TokenGauges]:
        """How the token endpoints do, by name."""
        found: dict[str, TokenGauges] = {}
        for member in self.members:
            found = _joined(found, member.report.tokens, _token)
        return found

    def introspection(self) -> dict[str, IntrospectionGauges]:
        """How issuers are asked about tokens, by name."""
        found: dict[str, IntrospectionGauges] = {}
        for member in self.members:
            found = _joined(found, member.report.introspection, _asked)
        return found

    def shadow_queued(self) -> int:
        """How many requests wait for the shadow."""
        return sum(member.report.shadow_queued for member in self.members)

    async def shadow(self) -> dict[str, Any] | None:
        """What the shadows of all workers found; what one that has ended found is gone."""
        answers = await self._ask_all("comparison", lambda number: Compare(number=number))
        reports = [
            answer.model_dump(exclude={"kind", "number"})
            for answer in answers
            if isinstance(answer, Comparison) and answer.shadow
        ]
        return merged(reports) if reports else None

    def status(self) -> list[WorkerStatus]:
        """Each worker, by its place, the spare one last."""
        active = [member for member in self.members if member.active]
        active.sort(key=lambda member: (member.place is None, member.place))
        return [
            WorkerStatus(
                pid=member.pid,
                state="spare" if member.place is None else "serving",
                revision=member.revision,
                config_revision=member.config_revision,
                keyrings=member.report.keyrings,
                connections=member.report.connections,
                requests=member.requests,
                started=member.started,
                restarts=member.restarts,
            )
            for member in active
        ]


def _sum(
    one: Mapping[str, UpstreamGauges], other: Mapping[str, UpstreamGauges]
) -> dict[str, UpstreamGauges]:
    return _joined(one, other, _both)


def _both(one: UpstreamGauges, other: UpstreamGauges) -> UpstreamGauges:
    return UpstreamGauges(
        targets=_joined(one.targets, other.targets, _target),
        retries=_joined(one.retries, other.retries, int.__add__),
        over_budget=one.over_budget + other.over_budget,
    )


def _asked(one: IntrospectionGauges, other: IntrospectionGauges) -> IntrospectionGauges:
    return IntrospectionGauges(
        answers=one.answers + other.answers,
        waiting=one.waiting + other.waiting,
        error=one.error or other.error,
    )


def _target(one: TargetGauges, other: TargetGauges) -> TargetGauges:
    return TargetGauges(
        addresses=_joined(one.addresses, other.addresses, _address),
        ejections=one.ejections + other.ejections,
        error=one.error or other.error,
    )


def _address(one: AddressGauges, other: AddressGauges) -> AddressGauges:
    """An address as two workers see it; it is as bad as the one says that finds it worse."""
    return AddressGauges(
        in_use=one.in_use + other.in_use,
        idle=one.idle + other.idle,
        waiting=one.waiting + other.waiting,
        state=max(one.state, other.state, key=WORSE.index),
    )


def _token(one: TokenGauges, other: TokenGauges) -> TokenGauges:
    return TokenGauges(error=one.error or other.error, tokens=one.tokens + other.tokens)


WORSE: Final = ("leaving", "healthy", "probing", "ejected")


def _joined(
    one: Mapping[str, _Each], other: Mapping[str, _Each], join: Callable[[_Each, _Each], _Each]
) -> dict[str, _Each]:
    made = dict(one)
    for name, each in other.items():
        made[name] = join(made[name], each) if name in made else each
    return made


def _without_now(gauges: UpstreamGauges) -> UpstreamGauges:
    """What only grows."""
    targets = {
        url: TargetGauges(addresses={}, ejections=target.ejections)
        for url, target in gauges.targets.items()
    }
    return UpstreamGauges(targets=targets, retries=gauges.retries, over_budget=gauges.over_budget)
