"""A service in a process of its own, which can be killed: it notes each request, then answers."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from pathlib import Path

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
DELAY = 0.005
"""Seconds between a request and its answer, so that some are always under way."""


class Service:
    """A service at `port` that starts and dies again and again; `log` has a line a request."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.port = 0
        self.process: Process | None = None

    async def start(self) -> None:
        """Start it, at the port that it had before; returns once it listens."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, __file__, str(self.port), str(self.log),
            stdout=asyncio.subprocess.PIPE, stdin=DEVNULL,
        )  # fmt: skip
        self.port = int(await self.process.stdout.readline())

    async def kill(self) -> None:
        """Kill it, whatever it is doing."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.communicate()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def seen(self) -> list[str]:
        """Method and target of all requests that reached it."""
        return self.log.read_text().splitlines() if self.log.exists() else []


@contextlib.asynccontextmanager
async def services(folder: Path, count: int) -> AsyncIterator[list[Service]]:
    """So many services."""
    made = [Service(folder / f"service-{number}.log") for number in range(count)]
    try:
        for service in made:
            await service.start()
        yield made
    finally:
        for service in made:
            await service.kill()


async def main(port: int, log: Path) -> None:
    """Serve until killed."""
    with log.open("ab", buffering=0) as file:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = head.lower().partition(b"\r\ncontent-length: ")[2].split(b"\r\n")[0]
                    await reader.readexactly(int(length or 0))
                    file.write(head.partition(b" HTTP/")[0] + b"\n")
                    await asyncio.sleep(DELAY)
                    writer.write(ANSWER)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", port)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
