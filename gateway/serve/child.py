"""A worker in a process of its own: does what its supervisor says, and tells what it has done."""

from __future__ import annotations

import asyncio
import logging
import pickle
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import ConfigError, Problem
from gateway.identify import Keyring
from gateway.identify.revoked import NOTHING
from gateway.record.counts import Key, changes, counts
from gateway.serve.balance import Board, Share
from gateway.serve.link import (
    Activate,
    Activated,
    Compare,
    Comparison,
    Count,
    Deny,
    Drain,
    End,
    Fetched,
    Link,
    NewKeys,
    Prepare,
    Prepared,
    Recall,
    Recalled,
    Reopen,
    Report,
    Serve,
    Setting,
    Told,
    Wanted,
)
from gateway.serve.loop import run_loop, settle
from gateway.serve.quota import Table
from gateway.serve.session.linked import LinkedStore
from gateway.serve.shared import sharing
from gateway.serve.stderr import messages_on_stderr
from gateway.serve.worker import Worker
from gateway.snapshot import build, named_files

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from gateway.config.model import Issuer
    from gateway.rego import Program
    from gateway.snapshot import Snapshot

log = logging.getLogger("gateway.worker")

INTERVAL: Final = 1.0
"""Seconds between two reports: what a worker that is killed has counted since is lost."""
RECALLED: Final = 16 * 1024**2
"""Bytes of decision events in one answer."""
PATIENCE: Final = 1.0
"""Seconds more than a fetch of keys may take, for the supervisor to say what came of it."""


def run(setting: Setting, sock: socket.socket) -> None:
    """Be a worker until the supervisor says that it is enough, or is gone."""
    turn = sharing(setting.turns)("stderr")
    with messages_on_stderr(verbose=setting.verbose, turn=turn):
        run_loop(_run(setting, sock))


async def _run(setting: Setting, sock: socket.socket) -> None:
    await Child(setting, await Link.over(sock)).run()


