"""The connections to one address of an upstream."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from gateway.errors import Code, ForwardError
from gateway.serve.upstream.balance import Health
from gateway.serve.upstream.connection import Connection

if TYPE_CHECKING:
    from gateway.config.model import Upstream
    from gateway.serve.upstream.connection import Member
    from gateway.serve.upstream.dial import Dialer


class Endpoint:
    """Keeps the connections to one address of `upstream`, all in one event loop.

    `health` is what its requests have shown; who sends them keeps it. `address` is as shown.
    """

    def __init__(self, upstream: Upstream, dialer: Dialer) -> None:
        self.upstream = upstream
        self.health = Health(upstream.ejection)
        self.address = dialer.address
        self._dialer = dialer
        self._members: set[Member] = set()
        self._opening = 0
        self._idle: list[Connection] = []  # the one used last at the end
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._retired = False
        self._emptied: asyncio.Event | None = None  # there once the endpoint is closed
        self._sweep: asyncio.TimerHandle | None = None
        limits = (upstream.first_byte_timeout, upstream.idle_timeout, upstream.keep_alive)
        self._sweep_interval = min(max(min(limits) / 8, 0.01), 1.0)

    @property
    def pending(self) -> int:
        """How many requests are under way, or wait."""
        return len(self._members) - len(self._idle) + self._opening + len(self._waiters)

    def take_idle(self) -> Connection | None:
        """A connection that waits for a request, if there is one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_quiet():
                return connection
            connection.fail(ForwardError(Code.UPSTREAM_PROTOCOL, "not quiet while unused"))
        return None

    async def acquire(self, *, fresh: bool = False) -> Connection:
        """A connection for a request; a new one where it has to be `fresh`.

        ForwardError `upstream-connect`, `-protocol` (it spoke first), `-busy`.
        """
        deadline = asyncio.get_running_loop().time() + self.upstream.connect_timeout
        if fresh and self._idle and not self._has_room():
            self._members.discard(self._idle[0])
            self._idle.pop(0).transport.close()
        while not self._has_room():
            connection = await self._wait(deadline)
            if connection is None:
                return await self._open(deadline, waited=True)
            if connection.is_quiet() and not (fresh and connection.reused):
                return connection
            connection.fail(ForwardError(Code.UPSTREAM_PROTOCOL, "not quiet while unused"))
        self._opening += 1
        return await self._open(deadline)

    def counts(self) -> tuple[int, int, int]:
        """How many connections are in use and unused, and how many requests wait for one."""
        idle = len(self._idle)
        return len(self._members) - idle, idle, len(self._waiters)

    def retire(self) -> None:
        """Keep no unused connection from now on; requests are served as before."""
        self._retired = True
        for connection in self._idle:
            connection.transport.close()
        self._idle.clear()

    async def close(self) -> None:
        """Abort everything; returns when the last connection is gone."""
        self.retire()
        self._emptied = asyncio.Event()
        fault = ForwardError(Code.SHUTTING_DOWN)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(fault)
        for member in tuple(self._members):
            member.fail(fault)
        self._notice_empty()
        await self._emptied.wait()
        if self._sweep is not None:
            self._sweep.cancel()

    # What connections call.

    def opened(self, connection: Connection) -> None:
        """Count a connection and watch its deadlines."""
        self._members.add(connection)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self._sweep_interval, self._expire)

    def released(self, connection: Connection) -> None:
        """Hand a connection to a request that waits, or keep it."""
        if self._retired:
            connection.transport.close()
        elif not self._grant(connection):
            self._idle.append(connection)

    def lost(self, member: Member) -> None:
        """Forget a connection; a request that waits may open another."""
        self._members.discard(member)
        self._idle = [connection for connection in self._idle if connection is not member]
        self._grant_room()
        self._notice_empty()

    def replace(self, connection: Connection, member: Member) -> None:
        """Count `member` instead of the connection whose transport it took over."""
        self._members.discard(connection)
        self._members.add(member)

    def _has_room(self) -> bool:
        return len(self._members) + self._opening < self.upstream.max_connections

    async def _wait(self, deadline: float) -> Connection | None:
        """Wait for a connection, or None for leave (already counted) to open one."""
        if self._emptied is not None:
            raise ForwardError(Code.SHUTTING_DOWN)
        if len(self._waiters) >= self.upstream.max_pending:
            raise ForwardError(Code.UPSTREAM_BUSY, "too many requests wait")
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout_at(deadline):
                return await waiter
        except TimeoutError:
            self._give_back(waiter)
            raise ForwardError(Code.UPSTREAM_BUSY, "no connection was free in time") from None
        except asyncio.CancelledError:
            self._give_back(waiter)
            raise

    def _give_back(self, waiter: asyncio.Future[Connection | None]) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        elif not waiter.cancelled() and waiter.exception() is None:
            connection = waiter.result()
            if connection is not None:
                self.released(connection)
            else:
                self._opening -= 1
                self._grant_room()

    def _grant(self, connection: Connection | None) -> bool:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False

    def _grant_room(self) -> None:
        if self._waiters and self._has_room() and self._grant(None):
            self._opening += 1

    async def _open(self, deadline: float, *, waited: bool = False) -> Connection:
        connection = Connection(self)
        try:
            async with asyncio.timeout_at(deadline):
                await self._dialer.dial(lambda: connection)
            if self._emptied is not None:
                raise ForwardError(Code.SHUTTING_DOWN)
            if self._dialer.is_plain and not connection.is_quiet():
                raise ForwardError(Code.UPSTREAM_PROTOCOL, "spoke or ended before the request")
        except BaseException as error:
            connection.fail(error)
            self.lost(connection)  # uvloop tells a dial that was cancelled only of the opening
            if isinstance(error, TimeoutError) and waited:
                # Those who held the others left it too little time: no fault of the target.
                raise ForwardError(Code.UPSTREAM_BUSY, "no connection was free in time") from None
            if isinstance(error, OSError | UnicodeError):
                raise ForwardError(Code.UPSTREAM_CONNECT, str(error) or "timed out") from error
            raise
        finally:
            self._opening -= 1
            self._grant_room()
            self._notice_empty()
        return connection

    def _notice_empty(self) -> None:
        if self._emptied is not None and not self._members and not self._opening:
            self._emptied.set()

    def _expire(self) -> None:
        # One timer for all: a deadline then costs a request no more than an assignment.
        loop = asyncio.get_running_loop()
        now = loop.time()
        for member in tuple(self._members):
            member.expire(now)
        again = bool(self._members)
        self._sweep = loop.call_later(self._sweep_interval, self._expire) if again else None
