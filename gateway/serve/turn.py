"""How long one connection may have the event loop to itself."""

from __future__ import annotations

import asyncio
import time

LONGEST = 0.005
"""Seconds; far less than a network adds, far more than most of what comes at once takes."""


class Turn:
    """What a connection does without waiting; `breathe` between two parts of it.

    Frames and chunks of no size are the reason: thousands of them come in one piece. The loop's
    own clock stands still within a turn.
    """

    __slots__ = ("_ends",)

    def __init__(self) -> None:
        self._ends = 0.0
        self.begin()

    def begin(self) -> None:
        """Others have had their turn."""
        self._ends = time.monotonic() + LONGEST

    @property
    def is_over(self) -> bool:
        """Whether others should have theirs."""
        return time.monotonic() > self._ends

    async def breathe(self) -> None:
        """Let others have their turn, if this one has been long."""
        if self.is_over:
            await asyncio.sleep(0)
            self.begin()
