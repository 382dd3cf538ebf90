"""What the workers of a machine have done and do, as one."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Final, cast

from gateway.record import counts
from gateway.record.metrics import Metrics, SinkCounts, UpstreamGauges
from gateway.serve.link import Count, Recall, Recalled, Report
from gateway.serve.workers import WorkerStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.serve.link import Answer, Order
    from gateway.serve.member import Member

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

    def add(self, member: Member, report: Report) -> None:
        """Add what a worker has counted since its last report; ValueError."""
        for key, number in report.counts:
            counts.add(self.metrics, tuple(key), number)
            if key[0] == "requests":
                member.requests += int(number)
        for name, (written, dropped, errors, _) in report.logs.items():
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
        return found[0][1].encode() if found else None

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

    def upstreams(self) -> dict[str, UpstreamGauges]:
        """The connections of all workers to the upstreams, by URL."""
        totals: dict[str, tuple[int, int, int]] = {}
        for member in self.members:
            for url, (in_use, idle, waiting) in member.report.upstreams.items():
                before = totals.get(url, (0, 0, 0))
                totals[url] = (before[0] + in_use, before[1] + idle, before[2] + waiting)
        return {
            url: UpstreamGauges(in_use=in_use, idle=idle, waiting=waiting)
            for url, (in_use, idle, waiting) in totals.items()
        }

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
