"""What a server serves under, whichever it is."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.serve.balance import Load

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.config.model import Limits
    from gateway.errors import Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How long to serve, within which limits, and whom to tell of it.

    Once `shutdown` is set, a server drains and closes its listeners; if it is cancelled, there is
    no time to drain. `counters` is called for each refusal that no application sees. When the
    drain time is over, `last_call` should make the applications that are left answer at once.
    `load` is told of the clients' connections, and may say when to take more.
    """

    shutdown: asyncio.Event
    limits: Limits
    counters: Callable[[Code], None]
    last_call: Callable[[], Awaitable[None]] | None = None
    load: Load = field(default_factory=Load)


async def first_to_end(*tasks: asyncio.Task[Any]) -> None:
    """Wait until one of the tasks has ended; raises what it raised."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
