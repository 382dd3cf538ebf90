"""What the requests of one process share; the snapshot in it is swapped by a reload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.serve.jwks import KeyService
from gateway.serve.quota import QuotaService, Table
from gateway.serve.signer import SignerService
from gateway.serve.upstream import Pool

if TYPE_CHECKING:
    from gateway.config.model import Upstream
    from gateway.identify import Keyring
    from gateway.record.metrics import UpstreamGauges
    from gateway.record.recorder import Recorder
    from gateway.snapshot import Snapshot


class Runtime:
    """The active snapshot, the recorder made for it, the issuers' keys and the upstreams' pools.

    For one event loop. A request takes `snapshot` and `recorder` once, at its start.
    """

    def __init__(self, snapshot: Snapshot, recorder: Recorder) -> None:
        self.snapshot = snapshot
        self.recorder = recorder
        self.keys = KeyService(self._new_keys)
        self.quotas = QuotaService(Table.create(snapshot.config.rate_limits.keys))
        self.signers = SignerService()
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
            pool = Pool(upstream)
            pool.retire()
            self.retired.append(pool)
        return pool

    async def close(self) -> None:
        """End fetches and connections."""
        self.keys.close()
        self.signers.close()
        for pool in (*self.pools.values(), *self.retired):
            await pool.close()
        await self.quotas.close()

    def _new_keys(self, name: str, keyring: Keyring) -> None:
        self.snapshot = self.snapshot.with_keyrings({name: keyring})


def _names_files(upstream: Upstream) -> bool:
    return bool(upstream.tls.ca_file or upstream.tls.certificate)
