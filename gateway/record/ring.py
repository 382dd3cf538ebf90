"""The most recent decision events, by decision id."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice

MAX_BYTES = 32 * 1024 * 1024


class Ring:
    """Holds at most `limit` lines and `max_bytes` bytes; the oldest go first."""

    __slots__ = ("_lines", "_size", "limit", "max_bytes")

    def __init__(self, limit: int, max_bytes: int = MAX_BYTES) -> None:
        self.limit = limit
        self.max_bytes = max_bytes
        self._lines: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, decision_id: str, line: bytes) -> None:
        """Keep an event's masked line."""
        lines = self._lines
        self._size += len(line) - len(lines.pop(decision_id, b""))
        lines[decision_id] = line
        while len(lines) > self.limit or self._size > self.max_bytes:
            self._size -= len(lines.popitem(last=False)[1])

    def get(self, decision_id: str) -> bytes | None:
        """The event of a decision, as JSON."""
        return self._lines.get(decision_id)

    def recent(self, limit: int) -> list[bytes]:
        """The newest events, at most `limit`, newest first."""
        return [line for _, line in self.newest(limit)]

    def newest(self, limit: int) -> list[tuple[str, bytes]]:
        """The same with the decisions' ids."""
        return list(islice(reversed(self._lines.items()), limit))
