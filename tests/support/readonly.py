"""Runs a command as nobody, on a machine that is read-only but for one folder and memory.

    python readonly.py WRITABLE SEEN COMMAND…

`/dev/shm` stays as it is, as in a container with a read-only root file system.

In a mount namespace of its own, which ends with it. Folders that only root may enter are replaced
by empty ones, in which the interpreter, the checkout and the folder SEEN are found again.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

NOBODY = 65534
NEWNS = 0x00020000
BIND, MOVE, RECURSIVE, PRIVATE = 0x1000, 0x2000, 0x4000, 0x40000
MOUNT_SETATTR, HERE, BELOW, READ_ONLY = 442, -100, 0x8000, 1
NO_NEW_PRIVILEGES = 38
MEMORY = "/dev/shm"

libc = ctypes.CDLL(None, use_errno=True)


def lacking() -> str:
    """Why this cannot be done here; empty if it can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "only root can make a read-only machine for another user"
    if shutil.which("unshare") is None:
        return "unshare is not installed (util-linux)"
    made = subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0
    return "" if made else "no mount namespace can be made here"


def main(writable: Path, seen: Path, command: list[str]) -> None:
    """Become that machine, and the command."""
    _check(libc.unshare(NEWNS))
    _mount("none", "/", RECURSIVE | PRIVATE)
    root = Path(__file__).parents[2]
    folder = Path.cwd()
    needed = {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), root, seen}
    _reveal(needed)
    _mount(str(writable), str(writable), BIND)
    _set_attributes("/", BELOW, add=READ_ONLY)
    for path in (str(writable), MEMORY):
        _set_attributes(path, 0, remove=READ_ONLY)
    os.chdir(folder)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    _check(libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    os.execvp(command[0], command)


def _reveal(needed: set[Path]) -> None:
    """Let everybody reach these folders."""
    while closed := {top for path in needed if (top := _closed(path))}:
        top = min(closed)
        inside = {path for path in needed if path.is_relative_to(top)}
        # What lies in another one of them comes with it.
        inside = {path for path in inside if not any(up in inside for up in path.parents)}
        stages = {}
        for path in inside:
            stages[path] = tempfile.mkdtemp(dir=MEMORY)
            _mount(str(path), stages[path], BIND | RECURSIVE)
        _mount("tmpfs", str(top), 0, kind="tmpfs", options="mode=755")
        for path, stage in stages.items():
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
            _mount(stage, str(path), MOVE)
            os.rmdir(stage)


def _closed(path: Path) -> Path | None:
    """The folder nearest to the root above this one that not everybody may enter."""
    parents = reversed(path.parents)
    return next((up for up in parents if not up.stat().st_mode & stat.S_IXOTH), None)


def _mount(source: str, target: str, flags: int, kind: str = "", options: str = "") -> None:
    texts = (each.encode() or None for each in (source, target, kind))
    _check(libc.mount(*texts, ctypes.c_ulong(flags), options.encode() or None))


def _set_attributes(path: str, flags: int, add: int = 0, remove: int = 0) -> None:
    attributes = (ctypes.c_uint64 * 4)(add, remove, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    _check(libc.syscall(MOUNT_SETATTR, HERE, path.encode(), flags, attributes, size))


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), sys.argv[3:])
