"""Takes the charges of requests, wherever the active configuration counts them."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from gateway.record.metrics import RateLimitGauges
from gateway.serve.quota.redis import RedisCounts

if TYPE_CHECKING:
    from gateway.config.model import Config
    from gateway.model import Charge, Taken
    from gateway.serve.quota.table import Table


class QuotaService:
    """The counts of one event loop; those in memory outlive every reload."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.redis: RedisCounts | None = None
        self._closing: asyncio.Task[None] | None = None

    def prepare(self, config: Config, *, changed: bool = False) -> RedisCounts | None:
        """The Redis that a configuration counts in; ConfigError.

        It is the one at hand where nothing differs, nor any file that the configuration names
        (`changed`).
        """
        if config.rate_limits.storage == "memory" or config.redis is None:
            return None
        if self.redis is not None and config.redis == self.redis.server.config and not changed:
            return self.redis
        return RedisCounts(config.redis)

    def activate(self, redis: RedisCounts | None) -> None:
        """Count there, or in memory, from now on."""
        before, self.redis = self.redis, redis
        if before is not None and before is not redis:
            self._closing = asyncio.get_running_loop().create_task(before.close())

    async def take(self, charges: tuple[Charge, ...]) -> Taken:
        """Charge all or none; waits for Redis at most as long as is configured."""
        if self.redis is not None:
            return await self.redis.take(charges)
        return self.table.take(charges, time.monotonic())

    def gauges(self) -> RateLimitGauges:
        """How the storage does."""
        if self.redis is not None:
            return RateLimitGauges(storage="redis", error=self.redis.server.last_error)
        return RateLimitGauges(storage="memory", evicted=self.table.evicted)

    async def close(self) -> None:
        """Close the connections to Redis; may be called again."""
        if self._closing is not None:
            await self._closing
        if self.redis is not None:
            await self.redis.close()
