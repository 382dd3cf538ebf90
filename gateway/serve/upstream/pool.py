"""The connections to one upstream."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol

from gateway.errors import Code, ForwardError
from gateway.serve.upstream.connection import Connection, Content
from gateway.serve.upstream.dial import Dialer
from gateway.serve.upstream.message import ResponseReader, framing, request_head
from gateway.serve.upstream.response import Response

if TYPE_CHECKING:
    from gateway.config.model import Upstream
    from gateway.model import Headers

REPLAYABLE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that may go out twice: the safe ones. A DELETE is idempotent too, but its second
answer is another one than its first (RFC 9110 §9.2)."""


class Member(Protocol):
    """What counts as a connection and has deadlines."""

    def expire(self, now: float) -> None:
        """End if a deadline has passed."""

    def fail(self, fault: BaseException) -> None:
        """End at once."""


class Pool:
    """Keeps connections to `upstream` and sends requests on them, all in one event loop.

    Building it reads the TLS files; ConfigError with keys below the upstream's.
    """

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self._dialer = Dialer(upstream)
        self._members: set[Member] = set()
        self._opening = 0
        self._idle: list[Connection] = []  # the one used last at the end
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._retired = False
        self._emptied: asyncio.Event | None = None  # there once the pool is closed
        self._sweep: asyncio.TimerHandle | None = None
        limits = (upstream.first_byte_timeout, upstream.idle_timeout, upstream.keep_alive)
        self._sweep_interval = min(max(min(limits) / 8, 0.01), 1.0)

    async def request(
        self,
        method: str,
        target: bytes,
        headers: Headers,
        body: Content | None = None,
        *,
        length: int | None = None,
    ) -> Response:
        """Send a request and return its response once the head has arrived.

        `body` is the content, or its pieces: `length` bytes in all, chunked if that is None.
        Pieces may still be going out when this returns; once the response is an error or
        complete, they are not. ForwardError `upstream-connect`, `-busy`, `-protocol`, `-reset`,
        `-timeout`; what `body` raises is raised. A cancelled request closes its connection.

        Nothing that the upstream may have got is sent again, but a GET, HEAD or OPTIONS without
        content, once, if a connection that was used before ends without a byte in answer.
        """
        content = body or b""
        if isinstance(content, bytes):
            length = len(content)
        head = request_head(method, target, headers, framing(method, length))
        connection = self._take_idle() or await self._acquire()
        response = Response(ResponseReader(method, self.upstream.max_head))
        try:
            return await _exchange(connection, head, response, content, length)
        except ForwardError as fault:
            replayable = method in REPLAYABLE and not content
            unanswered = fault.code is Code.UPSTREAM_RESET and not response.reader.started
            if not (replayable and unanswered and connection.reused):
                raise
        connection = await self._acquire(fresh=True)
        response = Response(ResponseReader(method, self.upstream.max_head))
        return await _exchange(connection, head, response, content, length)

    async def upgrade(self, target: bytes, headers: Headers, fields: bytes) -> Response:
        """Ask with a GET on a fresh connection for another protocol, named in `fields`.

        The connection of a response with status 101 does not read until the caller, who owns
        it, takes its transport over.
        """
        head = request_head("GET", target, headers, fields)
        connection = await self._acquire(fresh=True)
        reader = ResponseReader("GET", self.upstream.max_head, upgrade=True)
        return await _exchange(connection, head, Response(reader), b"", 0)

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

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_quiet():
                return connection
            connection.fail(ForwardError(Code.UPSTREAM_PROTOCOL, "not quiet while unused"))
        return None

    async def _acquire(self, *, fresh: bool = False) -> Connection:
        deadline = asyncio.get_running_loop().time() + self.upstream.connect_timeout
        if fresh and self._idle and not self._has_room():
            self._members.discard(self._idle[0])
            self._idle.pop(0).transport.close()
        while not self._has_room():
            connection = await self._wait(deadline)
            if connection is None:
                return await self._open(deadline)
            if connection.is_quiet() and not (fresh and connection.reused):
                return connection
            connection.fail(ForwardError(Code.UPSTREAM_PROTOCOL, "not quiet while unused"))
        self._opening += 1
        return await self._open(deadline)

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

    async def _open(self, deadline: float) -> Connection:
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


async def _exchange(
    connection: Connection, head: bytes, response: Response, content: Content, length: int | None
) -> Response:
    try:
        connection.send(head, response, content, length)
        await response.head()
    except BaseException:
        response.close()
        raise
    return response
