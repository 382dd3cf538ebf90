"""One gateway in one event loop: listeners, runtime, reloader, logs."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import time
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

from gateway.config.model import Listener
from gateway.config.secrets import admin_token
from gateway.config.show import effective
from gateway.config.walk import sets_beside
from gateway.errors import ConfigError
from gateway.record.mask import Mask
from gateway.record.metrics import Gauges, KeyGauges, Metrics, UpstreamGauges
from gateway.record.recorder import Recorder
from gateway.record.ring import Ring
from gateway.serve.admin import AdminState, IssuerStatus, ReloadStatus, admin_app, problems_as_json
from gateway.serve.edge import own_app
from gateway.serve.hypercorn import BoundListener, bind, serve
from gateway.serve.proxy import Proxy
from gateway.serve.reload import Reloader, Start
from gateway.serve.rollout import Rollout
from gateway.serve.runtime import Runtime
from gateway.serve.sink import open_sinks

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from pathlib import Path

    from gateway.serve.asgi import App
    from gateway.snapshot import Snapshot

log = logging.getLogger("gateway")

DISTRIBUTION = "policy-gateway"
SINK_TIMEOUT = 5.0


class Gateway:
    """A gateway that is bound to its addresses; `run` serves until `stop` is set.

    `edge` and `admin` are the bound listeners. Building it raises ConfigError where an address,
    a certificate or a log file cannot be used.
    """

    def __init__(self, path: Path, environ: Mapping[str, str], begun: Start) -> None:
        config = begun.snapshot.config
        self.started = time.time()
        self.environ = environ
        self.stop = asyncio.Event()
        self.drain_timeout = config.limits.drain_timeout
        self.admin_token = admin_token(config)
        self.metrics = Metrics()
        self.ring = Ring(config.log.decisions.ring)
        self.sinks = open_sinks(config.log, lambda text: log.warning("%s", text))
        self.runtime = Runtime(begun.snapshot, self.recorder(begun.snapshot))
        self.reloader = Reloader(
            path,
            environ,
            begun,
            prepare=self.prepare,
            reported=lambda success: self.metrics.reloaded(success=success),
        )
        proxy = Proxy(self.runtime, own_app(self.ready))
        self.edge: list[BoundListener] = []
        self.admin: BoundListener | None = None
        try:
            for number, listener in enumerate(config.listeners):
                self.edge.append(bind(listener, proxy, key=f"listeners.{number}"))
            if config.admin.enabled:
                self.admin = self.bind_admin(config.admin.address)
            self.begin = self.prepare(begun.snapshot)
        except BaseException as error:
            for bound in self.listeners():
                bound.close()
            self.sinks.close(SINK_TIMEOUT)
            if isinstance(error, ConfigError):
                raise begun.candidate.loaded.located(error) from None
            raise

    async def run(self) -> None:
        """Serve until `stop` is set, then drain."""
        async with AsyncExitStack() as ending:
            ending.push_async_callback(asyncio.to_thread, self.sinks.close, SINK_TIMEOUT)
            ending.push_async_callback(self.runtime.close)
            ending.push_async_callback(self.reloader.close)
            self.begin()
            await self.reloader.start()
            await serve(
                self.listeners(),
                shutdown=self.stop,
                limits=self.runtime.snapshot.config.limits,
                counters=self.metrics.refused_below,
                last_call=self.runtime.close,
            )

    def listeners(self) -> list[BoundListener]:
        """All that are bound."""
        return [*self.edge, *([self.admin] if self.admin else [])]

    def prepare(self, snapshot: Snapshot) -> Callable[[], None]:
        """Make all that a snapshot needs besides itself; the result serves with it from then on.

        ConfigError for what a snapshot alone cannot know. Blocking.
        """
        recorder = self.recorder(snapshot)
        token = admin_token(snapshot.config)
        pools = self.runtime.prepare(snapshot)
        certificates = [
            (listener.certificate, listener.certificate.load())
            for listener in self.edge
            if listener.certificate is not None
        ]

        def activate() -> None:
            self.admin_token = token
            for certificate, context in certificates:
                certificate.context = context
            self.runtime.activate(snapshot, recorder, pools)

        return activate

    def hangup(self) -> None:
        """SIGHUP: look at the files, build anew even if they are the same, open the logs anew."""
        log.info("SIGHUP: reading all files anew")
        self.sinks.reopen()
        self.reloader.force()

    def terminate(self, name: str) -> None:
        """SIGTERM or SIGINT: take no more connections, end what is under way."""
        log.info("%s: draining for at most %g s", name, self.drain_timeout)
        self.stop.set()

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
            decisions=sinks.decisions.put if sinks.decisions else None,
            access=sinks.access.put if sinks.access else None,
        )

    def bind_admin(self, address: str) -> BoundListener:
        """The admin listener; its connections are not counted against those of clients."""
        state = AdminState(
            version=version(DISTRIBUTION),
            started=self.started,
            clock=time.time,
            token=lambda: self.admin_token,
            ready=self.ready,
            reload=lambda: self.reloader.status,
            issuers=self.issuers,
            gauges=self.gauges,
            config=self.masked_config,
            metrics=self.metrics,
            ring=lambda: self.ring,
            rollout=Rollout(self.reloader),
            beside=self.beside,
            shadow=lambda: self.runtime.shadowing.report,
            actions=lambda: self.runtime.snapshot.config.admin.actions,
            unix=address.startswith("unix:"),
        )
        app = cast("App", admin_app(state).asgi_app)
        return bind(Listener(address=address), app, capped=False, key="admin")

    def ready(self) -> list[str]:
        """What is missing until every request can be decided; nothing while draining."""
        missing = [
            f"issuer {name} has no keys"
            for name, issuer in self.runtime.snapshot.config.issuers.items()
            if issuer.required and not self.runtime.snapshot.keyrings[name].loaded
        ]
        return ["shutting down"] if self.stop.is_set() else missing

    def issuers(self) -> dict[str, IssuerStatus]:
        """The issuers' keys."""
        snapshot = self.runtime.snapshot
        found = {}
        for name, issuer in snapshot.config.issuers.items():
            keyring = snapshot.keyrings[name]
            remote = self.runtime.keys.remote.get(name)
            found[name] = IssuerStatus(
                loaded=keyring.loaded,
                keys=len(keyring.keys),
                revision=keyring.revision,
                fetched_at=remote.fetched_at if remote else self.reloader.status.last_success,
                last_error=remote.last_error if remote else "",
                problems=keyring.problems,
                required=issuer.required,
            )
        return found

    def beside(self) -> dict[str, dict[str, Any]]:
        """The policy sets beside the enforced one, by name; a broken one has problems."""
        snapshot = self.runtime.snapshot
        return {
            name: {
                "revision": variant.revision if variant else None,
                "share": section.share,
                "problems": problems_as_json(snapshot.faults.get(name, ())),
            }
            for name, section in sets_beside(snapshot.config)
            for variant in (snapshot.policy_sets()[name],)
        }

    def gauges(self) -> Gauges:
        """What the metrics show of this moment."""
        now = time.time()
        status: ReloadStatus = self.reloader.status
        return Gauges(
            version=version(DISTRIBUTION),
            started=self.started,
            revision=status.revision,
            reloaded_at=status.last_success,
            reload_ok=not status.problems,
            beside={name: each["revision"] or "" for name, each in self.beside().items()},
            shadow_queued=self.runtime.shadowing.queued(),
            pinned=status.pin is not None,
            pending=status.pending is not None,
            enforced={
                route.id: route.enforcement == "enforce"
                for route in self.runtime.snapshot.config.routes
            },
            issuers={
                name: KeyGauges(
                    keys=issuer.keys,
                    age=None
                    if name not in self.runtime.keys.remote or issuer.fetched_at is None
                    else now - issuer.fetched_at,
                    fresh=not issuer.last_error,
                )
                for name, issuer in self.issuers().items()
            },
            upstreams={
                upstream.url: UpstreamGauges(in_use=in_use, idle=idle, waiting=waiting)
                for upstream, pool in self.runtime.pools.items()
                for in_use, idle, waiting in (pool.counts(),)
            },
            sinks=self.sinks.counts(),
        )

    def masked_config(self) -> Mapping[str, Any]:
        """The effective configuration without its secrets."""
        shown: Mapping[str, Any] = effective(self.runtime.snapshot.config)
        return shown


def settle() -> None:
    """Tune the cycle collector for a process that only serves, once all is loaded.

    What is there by now stays: it is never looked through again. Requests leave hardly a cycle
    behind, and at the default thresholds the search for them takes a tenth of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on uvloop, where it is installed."""
    factory = None
    if sys.platform != "win32":
        try:
            import uvloop  # noqa: PLC0415  not on every platform
        except ImportError:  # pragma: no cover
            log.debug("uvloop is not installed")
        else:
            factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)
