"""Where sessions are kept: what every store guarantees, be it for one process or many machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from gateway.record.metrics import SessionGauges

KEY_SIZE: Final = 32
"""Bytes of a key and of a tag: digests, so that nothing in a store opens a session."""
OWNER_SIZE: Final = 16
"""Bytes that name who holds a lease: random, new for each attempt."""
MAX_VALUE: Final = 64 * 1024
"""Most bytes of a session."""
MAX_TAGS: Final = 4
SECRET_SIZE: Final = 32


class StoreError(Exception):
    """The store did not answer in time; whether it has done what it was asked is not known.

    Or the session is too large to be kept, and nothing has changed.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A session as it is kept: bytes that mean nothing to the store; the first version is 1."""

    value: bytes
    version: int


def checked(value: bytes) -> bytes:
    """A value that is not too large; StoreError."""
    if len(value) > MAX_VALUE:
        raise StoreError(f"a session of {len(value)} bytes, of which {MAX_VALUE} are kept")
    return value


class Store(Protocol):
    """The sessions of all who share it: workers of a machine, or machines.

    Each operation is atomic: all who share the store see it done or not done, in one order, and
    what was answered has happened. Each waits a bounded time and raises StoreError otherwise;
    `secret` is the only one that may be slow, once. Durations are in seconds, on the store's own
    clock. A session past one of its lifetimes, deleted or evicted is not there for any of them.

    A *lease* is the right to renew one session: at most one owner has it at any time, unless it
    let it run out. It is no lock on the session, which everybody may read and delete meanwhile;
    `save` compares versions, so that an owner that was too slow overwrites nothing.
    """

    async def secret(self) -> bytes:
        """32 random bytes, the same for all who share the store, for as long as its sessions."""

    async def create(
        self, key: bytes, value: bytes, *, tags: tuple[bytes, ...], idle: float, lifetime: float
    ) -> None:
        """Keep a new session under a key that nobody used before, as version 1.

        It ends `idle` after its last `get` (or this), and `lifetime` after this, whatever
        happens. `tags`, at most MAX_TAGS, are what `delete_tagged` finds it by. A full store may
        end others, that were unused longest.
        """

    async def get(self, key: bytes) -> Stored | None:
        """The session, whose idle time begins anew; None where it is not there."""

    async def save(self, key: bytes, value: bytes, *, version: int) -> bool:
        """Replace the value of a session that still has this version; its version is one more then.

        False, and nothing has changed, where it has another version or is not there: one that
        was deleted never comes back. Lifetimes, tags and lease stay as they are.
        """

    async def delete(self, key: bytes) -> bool:
        """End a session and its lease; whether it was there."""

    async def delete_tagged(self, tag: bytes) -> int:
        """End all sessions with a tag; how many there were.

        One that is created at the same moment may stay.
        """

    async def acquire(self, key: bytes, owner: bytes, seconds: float) -> bool:
        """Take the lease of a session for so long, where nobody else has it.

        True for its owner too, whose time begins anew. False where another has it, or the session
        is not there.
        """

    async def extend(self, key: bytes, owner: bytes, seconds: float) -> bool:
        """Have one's lease last so long from now; False, and nothing has changed, where it is not.

        One that ran out is lost, even if nobody took it.
        """

    async def release(self, key: bytes, owner: bytes) -> None:
        """Give the lease up; nothing happens where another has it, or nobody."""

    async def claim(self, key: bytes, seconds: float) -> bool:
        """Whether nobody has claimed the key within so many seconds: true once, whoever asks.

        Claims are apart from sessions. A full store may forget the oldest.
        """

    def status(self) -> SessionGauges:
        """How it does, as known without asking."""

    async def close(self) -> None:
        """Let go of what it holds; may be called again."""
