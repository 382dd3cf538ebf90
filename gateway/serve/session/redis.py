"""Sessions in Redis, for several machines: each operation is one atomic script, on its clock.

All keys begin with the configured prefix. `{sessions}:k:` are the sessions, as hashes that expire,
`t:` the tags, as sets of keys by the time at which the sessions end, `c:` what was claimed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, TypeVar

from gateway.record.metrics import SessionGauges
from gateway.serve.redis import RedisAway, RedisServer
from gateway.serve.session.store import SECRET_SIZE, Stored, StoreError, checked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.config.model import Redis

_Answer = TypeVar("_Answer")

BATCH: Final = 100
"""Sessions with a tag that one script ends: others wait for it."""

NOW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local key = KEYS[1]

local function drop(session)
    local tags = redis.call('HGET', session, 'tags')
    if not tags then
        return 0
    end
    for tag in string.gmatch(tags, '%S+') do
        redis.call('ZREM', TAGS .. tag, session)
    end
    return redis.call('DEL', session)
end
"""

SCRIPTS: Final = {
    "secret": """
        local found = redis.call('GET', key)
        if not found then
            found = ARGV[1]
            redis.call('SET', key, found)
        end
        return found""",
    "create": """
        drop(key)
        local idle, ends, tags = ARGV[2], now + ARGV[3], {}
        for number = 4, #ARGV do
            local tag = TAGS .. ARGV[number]
            tags[number - 3] = ARGV[number]
            redis.call('ZREMRANGEBYSCORE', tag, '-inf', now)
            redis.call('ZADD', tag, ends, key)
            redis.call('PEXPIREAT', tag, redis.call('ZRANGE', tag, -1, -1, 'WITHSCORES')[2])
        end
        redis.call('HSET', key, 'value', ARGV[1], 'version', 1, 'idle', idle, 'ends', ends,
                   'tags', table.concat(tags, ' '))
        return redis.call('PEXPIREAT', key, math.min(now + idle, ends))""",
    "get": """
        local found = redis.call('HMGET', key, 'value', 'version', 'idle', 'ends')
        if not found[1] then
            return nil
        end
        redis.call('PEXPIREAT', key, math.min(now + found[3], tonumber(found[4])))
        return {found[1], found[2]}""",
    "save": """
        if redis.call('HGET', key, 'version') ~= ARGV[2] then
            return 0
        end
        redis.call('HSET', key, 'value', ARGV[1], 'version', ARGV[2] + 1)
        return 1""",
    "delete": """
        return drop(key)""",
    "delete_tagged": """
        local sessions, ended = redis.call('ZRANGE', key, 0, ARGV[1] - 1), 0
        for _, session in ipairs(sessions) do
            local tags = redis.call('HGET', session, 'tags')
            if tags and string.find(tags, ARGV[2], 1, true) then  -- the set outlives sessions
                ended = ended + drop(session)
            end
            redis.call('ZREM', key, session)
        end
        return {#sessions, ended}""",
    "acquire": """
        local found = redis.call('HMGET', key, 'version', 'owner', 'until')
        if not found[1] then
            return 0
        elseif found[2] and found[2] ~= ARGV[1] and now < tonumber(found[3]) then
            return 0
        end
        redis.call('HSET', key, 'owner', ARGV[1], 'until', now + ARGV[2])
        return 1""",
    "extend": """
        local found = redis.call('HMGET', key, 'owner', 'until')
        if found[1] ~= ARGV[1] or now >= tonumber(found[2]) then
            return 0
        end
        redis.call('HSET', key, 'until', now + ARGV[2])
        return 1""",
    "release": """
        if redis.call('HGET', key, 'owner') == ARGV[1] then
            redis.call('HDEL', key, 'owner', 'until')
        end
        return 0""",
}
"""What each operation does, by its name; the times of ARGV are milliseconds."""


class RedisStore:
    """A Store on one Redis server; ConfigError where the client is not installed."""

    def __init__(self, config: Redis) -> None:
        self.server = RedisServer(config)
        tags = self._key("t", b"").decode()
        quoted = "".join(f"\\{byte:03}" for byte in tags.encode())
        begin = f"local TAGS = '{quoted}'\n{NOW}"
        self._scripts = {
            name: self.server.client.register_script(begin + script)
            for name, script in SCRIPTS.items()
        }

    async def secret(self) -> bytes:
        """See Store."""

        async def question() -> bytes:
            found = await self._run("secret", self._key("secret"), os.urandom(SECRET_SIZE))
            if len(found) != SECRET_SIZE:
                raise ValueError("not a secret")
            return bytes(found)

        return await self._ask(question)

    async def create(
        self, key: bytes, value: bytes, *, tags: tuple[bytes, ...], idle: float, lifetime: float
    ) -> None:
        """See Store."""
        names = (tag.hex() for tag in tags)
        times = _milliseconds(idle), _milliseconds(lifetime)
        await self._session("create", key, checked(value), *times, *names)

    async def get(self, key: bytes) -> Stored | None:
        """See Store."""

        async def question() -> Stored | None:
            found = await self._run("get", self._key("k", key))
            return Stored(value=bytes(found[0]), version=int(found[1])) if found else None

        return await self._ask(question)

    async def save(self, key: bytes, value: bytes, *, version: int) -> bool:
        """See Store."""
        return await self._session("save", key, checked(value), version)

    async def delete(self, key: bytes) -> bool:
        """See Store."""
        return await self._session("delete", key)

    async def delete_tagged(self, tag: bytes) -> int:
        """See Store."""

        async def question() -> tuple[int, int]:
            name = self._key("t", tag)
            found, ended = await self._run("delete_tagged", name, BATCH, tag.hex())
            return int(found), int(ended)

        ended, found = 0, BATCH
        while found == BATCH:
            found, more = await self._ask(question)
            ended += more
        return ended

    async def acquire(self, key: bytes, owner: bytes, seconds: float) -> bool:
        """See Store."""
        return await self._session("acquire", key, owner, _milliseconds(seconds))

    async def extend(self, key: bytes, owner: bytes, seconds: float) -> bool:
        """See Store."""
        return await self._session("extend", key, owner, _milliseconds(seconds))

    async def release(self, key: bytes, owner: bytes) -> None:
        """See Store."""
        await self._session("release", key, owner)

    async def claim(self, key: bytes, seconds: float) -> bool:
        """See Store."""
        name, time = self._key("c", key), _milliseconds(seconds)
        return await self._ask(lambda: self._claim(name, time))

    async def _claim(self, name: bytes, time: int) -> bool:
        return await self.server.client.set(name, b"", nx=True, px=time) is not None

    def status(self) -> SessionGauges:
        """See Store."""
        return SessionGauges(storage="redis", error=self.server.last_error)

    async def close(self) -> None:
        """See Store."""
        await self.server.close()

    def _key(self, *names: bytes | str) -> bytes:
        return self.server.key("sessions", *names)

    async def _session(self, operation: str, key: bytes, *arguments: bytes | str | int) -> bool:
        """Whether an operation did something to a session."""

        async def question() -> bool:
            return bool(int(await self._run(operation, self._key("k", key), *arguments)))

        return await self._ask(question)

    async def _run(self, operation: str, key: bytes, *arguments: bytes | str | int) -> Any:
        return await self._scripts[operation](keys=[key], args=arguments)

    async def _ask(self, question: Callable[[], Awaitable[_Answer]]) -> _Answer:
        try:
            return await self.server.ask(question)
        except RedisAway as away:
            raise StoreError(str(away)) from None


def _milliseconds(seconds: float) -> int:
    return max(round(seconds * 1000), 1)