class Keys:
    """The key sets of remote issuers, as the supervisor has fetched them."""

    def __init__(self, want: Callable[[str], None]) -> None:
        self.keyrings: dict[str, Keyring] = {}
        self._want = want
        self._documents: dict[str, bytes] = {}
        self._issuers: Mapping[str, Issuer] = {}
        self._waiting: dict[str, asyncio.Future[Keyring]] = {}

    def configure(self, issuers: Mapping[str, Issuer], documents: Mapping[str, bytes]) -> None:
        """Take over a configuration, and all key sets that there are for it."""
        before, self._issuers = self._issuers, issuers
        for name in tuple(self._waiting):
            was, now = before.get(name), issuers.get(name)
            if was is None or now is None or not now.has_keys_of(was):
                # What the new source brings is not for requests of the old configuration.
                self._answer(name, Keyring.unloaded())
        self.keyrings = {name: self._read(name, document) for name, document in documents.items()}
        self._documents = dict(documents)

    def renew(self, name: str, document: bytes) -> Keyring:
        """Take an issuer's new key set."""
        self.keyrings[name] = self._read(name, document)
        self._documents[name] = document
        return self.keyrings[name]

    def _read(self, name: str, document: bytes) -> Keyring:
        if document and document == self._documents.get(name):
            return self.keyrings[name]
        return Keyring.from_jwks(document) if document else Keyring.unloaded()

    async def newest(self, name: str) -> Keyring:
        """The keyring for a request that found no key, once the supervisor has looked for it."""
        waiting = self._waiting.get(name)
        if waiting is None:
            waiting = self._waiting[name] = asyncio.get_running_loop().create_future()
            self._want(name)
        issuer = self._issuers.get(name)
        limit = PATIENCE + (issuer.keys.timeout if issuer and issuer.keys else 0)
        await asyncio.wait((waiting,), timeout=limit)
        if not waiting.done():
            self._answer(name, Keyring.unloaded())  # the next one asks anew
        return await waiting

    def fetched(self, name: str) -> None:
        """The supervisor has looked: whoever waits gets what is there."""
        self._answer(name, self.keyrings.get(name, Keyring.unloaded()))

    def close(self) -> None:
        """Let go of all who wait."""
        for name in tuple(self._waiting):
            self.fetched(name)

    def _answer(self, name: str, keyring: Keyring) -> None:
        waiting = self._waiting.pop(name, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(keyring)


class Child:
    """A Worker at the end of a link."""

    def __init__(self, setting: Setting, link: Link) -> None:
        self.setting = setting
        self.link = link
        self.keys = Keys(lambda name: link.answer(Wanted(issuer=name)))
        self.sessions = LinkedStore(link.answer)
        self.denied = NOTHING
        self.worker: Worker | None = None
        self.edition = 0
        self.snapshot: Snapshot | None = None
        self.prepared: dict[int, tuple[Snapshot, Callable[[Mapping[str, Keyring]], None]]] = {}
        self.serving: asyncio.Task[None] | None = None
        self.over = asyncio.Event()
        self._counted: dict[Key, float] = {}
        self._logged: dict[str, tuple[int, int, int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Obey until it is over, and write out what is left."""
        tasks = [asyncio.create_task(self._obey()), asyncio.create_task(self._report())]
        await self.over.wait()
        for task in (*tasks, *self._tasks):
            task.cancel()
        if self.worker is not None:
            await self.worker.close()
            self.link.answer(self.report())
        await self.link.finish()

    async def _obey(self) -> None:
        try:
            while (order := await self.link.ordered()) is not None:
                OBEY[type(order)](self, order)
        except Exception:
            log.exception("a worker cannot do what it is told")
        finally:
            self.keys.close()
            self.sessions.end("the supervisor is gone")
            if self.serving is None:
                self.over.set()
            elif self.worker is not None and not self.worker.stopping.is_set():
                log.error("the supervisor is gone: draining")
                self.worker.stopping.set()

    def prepare_soon(self, order: Prepare) -> None:
        """Prepare, while other orders are obeyed."""
        task = asyncio.create_task(self.prepare(order))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def prepare(self, order: Prepare) -> None:
        """Build a snapshot and all that it needs."""
        problems: tuple[Problem, ...] = ()
        try:
            made = await asyncio.to_thread(self._build, order)
            self.prepared = {order.edition: made}
        except ConfigError as error:
            problems = error.problems
        except Exception as error:
            log.exception("a worker could not prepare")
            problems = (Problem(f"a worker failed: {error!r}"),)
        self.link.answer(Prepared(edition=order.edition, problems=problems))

    def _build(self, order: Prepare) -> tuple[Snapshot, Callable[[Mapping[str, Keyring]], None]]:
        programs: dict[str, Program] = dict(self.snapshot.programs) if self.snapshot else {}
        for digest, pickled in order.programs.items():
            programs[digest] = pickle.loads(pickled)  # noqa: S301  from the supervisor
        candidate = order.candidate
        snapshot = build(candidate, now=0.0, previous=self.snapshot, programs=programs)
        if self.worker is None:
            self.worker = Worker(
                self.setting.config,
                self.keys,
                Table(self.setting.counts, shared=True),
                self.sessions,
                sharing(self.setting.turns),
            )
            self.worker.adopt(self.setting.listeners)
        activate = self.worker.prepare(snapshot)
        if named_files(candidate.loaded.config) != candidate.named:
            raise ConfigError((Problem("keys, certificates or secrets have changed meanwhile"),))
        return snapshot, activate

    def activate(self, order: Activate) -> None:
        """Serve with what was prepared."""
        self.snapshot, activate = self.prepared.pop(order.edition)
        self.keys.configure(self.snapshot.config.issuers, order.documents)
        self._tell_denied()
        activate(self.keys.keyrings)
        if not self.edition:
            settle()
        self.edition = order.edition
        self.link.answer(
            Activated(
                edition=self.edition,
                revision=self.snapshot.revision,
                config_revision=self.snapshot.config_revision,
            )
        )

    def renew(self, order: NewKeys) -> None:
        """Take newer keys, unless they are for another edition."""
        if order.edition == self.edition and self.worker is not None:
            keyring = self.keys.renew(order.issuer, order.document)
            self.worker.runtime.renew(order.issuer, keyring)

    def deny(self, order: Deny) -> None:
        """Take a change of the deny lists."""
        self.denied = self.denied.changed(order.change())
        self._tell_denied()

    def _tell_denied(self) -> None:
        if self.worker is not None:
            self.worker.runtime.deny(self.denied)

    def serve(self, order: Serve) -> None:
        """Take connections from now on."""
        assert self.worker is not None
        board = Board(self.setting.board, self.setting.places)
        self.worker.load = Share(board, order.place)
        self.serving = asyncio.create_task(self.worker.serve())
        self.serving.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a worker failed", exc_info=error)
        self.over.set()

    def reopen(self, _: Reopen) -> None:
        """Open the logs anew."""
        if self.worker is not None:
            self.worker.sinks.reopen()

    def drain(self, _: Drain) -> None:
        """End what is under way, then all."""
        if self.worker is None or self.serving is None:
            self.over.set()
        else:
            self.worker.stopping.set()

    def end(self, _: End) -> None:
        """End all."""
        if self.serving is None:
            self.over.set()
        else:
            self.serving.cancel()

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            if not self.link.behind:
                self.link.answer(self.report())

    def report(self, number: int = 0) -> Report:
        """What was counted since the last report."""
        worker = self.worker
        if worker is None or self.snapshot is None:
            return Report(number=number)
        counted = counts(worker.metrics)
        added = changes(self._counted, counted)
        self._counted = counted
        return Report(
            number=number,
            counts=[(list(key), float(count)) for key, count in added],
            in_flight=worker.metrics.in_flight,
            connections=worker.load.connections,
            logs=self._logs(worker),
            upstreams=worker.runtime.upstreams(),
            rate_limits=worker.runtime.quotas.gauges(),
            sessions=worker.runtime.sessions.gauges(),
            tokens=worker.runtime.tokens.gauges(),
            introspection=worker.runtime.introspection.gauges(),
            shadow_queued=worker.runtime.shadowing.queued(),
            keyrings={
                name: keyring.revision for name, keyring in worker.runtime.snapshot.keyrings.items()
            },
        )

    def _logs(self, worker: Worker) -> dict[str, tuple[int, int, int, int]]:
        made = {}
        for name, sink in worker.sinks.counts().items():
            now = (sink.written, sink.dropped, sink.errors)
            before = self._logged.get(name, (0, 0, 0))
            self._logged[name] = now
            written, dropped, errors = (new - old for new, old in zip(now, before, strict=True))
            made[name] = (written, dropped, errors, max(0, sink.queued))
        return made

    def compared(self, order: Compare) -> Comparison:
        """The report of this worker's shadow."""
        report = self.worker.runtime.shadowing.report if self.worker is not None else None
        if report is None:
            return Comparison(number=order.number)
        return Comparison.model_validate({"number": order.number, **report.as_dict()})

    def recalled(self, order: Recall) -> Recalled:
        """Decision events of this worker."""
        found: list[tuple[str, str]] = []
        if self.worker is not None and order.decision:
            line = self.worker.ring.get(order.decision)
            found += [] if line is None else [(order.decision, line.decode())]
        elif self.worker is not None:
            size = 0
            for name, line in self.worker.ring.newest(order.limit):
                size += len(line)
                if size > RECALLED:
                    break
                found.append((name, line.decode()))
        return Recalled(number=order.number, events=found)


OBEY: Final[Mapping[type, Callable[[Child, Any], None]]] = {
    Prepare: Child.prepare_soon,
    Activate: Child.activate,
    NewKeys: Child.renew,
    Deny: Child.deny,
    Fetched: lambda child, order: child.keys.fetched(order.issuer),
    Serve: Child.serve,
    Count: lambda child, order: child.link.answer(child.report(order.number)),
    Recall: lambda child, order: child.link.answer(child.recalled(order)),
    Compare: lambda child, order: child.link.answer(child.compared(order)),
    Told: lambda child, order: child.sessions.told(order),
    Reopen: Child.reopen,
    Drain: Child.drain,
    End: Child.end,
}
