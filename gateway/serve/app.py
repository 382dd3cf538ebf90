"""One gateway on one machine: what rules, and those who serve."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, cast

from gateway.config.model import Listener
from gateway.config.secrets import admin_token
from gateway.config.show import effective
from gateway.config.walk import sets_beside
from gateway.errors import ConfigError
from gateway.record.metrics import BundleGauges, Gauges, KeyGauges, RevocationGauges
from gateway.serve.admin import (
    AdminState,
    BundleStatus,
    IssuerStatus,
    ReloadStatus,
    admin_app,
    problems_as_json,
)
from gateway.serve.hypercorn import BoundListener, bind
from gateway.serve.jwks import KeyService
from gateway.serve.notify import ServiceManager
from gateway.serve.reload import Reloader, Start, revisions
from gateway.serve.revocation import RevocationService
from gateway.serve.rollout import Rollout
from gateway.serve.supervisor import Supervisor
from gateway.serve.worker import missing_keys
from gateway.serve.workers import InProcess, Switch, Workers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.identify import Keyring
    from gateway.identify.revoked import Change
    from gateway.serve.asgi import App
    from gateway.snapshot import Candidate, Snapshot

log = logging.getLogger("gateway")

DISTRIBUTION = "policy-gateway"
LAST_STEPS = 30.0
"""Seconds that an end may take besides draining: logs are written out, processes end."""
ONE_SIGNAL = 1.0
"""Seconds: some send a signal to a process and then to its whole group, which is no second one."""


class Gateway:
    """A gateway that is bound to its addresses; `run` serves until `stop` is set.

    `edge` and `admin` are the bound listeners. Building it raises ConfigError where an address,
    a certificate or a log file cannot be used. `workers` is instead of the configuration's, and
    `verbose` for processes other than this one. `manager` is told how it fares.
    """

    def __init__(
        self,
        path: Path,
        environ: Mapping[str, str],
        begun: Start,
        *,
        workers: int | Literal["auto"] | None = None,
        verbose: bool = False,
        manager: ServiceManager | None = None,
    ) -> None:
        config = begun.snapshot.config
        count = count_of(workers or config.workers)
        self.started = time.time()
        self.begun = begun
        self.limits = config.limits
        self.manager = manager or ServiceManager()
        self.admin_token = admin_token(config)
        self.keys = KeyService(lambda issuer, _: self.workers.renew(issuer))
        self.revocation = RevocationService(path, self._deny)
        self.reloader = Reloader(
            path,
            environ,
            begun,
            prepare=self.prepare,
            reported=self.reported,
            looked=self.tell_manager,
        )
        self.serving: asyncio.Task[None] | None = None
        self.terminated = 0.0
        self.admin: BoundListener | None = None
        try:
            self.workers: Workers = (
                InProcess(config, self.keys)
                if count == 1
                else Supervisor(config, self.keys, workers=count, verbose=verbose)
            )
            try:
                if config.admin.enabled:
                    self.admin = self.bind_admin(config.admin.address)
            except BaseException:
                self.workers.release()
                raise
        except ConfigError as error:
            raise begun.candidate.loaded.located(error) from None
        self.edge = self.workers.edge
        self.stop = self.workers.stopping

    async def run(self) -> None:
        """Serve until `stop` is set, then drain."""
        async with AsyncExitStack() as ending:
            if self.admin:
                ending.callback(self.admin.close)
            ending.push_async_callback(self.workers.close)
            ending.push_async_callback(self.revocation.close)
            ending.push_async_callback(self.reloader.close)
            ending.callback(self.keys.close)
            try:
                switch = await self.prepare(self.begun.candidate, self.begun.snapshot)
                await switch()
                await self.workers.start()
            except ConfigError as error:
                raise self.begun.candidate.loaded.located(error) from None
            await self.reloader.start()
            log.info("policy revision %s", revisions(self.begun.snapshot))
            others = (self.admin,) if self.admin else ()
            self.serving = asyncio.create_task(self.workers.serve(*others))
            self.tell_manager()
            try:
                await asyncio.wait((self.serving,))
            finally:
                self.serving.cancel()
            if not self.serving.cancelled():
                self.serving.result()

    async def prepare(self, candidate: Candidate, snapshot: Snapshot) -> Switch:
        """Make all that a snapshot needs besides itself; the result has all serve with it.

        ConfigError for what a snapshot alone cannot know.
        """
        token = await asyncio.to_thread(admin_token, snapshot.config)
        listed = await asyncio.to_thread(self.revocation.prepare, snapshot.config, snapshot.named)
        switch = await self.workers.prepare(candidate, snapshot)

        async def activate() -> None:
            self.admin_token = token
            self.keys.configure(snapshot.config.issuers)
            await self.revocation.activate(listed)
            await switch()

        return activate

    def _deny(self, change: Change) -> None:
        self.workers.deny(change)

    def hangup(self) -> None:
        """SIGHUP: look at the files, build anew even if they are the same, open the logs anew."""
        log.info("SIGHUP: reading all files anew")
        self.workers.reopen()
        self.reloader.force()
        if self.serving and not self.stop.is_set():
            self.manager.reloading()

    def reported(self, success: bool) -> None:
        """Other policies serve, or a reload was refused."""
        self.workers.metrics.reloaded(success=success)
        self.tell_manager()

    def tell_manager(self) -> None:
        """Tell the service manager what serves, unless that is not true yet, or no longer."""
        if not self.serving or self.reloader.forced or self.stop.is_set():
            return
        status = self.reloader.status
        pinned = ", pinned" if status.pin else ""
        refused = "; what is on disk is broken, see the log" if status.problems else ""
        self.manager.ready(f"Serving policy revision {status.revision}{pinned}{refused}")

    def terminate(self, name: str) -> None:
        """SIGTERM or SIGINT: take no more connections, end what is under way; again: end."""
        now = time.monotonic()
        if not self.stop.is_set():
            delay, drain = self.limits.drain_delay, self.limits.drain_timeout
            log.info("%s: draining for at most %g s", name, drain)
            self.terminated = now
            self.stop.set()
            self.manager.stopping(delay + drain + LAST_STEPS, "Draining")
        elif self.serving is not None and now - self.terminated > ONE_SIGNAL:
            log.warning("%s again: ending at once", name)
            self.serving.cancel()

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
            bundles=self.bundles,
            gauges=self.gauges,
            config=self.masked_config,
            workers=self.workers,
            rollout=Rollout(self.reloader),
            beside=self.beside,
            revocation=self.revocation,
            actions=lambda: self.reloader.snapshot.config.admin.actions,
            unix=address.startswith("unix:"),
        )
        app = cast("App", admin_app(state).asgi_app)
        return bind(Listener(address=address), app, capped=False, key="admin")

    def keyrings(self) -> dict[str, Keyring]:
        """The newest keyrings of all issuers."""
        return {**self.reloader.snapshot.keyrings, **self.keys.keyrings()}

    def ready(self) -> list[str]:
        """What is missing until every request can be decided; nothing while draining."""
        if self.stop.is_set():
            return ["shutting down"]
        config = self.reloader.snapshot.config
        return [
            *self.workers.missing(),
            *missing_keys(config, self.keyrings()),
            *self.revocation.missing(),
        ]

    def issuers(self) -> dict[str, IssuerStatus]:
        """The issuers' keys."""
        keyrings = self.keyrings()
        found = {}
        for name, issuer in self.reloader.snapshot.config.issuers.items():
            keyring = keyrings[name]
            remote = self.keys.remote.get(name)
            found[name] = IssuerStatus(
                loaded=keyring.loaded,
                keys=len(keyring.keys),
                revision=keyring.revision,
                fetched_at=remote.fetched_at if remote else self.reloader.status.last_success,
                last_error=remote.last_error if remote else "",
                problems=keyring.problems,
                required=issuer.required and issuer.keys is not None,
            )
        return found

    def bundles(self) -> dict[str, BundleStatus]:
        """The bundles of the active configuration."""
        return self.reloader.bundle_statuses()

    def beside(self) -> dict[str, dict[str, Any]]:
        """The policy sets beside the enforced one, by name; a broken one has problems."""
        snapshot = self.reloader.snapshot
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
            bundles={
                name: BundleGauges(
                    revision=bundle.revision,
                    age=None
                    if bundle.checked_at is None or not bundle.remote
                    else now - bundle.checked_at,
                    fresh=not bundle.last_error,
                )
                for name, bundle in self.bundles().items()
            },
            beside={name: each["revision"] or "" for name, each in self.beside().items()},
            shadow_queued=self.workers.shadow_queued(),
            pinned=status.pin is not None,
            pending=status.pending is not None,
            enforced={
                route.id: route.enforcement == "enforce"
                for route in self.reloader.snapshot.config.routes
            },
            issuers={
                name: KeyGauges(
                    keys=issuer.keys,
                    age=None
                    if name not in self.keys.remote or issuer.fetched_at is None
                    else now - issuer.fetched_at,
                    fresh=not issuer.last_error,
                )
                for name, issuer in self.issuers().items()
            },
            upstreams=self.workers.upstreams(),
            sinks=self.workers.sinks(),
            rate_limits=self.workers.rate_limits(),
            sessions=self.workers.sessions(),
            tokens=self.workers.tokens(),
            introspection=self.workers.introspection(),
            revocation={
                name: RevocationGauges(
                    entries=source.entries,
                    age=None
                    if name != "redis" or source.confirmed_at is None
                    else max(0.0, now - source.confirmed_at),
                    fresh=not (source.last_error or source.problems),
                    stale=source.stale,
                )
                for name, source in self.revocation.status().items()
            },
        )

    def masked_config(self) -> Mapping[str, Any]:
        """The effective configuration without its secrets."""
        shown: Mapping[str, Any] = effective(self.reloader.snapshot.config)
        return shown


def count_of(workers: int | Literal["auto"]) -> int:
    """How many workers that are."""
    if workers != "auto":
        return workers
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
