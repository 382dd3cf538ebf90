"""WebSockets to an upstream: the handshake on a connection of the pool, then wsproto's frames.

aiohttp's client follows a redirect of the handshake, with the identity headers, to wherever the
upstream points, and does not show a refusal's body; so it is not used here.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import math
import os
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wsproto.connection import Connection as Frames, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, TextMessage
from wsproto.frame_protocol import CloseReason

from gateway.errors import Code, ForwardError
from gateway.serve.turn import Turn
from gateway.serve.upstream.connection import HIGH_WATER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import Headers
    from gateway.serve.upstream.pool import Pool
    from gateway.serve.upstream.response import Response

ACCEPT_SALT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
CLOSE_TIMEOUT = 5.0  # for the upstream's answer to a close frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The end of a WebSocket; code 1005 is a close without code, 1006 no close at all."""

    code: int
    reason: str = ""


async def connect_websocket(
    pool: Pool,
    target: bytes,
    headers: Headers,
    *,
    subprotocols: Sequence[str] = (),
    max_message: int,
) -> UpstreamSocket | Response:
    """Open a WebSocket to the pool's upstream, or return the response that refuses it.

    `headers` are as for a request; what they say of the handshake is replaced. `max_message`
    is in bytes. ForwardError as `Pool.request`.
    """
    key = base64.b64encode(os.urandom(16))
    offers = ((b"sec-websocket-protocol", ", ".join(subprotocols).encode()),)
    kept = tuple(line for line in headers if not line[0].startswith(b"sec-websocket-"))
    response = await pool.upgrade(
        target,
        kept
        + ((b"sec-websocket-version", b"13"), (b"sec-websocket-key", key))
        + (offers if subprotocols else ()),
        b"connection: Upgrade\r\nupgrade: websocket\r\n",
    )
    if response.status != 101:
        return response
    assert response.connection is not None
    try:
        if response.connection.transport.is_closing():
            raise ForwardError(Code.UPSTREAM_RESET, "lost after the handshake")
        subprotocol = _check(response.headers, key, subprotocols)
    except ForwardError as fault:
        response.connection.fail(fault)
        raise
    return UpstreamSocket(response, subprotocol, max_message)


def _check(headers: Headers, key: bytes, offered: Sequence[str]) -> str | None:
    """Return the subprotocol of a good handshake (RFC 6455 §4.1)."""
    found = {name: [v for n, v in headers if n == name] for name, _ in headers}
    accept = base64.b64encode(hashlib.sha1(key + ACCEPT_SALT, usedforsecurity=False).digest())
    if [value.lower() for value in found.get(b"upgrade", ())] != [b"websocket"]:
        raise ForwardError(Code.UPSTREAM_PROTOCOL, "upgraded to something else")
    if found.get(b"sec-websocket-accept") != [accept]:
        raise ForwardError(Code.UPSTREAM_PROTOCOL, "wrong Sec-WebSocket-Accept")
    if b"sec-websocket-extensions" in found:
        raise ForwardError(Code.UPSTREAM_PROTOCOL, "an extension that was not offered")
    chosen = [value.decode("latin-1") for value in found.get(b"sec-websocket-protocol", ())]
    if len(chosen) > 1 or not set(chosen) <= set(offered):
        raise ForwardError(Code.UPSTREAM_PROTOCOL, "a subprotocol that was not offered")
    return chosen[0] if chosen else None


