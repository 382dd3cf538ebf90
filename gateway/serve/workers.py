"""Those who serve: one worker in this process, or a Supervisor's in processes of their own."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from gateway.serve.quota import Table
from gateway.serve.session import MemoryStore
from gateway.serve.shared import alone
from gateway.serve.worker import Worker

if TYPE_CHECKING:
    from gateway.config.model import Config
    from gateway.identify.revoked import Change
    from gateway.record.metrics import (
        IntrospectionGauges,
        Metrics,
        RateLimitGauges,
        SessionGauges,
        SinkCounts,
        TokenGauges,
        UpstreamGauges,
    )
    from gateway.serve.hypercorn import BoundListener
    from gateway.serve.jwks import KeyService
    from gateway.serve.shared import Turns
    from gateway.snapshot import Candidate, Snapshot

Switch = Callable[[], Awaitable[None]]
"""Has all serve with what was prepared; when it returns, no request that comes is decided with
anything older."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """One worker: what it serves with, and what it does; `started` in Unix seconds.

    `state` is serving or spare. `keyrings` are the revisions of the issuers' keys. `restarts` is
    how many workers had its place before.
    """

    pid: int
    state: str
    revision: str
    config_revision: str
    keyrings: Mapping[str, str]
    connections: int
    requests: int
    started: float
    restarts: int = 0


class Workers(Protocol):
    """Those who serve.

    `metrics` are those of all, `edge` the listeners; `stopping` ends them. `turns` are those to
    write to what they write to.
    """

    metrics: Metrics
    turns: Turns
    edge: list[BoundListener]
    stopping: asyncio.Event

    async def prepare(self, candidate: Candidate, snapshot: Snapshot) -> Switch:
        """Make all that is needed to serve with a snapshot; ConfigError."""

    async def start(self) -> None:
        """Have what there is to serve with; ConfigError."""

    def renew(self, issuer: str) -> None:
        """Serve every request that starts from now on with an issuer's newest keys."""

    def deny(self, change: Change) -> None:
        """Decide every request from now on with a change of the deny lists."""

    async def serve(self, *others: BoundListener) -> None:
        """Serve, other listeners too, until `stopping` is set; then drain."""

    async def close(self) -> None:
        """End, and write the logs out."""

    def release(self) -> None:
        """Close what was opened, where it never came to serving."""

    def reopen(self) -> None:
        """Open the logs anew."""

    async def refresh(self) -> None:
        """Bring up to date what the following tell."""

    def missing(self) -> list[str]:
        """What is missing of those who serve."""

    def sinks(self) -> dict[str, SinkCounts]:
        """What became of the log lines, by target."""

    def upstreams(self) -> dict[str, UpstreamGauges]:
        """The connections to the upstreams, by name."""

    def rate_limits(self) -> RateLimitGauges:
        """How rate limits are counted."""

    def sessions(self) -> SessionGauges:
        """How sessions are kept."""

    def tokens(self) -> dict[str, TokenGauges]:
        """How the token endpoints do, by name."""

    def introspection(self) -> dict[str, IntrospectionGauges]:
        """How issuers are asked about tokens, by name."""

    def shadow_queued(self) -> int:
        """How many requests wait for the shadow."""

    async def shadow(self) -> dict[str, Any] | None:
        """What became of the shadow's decisions (record.shadow); None without one that works."""

    def status(self) -> list[WorkerStatus]:
        """Each of them."""

    async def recent(self, limit: int) -> list[bytes]:
        """The newest decision events, at most `limit`, newest first."""

    async def find(self, decision: str) -> bytes | None:
        """The event of a decision."""


class InProcess:
    """One worker in this process.

    Building it takes the addresses and opens the logs; ConfigError.
    """

    def __init__(self, config: Config, keys: KeyService) -> None:
        self.keys = keys
        self.started = time.time()
        self.kept = MemoryStore(config.sessions.memory)
        self.worker = Worker(config, keys, Table.create(config.rate_limits.keys), self.kept)
        self.metrics = self.worker.metrics
        self.turns: Turns = alone
        self.edge = self.worker.edge
        self.stopping = self.worker.stopping
        self.serve = self.worker.serve
        self.close = self.worker.close
        self.reopen = self.worker.sinks.reopen
        self.sinks = self.worker.sinks.counts
        self.upstreams = self.worker.runtime.upstreams
        self.rate_limits = self.worker.runtime.quotas.gauges
        self.tokens = self.worker.runtime.tokens.gauges
        self.introspection = self.worker.runtime.introspection.gauges
        self.shadow_queued = self.worker.runtime.shadowing.queued
        try:
            self.worker.bind()
        except BaseException:
            self.release()
            raise

    async def prepare(self, candidate: Candidate, snapshot: Snapshot) -> Switch:  # noqa: ARG002
        """See Workers."""
        activate = await asyncio.to_thread(self.worker.prepare, snapshot)

        async def switch() -> None:
            self.kept.max_bytes = snapshot.config.sessions.memory
            activate(self.keys.keyrings())

        return switch

    async def start(self) -> None:
        """See Workers."""

    def renew(self, issuer: str) -> None:
        """See Workers."""
        self.worker.runtime.renew(issuer, self.keys.remote[issuer].keyring)

    def deny(self, change: Change) -> None:
        """See Workers."""
        runtime = self.worker.runtime
        runtime.deny(runtime.denied.changed(change))

    def release(self) -> None:
        """See Workers."""
        self.worker.release()

    async def refresh(self) -> None:
        """See Workers."""

    def sessions(self) -> SessionGauges:
        """See Workers."""
        return self.worker.runtime.sessions.gauges()

    def missing(self) -> list[str]:
        """See Workers."""
        return []

    def status(self) -> list[WorkerStatus]:
        """See Workers."""
        snapshot = self.worker.runtime.snapshot
        return [
            WorkerStatus(
                pid=os.getpid(),
                state="serving",
                revision=snapshot.revision,
                config_revision=snapshot.config_revision,
                keyrings={name: keys.revision for name, keys in snapshot.keyrings.items()},
                connections=self.worker.load.connections,
                requests=sum(self.metrics.requests.values()),
                started=self.started,
            )
        ]

    async def shadow(self) -> dict[str, Any] | None:
        """See Workers."""
        report = self.worker.runtime.shadowing.report
        return report.as_dict() if report else None

    async def recent(self, limit: int) -> list[bytes]:
        """See Workers."""
        return self.worker.ring.recent(limit)

    async def find(self, decision: str) -> bytes | None:
        """See Workers."""
        return self.worker.ring.get(decision)
