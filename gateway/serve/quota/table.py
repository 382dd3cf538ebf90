"""Counts in memory that the workers of one machine share: a table of fixed size in a file.

Each key has a place in one row of eight. In a full row the key goes that would be forgotten
soonest, so that a flood of new keys costs others no more than the rest of their interval.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import time
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from gateway.limit.algorithm import State, Step, forgotten_at, step
from gateway.limit.keys import DIGEST_SIZE
from gateway.model import Standing, Taken
from gateway.serve.shared import anonymous

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from gateway.model import Charge

PLACE: Final = struct.Struct(f"{DIGEST_SIZE}s4d")
"""A key, when it is forgotten, and its state."""
PLACES: Final = 8
ROW: Final = PLACE.size * PLACES
SECRET: Final = 16
"""Bytes at the end: without them nobody can choose keys that share a row with another."""
NOTHING: Final[State] = (0.0, 0.0, 0.0)

LONGEST_LOCK: Final = 0.05
"""Seconds to wait for another worker, which holds the lock for microseconds."""
PAUSE: Final = 1.0
"""Seconds for which nobody waits again for one that held it longer: the event loop stands still."""
SPINS: Final = 200


class Table:
    """The counts; `fd` is that of the file in memory, to be inherited by workers.

    Every process gives the same clock: that of the machine since its start.
    """

    def __init__(self, fd: int, *, shared: bool) -> None:
        self.fd = fd
        self.shared = shared
        size = os.fstat(fd).st_size
        self.rows = (size - SECRET) // ROW
        self._memory = mmap.mmap(fd, size)
        self._secret = self._memory[-SECRET:]
        self.evicted = 0
        self._free_at = 0.0

    @classmethod
    def create(cls, keys: int, *, shared: bool = False) -> Table:
        """A table with room for about that many keys; `shared` where processes take turns."""
        size = max(keys // PLACES, 1) * ROW
        fd = anonymous(size + SECRET)
        os.pwrite(fd, os.urandom(SECRET), size)
        return cls(fd, shared=shared)

    def take(self, charges: Sequence[Charge], now: float) -> Taken:
        """Charge all or none."""
        charges = tuple(charges)
        if now >= self._free_at:
            try:
                with self._lock() if self.shared else contextlib.nullcontext():
                    return self._take(charges, now)
            except TimeoutError:
                self._free_at = now + PAUSE
        return Taken(charges=charges, error="another process holds the counts")

    def close(self) -> None:
        """Let the memory go; may be called again."""
        if not self._memory.closed:
            self._memory.close()
            os.close(self.fd)

    def _take(self, charges: tuple[Charge, ...], now: float) -> Taken:
        places: list[int] = []
        states: list[State] = []
        for charge in charges:
            place, state = self._find(charge.key, places)
            places.append(place)
            states.append(state)
        steps = [
            step(state, charge.quota, charge.cost, now)
            for charge, state in zip(charges, states, strict=True)
        ]
        if all(allowed for _, allowed, *_ in steps):
            for place, charge, (after, *_) in zip(places, charges, steps, strict=True):
                self._put(place, charge, after, now)
        else:  # those that would have been taken stand as they stood
            steps = [
                step(state, charge.quota, 0, now) if taken[1] else taken
                for charge, state, taken in zip(charges, states, steps, strict=True)
            ]
        return Taken(charges=charges, standings=tuple(map(_standing, charges, steps)))

    def _find(self, key: bytes, reserved: Container[int]) -> tuple[int, State]:
        """The place of a key, or the one that it may have, and its state."""
        mixed = blake2b(key, key=self._secret, digest_size=8).digest()
        start = int.from_bytes(mixed) % self.rows * ROW
        best, soonest = start, float("inf")
        row = self._memory[start : start + ROW]
        for number, (known, until, *state) in enumerate(PLACE.iter_unpack(row)):
            place = start + number * PLACE.size
            if known == key:
                return place, (state[0], state[1], state[2])
            if until < soonest and place not in reserved:
                best, soonest = place, until
        return best, NOTHING

    def _put(self, place: int, charge: Charge, state: State, now: float) -> None:
        known, until, *_ = PLACE.unpack_from(self._memory, place)
        self.evicted += known != charge.key and until > now
        until = forgotten_at(state, charge.quota)
        PLACE.pack_into(self._memory, place, charge.key, until, *state)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold the table; the kernel frees it where a process dies. TimeoutError."""
        for spin in range(SPINS):
            try:
                fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except (BlockingIOError, PermissionError):
                time.sleep(0 if spin < SPINS // 2 else LONGEST_LOCK / (SPINS // 2))
        else:
            raise TimeoutError
        try:
            yield
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN)


def _standing(charge: Charge, taken: Step) -> Standing:
    _, allowed, remaining, reset, wait = taken
    return Standing(
        charge=charge, allowed=allowed, remaining=remaining, reset=reset, retry_after=wait
    )
