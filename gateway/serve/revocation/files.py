"""Deny lists on disk: the one that operators write, and the one that the gateway keeps."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from gateway.errors import ConfigError, Problem
from gateway.files import read_own_file, replace_own_file
from gateway.identify.denylist import MAX_BYTES, load_list, read_list, write_list
from gateway.serve.revocation.source import Source, SourceStatus
from gateway.serve.watch import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from gateway.identify.denylist import Lines
    from gateway.identify.revoked import Change, Table

log = logging.getLogger("gateway.revocation")

DEBOUNCE: Final = 0.05
RESCAN: Final = 0.5
"""Seconds between two looks at the file besides: network file systems send no events."""
YOUNG: Final = 0.1
"""Seconds within which a file may change once more without showing another time."""

Mark = tuple[int, ...]


class ListFile(Source):
    """The list that operators write; what was good last goes on while it is broken."""

    def __init__(
        self, path: Path, copy: Path, issuers: Collection[str], tell: Callable[[Change], None]
    ) -> None:
        super().__init__("file", tell)
        self.path = path
        self.copy = copy
        self.issuers = frozenset(issuers)
        self.problems: tuple[Problem, ...] = ()
        self._seen: Mark = ()
        self._lines: Lines = {}
        self._watcher: Watcher | None = None

    def read(self) -> Table:
        """The list as it is now, which is kept as the last good one; ConfigError. Blocking."""
        table, data = load_list(self.path, self.issuers, time.time(), self._lines)
        try:
            replace_own_file(self.copy, data)
        except OSError as error:
            log.warning("deny list: no copy can be kept: %s: %s", self.copy, error.strerror)
        return table

    def first(self) -> Table:
        """The list to begin with: that of the file, or its last good copy. Blocking; ConfigError.

        Without both nobody knows whom to refuse.
        """
        try:
            table = self.read()
            self.confirmed_at = time.time()
        except ConfigError as error:
            try:
                kept = read_own_file(self.copy, MAX_BYTES)
                table = read_list(kept, None, time.time(), file=str(self.copy))
            except (OSError, ConfigError):
                raise error from None
            self.problems = error.problems
            log.error("deny list: %s; the copy in %s serves", error, self.copy)  # noqa: TRY400
        return table

    async def start(self, *, watch: bool) -> None:
        """Follow the file from now on."""
        self._watcher = Watcher(self.look, debounce=DEBOUNCE, rescan=RESCAN)
        if watch:
            await self._watcher.watch((self.path,))
        self._watcher.start()
        self._watcher.touch()

    async def look(self) -> None:
        """Take the file as it is, if it has changed."""
        mark = await asyncio.to_thread(_mark, self.path)
        if mark and mark == self._seen:
            return
        try:
            table = await asyncio.to_thread(self.read)
        except ConfigError as error:
            if error.problems != self.problems:
                log.error("deny list: %s; what was good before goes on", error)  # noqa: TRY400
            self.problems = error.problems
        else:
            self.problems = ()
            self.confirmed_at = time.time()
            self.replace(table)
        self._seen = mark

    def status(self) -> SourceStatus:
        """How it does."""
        return SourceStatus(
            entries=len(self.table), confirmed_at=self.confirmed_at, problems=self.problems
        )

    async def close(self) -> None:
        """Follow the file no more."""
        if self._watcher is not None:
            await self._watcher.close()


class KeptList(Source):
    """The entries of the admin listener, which the gateway keeps in its state folder."""

    def __init__(self, path: Path, tell: Callable[[Change], None]) -> None:
        super().__init__("admin", tell)
        self.path = path
        self.last_error = ""

    def read(self) -> Table:
        """What is kept; ConfigError where that cannot be known. Blocking."""
        try:
            data = read_own_file(self.path, MAX_BYTES)
        except FileNotFoundError:
            return {}
        except OSError as error:
            problem = Problem(f"cannot be read: {error.strerror}", file=str(self.path))
            raise ConfigError((problem,)) from None
        return read_list(data, None, time.time(), file=str(self.path))

    def keep(self, table: Table) -> None:
        """Write a list; OSError. Blocking."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_own_file(self.path, write_list(table))

    def status(self) -> SourceStatus:
        """How it does."""
        return SourceStatus(
            entries=len(self.table), confirmed_at=self.confirmed_at, last_error=self.last_error
        )


def _mark(path: Path) -> Mark:
    """What tells a changed file; nothing where it may change again and look the same."""
    try:
        found = path.stat()
    except OSError as error:
        return (error.errno or 0,)
    if abs(time.time() - found.st_ctime) < YOUNG:
        return ()
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
