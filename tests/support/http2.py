"""An HTTP/2 client on the h2 library, and a way to send it frames of one's own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events

DEADLINE = 10.0
Lines = list[tuple[str | bytes, str | bytes]]


@dataclass(slots=True)
class Stream:
    """What has come on one stream. `reset` is the error code of an RST_STREAM."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    interim: list[int] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset: int | None = None

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        """The problem document's code, if it is one."""
        if self.headers.get("content-type") != "application/problem+json":
            return None
        return self.json()["code"]


class Client:
    """One connection; nothing is validated on its way out.

    Use `h2` for frames that the methods do not send, then `flush`. `goaway` is the error code
    of a GOAWAY; `closed` is set when the connection has ended. With `window=False` received data
    is not acknowledged, so that the server runs into the flow control.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, window: bool
    ) -> None:
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=True,
            )
        )
        self.streams: dict[int, Stream] = {}
        self.goaway: int | None = None
        self.last_stream: int | None = None
        self.closed = False
        self.pings = 0
        self.reader = reader
        self.writer = writer
        self._window = window
        self._changed = asyncio.Event()

    def open(self, lines: Lines, *, end: bool = True) -> int:
        """Queue a HEADERS frame with exactly these lines; the stream's id."""
        stream_id = self.h2.get_next_available_stream_id()
        self.streams[stream_id] = Stream()
        self.h2.send_headers(stream_id, lines, end_stream=end)
        return stream_id

    async def request(
        self, method: str = "GET", path: str = "/", lines: Lines = (), body: bytes = b""
    ) -> Stream:
        """Send a well-formed request; the stream when it has ended."""
        stream_id = self.open(head(method, path, lines), end=not body)
        if body:
            await self.send_body(stream_id, body)
        return await self.finished(stream_id)

    async def send_body(self, stream_id: int, body: bytes) -> None:
        """Send a body and end the stream, as fast as the server's windows allow."""
        sent = 0
        while sent < len(body):
            await self.until(lambda: self.h2.local_flow_control_window(stream_id) > 0)
            size = min(self.h2.local_flow_control_window(stream_id), 16384)
            piece = body[sent : sent + size]
            sent += len(piece)
            self.h2.send_data(stream_id, piece, end_stream=sent == len(body))
        await self.flush()

    async def finished(self, stream_id: int) -> Stream:
        """The stream when it has ended, was reset, or the connection has closed."""
        stream = self.streams[stream_id]
        await self.until(lambda: stream.ended or stream.reset is not None or self.closed)
        return stream

    async def until(self, condition) -> None:
        """Flush, then wait for the condition; TimeoutError after DEADLINE seconds."""
        await self.flush()
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def flush(self) -> None:
        """Write what is queued."""
        await self.send(self.h2.data_to_send())

    async def send(self, data: bytes) -> None:
        """Write raw bytes; a connection that has closed takes them silently."""
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def listen(self) -> None:
        """Take what comes, until the connection ends."""
        with contextlib.suppress(ConnectionError, h2.exceptions.ProtocolError):
            while data := await self.reader.read(65536):
                for event in self.h2.receive_data(data):
                    self._take(event)
                await self.flush()
                self._changed.set()
        self.closed = True
        self._changed.set()

    def _take(self, event: h2.events.Event) -> None:
        stream = self.streams.get(getattr(event, "stream_id", 0) or 0)
        match event:
            case h2.events.ConnectionTerminated():
                self.goaway, self.last_stream = event.error_code, event.last_stream_id
                if event.error_code == 0:  # h2 reads no further, though streams may go on
                    self.h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
            case h2.events.PingAckReceived():
                self.pings += 1
            case _ if stream is None:
                pass
            case h2.events.InformationalResponseReceived():
                stream.interim.append(int(dict(event.headers)[b":status"]))
            case h2.events.ResponseReceived():
                lines = {name.decode(): value.decode() for name, value in event.headers}
                stream.status, stream.headers = int(lines.pop(":status")), lines
            case h2.events.DataReceived():
                stream.body += event.data
                if self._window:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                stream.ended = True
            case h2.events.StreamReset():
                stream.reset = event.error_code


def head(method: str = "GET", path: str = "/", lines: Lines = ()) -> Lines:
    """The lines of a well-formed request."""
    return [
        (":method", method),
        (":scheme", "http"),
        (":authority", "api.example"),
        (":path", path),
        *lines,
    ]


def frame(kind: int, stream_id: int = 0, payload: bytes = b"", flags: int = 0) -> bytes:
    """A frame's bytes (RFC 9113 §4.1)."""
    return (
        len(payload).to_bytes(3, "big")
        + bytes([kind, flags])
        + stream_id.to_bytes(4, "big")
        + payload
    )


@contextlib.asynccontextmanager
async def connect(
    port: int,
    *,
    context: ssl.SSLContext | None = None,
    name: str = "localhost",
    window: bool = True,
) -> AsyncIterator[Client]:
    """A connection to a port of 127.0.0.1: by ALPN on TLS, with prior knowledge otherwise."""
    if context is not None:
        context.set_alpn_protocols(["h2"])
    extra = {"ssl": context, "server_hostname": name} if context else {}
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **extra)
    client = Client(reader, writer, window=window)
    client.h2.initiate_connection()
    listener = asyncio.create_task(client.listen())
    try:
        await client.flush()
        yield client
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        await listener
