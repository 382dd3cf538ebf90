"""Replacements of source text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Edit:
    """A replacement of original text: `start` to `end` becomes `text`.

    Of edits at one place the one of lower `order` comes first. `around` is the range that an edit
    at its border belongs to.
    """

    start: int
    end: int
    text: str
    order: int = 0
    around: tuple[int, int] | None = None

    @property
    def span(self) -> tuple[int, int]:
        """The range without which the edit makes no sense."""
        return self.around or (self.start, self.end)


def enclosed(start: int, end: int, opening: str, closing: str) -> Iterator[Edit]:
    """Put text before and after a range; what was opened last closes first."""
    yield Edit(start, start, opening, 0, (start, end))
    yield Edit(end, end, closing, -1 - start, (start, end))
