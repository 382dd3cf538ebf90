"""What serves requests: the edge listeners, the active snapshot, the logs."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.record.mask import Mask
from gateway.record.metrics import Metrics
from gateway.record.recorder import Recorder
from gateway.record.ring import Ring
from gateway.serve.balance import Load
from gateway.serve.edge import own_app
from gateway.serve.proxy import Proxy
from gateway.serve.runtime import Keys, Runtime
from gateway.serve.servers import server_for
from gateway.serve.session import SessionPages
from gateway.serve.shared import alone
from gateway.serve.sink import open_sinks
from gateway.serve.terms import Terms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.config.model import Config
    from gateway.identify import Keyring
    from gateway.serve.hypercorn import BoundListener
    from gateway.serve.quota import Table
    from gateway.serve.session import Store
    from gateway.serve.shared import Turns
    from gateway.snapshot import Snapshot

log = logging.getLogger("gateway")

SINK_TIMEOUT = 5.0


class Worker:
    """Serves requests in one event loop, with the snapshot that was activated last.

    `config` is that of the start, for what no reload changes. ConfigError where a log cannot be
    opened. `load` counts the connections, `counts` what rate limits allow, `sessions` are
    those in memory.
    """

    def __init__(
        self,
        config: Config,
        keys: Keys,
        counts: Table,
        sessions: Store,
        turns: Turns = alone,
    ) -> None:
        self.config = config
        self.server = server_for(config)
        self.metrics = Metrics()
        self.ring = Ring(config.log.decisions.ring)
        self.sinks = open_sinks(config.log, lambda text: log.warning("%s", text), turns)
        self.counts = counts
        self.runtime = Runtime(keys, counts, sessions, self.metrics)
        self.edge: list[BoundListener] = []
        self.load = Load()
        self.stopping = asyncio.Event()
        pages = SessionPages(self.runtime)
        self.app = Proxy(self.runtime, own_app(self.missing, self.runtime.signers.jwks, pages))

    def bind(self) -> None:
        """Take the addresses of the configuration; ConfigError."""
        for number, listener in enumerate(self.config.listeners):
            self.edge.append(self.server.bind(listener, self.app, key=f"listeners.{number}"))

    def adopt(self, bound: Iterable[tuple[str, tuple[int, ...]]]) -> None:
        """Take what another process has bound: addresses and descriptors; ConfigError."""
        for number, (address, descriptors) in enumerate(bound):
            listener, key = self.config.listeners[number], f"listeners.{number}"
            self.edge.append(
                self.server.adopt(
                    listener, self.app, address=address, descriptors=descriptors, key=key
                )
            )

    def prepare(self, snapshot: Snapshot) -> Callable[[Mapping[str, Keyring]], None]:
        """Make all that a snapshot needs besides itself.

        The result serves with it from then on, and with the keyrings of remote issuers that it is
        given. ConfigError for what a snapshot alone cannot know. Blocking.
        """
        recorder = self.recorder(snapshot)
        pools = self.runtime.prepare(snapshot)
        activate_redis = self.runtime.prepare_redis(snapshot)
        asked = self.runtime.prepare_introspection(snapshot)
        # No reload changes the folder: all workers of a machine have their keys from one.
        state = self.config.policy.state
        signer = self.runtime.signers.prepare(snapshot.config.assertion, state)
        providers = self.runtime.sessions.prepare(snapshot)
        tokens = self.runtime.tokens.prepare(snapshot.config.token_endpoints)
        certificates = [
            (listener.certificate, listener.certificate.load())
            for listener in self.edge
            if listener.certificate is not None
        ]

        def activate(keyrings: Mapping[str, Keyring]) -> None:
            for certificate, context in certificates:
                certificate.context = context
            activate_redis()
            self.runtime.signers.activate(signer)
            self.runtime.sessions.activate(providers)
            self.runtime.tokens.activate(tokens)
            self.runtime.introspection.activate(asked, snapshot.config.issuers)
            self.runtime.activate(snapshot, recorder, pools, keyrings)

        return activate

    def recorder(self, snapshot: Snapshot) -> Recorder:
        """The recorder of a snapshot."""
        sinks = self.sinks
        return Recorder(
            metrics=self.metrics,
            ring=self.ring,
            mask=Mask.build(snapshot.config),
            labels=snapshot.config.log.labels,
            entrypoints=snapshot.decider.entrypoints,
            canary_entrypoints=snapshot.canary.decider.entrypoints if snapshot.canary else {},
            bundles=snapshot.bundles,
            decisions=sinks.decisions.put if sinks.decisions else None,
            access=sinks.access.put if sinks.access else None,
        )

    def missing(self) -> list[str]:
        """What is missing until every request can be decided, and no other is needed."""
        if self.stopping.is_set():
            return ["shutting down"]
        return missing_keys(self.runtime.snapshot.config, self.runtime.snapshot.keyrings)

    async def serve(self, *others: BoundListener) -> None:
        """Serve, other listeners too, until `stopping` is set; then drain.

        Load balancers have `limits.drain_delay` to see that there is an end.
        """
        shutdown = asyncio.Event()

        async def ending() -> None:
            await self.stopping.wait()
            if self.config.limits.drain_delay:
                await asyncio.sleep(self.config.limits.drain_delay)
            shutdown.set()

        task = asyncio.create_task(ending())
        try:
            await self.server.serve(
                [*self.edge, *others],
                Terms(
                    shutdown=shutdown,
                    limits=self.config.limits,
                    counters=self.metrics.refused_below,
                    last_call=self.runtime.close,
                    load=self.load,
                ),
            )
        finally:
            task.cancel()

    def release(self) -> None:
        """Close listeners and logs, where it never came to serving."""
        for bound in self.edge:
            bound.close()
        self.counts.close()
        self.sinks.close(SINK_TIMEOUT)

    async def close(self) -> None:
        """End all connections to upstreams and write the logs out."""
        for bound in self.edge:  # open, where it never came to serving
            bound.close()
        await self.runtime.close()
        self.counts.close()
        await asyncio.to_thread(self.sinks.close, SINK_TIMEOUT)


def missing_keys(config: Config, keyrings: Mapping[str, Keyring]) -> list[str]:
    """The required issuers without keys, in words."""
    return [
        f"issuer {name} has no keys"
        for name, issuer in config.issuers.items()
        if issuer.keys is not None and issuer.required and not keyrings[name].loaded
    ]
