"""A raw HTTP/1.1 client: what the test writes is what goes out, byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

DEADLINE = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer; header names are lower-case. `complete`: its framing says that it is whole."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    complete: bool

    def header(self, name: str) -> str | None:
        """The last header of that name."""
        return dict(self.headers).get(name)

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        """The problem document's code, if it is one."""
        if self.header("content-type") != "application/problem+json":
            return None
        return self.json()["code"]


class Client:
    """One connection. Every wait ends after DEADLINE seconds with TimeoutError."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *parts: bytes) -> None:
        """Write the bytes."""
        self.writer.write(b"".join(parts))
        async with asyncio.timeout(DEADLINE):
            await self.writer.drain()

    async def request(
        self,
        method: str = "GET",
        target: str = "/",
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
    ) -> Response:
        """Send a well-formed request with Host and Content-Length, and read the answer."""
        await self.send(request(method, target, headers, body))
        return await self.response(method)

    async def head(self) -> tuple[int, tuple[tuple[str, str], ...]]:
        """The next status line and header section."""
        async with asyncio.timeout(DEADLINE):
            raw = await self.reader.readuntil(b"\r\n\r\n")
        lines = raw.decode("latin-1").split("\r\n")
        pairs = tuple(tuple(line.split(": ", 1)) for line in lines[1:-2])
        return int(lines[0].split(" ")[1]), tuple((name.lower(), value) for name, value in pairs)

    async def response(self, method: str = "GET") -> Response:
        """The next answer with its whole body; `method` is that of the request."""
        status, headers = await self.head()
        if method == "HEAD" or status in {204, 304} or status < 200:
            return Response(status=status, headers=headers, body=b"", complete=True)
        fields, pieces, complete = dict(headers), [], False
        try:
            if fields.get("transfer-encoding") == "chunked":
                while piece := await self.chunk():
                    pieces.append(piece)
                complete = True
            elif "content-length" in fields:
                length = int(fields["content-length"])
                async with asyncio.timeout(DEADLINE):
                    while length and (piece := await self.reader.read(length)):
                        length -= len(piece)
                        pieces.append(piece)
                complete = length == 0
            else:
                async with asyncio.timeout(DEADLINE):
                    while piece := await self.reader.read(65536):
                        pieces.append(piece)
                complete = True
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        return Response(status=status, headers=headers, body=b"".join(pieces), complete=complete)

    async def chunk(self) -> bytes:
        """The next chunk of a chunked body; empty at its end."""
        async with asyncio.timeout(DEADLINE):
            size = int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16)
            data = await self.reader.readexactly(size + 2)
        return data[:-2]

    async def ended(self) -> bytes:
        """What still comes until the server closes the connection; a reset ends it, too."""
        pieces = []
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(DEADLINE):
                while piece := await self.reader.read(65536):
                    pieces.append(piece)
        return b"".join(pieces)

    async def close(self) -> None:
        """Close the connection, at once if the server does not take what was written."""
        if self.writer.transport.get_write_buffer_size():
            self.writer.transport.abort()
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


def request(
    method: str = "GET",
    target: str = "/",
    headers: tuple[tuple[str, str], ...] = (),
    body: bytes = b"",
) -> bytes:
    """The bytes of a well-formed request; Host is added, Content-Length where there is a body."""
    names = {name.lower() for name, _ in headers}
    lines = [f"{method} {target} HTTP/1.1"]
    if "host" not in names:
        lines.append("Host: api.example")
    lines += [f"{name}: {value}" for name, value in headers]
    if body and not names & {"content-length", "transfer-encoding"}:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@contextlib.asynccontextmanager
async def connect(
    port: int | str, *, context: ssl.SSLContext | None = None, name: str = "localhost"
) -> AsyncIterator[Client]:
    """A connection to a port of 127.0.0.1, or to the Unix socket at a path."""
    if isinstance(port, str):
        reader, writer = await asyncio.open_unix_connection(port)
    else:
        extra = {"ssl": context, "server_hostname": name} if context else {}
        reader, writer = await asyncio.open_connection("127.0.0.1", port, **extra)
    client = Client(reader, writer)
    try:
        yield client
    finally:
        await client.close()
