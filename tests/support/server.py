"""The HTTP server with an application for tests, on a free port of 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest
import uvloop

from gateway.config.model import Limits, Listener, Tls
from gateway.errors import Code
from gateway.serve.terms import Terms
from gateway.serve import granian, hypercorn
from gateway.serve.asgi import App
from gateway.serve.hypercorn import BoundListener

RUNS = {
    "asyncio": (hypercorn, asyncio.new_event_loop),
    "uvloop": (hypercorn, uvloop.new_event_loop),
    "granian": (granian, uvloop.new_event_loop),
}
"""The server and the loop of each run of a test."""
DEADLINE = 20.0

_server: ContextVar[ModuleType] = ContextVar("server", default=hypercorn)


def live(test: Callable[..., Any]) -> Callable[..., None]:
    """Make a coroutine function a test that runs on each of RUNS."""
    return _on(RUNS, test)


def live_on(server: str) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Make a coroutine function a test of what only one server does (docs/servers.md)."""
    module = {"hypercorn": hypercorn, "granian": granian}[server]
    runs = [name for name, (runs_on, _) in RUNS.items() if runs_on is module]
    return functools.partial(_on, runs)


def _on(runs: Iterable[str], test: Callable[..., Any]) -> Callable[..., None]:
    async def scenario(module: ModuleType, fixtures: dict[str, Any]) -> None:
        _server.set(module)
        async with asyncio.timeout(DEADLINE):
            await test(**fixtures)

    @functools.wraps(test)
    def run(server: str, **fixtures: Any) -> None:
        module, factory = RUNS[server]
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(scenario(module, fixtures))

    signature = inspect.signature(test)
    server = inspect.Parameter("server", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), server])
    return pytest.mark.parametrize("server", runs)(run)


def bind(listener: Listener, app: App, **options: Any) -> BoundListener:
    """Bind a listener of the server that the test runs on."""
    bound: BoundListener = _server.get().bind(listener, app, **options)
    return bound


async def serve(listeners: Sequence[BoundListener], **options: Any) -> None:
    """Serve listeners with the server that the test runs on."""
    await _server.get().serve(listeners, Terms(**options))


def on_granian() -> bool:
    """Whether the test runs on Granian."""
    return _server.get() is granian


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
