"""How long one task has the event loop to itself."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator


class Turns:
    """`longest` of all turns, in seconds of this thread's processor time.

    What else runs on the machine does not count.
    """

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        """Look at the time in every turn of the loop."""
        before = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            self.longest = max(self.longest, now - before)
            before = now


@contextlib.asynccontextmanager
async def watched() -> AsyncIterator[Turns]:
    """Watch the turns; the cycle collector waits meanwhile, as it would take one of its own."""
    turns = Turns()
    gc.disable()
    watcher = asyncio.create_task(turns.watch())
    try:
        yield turns
    finally:
        gc.enable()
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher
