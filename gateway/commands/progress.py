"""How far a long run is: a bar on standard error, where that is a terminal."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from threading import Timer
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_Item = TypeVar("_Item")

DELAY = 0.3
"""Seconds before there is a bar: a short run needs none."""


class Tell(Protocol):
    """Is told how many items are done; the bar is at `at` of the total, where that is no number."""

    def __call__(self, number: int, at: int | None = None, /) -> None: ...


@contextmanager
def progress(noun: str, total: int | None = None) -> Iterator[Tell]:
    """Show a bar as long as the block lasts; one that only moves, where no total is known."""
    if not sys.stderr.isatty():
        yield lambda _, __=None: None
        return
    # Slow to import, and only terminals need them.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    shown = Progress(*columns, console=Console(stderr=True), transient=True)
    task = shown.add_task(noun, total=total)

    def tell(number: int, at: int | None = None) -> None:
        done = f" of {total:,}" if total is not None and at is None else ""
        said = f"{number:,}{done} {noun}"
        shown.update(task, completed=number if at is None else at, description=said)

    start = Timer(DELAY, shown.start)
    start.start()
    try:
        yield tell
    finally:
        start.cancel()
        start.join()
        shown.stop()


def counted(items: Iterable[_Item], tell: Tell, every: int = 25) -> Iterator[_Item]:
    """Let items through, and tell of each so many."""
    for number, item in enumerate(items):
        if number % every == 0:
            tell(number)
        yield item
