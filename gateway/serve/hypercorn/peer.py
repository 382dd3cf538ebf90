"""One client connection: bytes in, bytes out, and how long it may take.

Stands in for Hypercorn's TCPServer: the protocols get what they expect of it (`send`, a task
group), without a task, a lock and a timer for each change between idle and busy.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
import ssl
import struct
from typing import TYPE_CHECKING, Any, cast

from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H2ProtocolAssumedError
from hypercorn.utils import parse_socket_addr

from gateway.serve.hypercorn.http1 import Http1
from gateway.serve.hypercorn.http2 import Http2
from gateway.serve.turn import Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gateway.errors import Code
    from gateway.serve.hypercorn.listener import BoundListener
    from gateway.serve.hypercorn.server import Server

log = logging.getLogger("gateway.server")

PIECE = 16384
"""Bytes that a protocol handles before other connections get their turn."""
RECEIVE_HIGH_WATER = 262144
"""Received bytes that wait for the protocol before the transport stops reading."""
COALESCE = 65536
"""Bytes to write that are collected within one turn of the loop."""
LINGER = 2.0
"""Seconds for the client to take the answer when it was still sending (RFC 9112 §9.6)."""
RESET = struct.pack("ii", 1, 0)


class Peer(asyncio.Protocol):
    """The other end of one accepted socket."""

    def __init__(self, server: Server, listener: BoundListener) -> None:
        self.server = server
        self.listener = listener
        self.loop = asyncio.get_running_loop()
        self.protocol: Http1 | Http2
        self.received_at = self.loop.time()
        self.apps: set[asyncio.Task[None]] = set()
        self._spawned: set[asyncio.Task[None]] = set()
        self._transport: asyncio.Transport
        self._deadline = math.inf
        self._reading_head = False
        self._received = bytearray()
        self._readable = asyncio.Event()
        self._paused = False
        self._leaving = False
        self._outgoing: list[bytes] = []
        self._outgoing_size = 0
        self._writable = asyncio.Event()
        self._writable.set()
        self._blocked_since = math.inf
        self._closed_at = math.inf
        self._task: asyncio.Task[None] | None = None
        self.turn = Turn()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there, after its TLS handshake."""
        # uvloop's transports are no subclass of asyncio's.
        self._transport = transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        try:
            self.client = parse_socket_addr(sock.family, sock.getpeername())
            self.address = parse_socket_addr(sock.family, sock.getsockname())
        except OSError:  # gone already
            transport.abort()
            self.client = self.address = None
        tls = transport.get_extra_info("ssl_object")
        self.tls = tls is not None
        if tls is not None and tls.selected_alpn_protocol() == "h2":
            self.protocol = Http2(self)
        else:
            self.protocol = Http1(self)
        self.server.remember(self)
        self.head_begins()
        self._task = self.server.spawn(self._run())

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        self.received_at = self.loop.time()
        if self.closing:
            return
        self._received += data
        self._readable.set()
        if len(self._received) > RECEIVE_HIGH_WATER and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The client ended its side, which counts as leaving."""
        self._leave()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        """The connection is gone: whoever waits for it goes on."""
        self.server.forget(self)
        self._closed_at = min(self._closed_at, self.loop.time())
        self._outgoing.clear()
        self._writable.set()
        self._leave()

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self._writable.clear()
        self._blocked_since = self.loop.time()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._writable.set()
        self._blocked_since = math.inf

    # Hypercorn's side

    async def send(self, event: Event) -> None:
        """What a protocol has for the connection."""
        if isinstance(event, RawData):
            await self.write(event.data)
        elif isinstance(event, Closed):
            self.close()
        elif isinstance(event, Updated):
            self._reading_head = False
            idle = self.loop.time() + self.server.limits.idle_timeout
            self._deadline = idle if event.idle else math.inf

    def spawn(self, func: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        """Run a task of the protocol that ends with the connection."""
        task = self.server.spawn(func(*args))
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)

    # the protocols' side

    @property
    def shared(self) -> tuple[Any, Any, Any, Any]:
        """First arguments of Hypercorn's protocols and streams: app, config, context, tasks.

        They only pass the application on, and use `spawn` alone of a task group.
        """
        return (self.listener.app, self.server.settings, self.server.context, self)

    @property
    def ends(self) -> tuple[bool, Any, Any]:
        """More of their arguments: whether there is TLS, the client's and our address."""
        return (self.tls, self.client, self.address)

    @property
    def closing(self) -> bool:
        """Whether nothing more is read or written."""
        return self._closed_at != math.inf

    def run_app(self, func: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """Run an application's task, which may outlive the connection."""
        task = self.server.spawn(func())
        self.apps.add(task)
        task.add_done_callback(self.apps.discard)
        return task

    def head_begins(self) -> None:
        """The first byte of a request's head has come: the rest has to follow in time."""
        if not self._reading_head:
            self._reading_head = True
            self._deadline = self.loop.time() + self.server.limits.head_timeout

    async def write(self, data: bytes) -> None:
        """Write, and wait while the client is behind."""
        if self.closing:
            return
        if not self._outgoing:
            self.loop.call_soon(self._flush)
        self._outgoing.append(data)
        self._outgoing_size += len(data)
        if self._outgoing_size > COALESCE:
            self._flush()
        if not self._writable.is_set():
            await self._writable.wait()

    def close(self) -> None:
        """Close after what was written; nothing more is handled.

        While the client is still sending, a plain close would reset the connection before it
        has read the answer.
        """
        if self.closing:
            return
        self._flush()
        self._closed_at = self.loop.time()
        self._writable.set()
        self._leave()
        if not self.protocol.unread:
            # Where the client has ended TLS it is closing; a second close breaks asyncio's.
            if not self._transport.is_closing():
                self._transport.close()
            return
        if self._transport.can_write_eof():
            with contextlib.suppress(OSError):  # the client was faster
                self._transport.write_eof()
        if self._paused:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Reset the connection: what the client has of a response is not all of it."""
        self._flush()
        self._closed_at = min(self._closed_at, self.loop.time())
        sock: socket.socket = self._transport.get_extra_info("socket")
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._transport.abort()

    def refused(self, code: Code) -> None:
        """Count a refusal below ASGI."""
        self.server.count(code)

    # the server's side

    def sweep(self, now: float) -> None:
        """End what takes too long; `now` is the loop's time."""
        limits = self.server.limits
        if self.closing:
            pending = self._transport.get_write_buffer_size()
            if now > self._closed_at + (limits.idle_timeout if pending else LINGER):
                self.abort()
        elif now > self._blocked_since + limits.idle_timeout:
            self.abort()
        elif now > self._deadline:
            self._deadline = math.inf
            self.spawn(self.protocol.expire)
        else:
            self.protocol.sweep(now - limits.idle_timeout)

    def drain(self) -> None:
        """Finish what is in flight, then close."""
        self.spawn(self.protocol.drain)

    def _leave(self) -> None:
        """Let the protocol tell its streams, in the connection's own task."""
        if self._task is not None and not self._leaving:
            self._leaving = True
            self._task.cancel()

    async def _run(self) -> None:
        try:
            await self.protocol.initiate()
            while True:
                await self._handle(await self._read())
        except (ssl.SSLError, ConnectionError):
            pass
        except Exception:
            log.exception("A connection failed")
        finally:
            self._leaving = True
            await self.protocol.handle(Closed())
            self.close()
            for task in self._spawned:
                task.cancel()

    async def _read(self) -> bytes:
        while not self._received or self.closing:
            self._readable.clear()
            await self._readable.wait()
        if len(self._received) <= PIECE:
            piece = bytes(self._received)
            self._received.clear()
        else:
            piece = bytes(self._received[:PIECE])
            del self._received[:PIECE]
            await asyncio.sleep(0)
        self.turn.begin()
        if self._paused and len(self._received) < PIECE:
            self._paused = False
            self._transport.resume_reading()
        return piece

    async def _handle(self, data: bytes) -> None:
        preface = b""
        try:
            await self.protocol.handle(RawData(data))
        except H2ProtocolAssumedError as assumed:
            preface = assumed.data
        if preface:
            self.protocol = Http2(self)
            await self.protocol.initiate()
            await self.protocol.handle(RawData(preface))

    def _flush(self) -> None:
        if self._outgoing:
            self._transport.write(b"".join(self._outgoing))
            self._outgoing.clear()
            self._outgoing_size = 0
