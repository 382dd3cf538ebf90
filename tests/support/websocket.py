"""A WebSocket client on wsproto, over the raw HTTP/1.1 client."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

from wsproto.connection import Connection, ConnectionType
from wsproto.events import (
    BytesMessage,
    CloseConnection,
    Message,
    Ping,
    Pong,
    TextMessage,
)

from tests.support.http1 import DEADLINE, Client, connect as connect_http1

HANDSHAKE = (
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
)
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 §1.3


class WebSocket:
    """One open WebSocket. `headers` are those of the server's 101; `pings` counts its pings."""

    def __init__(self, client: Client, headers: dict[str, str]) -> None:
        self.client = client
        self.headers = headers
        self.pings = 0
        self.pongs = 0
        self.closed: tuple[int, str] | None = None
        self._frames = Connection(ConnectionType.CLIENT)

    async def send(self, message: str | bytes) -> None:
        """Send a message."""
        kind = TextMessage if isinstance(message, str) else BytesMessage
        await self.client.send(self._frames.send(kind(data=message)))

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Send a Close frame."""
        await self.client.send(self._frames.send(CloseConnection(code=code, reason=reason)))

    async def ping(self) -> None:
        """Send a Ping frame."""
        await self.client.send(self._frames.send(Ping(b"payload")))

    async def receive(self, *, pong: bool = True) -> str | bytes | None:
        """The next message; None when the server has closed, with its code in `closed`."""
        pieces: list[str | bytes] = []
        while True:
            for event in self._frames.events():
                match event:
                    case Message():
                        pieces.append(event.data)
                        if event.message_finished:
                            return pieces[0][:0].join(pieces)
                    case Ping():
                        self.pings += 1
                        if pong:
                            await self.client.send(self._frames.send(event.response()))
                    case Pong():
                        self.pongs += 1
                    case CloseConnection():
                        self.closed = (int(event.code), event.reason or "")
                        return None
            async with asyncio.timeout(DEADLINE):
                try:
                    data = await self.client.reader.read(65536)
                except ConnectionError:
                    data = b""
            if not data:
                return None
            self._frames.receive_data(data)


@contextlib.asynccontextmanager
async def connect(
    port: int,
    target: str = "/ws",
    headers: tuple[tuple[str, str], ...] = (),
    *,
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[WebSocket]:
    """A WebSocket to a port of 127.0.0.1; AssertionError if the handshake is not accepted."""
    async with connect_http1(port, context=context) as client:
        await client.send(handshake(target, headers))
        status, lines = await client.head()
        assert status == 101, status
        fields = dict(lines)
        assert fields["sec-websocket-accept"] == ACCEPT
        yield WebSocket(client, fields)


def handshake(target: str = "/ws", headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """The bytes of an opening handshake."""
    lines = [f"GET {target} HTTP/1.1", "Host: api.example"]
    lines += [f"{name}: {value}" for name, value in (*HANDSHAKE, *headers)]
    return "\r\n".join([*lines, "", ""]).encode()
