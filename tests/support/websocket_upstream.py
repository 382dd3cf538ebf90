"""An upstream's side of a WebSocket, for the scripts of tests.support.upstream."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable

from wsproto.connection import Connection, ConnectionState, ConnectionType

from tests.support import http1
from tests.support.upstream import Peer, Script
from tests.support.websocket import WebSocket

SALT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3


class ServerSocket(WebSocket):
    """A WebSocket that the upstream has accepted; `headers` are those of the handshake."""

    def __init__(self, peer: Peer, headers: dict[str, str]) -> None:
        super().__init__(http1.Client(peer.reader, peer.writer), headers)
        self._frames = Connection(ConnectionType.SERVER)

    async def answer_close(self) -> None:
        """Answer the client's close with its own code, unless this side was the first."""
        if self._frames.state is ConnectionState.REMOTE_CLOSING:
            await self.close(*self.closed)


def websocket(script: Callable[[ServerSocket], Awaitable[None]], *lines: bytes) -> Script:
    """Accept each handshake, with these header lines besides, and go on with `script`."""

    async def serve(peer: Peer) -> None:
        head = await peer.head()
        if head is None:
            return
        nonce = head.header("sec-websocket-key").encode()
        accept = base64.b64encode(hashlib.sha1(nonce + SALT).digest())
        switch = (
            b"HTTP/1.1 101 Switching Protocols",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Accept: " + accept,
            *lines,
        )
        peer.send(b"\r\n".join(switch) + b"\r\n\r\n")
        await script(ServerSocket(peer, dict(head.headers)))

    return serve


async def echo(socket: ServerSocket) -> None:
    """Send every message back."""
    while (message := await socket.receive()) is not None:
        await socket.send(message)
    await socket.answer_close()
