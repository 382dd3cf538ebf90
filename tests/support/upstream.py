"""An upstream on loopback that does what a script says, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from gateway.serve.upstream import Pool
from gateway.serve.upstream.endpoint import Endpoint

DEADLINE = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What arrived: `headers` in order, names lower-case; `body` without its framing."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)


class Peer:
    """One accepted connection; `number` counts from 0 over the life of the server."""

    def __init__(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer
        self.requests: list[Request] = []

    async def request(self) -> Request | None:
        """The next request with its whole body; None when the other side has closed."""
        head = await self.head()
        if head is None:
            return None
        request = Request(
            method=head.method, target=head.target, headers=head.headers, body=await self.body(head)
        )
        self.requests[-1] = request
        return request

    async def head(self) -> Request | None:
        """The next request's head only; None when the other side has closed."""
        try:
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        method, target, _ = lines[0].split(" ")
        pieces = (line.partition(": ") for line in lines[1:-2])
        pairs = tuple((name.lower(), value) for name, _, value in pieces)
        self.requests.append(Request(method=method, target=target, headers=pairs, body=b""))
        return self.requests[-1]

    async def body(self, head: Request) -> bytes:
        if head.header("transfer-encoding") == "chunked":
            pieces = b""
            while size := int(await self.reader.readline(), 16):
                pieces += await self.reader.readexactly(size)
                await self.reader.readexactly(2)
            assert await self.reader.readexactly(2) == b"\r\n"
            return pieces
        return await self.reader.readexactly(int(head.header("content-length") or 0))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def drain(self) -> None:
        await self.writer.drain()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """End with a RST instead of a FIN."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def closed(self) -> None:
        """Wait until the other side has closed; what it still sends is dropped."""
        with contextlib.suppress(ConnectionError):
            while await asyncio.wait_for(self.reader.read(65536), DEADLINE):
                pass


Script = Callable[[Peer], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class Running:
    """The running server: its URL and every connection that it has accepted."""

    url: str
    peers: list[Peer] = field(default_factory=list)

    @property
    def requests(self) -> list[Request]:
        return [request for peer in self.peers for request in peer.requests]


@contextlib.asynccontextmanager
async def upstream(
    script: Script,
    *,
    tls: ssl.SSLContext | None = None,
    path: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[Running]:
    """Serve each connection with `script`; an exception of a script fails the test."""
    running = Running(url="")
    tasks: set[asyncio.Task[None]] = set()
    faults: list[BaseException] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        peer = Peer(len(running.peers), reader, writer)
        running.peers.append(peer)
        try:
            await script(peer)
        except asyncio.CancelledError:
            pass
        except BaseException as fault:
            faults.append(fault)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    if path is None:
        server = await asyncio.start_server(serve, host, port, ssl=tls)
        scheme = "https" if tls else "http"
        running.url = f"{scheme}://{host}:{server.sockets[0].getsockname()[1]}"
    else:
        server = await asyncio.start_unix_server(serve, path)
        running.url = f"http+unix:{path}"
    try:
        yield running
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for fault in faults:
        raise fault


def answers(*responses: bytes) -> Script:
    """Answer the requests of each connection with these bytes, the last again and again."""

    async def script(peer: Peer) -> None:
        while await peer.request() is not None:
            peer.send(responses[min(len(peer.requests), len(responses)) - 1])

    return script


def ok(body: bytes = b"ok", headers: bytes = b"") -> bytes:
    """A well-formed 200."""
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n%b\r\n%b" % (len(body), headers, body)


def only(pool: Pool) -> Endpoint:
    """The one endpoint of a pool."""
    (endpoint,) = pool._endpoints
    return endpoint


async def until(condition: Callable[[], bool]) -> None:
    """Poll until the condition holds."""
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.002)
