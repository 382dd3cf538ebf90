"""What the requests of one process share; the snapshot in it is swapped by a reload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.identify.revoked import NOTHING
from gateway.serve.introspect import IntrospectionService
from gateway.serve.quota import QuotaService
from gateway.serve.session import SessionService
from gateway.serve.shadow import Shadowing
from gateway.serve.signer import SignerService
from gateway.serve.sockets import OpenSockets
from gateway.serve.tokens import TokenService
from gateway.serve.upstream import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.config.model import Upstream
    from gateway.identify import Keyring
    from gateway.identify.revoked import Denied
    from gateway.record.metrics import Metrics, UpstreamGauges
    from gateway.record.recorder import Recorder
    from gateway.serve.introspect import Introspector
    from gateway.serve.quota import Table
    from gateway.serve.session import Store
    from gateway.snapshot import Snapshot


class Keys(Protocol):
    """Who brings the keys that an issuer has published lately."""

    async def newest(self, name: str) -> Keyring:
        """The keyring for a request that found no key."""

    def close(self) -> None:
        """Let go of all who wait for keys."""


class Runtime:
    """The active snapshot and its recorder, the issuers' keys, the upstreams' pools, the shadow.

    For one event loop. A request takes `snapshot` and `recorder` once, at its start; they are
    there once `activate` was called.
    """

    snapshot: Snapshot
    recorder: Recorder

    def __init__(self, keys: Keys, counts: Table, sessions: Store, metrics: Metrics) -> None:
        self.keys = keys
        self.metrics = metrics
        self.shadowing = Shadowing(metrics)
        self.quotas = QuotaService(counts)
        self.signers = SignerService()
        self.tokens = TokenService(metrics)
        self.introspection = IntrospectionService(metrics)
        self.sessions = SessionService(sessions, keys, self.introspection, metrics)
        self.denied = NOTHING
        self.open = OpenSockets()
        self.pools: dict[Upstream, Pool] = {}
        self.retired: list[Pool] = []

    def prepare(self, snapshot: Snapshot) -> dict[Upstream, Pool]:
        """The pools for a snapshot, those at hand where nothing differs; ConfigError. Blocking."""
        return {
            upstream: self.pools[upstream] if self._fits(upstream, snapshot) else Pool(upstream)
            for upstream in snapshot.forwarder.upstreams
        }

    def prepare_redis(self, snapshot: Snapshot) -> Callable[[], None]:
        """Connect to what a snapshot keeps on Redis; the result uses it. ConfigError. Blocking."""
        changed = not self._same_files(snapshot)
        counts = self.quotas.prepare(snapshot.config, changed=changed)
        store = self.sessions.stores.prepare(snapshot.config, changed=changed)

        def activate() -> None:
            self.quotas.activate(counts)
            self.sessions.stores.activate(store)

        return activate

    def _same_files(self, snapshot: Snapshot) -> bool:
        return bool(self.pools) and snapshot.named == self.snapshot.named

    def _fits(self, upstream: Upstream, snapshot: Snapshot) -> bool:
        return upstream in self.pools and (not _names_files(upstream) or self._same_files(snapshot))

    def activate(
        self,
        snapshot: Snapshot,
        recorder: Recorder,
        pools: dict[Upstream, Pool],
        keyrings: Mapping[str, Keyring],
    ) -> None:
        """Serve every request that starts from now on with `snapshot`, and these remote keys."""
        self.snapshot = snapshot.with_keyrings(keyrings).with_denied(self.denied)
        self.recorder = recorder
        self.shadowing.activate(snapshot.shadow, snapshot.revision)
        replaced = [
            pool for upstream, pool in self.pools.items() if pools.get(upstream) is not pool
        ]
        self.pools = pools
        for pool in replaced:
            pool.retire()
        self.retired = [pool for pool in (*self.retired, *replaced) if any(pool.counts())]

    def upstreams(self) -> dict[str, UpstreamGauges]:
        """The upstreams' connections, by configured name, or by URL where a route gives that."""
        names = {each: name for name, each in self.snapshot.config.upstreams.items()}
        return {
            names.get(upstream, str(upstream)): pool.gauges()
            for upstream, pool in self.pools.items()
        }

    def pool(self, upstream: Upstream) -> Pool:
        """The connections to an upstream; ConfigError only where a reload took it away."""
        pool = self.pools.get(upstream)
        if pool is None:
            # A request goes on with the snapshot that it began with.
            pool = next((each for each in self.retired if each.upstream == upstream), None)
        if pool is None:
            pool = Pool(upstream)
            pool.retire()
            self.retired.append(pool)
        return pool

    def prepare_introspection(self, snapshot: Snapshot) -> dict[str, Introspector]:
        """The issuers that are asked with a snapshot; ConfigError. Blocking."""
        changed = not self._same_files(snapshot)
        return self.introspection.prepare(snapshot.config, changed=changed)

    def deny(self, denied: Denied) -> None:
        """Decide every request from now on with these deny lists, and end what they forbid."""
        self.denied = denied
        if self.pools:  # otherwise, nothing is active yet
            self.snapshot = self.snapshot.with_denied(denied)
            self.open.end_denied(denied)

    def renew(self, name: str, keyring: Keyring) -> None:
        """Serve every request that starts from now on with newer keys of an issuer."""
        self.snapshot = self.snapshot.with_keyrings({name: keyring})

    async def close(self) -> None:
        """End the wait for keys, and all connections."""
        await self.sessions.close()
        self.keys.close()
        self.introspection.close()
        self.signers.close()
        self.tokens.close()
        await self.shadowing.close()
        for pool in (*self.pools.values(), *self.retired):
            await pool.close()
        await self.quotas.close()


def _names_files(upstream: Upstream) -> bool:
    return bool(upstream.tls.ca_file or upstream.tls.certificate)
