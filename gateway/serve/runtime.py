"""What the requests of one process share; the snapshot in it is swapped by a reload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.serve.jwks import KeyService
from gateway.serve.upstream import Pool

if TYPE_CHECKING:
    from gateway.config.model import Upstream
    from gateway.identify import Keyring
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
        self.pools: dict[Upstream, Pool] = {}
        self.retired: list[Pool] = []

    def activate(self, snapshot: Snapshot, recorder: Recorder) -> None:
        """Serve every request that starts from now on with `snapshot`."""
        self.keys.configure(snapshot.config.issuers)
        self.snapshot = snapshot.with_keyrings(self.keys.keyrings())
        self.recorder = recorder
        for upstream in tuple(self.pools):
            # The files that it names are watched, and may hold something else by now.
            renewed = upstream.tls.ca_file or upstream.tls.certificate
            if renewed or upstream not in snapshot.forwarder.upstreams:
                self.retired.append(self.pools.pop(upstream))
                self.retired[-1].retire()
        self.retired = [pool for pool in self.retired if any(pool.counts())]

    def pool(self, upstream: Upstream) -> Pool:
        """The connections to an upstream."""
        pool = self.pools.get(upstream)
        if pool is None:
            pool = self.pools[upstream] = Pool(upstream)
        return pool

    async def close(self) -> None:
        """End fetches and connections."""
        self.keys.close()
        for pool in (*self.pools.values(), *self.retired):
            await pool.close()

    def _new_keys(self, name: str, keyring: Keyring) -> None:
        self.snapshot = self.snapshot.with_keyrings({name: keyring})