class UpstreamSocket(asyncio.Protocol):
    """An open WebSocket: `receive`, `send`, `close`; `subprotocol` and the answer's `headers`.

    `address` is as in Response.

    Pings are answered here, and sent when the upstream has been silent for half its idle
    time-out; silence for all of it ends the connection with 1006.
    """

    def __init__(self, response: Response, subprotocol: str | None, max_message: int) -> None:
        assert response.connection is not None
        self.subprotocol = subprotocol
        self.headers = response.headers
        self.address = response.address
        self._owner = response.connection.owner
        self._loop = asyncio.get_running_loop()
        self._frames = Frames(ConnectionType.CLIENT)
        self._message = _Assembly(max_message)
        self._messages: deque[str | bytes] = deque()
        self._queued = 0
        self._closed: Closed | None = None
        self._arrived: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._lost = asyncio.Event()
        self._reading = True
        self._taking: asyncio.Handle | None = None
        self._heard = self._loop.time()
        self._pinged = False
        self._deadline = math.inf
        self._transport = response.connection.transport
        self._owner.replace(response.connection, self)
        self._transport.set_protocol(self)
        if response.reader.rest:
            self.data_received(response.reader.rest)
        if self._reading:
            self._transport.resume_reading()

    async def receive(self) -> str | bytes | Closed:
        """Return the next message; after the last one, again and again, how it was closed."""
        while not self._messages:
            if self._closed is not None:
                return self._closed
            self._arrived = self._loop.create_future()
            try:
                await self._arrived
            finally:
                self._arrived = None
        message = self._messages.popleft()
        self._queued -= _cost(message)
        if self._queued < HIGH_WATER:
            self._take_more()
        return message

    async def send(self, message: str | bytes) -> None:
        """Send a message, waiting while the upstream does not take it; dropped once closed."""
        self._write(
            TextMessage(data=message) if isinstance(message, str) else BytesMessage(data=message)
        )
        if self._drained is not None:
            await self._drained

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the socket and wait a few seconds for the upstream's answer."""
        self._end(Closed(code=code, reason=reason))
        self._deadline = min(self._deadline, self._loop.time() + CLOSE_TIMEOUT)
        self._take_more()
        await self._lost.wait()

    # Called by the endpoint.

    def expire(self, now: float) -> None:
        """End what has passed a deadline, and see whether a silent upstream is still there."""
        idle = self._owner.upstream.idle_timeout
        silent = now - self._heard if self._reading else 0.0
        if now >= self._deadline or silent >= idle:
            self._transport.abort()
        elif silent >= idle / 2 and not self._pinged:
            self._pinged = True
            self._write(Ping())

    def fail(self, fault: BaseException) -> None:  # noqa: ARG002  as Member says it
        """End at once."""
        self._end(Closed(code=CloseReason.GOING_AWAY, reason=""))
        self._transport.abort()

    # Called by asyncio.

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        self._pinged = False
        if self._frames.state is ConnectionState.CLOSED:
            return
        self._frames.receive_data(data)
        if self._reading:
            self._take_frames()

    def connection_lost(self, _error: Exception | None) -> None:
        if self._reading:
            self._end(Closed(code=CloseReason.ABNORMAL_CLOSURE))
        self.resume_writing()
        self._lost.set()
        self._owner.lost(self)

    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()
        self._deadline = self._loop.time() + self._owner.upstream.idle_timeout

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if self._closed is None:
            self._deadline = math.inf
        if drained is not None and not drained.done():
            drained.set_result(None)

    def _take_frames(self) -> None:
        """Take the frames that have come, as far as the time and the queue's length allow.

        Nothing is read meanwhile: 256 KiB may be 130,000 frames, which is seconds of work.
        """
        self._taking = None
        turn = Turn()
        for event in self._frames.events():
            self._take(event)
            full = self._queued >= HIGH_WATER and self._closed is None
            if full or turn.is_over:
                self._pause_reading()
                if not full:
                    self._take_more()
                return
        if self._lost.is_set():
            self._end(Closed(code=CloseReason.ABNORMAL_CLOSURE))
        else:
            self._resume_reading()

    def _take_more(self) -> None:
        """Go on with the frames that have come, and read again after them."""
        if not self._reading and self._taking is None:
            self._taking = self._loop.call_soon(self._take_frames)

    def _take(self, event: Event) -> None:
        if isinstance(event, Message) and self._closed is None:
            self._add(event)
        elif isinstance(event, Ping) and self._drained is None:  # pongs must not pile up
            self._write(event.response())
        elif isinstance(event, CloseConnection):  # the upstream's, or a fault that wsproto found
            self._close_now(Closed(code=int(event.code), reason=event.reason or ""))

    def _add(self, part: Message[Any]) -> None:
        try:
            message = self._message.add(part)
        except OverflowError:
            self._close_now(Closed(code=CloseReason.MESSAGE_TOO_BIG, reason="message too big"))
            return
        if message is not None:
            self._messages.append(message)
            self._queued += _cost(message)
            self._wake()

    def _close_now(self, closed: Closed) -> None:
        self._end(closed)
        self._deadline = min(self._deadline, self._loop.time() + CLOSE_TIMEOUT)
        self._transport.close()

    def _end(self, closed: Closed) -> None:
        if self._closed is None:
            self._write(CloseConnection(code=closed.code, reason=closed.reason))
            self._closed = closed
            self._wake()

    def _write(self, event: Event) -> None:
        if self._closed is None and not self._transport.is_closing():
            self._transport.write(bytes(self._frames.send(event)))

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def _pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._heard = self._loop.time()
            self._transport.resume_reading()


class _Assembly:
    """Puts the parts of a message together; OverflowError beyond `limit` bytes."""

    __slots__ = ("_left", "_limit", "_parts")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = limit
        self._parts: list[Any] = []

    def add(self, part: Message[Any]) -> str | bytes | None:
        """Return the message that `part` completes."""
        data = part.data
        self._left -= len(data.encode()) if isinstance(data, str) else len(data)
        if self._left < 0:
            raise OverflowError
        if data:
            self._parts.append(data)
        if not part.message_finished:
            return None
        message: str | bytes = ("" if isinstance(data, str) else b"").join(self._parts)
        self._parts.clear()
        self._left = self._limit
        return message


def _cost(message: str | bytes) -> int:
    return len(message) + 64  # an empty message takes memory too
