"""Counting what logs name, in constant memory."""

from __future__ import annotations

from collections import Counter
from typing import Final

MAX_NAME: Final = 256
"""Names are cut to this length."""


class Tally:
    """Counts by name; beyond `limit` names, what is new is counted together as `others`."""

    __slots__ = ("counts", "limit", "others")

    def __init__(self, limit: int = 100) -> None:
        self.limit = limit
        self.counts: Counter[str] = Counter()
        self.others = 0

    def __bool__(self) -> bool:
        return bool(self.counts)

    @property
    def total(self) -> int:
        """How much was counted."""
        return self.counts.total() + self.others

    def add(self, name: str) -> None:
        """Count one."""
        counts, name = self.counts, name[:MAX_NAME]
        if name in counts or len(counts) < self.limit:
            counts[name] += 1
        else:
            self.others += 1

    def most(self, number: int | None = None) -> list[tuple[str, int]]:
        """The largest counts, of equal ones the first by name."""
        ordered = sorted(self.counts.items(), key=lambda pair: (-pair[1], pair[0]))
        return ordered[:number]
