"""What the requests of one process share; the snapshot in it is swapped by a reload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.serve.jwks import KeyService
from gateway.serve.shadow import Shadowing
from gateway.serve.upstream import Pool

if TYPE_CHECKING:
    from gateway.config.model import Upstream
    from gateway.identify import Keyring
    from gateway.record.recorder import Recorder
    from gateway.snapshot import Snapshot


class Runtime:
    """The active snapshot and its recorder, the issuers' keys, the upstreams' pools, the shadow.

    For one event loop. A request takes `snapshot` and `recorder` once, at its start.
    """

    def __init__(self, snapshot: Snapshot, recorder: Recorder) -> None:
        self.snapshot = snapshot
        self.recorder = recorder
        self.keys = KeyService(self._new_keys)
        self.shadowing = Shadowing(recorder.metrics)
        self.pools: dict[Upstream, Pool] = {}
        self.retired: list[Pool] = []

    def prepare(self, snapshot: Snapshot) -> dict[Upstream, Pool]:
        """The pools for a snapshot, those at hand where nothing differs; ConfigError. Blocking."""
        unchanged = snapshot.named == self.snapshot.named
        return {
            upstream: self.pools[upstream]
            if upstream in self.pools and (unchanged or not _names_files(upstream))
            else Pool(upstream)
            for upstream in snapshot.forwarder.upstreams
        }

    def activate(self, snapshot: Snapshot, recorder: Recorder, pools: dict[Upstream, Pool]) -> None:
        """Serve every request that starts from now on with `snapshot`."""
        self.keys.configure(snapshot.config.issuers)
        self.snapshot = snapshot.with_keyrings(self.keys.keyrings())
        self.recorder = recorder
        self.shadowing.activate(snapshot.shadow, snapshot.revision)
        replaced = [
            pool for upstream, pool in self.pools.items() if pools.get(upstream) is not pool
        ]
        self.pools = pools
        for pool in replaced:
            pool.retire()
        self.retired = [pool for pool in (*self.retired, *replaced) if any(pool.counts())]

    def pool(self, upstream: Upstream) -> Pool:
        """The connections to an upstream; ConfigError only where a reload took it away."""
        pool = self.pools.get(upstream)
        if pool is None:
            # A request goes on with the snapshot that it began with.
            pool = Pool(upstream)
            pool.retire()
            self.retired.append(pool)
        return pool

    async def close(self) -> None:
        """End fetches and connections."""
        self.keys.close()
        await self.shadowing.close()
        for pool in (*self.pools.values(), *self.retired):
            await pool.close()

    def _new_keys(self, name: str, keyring: Keyring) -> None:
        self.snapshot = self.snapshot.with_keyrings({name: keyring})


def _names_files(upstream: Upstream) -> bool:
    return bool(upstream.tls.ca_file or upstream.tls.certificate)
