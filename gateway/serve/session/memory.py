"""Sessions in the memory of one process."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.record.metrics import SessionGauges
from gateway.serve.session.store import SECRET_SIZE, Stored, checked

if TYPE_CHECKING:
    from collections.abc import Callable

ENTRY: Final = 1024
"""Bytes that a session takes besides its value, about."""
CLAIMS: Final = 65_536
"""Most claims that are remembered."""


@dataclass(slots=True)
class _Entry:
    value: bytes
    version: int
    tags: frozenset[bytes]
    idle: float
    ends: float
    """When its lifetime ends, whatever happens."""
    used: float
    lease: tuple[bytes, float] = field(default=(b"", 0.0))
    """Whose it is, and until when."""

    @property
    def size(self) -> int:
        return len(self.value) + ENTRY


class MemoryStore:
    """A Store for one event loop, of at most `max_bytes`; nothing in it outlives the process.

    `clock` gives seconds that never go back.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_bytes = max_bytes
        self.clock = clock
        self.evicted = 0
        self._secret = os.urandom(SECRET_SIZE)
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()  # unused longest first
        self._tagged: dict[bytes, set[bytes]] = {}
        self._claims: OrderedDict[bytes, float] = OrderedDict()
        self._size = 0

    async def secret(self) -> bytes:
        """See Store."""
        return self._secret

    async def create(
        self, key: bytes, value: bytes, *, tags: tuple[bytes, ...], idle: float, lifetime: float
    ) -> None:
        """See Store."""
        now = self.clock()
        entry = _Entry(
            value=checked(value),
            version=1,
            tags=frozenset(tags),
            idle=idle,
            ends=now + lifetime,
            used=now,
        )
        self._drop(key)
        self._make_room(entry.size, now)
        self._entries[key] = entry
        self._size += entry.size
        for tag in tags:
            self._tagged.setdefault(tag, set()).add(key)

    async def get(self, key: bytes) -> Stored | None:
        """See Store."""
        entry = self._live(key)
        if entry is None:
            return None
        entry.used = self.clock()
        self._entries.move_to_end(key)
        return Stored(value=entry.value, version=entry.version)

    async def save(self, key: bytes, value: bytes, *, version: int) -> bool:
        """See Store."""
        entry = self._live(key)
        if entry is None or entry.version != version:
            return False
        self._size += len(checked(value)) - len(entry.value)
        entry.value, entry.version = value, version + 1
        self._make_room(0, self.clock())
        return True

    async def delete(self, key: bytes) -> bool:
        """See Store."""
        found = self._live(key) is not None
        self._drop(key)
        return found

    async def delete_tagged(self, tag: bytes) -> int:
        """See Store."""
        keys = [key for key in tuple(self._tagged.get(tag, ())) if self._live(key)]
        for key in keys:
            self._drop(key)
        return len(keys)

    async def acquire(self, key: bytes, owner: bytes, seconds: float) -> bool:
        """See Store."""
        entry, now = self._live(key), self.clock()
        if entry is None or (entry.lease[0] != owner and now < entry.lease[1]):
            return False
        entry.lease = (owner, now + seconds)
        return True

    async def extend(self, key: bytes, owner: bytes, seconds: float) -> bool:
        """See Store."""
        entry, now = self._live(key), self.clock()
        if entry is None or entry.lease[0] != owner or now >= entry.lease[1]:
            return False
        entry.lease = (owner, now + seconds)
        return True

    async def release(self, key: bytes, owner: bytes) -> None:
        """See Store."""
        entry = self._live(key)
        if entry is not None and entry.lease[0] == owner:
            entry.lease = (b"", 0.0)

    async def claim(self, key: bytes, seconds: float) -> bool:
        """See Store."""
        now = self.clock()
        if now < self._claims.get(key, 0.0):
            return False
        self._claims[key] = now + seconds
        self._claims.move_to_end(key)
        while len(self._claims) > CLAIMS or next(iter(self._claims.values())) <= now:
            self._claims.popitem(last=False)
        return True

    def status(self) -> SessionGauges:
        """See Store."""
        return SessionGauges(storage="memory", sessions=len(self._entries), evicted=self.evicted)

    async def close(self) -> None:
        """See Store."""

    def _live(self, key: bytes) -> _Entry | None:
        """The session, if it has not ended."""
        entry = self._entries.get(key)
        if entry is None or self.clock() < min(entry.used + entry.idle, entry.ends):
            return entry
        self._drop(key)
        return None

    def _make_room(self, size: int, now: float) -> None:
        """End what has been unused for too long, and further ones until there is room."""
        while self._entries:
            key, oldest = next(iter(self._entries.items()))
            over = now >= min(oldest.used + oldest.idle, oldest.ends)
            if not over and self._size + size <= self.max_bytes:
                return
            self.evicted += not over
            self._drop(key)

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self._size -= entry.size
        for tag in entry.tags:
            keys = self._tagged[tag]
            keys.discard(key)
            if not keys:
                del self._tagged[tag]
