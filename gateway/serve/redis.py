"""A Redis server that several gateways share: asked with a bounded wait, left alone while away."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from gateway.config.secrets import redis_password
from gateway.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.config.model import Redis

_Answer = TypeVar("_Answer")

FIRST_PAUSE: Final = 0.25
"""Seconds for which a server that failed is left alone; each failure doubles it."""
LONGEST_PAUSE: Final = 4.0
CONNECTIONS: Final = 64
LOOKS: Final = 5
"""Parts of the time that a question has: one in which this process was late itself is no longer."""


class RedisAway(Exception):  # noqa: N818  nobody's error
    """The server did not answer in time; whether it has done what it was asked is not known."""


class RedisServer:
    """One server, for one purpose and one event loop; ConfigError where the client is missing.

    After a failure the server is left alone for a while, and one question tries whether it is
    back. `last_error` is empty while it answers.
    """

    def __init__(self, config: Redis) -> None:
        self.config = config
        self.last_error = ""
        self.failures = 0
        self._retry_at = 0.0
        self._trying = False
        self.client, self._errors = client(config)

    def key(self, group: str, *names: bytes | str) -> bytes:
        """The key of names in a group, all of whose keys are in one slot of a cluster."""
        words = (name if isinstance(name, str) else name.hex() for name in names)
        return f"{self.config.prefix}{{{group}}}:{':'.join(words)}".encode()

    async def ask(self, question: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """What a question to `client` brings; waits at most the configured time. RedisAway.

        An answer that makes no sense (ValueError, TypeError) counts as none. Time that this process
        spends with other requests, while the answer may be there already, counts in part only.
        """
        clock = asyncio.get_running_loop().time
        if self.failures and (self._trying or clock() < self._retry_at):
            raise RedisAway(f"Redis is away: {self.last_error}")
        trying = self._trying = bool(self.failures)
        try:
            answer = await _within(self.config.timeout, question)
        except (OSError, ValueError, TypeError, self._errors) as error:
            if clock() >= self._retry_at:  # requests that fail together are one failure
                self.failures = min(self.failures + 1, 16)
                pause = min(FIRST_PAUSE * 2 ** (self.failures - 1), LONGEST_PAUSE)
                self._retry_at = clock() + pause
            late = f"no answer within {self.config.timeout:g} s"
            self.last_error = late if isinstance(error, TimeoutError) else _told(error)
            raise RedisAway(f"Redis is away: {self.last_error}") from None
        finally:
            if trying:
                self._trying = False
        self.failures, self.last_error = 0, ""
        return answer

    async def close(self) -> None:
        """Close all connections."""
        await self.client.aclose()
        await self.client.connection_pool.disconnect()


async def _within(seconds: float, question: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """What a question brings in so much time; TimeoutError."""
    asking = asyncio.ensure_future(question())
    asking.add_done_callback(_taken_note_of)
    try:
        for _ in range(LOOKS):
            done, _ = await asyncio.wait((asking,), timeout=seconds / LOOKS)
            if done:
                return asking.result()
    finally:
        asking.cancel()
    raise TimeoutError


def _taken_note_of(task: asyncio.Future[Any]) -> None:
    """What becomes of a question that nobody waits for is no error of anybody."""
    if not task.cancelled():
        task.exception()


class OnRedis(Protocol):
    """What is kept on a server."""

    server: RedisServer

    async def close(self) -> None:
        """Close all connections."""


_Kept = TypeVar("_Kept", bound=OnRedis)


class RedisUse(Generic[_Kept]):
    """What the active configuration keeps on Redis for one purpose; None while nothing is."""

    def __init__(self, make: Callable[[Redis], _Kept]) -> None:
        self.active: _Kept | None = None
        self._make = make
        self._closing: asyncio.Task[None] | None = None

    def prepare(self, config: Redis | None, *, changed: bool) -> _Kept | None:
        """What another configuration would have it be; ConfigError.

        It is the one at hand where nothing differs, nor any file that the configuration names
        (`changed`).
        """
        if config is None:
            return None
        if self.active is not None and config == self.active.server.config and not changed:
            return self.active
        return self._make(config)

    def activate(self, prepared: _Kept | None) -> None:
        """Use this from now on."""
        before, self.active = self.active, prepared
        if before is not None and before is not prepared:
            self._closing = asyncio.get_running_loop().create_task(before.close())

    async def close(self) -> None:
        """Close the connections; may be called again."""
        if self._closing is not None:
            await self._closing
        if self.active is not None:
            await self.active.close()


def client(config: Redis) -> tuple[Any, type[Exception]]:
    """A client of a server, and what its errors are; ConfigError where none is installed."""
    try:
        from redis import asyncio as library  # noqa: PLC0415  an extra
    except ImportError:
        message = "the client of Redis is not installed"
        remedy = "pip install 'policy-gateway[redis]'"
        raise ConfigError((Problem(message, key="redis", remedy=remedy),)) from None
    return library.Redis(connection_pool=_pool(config, library)), library.RedisError


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def _pool(config: Redis, library: Any) -> Any:
    password = redis_password(config)
    common: dict[str, Any] = {
        "username": config.username,
        "password": password,
        "max_connections": CONNECTIONS,
        "timeout": None,  # it is part of what a question waits
        "retry_on_timeout": False,
        "retry_on_error": [],
        "socket_connect_timeout": LOOKS * config.timeout,
    }
    if config.url.startswith("unix:"):
        kind = library.UnixDomainSocketConnection
        path = config.url.removeprefix("unix:")
        return library.BlockingConnectionPool(connection_class=kind, path=path, **common)
    if config.url.startswith("rediss:"):
        common |= {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
        if config.ca_file is not None:
            common["ssl_ca_certs"] = str(config.ca_file)
    return library.BlockingConnectionPool.from_url(config.url, **common)
