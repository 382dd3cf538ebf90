"""Headless Chromium, driven through its DevTools protocol."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import shutil
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

START = 60.0
DEADLINE = 60.0


LEFT = ("navigated or closed", "Cannot find context", "context was destroyed")
"""What the protocol says of a script whose page is another one by now."""


class Left(Exception):
    """The page is another one by now."""


class Page:
    """One page of a browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, session: str) -> None:
        self.socket = socket
        self.session = session
        self.numbers = itertools.count(1000)

    async def go(self, url: str) -> None:
        """Open a URL, as if somebody had typed it."""
        await call(self.socket, next(self.numbers), "Page.navigate", self.session, url=url)

    async def run(self, script: str) -> Any:
        """The value of a script on the page, None while there is none, and where it leaves the page."""
        try:
            found = await call(
                self.socket, next(self.numbers), "Runtime.evaluate", self.session,
                expression=script, returnByValue=True,
            )  # fmt: skip
        except Left:
            return None
        return found.get("result", {}).get("value")

    async def shows(self, text: str) -> str:
        """Wait until the page shows a text; all that it shows."""
        return await self.until(
            f"document.readyState === 'complete' && document.body.innerText.includes({json.dumps(text)})"
            " ? document.body.innerText : ''"
        )

    async def until(self, script: str) -> Any:
        """Wait until a script on the page has a value that counts as true."""
        deadline = time.monotonic() + DEADLINE
        while not (found := await self.run(script)):
            seen = await self.run("location.href + '\\n' + document.body?.innerText")
            assert time.monotonic() < deadline, f"{script}: {seen}"
            await asyncio.sleep(0.05)
        return found

    async def cookies(self) -> dict[str, dict[str, Any]]:
        """The browser's cookies by name, those that scripts cannot see, too."""
        found = await call(self.socket, next(self.numbers), "Storage.getCookies", "")
        return {cookie["name"]: cookie for cookie in found["cookies"]}


async def call(
    socket: aiohttp.ClientWebSocketResponse, number: int, method: str, session: str, **params: Any
) -> dict[str, Any]:
    """What a command of the protocol gives; events are passed over."""
    message = {"id": number, "method": method, "params": params}
    await socket.send_json(message | ({"sessionId": session} if session else {}))
    async with asyncio.timeout(DEADLINE):
        while (found := await socket.receive_json()).get("id") != number:
            pass
    if any(text in str(found.get("error")) for text in LEFT):
        raise Left
    assert "error" not in found, found
    result: dict[str, Any] = found["result"]
    return result


@contextlib.asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Page]:
    """Run a browser with one page; the test is skipped where there is none."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed")
    process = await asyncio.create_subprocess_exec(
        program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--no-first-run", "--disable-extensions", "--disable-background-networking",
        "--disable-component-update", "--remote-debugging-port=0",
        f"--user-data-dir={folder / 'chromium'}", "about:blank",
        stdout=DEVNULL, stderr=PIPE,
    )  # fmt: skip
    reading: asyncio.Task[Any] | None = None
    try:
        async with asyncio.timeout(START):
            address = await _address(process)
        assert process.stderr is not None
        reading = asyncio.create_task(process.stderr.read())  # or it would stand still
        async with aiohttp.ClientSession() as client, client.ws_connect(address) as socket:
            target = await call(socket, 1, "Target.createTarget", "", url="about:blank")
            attached = await call(
                socket, 2, "Target.attachToTarget", "", targetId=target["targetId"], flatten=True
            )
            yield Page(socket, attached["sessionId"])
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if reading is not None:
            await reading


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    while line := (await process.stderr.readline()).decode():
        if found := re.search(r"DevTools listening on (ws://\S+)", line):
            return found[1]
    raise AssertionError("chromium ended")
