"""Who takes the next connection, where several processes wait for it at one socket.

The kernel wakes all of them, and the one that is first takes as many as there are: a worker that
has nothing to do yet would get all long-lived connections.
"""

from __future__ import annotations

import asyncio
import mmap
import os
from typing import Final

from gateway.serve.shared import anonymous

CLOSED: Final = -1
"""In the place of a worker that takes no connections."""
WIDTH: Final = 4
SLACK: Final = 8
"""A worker may have this part of a connection more than another, for each that this one has."""
PAUSE: Final = 0.001
"""Seconds that a worker with more connections than others leaves the next one to them."""


class Load:
    """The connections of clients to one process."""

    def __init__(self) -> None:
        self.connections = 0

    def count(self, connections: int) -> None:
        """There are so many now."""
        self.connections = connections

    async def turn(self) -> None:
        """Wait until this process should take the next one."""


class Share(Load):
    """The same for the worker in one place of a board."""

    def __init__(self, board: Board, place: int) -> None:
        super().__init__()
        self.board = board
        self.place = place
        board.write(place, 0)

    def count(self, connections: int) -> None:
        """There are so many now; the others see it."""
        self.connections = connections
        self.board.write(self.place, connections)

    async def turn(self) -> None:
        """Leave a connection to workers that have fewer, for a moment: they may be stuck."""
        fewest = self.board.fewest()
        if self.connections > fewest + fewest // SLACK:
            await asyncio.sleep(PAUSE)


class Board:
    """Memory that a machine's workers share: in each place the connections of one of them."""

    def __init__(self, descriptor: int, places: int) -> None:
        self.descriptor = descriptor
        self.places = places
        self._memory = mmap.mmap(descriptor, places * WIDTH)
        self._numbers = memoryview(self._memory).cast("i")

    @classmethod
    def create(cls, places: int) -> Board:
        """A board where nobody takes connections."""
        made = cls(anonymous(places * WIDTH), places)
        for place in range(places):
            made.write(place, CLOSED)
        return made

    def write(self, place: int, connections: int) -> None:
        """Change one place."""
        self._numbers[place] = connections

    def fewest(self) -> int:
        """The fewest connections that a worker has who takes more."""
        return min((number for number in self._numbers if number != CLOSED), default=0)

    def close(self) -> None:
        """Let go of the memory."""
        self._numbers.release()
        self._memory.close()
        os.close(self.descriptor)
