"""Takes the charges of requests, wherever the active configuration counts them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.record.metrics import RateLimitGauges
from gateway.serve.quota.redis import RedisCounts
from gateway.serve.redis import RedisUse

if TYPE_CHECKING:
    from gateway.config.model import Config
    from gateway.model import Charge, Taken
    from gateway.serve.quota.table import Table


class QuotaService:
    """The counts of one event loop; those in memory outlive every reload."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.redis = RedisUse(RedisCounts)
        self.activate = self.redis.activate
        self.close = self.redis.close

    def prepare(self, config: Config, *, changed: bool = False) -> RedisCounts | None:
        """The Redis that a configuration counts in (see RedisUse); ConfigError."""
        used = config.redis if config.rate_limits.storage == "redis" else None
        return self.redis.prepare(used, changed=changed)

    async def take(self, charges: tuple[Charge, ...]) -> Taken:
        """Charge all or none; waits for Redis at most as long as is configured."""
        if self.redis.active is not None:
            return await self.redis.active.take(charges)
        return self.table.take(charges, time.monotonic())

    def gauges(self) -> RateLimitGauges:
        """How the storage does."""
        if self.redis.active is not None:
            return RateLimitGauges(storage="redis", error=self.redis.active.server.last_error)
        return RateLimitGauges(storage="memory", evicted=self.table.evicted)
