"""Reading files that people and other programs write, and writing one's own."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_NAMED_FILE = 4 * 1024**2
"""Longest key set, certificate or bundle of roots, in bytes."""


def read_file(path: Path, limit: int) -> bytes:
    """The contents of a regular file; OSError where it is none or longer than `limit` bytes.

    Waits for nothing: a pipe in its place is refused.
    """
    with _opened(path, 0) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit} bytes", str(path))
    return data


def is_below(path: str, folder: str) -> bool:
    """Whether a real path is that of the folder or of something in it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def read_own_file(path: Path) -> bytes:
    """The contents of a file that only this process's user can have written; OSError."""
    with _opened(path, os.O_NOFOLLOW) as file:
        status = os.fstat(file.fileno())
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise OSError(errno.EPERM, "others may have written it", str(path))
        return file.read()


def replace_own_file(path: Path, data: bytes) -> None:
    """Write a file as a whole, or not at all, for this process's user only; OSError."""
    for left in path.parent.glob(f"{path.name}.*.new"):  # by a process that was killed
        left.unlink(missing_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=".new")
    with os.fdopen(handle, "wb") as file:  # mode 0600
        file.write(data)
        file.flush()
        os.fsync(handle)
    os.replace(name, path)  # noqa: PTH105  Path's takes no text


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[BinaryIO]:
    """A regular file; OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    except ValueError:
        raise OSError(errno.EINVAL, "a NUL in the name", str(path)) from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        with open(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)
