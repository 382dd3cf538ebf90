"""`gateway policy test --watch`: runs what a change affects, as long as nobody stops it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.serve.watch import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

DEBOUNCE = 0.1
"""Seconds without a change before a run: editors write in steps."""

RESCAN = 2.0
"""Seconds between two looks where the file system tells of no change."""

State = tuple[tuple[str, int, int], ...]


async def follow(paths: Iterable[Path], run: Callable[[], None]) -> None:
    """Call `run` in a thread now, and after each change of files below `paths`; never returns."""
    roots = tuple(paths)
    last: State | None = None

    async def changed() -> None:
        nonlocal last
        await watcher.watch(roots)
        state = await asyncio.to_thread(lambda: tuple(_state(roots)))
        if state != last:
            last = state
            await asyncio.to_thread(run)

    watcher = Watcher(changed, debounce=DEBOUNCE, rescan=RESCAN)
    watcher.start()
    watcher.touch()
    try:
        await asyncio.Event().wait()
    finally:
        await watcher.close()


def _state(roots: Iterable[Path]) -> Iterator[tuple[str, int, int]]:
    """Yield name, time and size of each file."""
    for root in roots:
        for path in sorted((root, *root.rglob("*"))):
            try:
                status = path.stat()
            except OSError:
                continue  # gone by now
            if path.is_file():
                yield str(path), status.st_mtime_ns, status.st_size
