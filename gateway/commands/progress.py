"""How far a long run is, on terminals."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EVERY = 25
"""Items between two looks at the progress."""


@contextmanager
def progress(
    noun: str = "tests", every: int = EVERY
) -> Iterator[Callable[[Iterator[Any]], Iterator[Any]]]:
    """Let items through and count them on stderr, where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda items: items
        return
    # Slow to import, and only terminals need them.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    told = TextColumn(f"{{task.completed:,}} {noun}")
    columns = (SpinnerColumn(), told, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(noun, total=None)

        def counted(items: Iterator[Any]) -> Iterator[Any]:
            for number, item in enumerate(items):
                if number % every == 0:
                    shown.update(task, completed=number)
                yield item

        yield counted
