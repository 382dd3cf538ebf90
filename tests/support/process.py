"""`gateway serve` as a process of its own, with real signals."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from asyncio.subprocess import PIPE, Process as Child
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from tests.support import http1
from tests.support.gateway import Headers, bearer, until

ROOT = Path(__file__).parents[2]
URL = re.compile(r"(listening|admin) on \S+:(\d+)$")


class Process:
    """A process that was started; `lines` are those of its standard error so far.

    `output` is its standard output so far.
    """

    def __init__(self, child: Child) -> None:
        self.child = child
        self.lines: list[str] = []
        self.output = b""
        self._readers = [
            asyncio.create_task(read()) for read in (self._read_lines, self._read_output)
        ]

    async def _read_lines(self) -> None:
        async for line in self.child.stderr:
            self.lines.append(line.decode().rstrip("\n"))

    async def _read_output(self) -> None:
        while piece := await self.child.stdout.read(65536):
            self.output += piece

    @property
    def errors(self) -> str:
        """Standard error so far."""
        return "\n".join(self.lines)

    def port(self, of: str = "listening") -> int | None:
        """The port of the listener, or of `admin`, once it was logged."""
        found = (URL.search(line) for line in self.lines)
        return next((int(each[2]) for each in found if each and each[1] == of), None)

    async def ask(
        self, target: str = "/items", token: str | None = None, headers: Headers = ()
    ) -> http1.Response:
        """The answer to a request on a connection of its own."""
        async with http1.connect(self.port()) as client:
            return await client.request("GET", target, (*headers, *bearer(token)))

    async def ended(self) -> int:
        """The exit code."""
        async with asyncio.timeout(30):
            await asyncio.wait(self._readers)
            return await self.child.wait()


@contextlib.asynccontextmanager
async def started(
    *arguments: str,
    folder: Path,
    environ: Mapping[str, str] | None = None,
    within: Sequence[str] = (),
) -> AsyncIterator[Process]:
    """Run `gateway` with these arguments; it is killed at the end, should it still run.

    `environ` is instead of ours; `within` is a command that runs another.
    """
    command = (*within, sys.executable, str(ROOT / "cli.py"), *arguments)
    child = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environ, stdout=PIPE, stderr=PIPE
    )
    process = Process(child)
    try:
        yield process
    finally:
        if child.returncode is None:
            child.kill()
        await process.ended()


@contextlib.asynccontextmanager
async def serving(
    folder: Path,
    *options: str,
    environ: Mapping[str, str] | None = None,
    within: Sequence[str] = (),
) -> AsyncIterator[Process]:
    """`gateway serve`, once it says that it serves."""
    async with started("serve", *options, folder=folder, environ=environ, within=within) as process:
        await until(lambda: "policy revision" in process.errors or process.child.returncode, 60)
        assert process.port(), process.errors
        yield process
