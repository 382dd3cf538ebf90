"""What the processes of one gateway share besides sockets: a little memory, and turns to write."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import ClassVar, Final, Self

if sys.platform != "win32":
    import fcntl

SLOTS: Final = 65_536
RETRY: Final = 0.002


def anonymous(size: int) -> int:
    """A file of `size` zeros that has no name: its descriptor, for other processes to inherit."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("gateway")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.truncate(descriptor, size)
    return descriptor


class Turn:
    """The right to write to a target, while its block runs.

    `torn` tells the next one that the last line was cut short.
    """

    torn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class SharedTurn(Turn):
    """The same among processes; Turns of one target share `torn`, even if one of them dies.

    A write of more than PIPE_BUF bytes may be cut by another's (POSIX.1-2017, write). The locks
    are those of fcntl, which belong to a process and end with it, hence others for its threads.
    """

    _threads: ClassVar[dict[int, threading.Lock]] = {}

    def __init__(self, descriptor: int, target: str) -> None:
        self.descriptor = descriptor
        self.slot = int.from_bytes(hashlib.sha256(target.encode()).digest()[:2], "big")
        self.lock = self._threads.setdefault(self.slot, threading.Lock())

    def __enter__(self) -> Self:
        self.lock.acquire()
        try:
            self._lock()
        except BaseException:
            self.lock.release()
            raise
        return self

    def _lock(self) -> None:
        while True:
            try:
                fcntl.lockf(self.descriptor, fcntl.LOCK_EX, 1, self.slot)
            except OSError as error:
                # The system sees processes that wait for each other where threads do not.
                if error.errno != errno.EDEADLK:
                    raise
                time.sleep(RETRY)
            else:
                return

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, self.slot)
        self.lock.release()

    @property
    def torn(self) -> bool:
        """Whether the last line was cut short, by whomever."""
        return os.pread(self.descriptor, 1, self.slot) == b"\1"

    @torn.setter
    def torn(self, value: bool) -> None:
        os.pwrite(self.descriptor, b"\1" if value else b"\0", self.slot)


Turns = Callable[[str], Turn]
"""The turn of a target, by its name."""


def alone(_: str) -> Turn:
    """The turns of a process that is alone."""
    return Turn()


def sharing(descriptor: int) -> Turns:
    """The turns of processes that have inherited a file from `anonymous(SLOTS)`."""
    return lambda target: SharedTurn(descriptor, target)
