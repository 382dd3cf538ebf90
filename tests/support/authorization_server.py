"""An authorization server that nobody here wrote: npm's certified `oidc-provider`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_suffix(".mjs")
MODULES = Path(__file__).parents[2] / ".ci/node/node_modules"
START = 60.0


class AuthorizationServer:
    """The server; `grants` is what became of each call: the grant type and the error, if any."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self.issuer = f"http://127.0.0.1:{port}"
        self.grants: list[tuple[str, str | None]] = []

    async def serve(self, clients: list[dict[str, Any]], subjects: dict[str, Any]) -> None:
        """Know these clients, and tokens that these keys have signed."""
        said = {"clients": clients, "subjects": subjects}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(said).encode() + b"\n")
        async with asyncio.timeout(START):
            while await self.line() != b"ready\n":
                pass

    async def follow(self) -> None:
        """Note what it tells, until it ends; the library tells other things besides."""
        while line := await self.line():
            if line.startswith(b"{"):
                said = json.loads(line)
                self.grants.append((said["grant"], said.get("error")))

    async def line(self) -> bytes:
        assert self.process.stdout is not None
        return await self.process.stdout.readline()


@contextlib.asynccontextmanager
async def authorization_server(
    clients: list[dict[str, Any]], subjects: dict[str, Any]
) -> AsyncIterator[AuthorizationServer]:
    """Run the server; the test is skipped where there is none."""
    if shutil.which("node") is None or not (MODULES / "oidc-provider").exists():
        pytest.skip("oidc-provider is not there: .ci/run fetches it")
    modules = (MODULES / "oidc-provider/lib/index.js", MODULES / "jose/dist/webapi/index.js")
    process = await asyncio.create_subprocess_exec(
        "node", str(SCRIPT), *map(str, modules), stdin=PIPE, stdout=PIPE
    )
    following = None
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START):
            port = int(await process.stdout.readline())
        server = AuthorizationServer(process, port)
        await server.serve(clients, subjects)
        following = asyncio.create_task(server.follow())
        yield server
    finally:
        process.kill()
        if following is not None:
            await following  # two cannot read at once
        await process.communicate()
