"""Many clients at once, whose connections are open before they ask."""

from __future__ import annotations

import asyncio
import resource
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from tests.support import http1
from tests.support.provider import Browser

TOGETHER = 50
"""Connections that are made at once: a full backlog would cost seconds."""
CONNECTIONS = {"upstreams": {"service": {"max_connections": 32}}}
"""What keeps the backlog of the upstream from being full."""


class Crowd:
    """Clients of one session; `longest` is the longest wait of one of them so far, in seconds."""

    def __init__(self, browsers: Iterable[Browser], clients: Iterable[http1.Client]) -> None:
        self.browsers = list(browsers)
        self.clients = list(clients)
        self.answers: list[http1.Response] = []
        self.longest = 0.0

    async def _ask(self, number: int) -> http1.Response:
        browser = self.browsers[number % len(self.browsers)]
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        lines = (("host", browser.host), ("cookie", cookies), ("accept", "application/json"))
        began = time.monotonic()
        answer = await self.clients[number].request("GET", "/items", lines)
        self.longest = max(self.longest, time.monotonic() - began)
        return answer

    async def ask(self) -> Counter[int]:
        """Have all ask at once; how often they got each status."""
        asked = (self._ask(number) for number in range(len(self.clients)))
        self.answers = list(await asyncio.gather(*asked))
        return Counter(answer.status for answer in self.answers)

    def tokens(self) -> set[str]:
        """The tokens that the upstream got with what they asked for."""
        return {answer.json()["headers"]["authorization"] for answer in self.answers}


@asynccontextmanager
async def crowd(size: int, *browsers: Browser) -> AsyncIterator[Crowd]:
    """So many clients with the sessions of browsers in turn."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    async with AsyncExitStack() as stack:
        room = asyncio.Semaphore(TOGETHER)

        async def connect(number: int) -> http1.Client:
            async with room:
                port = browsers[number % len(browsers)].gateway.port
                return await stack.enter_async_context(http1.connect(port))

        yield Crowd(browsers, await asyncio.gather(*map(connect, range(size))))
