"""One connection to an upstream: one request and its response at a time."""

from __future__ import annotations

import asyncio
import math
import select
import ssl
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Protocol, cast

from gateway.errors import Code, ForwardError

if TYPE_CHECKING:
    from gateway.config.model import Upstream
    from gateway.serve.upstream.response import Response

HIGH_WATER = 65536
"""Unread bytes at which a connection stops reading from the upstream."""

Content = AsyncIterator[bytes] | bytes


class Owner(Protocol):
    """What a connection needs of whoever opened it."""

    @property
    def upstream(self) -> Upstream:
        """Where the time limits are."""

    @property
    def address(self) -> str:
        """Where it connects to, as it is shown."""

    def opened(self, connection: Connection) -> None:
        """Count the connection."""

    def released(self, connection: Connection) -> None:
        """Take the connection back: its response is complete, and it may carry another."""

    def lost(self, member: Member) -> None:
        """Forget the connection."""

    def replace(self, connection: Connection, member: Member) -> None:
        """Count `member` instead of the connection whose transport it took over."""


class Member(Protocol):
    """What counts as a connection and has deadlines."""

    def expire(self, now: float) -> None:
        """End if a deadline has passed."""

    def fail(self, fault: BaseException) -> None:
        """End at once."""


class Connection(asyncio.Protocol):
    """The asyncio protocol of one connection.

    Any byte that no request asked for closes it. Deadlines are in the loop's time and run only
    while something waits for the upstream, never while the gateway waits for its client;
    `expire` enforces them and is called by the owner from time to time.
    """

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self._loop = asyncio.get_running_loop()
        self._poller = select.poll()
        self._response: Response | None = None
        self._fault: BaseException | None = None
        self._drained: asyncio.Future[None] | None = None
        self._reading = True
        self._read_deadline = math.inf
        self._write_deadline = math.inf
        self._transport: asyncio.Transport | None = None
        self.reused = False

    @property
    def transport(self) -> asyncio.Transport:
        """The transport of a connection that was made."""
        assert self._transport is not None
        return self._transport

    def is_quiet(self) -> bool:
        """Whether the connection is open and the upstream has sent nothing, not even its end.

        The kernel is asked too: what it holds was sent before the next request was, and would
        be read as the answer to it.
        """
        return not (self._fault or self.transport.is_closing() or self._poller.poll(0))

    def send(self, head: bytes, response: Response, content: Content, length: int | None) -> None:
        """Write a request, of `length` bytes of content or chunked; `response` gets the answer."""
        if self._fault is not None:
            raise self._fault
        assert self._response is None
        self._response = response
        response.connection = self
        if isinstance(content, bytes):
            self.transport.write(head + content)
            self.sent(response)
            return
        self._read_deadline = math.inf
        upload = _Upload(self, response, head, length)
        response.upload = self._loop.create_task(upload.run(content))
        self._loop.call_soon(upload.write_head)  # if the first piece was not there by then

    async def write(self, data: bytes) -> None:
        """Write a piece of a request; waits while the upstream does not take it."""
        if self._read_deadline < math.inf:  # the response has begun, and this goes on as well
            self._read_deadline = self._loop.time() + self.owner.upstream.idle_timeout
        self.transport.write(data)
        if self._drained is not None:
            await self._drained

    def sent(self, response: Response) -> None:
        """Start the wait for the response: the whole request has been written."""
        response.sent = True
        if not response.reader.head_done:
            self._read_deadline = self._loop.time() + self.owner.upstream.first_byte_timeout

    def await_content(self) -> None:
        """Start the wait for more of the response's content."""
        self._read_deadline = self._loop.time() + self.owner.upstream.idle_timeout
        self.resume_reading()

    def resume_reading(self) -> None:
        """Read again from the upstream."""
        if not self._reading:
            self._reading = True
            self.transport.resume_reading()

    def expire(self, now: float) -> None:
        """End the connection if a deadline has passed."""
        if now < self._read_deadline and now < self._write_deadline:
            return
        if self._response is None:
            self.transport.close()
        else:
            waited = "write" if now >= self._write_deadline else "read"
            self.fail(ForwardError(Code.UPSTREAM_TIMEOUT, f"{waited} timed out"))

    def fail(self, fault: BaseException) -> None:
        """End the connection at once; its response raises `fault`."""
        self._fault = self._fault or fault
        if self._transport is not None:
            self._transport.abort()
        response, self._response = self._response, None
        if response is not None:
            response.fail(fault)

    def _finish(self, response: Response) -> None:
        self._response = None
        response.stop_upload()
        keep_alive = self.owner.upstream.keep_alive
        if not response.sent or self.transport.get_write_buffer_size():
            self.transport.abort()  # the rest of the request would be read as the next one
        elif not response.reader.keep_alive or not keep_alive:
            self.transport.close()
        else:
            self.resume_reading()
            self.reused = True
            self._read_deadline = self._loop.time() + keep_alive
            self.owner.released(self)

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._poller.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self.owner.opened(self)

    def data_received(self, data: bytes) -> None:
        response = self._response
        if response is None:
            self.fail(ForwardError(Code.UPSTREAM_PROTOCOL, "bytes that no request asked for"))
            return
        reader = response.reader
        try:
            reader.feed(data)
        except ForwardError as fault:
            self.fail(fault)
            return
        if reader.upgraded:
            self._pause_reading()  # until somebody who knows the other protocol takes over
        elif reader.complete:
            self._finish(response)
        elif reader.head_done:
            self._read_deadline = math.inf
            if response.status >= 400 and not response.sent:
                response.stop_upload()
            if reader.buffered >= HIGH_WATER:
                self._pause_reading()
        response.wake()

    def eof_received(self) -> None:
        response = self._response
        if response is None:
            return
        try:
            if self._is_cut_off():
                raise ForwardError(Code.UPSTREAM_RESET, "TLS ended without close_notify")
            response.reader.finish()
        except ForwardError as fault:
            self.fail(fault)
        else:
            self._finish(response)
            response.wake()

    def connection_lost(self, error: Exception | None) -> None:
        self.fail(ForwardError(Code.UPSTREAM_RESET, str(error or "the connection was lost")))
        self.resume_writing()
        self.owner.lost(self)

    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()
        self._write_deadline = self._loop.time() + self.owner.upstream.idle_timeout

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        self._write_deadline = math.inf
        if drained is not None and not drained.done():
            drained.set_result(None)

    def _is_cut_off(self) -> bool:
        """Whether the end may be anybody's doing: TLS without close_notify (RFC 8446 §6.1)."""
        tls = self.transport.get_extra_info("ssl_object")
        if tls is None:
            return False
        try:
            return bool(tls.read(1))  # the loops report both ends alike; this tells them apart
        except ssl.SSLError:
            return True

    def _pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            self.transport.pause_reading()


