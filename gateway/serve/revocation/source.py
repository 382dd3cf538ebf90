"""What the sources of deny lists have in common: the list at hand, and how a new one is told."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from gateway.identify.revoked import Change, Denial, Denied, Key, Table, difference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.errors import Problem

PART: Final = 5_000
"""Most entries that are told at once: whoever serves does nothing else meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """A source: how many entries it has, when it last confirmed them (Unix seconds), its faults.

    `stale` tells that tokens are refused for it.
    """

    entries: int
    confirmed_at: float | None
    last_error: str = ""
    problems: tuple[Problem, ...] = ()
    stale: bool = False


class Source:
    """One list; `tell` hears of every change of it."""

    def __init__(self, name: str, tell: Callable[[Change], None]) -> None:
        self.name = name
        self.tell = tell
        self.table: Table = {}
        self.confirmed_at: float | None = None

    def replace(self, table: Table) -> None:
        """Take another list."""
        put, drop = difference(self.table, table)
        self.table = table
        for change in parts(self.name, put, drop):
            self.tell(change)

    def put(self, key: Key, denial: Denial) -> None:
        """Take one more entry."""
        self.table[key] = denial
        self.tell(Change(source=self.name, put={key: denial}))

    def drop(self, key: Key) -> None:
        """Take an entry away."""
        self.table.pop(key, None)
        self.tell(Change(source=self.name, drop=(key,)))

    def follow(self, before: Source) -> None:
        """Begin with the list of the source that this one takes the place of."""
        self.table = dict(before.table)
        self.confirmed_at = before.confirmed_at

    def release(self) -> None:
        """Deny nothing any more: a reload has taken the source away."""
        self.replace({})

    def forget(self, now: float) -> None:
        """Take away what denies nothing any more."""
        for key in [key for key, denial in self.table.items() if denial.until <= now]:
            self.drop(key)


def parts(source: str, put: Table, drop: tuple[Key, ...]) -> Iterator[Change]:
    """A change in several, no entry missing in between: all that is put comes first."""
    entries = iter(put.items())
    while part := dict(islice(entries, PART)):
        yield Change(source=source, put=part)
    for start in range(0, len(drop), PART):
        yield Change(source=source, drop=drop[start : start + PART])


def whole(denied: Denied) -> Iterator[Change]:
    """The changes that make these lists of none."""
    for source, table in denied.tables.items():
        yield from parts(source, table, ())
    for source, reason in denied.unsure.items():
        yield Change(source=source, unsure=reason)
