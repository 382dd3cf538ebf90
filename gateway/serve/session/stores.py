"""Where the active configuration keeps sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.serve.redis import RedisUse
from gateway.serve.session.redis import RedisStore

if TYPE_CHECKING:
    from gateway.config.model import Config
    from gateway.serve.session.store import Store


class Stores:
    """The stores of one event loop; what is in memory outlives every reload."""

    def __init__(self, memory: Store) -> None:
        self.memory = memory
        self.redis = RedisUse(RedisStore)
        self.activate = self.redis.activate

    @property
    def active(self) -> Store:
        """The one that requests use."""
        return self.redis.active or self.memory

    def prepare(self, config: Config, *, changed: bool = False) -> RedisStore | None:
        """The Redis that a configuration keeps them on (see RedisUse); ConfigError."""
        used = config.redis if config.logins and config.sessions.storage == "redis" else None
        return self.redis.prepare(used, changed=changed)

    async def close(self) -> None:
        """Let go of what they hold; may be called again."""
        await self.redis.close()
        await self.memory.close()