class _Upload:
    """Writes a request whose content comes in pieces, the head together with the first."""

    __slots__ = ("_connection", "_head", "_left", "_response")

    def __init__(
        self, connection: Connection, response: Response, head: bytes, length: int | None
    ) -> None:
        self._connection = connection
        self._response = response
        self._head = head
        self._left = length

    def write_head(self) -> None:
        if self._head:
            self._connection.transport.write(self._head)
            self._head = b""

    async def run(self, content: AsyncIterator[bytes]) -> None:
        try:
            async for piece in content:
                if piece:
                    await self._write(self._framed(piece))
            if self._left:
                raise ForwardError(Code.BAD_FRAMING, f"content ended {self._left} bytes early")
            await self._write(b"0\r\n\r\n" if self._left is None else b"")
        except asyncio.CancelledError:
            if self._response.upload is not None:  # the content's own doing, not stop_upload's
                self._connection.fail(ForwardError(Code.UPSTREAM_RESET, "content was cancelled"))
            raise
        except Exception as fault:  # noqa: BLE001  it is the outcome of the request
            self._connection.fail(fault)
        else:
            self._response.upload = None
            self._connection.sent(self._response)

    def _framed(self, piece: bytes) -> bytes:
        if self._left is None:
            return b"%x\r\n%b\r\n" % (len(piece), piece)
        self._left -= len(piece)
        if self._left < 0:
            raise ForwardError(Code.BAD_FRAMING, f"content exceeds its length by {-self._left}")
        return piece

    async def _write(self, data: bytes) -> None:
        head, self._head = self._head, b""
        if head or data:
            await self._connection.write(head + data)
