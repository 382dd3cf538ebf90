"""`gateway policy test --watch`: runs what a change affects, until somebody ends it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.bundle.owners import shown
from gateway.commands.interrupt import interrupted
from gateway.serve.watch import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

DEBOUNCE = 0.1
"""Seconds without a change before a run: editors write in steps."""

RESCAN = 2.0
"""Seconds between two looks where the file system tells of no change."""


async def follow(paths: Iterable[Path], run: Callable[[list[str]], None]) -> None:
    """Call `run` in a thread now, and after each change of files below `paths`, until Ctrl-C.

    It gets the names of what changed: none the first time.
    """
    roots = tuple(paths)
    last: dict[str, tuple[int, int]] | None = None

    async def changed() -> None:
        nonlocal last
        await watcher.watch(roots)
        state = await asyncio.to_thread(lambda: dict(_state(roots)))
        if state != last:
            names = [] if last is None else _changed(last, state)
            last = state
            await asyncio.to_thread(run, names)

    watcher = Watcher(changed, debounce=DEBOUNCE, rescan=RESCAN)
    watcher.start()
    watcher.touch()
    try:
        await interrupted()
    finally:
        await watcher.close()


def _changed(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> list[str]:
    return sorted(dict(before.items() ^ after.items()))


def _state(roots: Iterable[Path]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the name of each file, and its time and size."""
    for root in roots:
        for path in sorted((root, *root.rglob("*"))):
            try:
                status = path.stat()
            except OSError:
                continue  # gone by now
            if path.is_file():
                yield shown(path), (status.st_mtime_ns, status.st_size)
