"""Tokens whose signature was found good, so that it is computed once."""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.identify.claims import Verified


class SignatureCache:
    """Verified tokens by their whole text, the least recently used leaving first.

    Holds nothing but good signatures, so forged tokens cannot push others out. Bounded by
    `max_entries` and by `max_bytes` of memory. For one thread.
    """

    __slots__ = ("_entries", "_max_bytes", "_max_entries", "_size")

    def __init__(self, max_entries: int = 10_000, max_bytes: int = 64 * 1024**2) -> None:
        self._entries: OrderedDict[bytes, tuple[Verified, int]] = OrderedDict()
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._size = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """Bytes of memory in use, about."""
        return self._size

    def get(self, token: bytes) -> Verified | None:
        """The token's parsed claims, if its signature is known to be good."""
        entry = self._entries.get(token)
        if entry is None:
            return None
        self._entries.move_to_end(token)
        return entry[0]

    def put(self, token: bytes, verified: Verified) -> None:
        """Remember a token with a good signature; one that fills the cache alone is not kept."""
        self.discard(token)
        size = sys.getsizeof(token) + weight(verified.claims)
        size += weight(verified.principal.token_header)
        if size > self._max_bytes // 16:
            return
        self._entries[token] = (verified, size)
        self._size += size
        while len(self._entries) > self._max_entries or self._size > self._max_bytes:
            _, (_, oldest) = self._entries.popitem(last=False)
            self._size -= oldest

    def discard(self, token: bytes) -> None:
        """Forget a token."""
        entry = self._entries.pop(token, None)
        if entry is not None:
            self._size -= entry[1]


def weight(value: Any) -> int:
    """Bytes of a JSON value; its depth is limited by the parser."""
    if isinstance(value, dict):
        members = sum(sys.getsizeof(name) + weight(value[name]) for name in value)
        return sys.getsizeof(value) + members
    if isinstance(value, list):
        return sys.getsizeof(value) + sum(map(weight, value))
    return sys.getsizeof(value)
