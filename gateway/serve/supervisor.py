"""Starts workers in processes of their own, keeps as many as there should be, and rules them.

One more than serve is kept as a spare: it has what all have, and takes the place of one that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import ConfigError, Problem
from gateway.identify.revoked import NOTHING
from gateway.serve.balance import CLOSED, Board
from gateway.serve.edition import Edition, share
from gateway.serve.forkserver import ForkServer
from gateway.serve.hypercorn import BoundListener, bind, serve
from gateway.serve.link import (
    Deny,
    Drain,
    End,
    Fetched,
    Link,
    NewKeys,
    Reopen,
    Serve,
    Setting,
    pickled,
)
from gateway.serve.member import Lost, Member
from gateway.serve.quota import Table
from gateway.serve.revocation.source import whole
from gateway.serve.session import MemoryStore
from gateway.serve.shared import SLOTS, anonymous, sharing
from gateway.serve.tally import Tally
from gateway.serve.terms import Terms
from gateway.serve.worker import SINK_TIMEOUT

if TYPE_CHECKING:
    import socket
    from collections.abc import Coroutine

    from gateway.config.model import Config
    from gateway.identify.revoked import Change
    from gateway.record.metrics import SessionGauges
    from gateway.serve.asgi import Receive, Scope, Send
    from gateway.serve.jwks import KeyService
    from gateway.serve.workers import Switch
    from gateway.snapshot import Candidate, Snapshot

log = logging.getLogger("gateway.workers")

SILENCE: Final = 30.0
"""Seconds without a report after which a worker is killed."""
CHECK: Final = 1.0
QUICK: Final = 1.0
"""A worker that ends within so many seconds after its start may do so again and again."""
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
        self.stopping = asyncio.Event()
        self.edge: list[BoundListener] = []
        self.members: list[Member] = []
        tally = Tally(self.members)
        self.metrics = tally.metrics
        self.refresh = tally.refresh
        self.recent = tally.recent
        self.find = tally.find
        self.sinks = tally.sinks
        self.upstreams = tally.upstreams
        self.rate_limits = tally.rate_limits
        self._tally_sessions = tally.sessions
        self.tokens = tally.tokens
        self.introspection = tally.introspection
        self.denied = NOTHING
        self.shadow = tally.shadow
        self.shadow_queued = tally.shadow_queued
        self.status = tally.status
        self._reported = tally.add
        self._tallied = tally.ended
        self._verbose = verbose
        self._editions = itertools.count(1)
        self._edition: Edition | None = None
        self._board = Board.create(workers)
        self._turns = anonymous(SLOTS)
        self.turns = sharing(self._turns)
        self._counts = Table.create(config.rate_limits.keys, shared=True)
        self._kept = MemoryStore(config.sessions.memory)
        self._forks: ForkServer | None = None
        self._forking = asyncio.Lock()
        self._lacking = asyncio.Event()
        self._failures = 0
        self._served = [0] * workers
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
        return functools.partial(self._switch, edition, snapshot.config.sessions.memory)

    async def _prepare(self, member: Member, edition: Edition) -> None:
        try:
            await member.prepare(edition)
        except Lost as lost:
            log.error("left out of the reload: %s", lost)  # noqa: TRY400
            await member.kill()

    async def _switch(self, edition: Edition, memory: int) -> None:
        """Have all workers serve with an edition; none that does not is left afterwards."""
        self._edition = edition
        self._kept.max_bytes = memory
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

    def deny(self, change: Change) -> None:
        """Have all workers take a change of the deny lists."""
        self.denied = self.denied.changed(change)
        order = pickled(Deny.of(change))
        for member in self.members:
            member.link.send(order)

    def _wanted(self, member: Member, issuer: str) -> None:
        if issuer not in member.fetching:  # the one under way answers this, too
            member.fetching.add(issuer)
            self._spawn(self._fetch(member, issuer))

    async def _fetch(self, member: Member, issuer: str) -> None:
        try:
            await self.keys.newest(issuer)
        finally:
            member.fetching.discard(issuer)
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
        member.active_since = asyncio.get_running_loop().time()
        self._assign()

    async def _fork(self) -> Member:
        async with self._forking:
            try:
                pid, sock = await asyncio.to_thread(self._forked)
            except (OSError, EOFError) as error:
                self._failures += 1
                if self._forks is not None:
                    await asyncio.to_thread(self._forks.close)
                    self._forks = None
                raise Lost(f"no process can be started: {error}") from None
        member = Member(
            pid,
            await Link.over(sock),
            reported=self._reported,
            wanted=self._wanted,
            sessions=self._kept,
        )
        self.members.append(member)
        for change in whole(self.denied):  # before it can serve anybody
            member.link.order(Deny.of(change))
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
                counts=self._counts.fd,
                verbose=self._verbose,
            )
            sockets = itertools.chain.from_iterable(numbers for _, numbers in listeners)
            inherited = (*sockets, self._board.descriptor, self._turns, self._counts.fd)
            self._forks = ForkServer(setting, inherited)
        return self._forks.fork()

    async def _listen(self, member: Member) -> None:
        try:
            await member.listen()
        finally:
            self.members.remove(member)
            self._tallied(member)
            member.active = False
            self._ended(member)

    def _ended(self, member: Member) -> None:
        if member.place is not None:
            self._board.write(member.place, CLOSED)
        if self.stopping.is_set():
            return
        log.error("worker %d has ended", member.pid)
        brief = asyncio.get_running_loop().time() - member.active_since < QUICK
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
            member.restarts = self._served[place]
            self._served[place] += 1
            member.link.order(Serve(place=place))
            if self.stopping.is_set():
                member.link.order(Drain())
            log.info("worker %d serves", member.pid)

    def sessions(self) -> SessionGauges:
        """How sessions are kept."""
        found = self._tally_sessions()
        if found.storage != "memory":
            return found
        return replace(self._kept.status(), error=found.error, providers=found.providers)

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
        counters = self.metrics.refused_below
        terms = Terms(shutdown=over, limits=self.config.limits, counters=counters)
        own = asyncio.create_task(serve(others, terms))
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
        self._counts.close()

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
