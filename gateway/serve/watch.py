"""Notices changes of files: watchdog events, a slow rescan, and SIGHUP, debounced."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from watchdog.observers.api import BaseObserver

log = logging.getLogger("gateway.reload")

LONGEST_DEBOUNCE = 10
"""A stream of events delays a reload by at most this many debounce times."""

# Reading a file causes events too; only these can mean other contents.
CHANGES: list[type[FileSystemEvent]] = [
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
]


@dataclass(frozen=True, order=True)
class Folder:
    """A folder to watch; a new one of the same name has another inode."""

    path: Path
    inode: int
    recursive: bool


class Watcher:
    """Calls `changed` once after each burst of changes of the watched files and folders.

    `changed` runs in the event loop, never twice at once; a change while it runs makes it run
    again. It should call `watch` before it reads, so that no change falls between.
    """

    def __init__(
        self, changed: Callable[[], Awaitable[None]], *, debounce: float, rescan: float
    ) -> None:
        self.changed = changed
        self.debounce = debounce
        self.rescan = rescan
        self._observer: BaseObserver | None = None
        self._watched: frozenset[Folder] = frozenset()
        self._pending = asyncio.Event()
        self._last_event = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to react to `touch` and to rescan."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._run()), loop.create_task(self._rescan())]

    def watch(self, paths: Iterable[Path]) -> None:
        """Watch these paths from now on, instead of those before."""
        folders = frozenset(folder for path in paths for folder in _folders(path))
        if folders == self._watched:
            return
        self._stop_observer()
        observer = Observer()
        handler = _Handler(asyncio.get_running_loop(), self.touch)
        for folder in sorted(folders):
            observer.schedule(
                handler, str(folder.path), recursive=folder.recursive, event_filter=CHANGES
            )
        try:
            observer.start()
        except OSError as error:
            log.warning("cannot watch files: %s (the rescan still sees changes)", error)
            return
        self._observer, self._watched = observer, folders

    def touch(self) -> None:
        """Something may have changed."""
        self._last_event = asyncio.get_running_loop().time()
        self._pending.set()

    async def close(self) -> None:
        """Stop watching."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._stop_observer()

    def _stop_observer(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer, self._watched = None, frozenset()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._pending.wait()
            end = loop.time() + LONGEST_DEBOUNCE * self.debounce
            while (left := min(self._last_event + self.debounce, end) - loop.time()) > 0:  # noqa: ASYNC110  a quiet time, not a state
                await asyncio.sleep(left)
            self._pending.clear()
            try:
                await self.changed()
            except Exception:
                log.exception("reload failed")

    async def _rescan(self) -> None:
        while self.rescan:
            await asyncio.sleep(self.rescan)
            self.touch()


class _Handler(FileSystemEventHandler):
    def __init__(self, loop: asyncio.AbstractEventLoop, touch: Callable[[], None]) -> None:
        self.loop = loop
        self.touch = touch

    def on_any_event(self, event: FileSystemEvent) -> None:  # noqa: ARG002  watchdog's
        try:
            self.loop.call_soon_threadsafe(self.touch)
        except RuntimeError:
            return  # the loop closed while the observer's thread was still running


def _folders(path: Path) -> set[Folder]:
    """The folders in which a change of `path` shows: by its name, and where its links lead."""
    found = set()
    for one in {path.absolute(), path.resolve()}:
        if one.is_dir():
            found.add(Folder(one, one.stat().st_ino, recursive=True))
        parent = one.parent
        while not parent.is_dir():
            parent = parent.parent
        found.add(Folder(parent, parent.stat().st_ino, recursive=False))
    return found
