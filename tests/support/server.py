"""The HTTP server with an application for tests, on a free port of 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop

from gateway.config.model import Limits, Listener, Tls
from gateway.errors import Code
from gateway.serve.asgi import App
from gateway.serve.hypercorn import BoundListener, bind, serve

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
DEADLINE = 20.0


def live(test: Callable[..., Any]) -> Callable[..., None]:
    """Make a coroutine function a test that runs on asyncio's loop and on uvloop."""

    @functools.wraps(test)
    def run(loop: str, **fixtures: Any) -> None:
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(asyncio.wait_for(test(**fixtures), DEADLINE))

    signature = inspect.signature(test)
    loop = inspect.Parameter("loop", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), loop])
    return pytest.mark.parametrize("loop", LOOPS)(run)


@dataclass(slots=True)
class Served:
    """A server that runs; `refused` are the codes of what no application saw."""

    listener: BoundListener
    refused: list[Code]
    shutdown: asyncio.Event
    task: asyncio.Task[None] = field(init=False)

    @property
    def port(self) -> int:
        """The port of 127.0.0.1."""
        return int(self.listener.address.rpartition(":")[2])


@contextlib.asynccontextmanager
async def served(
    app: App,
    *,
    tls: Tls | None = None,
    http2: bool = True,
    address: str = "127.0.0.1:0",
    beside: Sequence[BoundListener] = (),
    **limits,
) -> AsyncIterator[Served]:
    """Serve the application; `limits` are keys of the configuration's `limits`.

    Listeners `beside` that of the application are served, too.
    """
    refused: list[Code] = []
    listener = bind(Listener(address=address, tls=tls, http2=http2), app)
    server = Served(listener, refused, asyncio.Event())
    values = Limits(**{"drain_timeout": 0.2} | limits)
    server.task = asyncio.create_task(
        serve([listener, *beside], shutdown=server.shutdown, limits=values, counters=refused.append)
    )
    try:
        yield server
    finally:
        server.shutdown.set()
        await server.task


async def until(condition: Callable[[], Any], seconds: float = 5.0) -> None:
    """Wait for a condition, looking every few milliseconds; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.005)
