"""Starts workers in processes of their own, keeps as many as there should be, and rules them.

One more than serve is kept as a spare: it has what all have, and takes the place of one that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import time
from typing import TYPE_CHECKING, Any, Final, cast

from gateway.errors import ConfigError, Problem
from gateway.record import counts
from gateway.record.metrics import Metrics, SinkCounts, UpstreamGauges
from gateway.serve.balance import CLOSED, Board
from gateway.serve.edition import Edition, share
from gateway.serve.forkserver import ForkServer
from gateway.serve.hypercorn import BoundListener, bind, serve
from gateway.serve.link import (
    Count,
    Drain,
    End,
    Fetched,
    Link,
    NewKeys,
    Recall,
    Recalled,
    Reopen,
    Report,
    Serve,
    Setting,
)
from gateway.serve.member import Lost, Member
from gateway.serve.shared import SLOTS, anonymous
from gateway.serve.worker import SINK_TIMEOUT
from gateway.serve.workers import WorkerStatus

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine

    from gateway.config.model import Config
    from gateway.serve.asgi import Receive, Scope, Send
    from gateway.serve.jwks import KeyService
    from gateway.serve.link import Answer, Order
    from gateway.serve.workers import Switch
    from gateway.snapshot import Candidate, Snapshot

log = logging.getLogger("gateway.workers")

ANSWER_WITHIN: Final = 1.0
"""Seconds that a worker may take to report, or to look for a decision."""
SILENCE: Final = 30.0
"""Seconds without a report after which a worker is killed."""
CHECK: Final = 1.0
QUICK: Final = 1.0
"""A worker that ends within so many seconds may do so again and again."""
FREE_FAILURES: Final = 3
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 10.0
LAST_WORDS: Final = 3.0 + SINK_TIMEOUT
"""Seconds for a worker to close its connections and to write its logs out."""


class Supervisor:
    """The workers of a machine, each in a process of its own; this one serves no client.

    Building it takes the addresses of `config`; ConfigError.
    """

    def __init__(self, config: Config, keys: KeyService, *, workers: int, verbose: bool) -> None:
        self.config = config
        self.keys = keys
        self.count = workers
        self.metrics = Metrics()
        self.stopping = asyncio.Event()
        self.edge: list[BoundListener] = []
        self.members: list[Member] = []
        self.restarts = [-1] * workers
        self._verbose = verbose
        self._editions = itertools.count(1)
        self._edition: Edition | None = None
        self._board = Board.create(workers)
        self._turns = anonymous(SLOTS)
        self._forks: ForkServer | None = None
        self._forking = asyncio.Lock()
        self._lacking = asyncio.Event()
        self._failures = 0
        self._logs: dict[str, list[int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        try:
            for number, listener in enumerate(config.listeners):
                self.edge.append(bind(listener, _nobody, key=f"listeners.{number}"))
        except BaseException:
            self.release()
            raise

    # What all are to serve with

    async def prepare(self, candidate: Candidate, snapshot: Snapshot) -> Switch:
        """Have all workers build a snapshot; ConfigError where one cannot."""
        number = next(self._editions)
        edition = await asyncio.to_thread(Edition, number, candidate, snapshot, workers=self.count)
        members = self._active()
        # The spare one first: what is more than a worker can bear ends none that serves.
        members.sort(key=lambda member: member.place is not None)
        for member in members[:1]:
            try:
                await member.prepare(edition)
            except Lost as lost:
                await member.kill()
                raise ConfigError((Problem(f"{lost} while it prepares this"),)) from None
        await asyncio.gather(*(self._prepare(member, edition) for member in members[1:]))
        return functools.partial(self._switch, edition)

    async def _prepare(self, member: Member, edition: Edition) -> None:
        try:
            await member.prepare(edition)
        except Lost as lost:
            log.error("%s: it is killed", lost)  # noqa: TRY400
            await member.kill()

    async def _switch(self, edition: Edition) -> None:
        """Have all workers serve with an edition; none that does not is left afterwards."""
        self._edition = edition
        await asyncio.gather(*(self._activate(member, edition) for member in self._active()))

    async def _activate(self, member: Member, edition: Edition) -> None:
        try:
            await member.activate(edition, self.keys.documents)
        except (Lost, ConfigError) as error:
            log.error("worker %d is killed: not serving the new revision: %s", member.pid, error)  # noqa: TRY400
            await member.kill()

    def renew(self, issuer: str) -> None:
        """Hand an issuer's new key set to all workers."""
        document = self.keys.remote[issuer].document
        if self._edition is None:
            return
        order = NewKeys(edition=self._edition.number, issuer=issuer, document=document)
        for member in self.members:
            member.link.order(order)

    def _wanted(self, member: Member, issuer: str) -> None:
        self._spawn(self._fetch(member, issuer))

    async def _fetch(self, member: Member, issuer: str) -> None:
        await self.keys.newest(issuer)
        member.link.order(Fetched(issuer=issuer))

    # Who is there

    def _active(self) -> list[Member]:
        return [member for member in self.members if member.active]

    async def start(self) -> None:
        """Start all workers, once it is known what with; ConfigError where they cannot."""
        try:
            await asyncio.gather(*(self._hire() for _ in range(self.count + 1)))
        except Lost as lost:
            raise ConfigError((Problem(str(lost)),)) from None
        self._keeping = self._spawn(self._keep())

    async def _keep(self) -> None:
        """Start a worker for each that has ended, with growing pauses where they end at once."""
        while True:
            await self._lacking.wait()
            self._lacking.clear()
            beyond = self._failures - FREE_FAILURES
            if beyond >= 0:
                pause = min(FIRST_PAUSE * 2**beyond, LONGEST_PAUSE)
                log.warning("workers end soon after their start: the next one in %.1f s", pause)
                await asyncio.sleep(pause)
            missing = self.count + 1 - len(self.members)
            for done in await asyncio.gather(
                *(self._hire() for _ in range(missing)), return_exceptions=True
            ):
                if done is not None:
                    log.error("a worker cannot be started: %s", done)
                    self._failures += 1
                    self._lacking.set()

    async def _hire(self) -> None:
        """Start a worker, and give it a place if one is free; ConfigError, Lost."""
        member = await self._fork()
        try:
            while member.edition is None or member.edition is not self._edition:
                edition = self._edition
                assert edition is not None
                await member.activate(edition, self.keys.documents)
                member.edition = edition
        except BaseException:
            await member.kill()
            raise
        member.active = True
        self._assign()

    async def _fork(self) -> Member:
        async with self._forking:
            try:
                pid, sock = await asyncio.to_thread(self._forked)
            except (OSError, EOFError) as error:
                if self._forks is not None:
                    await asyncio.to_thread(self._forks.close)
                    self._forks = None
                raise Lost(f"no process can be started: {error}") from None
        member = Member(pid, await Link.over(sock), reported=self._reported, wanted=self._wanted)
        self.members.append(member)
        self._spawn(self._listen(member))
        return member

    def _forked(self) -> tuple[int, socket.socket]:
        if self._forks is None:
            listeners = tuple(
                (bound.address, tuple(sock.fileno() for sock in bound.sockets))
                for bound in self.edge
            )
            setting = Setting(
                config=share(self.config, self.count),
                listeners=listeners,
                board=self._board.descriptor,
                places=self.count,
                turns=self._turns,
                verbose=self._verbose,
            )
            sockets = itertools.chain.from_iterable(numbers for _, numbers in listeners)
            inherited = (*sockets, self._board.descriptor, self._turns)
            self._forks = ForkServer(setting, inherited)
        return self._forks.fork()

    async def _listen(self, member: Member) -> None:
        try:
            await member.listen()
        finally:
            self.members.remove(member)
            member.active = False
            self._ended(member)

    def _ended(self, member: Member) -> None:
        if member.place is not None:
            self._board.write(member.place, CLOSED)
        if self.stopping.is_set():
            return
        log.error("worker %d has ended", member.pid)
        brief = time.time() - member.started < QUICK
        self._failures = self._failures + 1 if brief else 0
        self._assign()
        self._lacking.set()

    def _assign(self) -> None:
        """Have workers without a place take those that are free."""
        taken = {member.place for member in self.members}
        free = [place for place in range(self.count) if place not in taken]
        idle = [member for member in self._active() if member.place is None]
        for place, member in zip(free, idle, strict=False):
            member.place = place
            self.restarts[place] += 1
            member.link.order(Serve(place=place))
            if self.stopping.is_set():
                member.link.order(Drain())
            log.info("worker %d serves", member.pid)

    # What they have done

    def _reported(self, member: Member, report: Report) -> None:
        for key, number in report.counts:
            counts.add(self.metrics, tuple(key), number)
            if key[0] == "requests":
                member.requests += int(number)
        for name, (*done, _) in report.logs.items():
            before = self._logs.get(name, [0, 0, 0])
            self._logs[name] = [old + new for old, new in zip(before, done, strict=True)]

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
        """What became of all log lines, by target."""
        return {
            name: SinkCounts(
                written=written,
                dropped=dropped,
                errors=errors,
                queued=sum(member.report.logs.get(name, (0,))[-1] for member in self.members),
            )
            for name, (written, dropped, errors) in self._logs.items()
        }

    def upstreams(self) -> dict[str, UpstreamGauges]:
        """The connections of all workers to the upstreams, by URL."""
        totals: dict[str, list[int]] = {}
        for member in self.members:
            for url, numbers in member.report.upstreams.items():
                before = totals.get(url, [0, 0, 0])
                totals[url] = [old + new for old, new in zip(before, numbers, strict=True)]
        return {
            url: UpstreamGauges(in_use=in_use, idle=idle, waiting=waiting)
            for url, (in_use, idle, waiting) in totals.items()
        }

    def status(self) -> list[WorkerStatus]:
        """Each worker, the spare one last."""
        return [
            WorkerStatus(
                pid=member.pid,
                state="serving" if member.place is not None else "spare",
                revision=member.revision,
                config_revision=member.config_revision,
                keyrings=member.report.keyrings,
                connections=member.report.connections,
                requests=member.requests,
                started=member.started,
                restarts=self.restarts[member.place] if member.place is not None else 0,
            )
            for member in sorted(
                self._active(),
                key=lambda member: self.count if member.place is None else member.place,
            )
        ]

    def missing(self) -> list[str]:
        """What is missing of the workers."""
        return [] if any(member.place is not None for member in self.members) else ["no worker"]

    # The end

    def reopen(self) -> None:
        """Have all workers open their logs anew."""
        for member in self.members:
            member.link.order(Reopen())

    async def serve(self, *others: BoundListener) -> None:
        """Let the workers serve, and serve other listeners, until `stopping` is set; then drain.

        The others go on until the workers are done.
        """
        over = asyncio.Event()
        own = asyncio.create_task(
            serve(
                others,
                shutdown=over,
                limits=self.config.limits,
                counters=self.metrics.refused_below,
            )
        )
        stopping = asyncio.create_task(self.stopping.wait())
        silent = asyncio.create_task(self._end_silent())
        try:
            await asyncio.wait((own, stopping), return_when=asyncio.FIRST_COMPLETED)
            silent.cancel()
            await self._drain()
        finally:
            for task in (stopping, silent):
                task.cancel()
            over.set()
            await own

    async def _end_silent(self) -> None:
        """Kill workers from which nothing has been heard for long."""
        while True:
            await asyncio.sleep(CHECK)
            now = asyncio.get_running_loop().time()
            for member in self._active():
                if now - member.heard > SILENCE:
                    log.error("worker %d has not reported for %g s", member.pid, SILENCE)
                    await member.kill()

    async def _drain(self) -> None:
        limits = self.config.limits
        for member in self._active():
            if member.place is not None:
                member.link.order(Drain())
        await self._wait(limits.drain_delay)
        # Until here, the spare one can still take another's place.
        self._keeping.cancel()
        self.release()
        for member in self.members:
            if member.place is None:
                member.link.order(End())
        await self._wait(limits.drain_timeout + LAST_WORDS)

    async def _wait(self, seconds: float) -> None:
        """Wait until all workers are gone, for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.members:
                    await self.members[0].gone.wait()
                    await asyncio.sleep(0)

    async def close(self) -> None:
        """End all workers that are left."""
        self.stopping.set()
        for member in self.members:
            member.link.order(End())
        await self._wait(LAST_WORDS)
        await asyncio.gather(*(member.kill() for member in self.members))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.release()

    def release(self) -> None:
        """Close what the workers inherit."""
        if self._forks is not None:
            self._forks.close()
            self._forks = None
        self._close_listeners()

    def _close_listeners(self) -> None:
        for bound in self.edge:
            bound.close()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _nobody(scope: Scope, receive: Receive, send: Send) -> None:
    """The application of listeners that only workers serve."""
    raise NotImplementedError
