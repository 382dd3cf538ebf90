"""Notices changes of files: watchdog events, a slow rescan, and SIGHUP, debounced."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
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

from gateway.files import is_below

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

    from watchdog.observers.api import BaseObserver

log = logging.getLogger("gateway.reload")

# It tells as an error that an event came while it was being stopped.
logging.getLogger("watchdog.observers.inotify").addFilter(
    lambda record: "thread is inactive" not in record.getMessage()
)

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
    """A folder to watch, without what lies deeper; another of that path has another inode.

    Unless the first one is gone: file systems give its number again.
    """

    path: Path
    inode: int


EVERYTHING: frozenset[str] = frozenset()
"""Instead of the names that count in a folder."""


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
        self._watched: Mapping[Folder, frozenset[str]] = {}
        self._warned = False
        self._lock = threading.Lock()
        self._closed = False
        self._pending = asyncio.Event()
        self._last_event = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to react to `touch` and to rescan."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._run()), loop.create_task(self._rescan())]

    async def watch(self, paths: Iterable[Path]) -> None:
        """Watch these paths from now on, instead of those before."""
        folders = await asyncio.to_thread(_folders, paths)
        if folders == self._watched:
            return
        self._watched = {}
        loop = asyncio.get_running_loop()
        handlers = [
            _Handler(loop, self, folder, names) for folder, names in sorted(folders.items())
        ]
        try:
            await asyncio.to_thread(self._observe, handlers)
        except OSError as error:
            if not self._warned:
                log.warning("cannot watch files: %s (the rescan still sees changes)", error)
            self._warned = True
            return
        self._watched, self._warned = folders, False
        self.touch()  # what changed while nothing was watched

    def touch(self) -> None:
        """Something may have changed."""
        self._last_event = asyncio.get_running_loop().time()
        self._pending.set()

    def lose(self) -> None:
        """A watched folder is gone, and with it the watch, even if there is another by now."""
        self._watched = {}
        self.touch()

    async def close(self) -> None:
        """Stop watching."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._observe, [], last=True)

    def _observe(self, handlers: Iterable[_Handler], *, last: bool = False) -> None:
        """Let these handlers hear of events from now on, or none `last`; OSError. Blocking."""
        with self._lock:  # whoever awaits this may be cancelled, the thread is not
            if self._observer is not None:
                self._observer.stop()
                self._observer.join()
                self._observer = None
            self._closed = self._closed or last
            if self._closed:
                return
            observer = Observer()
            for handler in handlers:
                observer.schedule(handler, str(handler.folder.path), event_filter=CHANGES)
            try:
                observer.start()
            except OSError:
                observer.stop()
                raise
            self._observer = observer

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
        while True:
            await asyncio.sleep(self.rescan)
            self.touch()


class _Handler(FileSystemEventHandler):
    """Tells a watcher what happens in a folder to one of `names`.

    The gateway's own logs may lie beside what is watched.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        watcher: Watcher,
        folder: Folder,
        names: frozenset[str],
    ) -> None:
        self.loop = loop
        self.watcher = watcher
        self.folder = folder
        self.names = names

    def on_any_event(self, event: FileSystemEvent) -> None:
        paths = [Path(str(path)) for path in (event.src_path, event.dest_path) if path]
        if isinstance(event, DirDeletedEvent) and self.folder.path in paths:
            self._call(self.watcher.lose)
        elif not self.names or not self.names.isdisjoint(path.name for path in paths):
            self._call(self.watcher.touch)

    def _call(self, tell: Callable[[], None]) -> None:
        try:
            self.loop.call_soon_threadsafe(tell)
        except RuntimeError:
            return  # the loop closed while the observer's thread was still running


def _folders(paths: Iterable[Path]) -> dict[Folder, frozenset[str]]:
    """The folders in which a change of these paths shows, and the names that count there.

    Each folder for itself: watchdog's recursion follows no links, and enters hidden folders.
    """
    found: dict[Folder, frozenset[str]] = {}
    for path in paths:
        for place, counting in _places(path):
            folder, name = _nearest(place, counting)
            if name and found.get(folder) != EVERYTHING:
                found[folder] = found.get(folder, frozenset()) | {name}
            else:
                found[folder] = EVERYTHING
    return found


def _places(path: Path) -> Iterator[tuple[Path, str]]:
    """Where a change of `path` shows: a folder and a name in it, or "" for all of it.

    By its own name, by that of each link on the way to it, and in the folders below it; no link
    from there leads to a folder elsewhere.
    """
    waiting, seen = [path.absolute()], set[Path]()
    top = os.path.realpath(path)
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        link = next((up for up in (*reversed(one.parents), one) if os.path.islink(up)), one)  # noqa: PTH114  Path's raises where it may not look
        yield link.parent, link.name
        with suppress(OSError):  # it is gone, or a link leads to itself
            if os.path.islink(link):  # noqa: PTH114  same
                one.stat()
                target = link.parent / link.readlink() / one.relative_to(link)
                waiting.append(Path(os.path.normpath(target)))
            elif one.is_dir() and is_below(os.path.realpath(one), top):
                yield one, ""
                waiting += (Path(each) for each in os.scandir(one) if _leads_on(each))


def _leads_on(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".") and (entry.is_symlink() or entry.is_dir())


def _nearest(folder: Path, name: str) -> tuple[Folder, str]:
    """The folder and the name; where it is not there, one above it and what to wait for."""
    with suppress(OSError):
        status = folder.stat()
        if stat.S_ISDIR(status.st_mode):
            return Folder(folder, status.st_ino), name
    return _nearest(folder.parent, folder.name)
