"""Runs a command under the system call filters that a systemd unit asks for.

As systemd makes them: with libseccomp, and the groups of this machine's `systemd-analyze`. What
`SystemCallFilter` does not list kills the process here, so that nothing passes unnoticed.

    python sandbox.py UNIT COMMAND…
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
MASKED, EQUAL = 7, 4
WRITE, EXECUTE = 2, 4
SHM_EXEC = 0o100000
FAMILIES = range(1, 46)

Unit = dict[str, list[str]]


def lacking() -> str:
    """Why no filter can be made here; empty if one can."""
    if shutil.which("systemd-analyze") is None:
        return "systemd-analyze is not installed (package systemd)"
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return "libseccomp is not installed"
    return ""


def read_unit(path: Path) -> Unit:
    """The settings of a unit, each with its values in order."""
    found: Unit = {}
    for line in path.read_text().splitlines():
        if line[:1].isalpha():
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def system_calls(words: str) -> Iterator[str]:
    """The system calls of names and @groups."""
    for word in words.split():
        if not word.startswith("@"):
            yield word
            continue
        command = ["systemd-analyze", "syscall-filter", word]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        lines = (line.strip() for line in listed.splitlines()[1:])
        yield from system_calls(" ".join(line for line in lines if not line.startswith("#")))


def allowed(unit: Unit) -> set[str]:
    """The system calls that the unit lists and does not take away again."""
    found: set[str] = set()
    for value in unit["SystemCallFilter"]:
        if value.startswith("~"):
            found -= set(system_calls(value[1:]))
        else:
            found |= set(system_calls(value))
    return found


class Compare(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


class Filter:
    """A filter with an action for what no rule is about."""

    def __init__(self, default: int) -> None:
        self.library = ctypes.CDLL("libseccomp.so.2")
        self.library.seccomp_init.restype = ctypes.c_void_p
        self.context = ctypes.c_void_p(self.library.seccomp_init(ctypes.c_uint32(default)))

    def add(self, action: int, name: str, *compared: tuple[int, int, int, int]) -> None:
        """A rule; system calls that this machine does not have are passed over."""
        number = self.library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            return
        each: Any = (Compare * len(compared))(*(Compare(*one) for one in compared))
        done = self.library.seccomp_rule_add_array(
            self.context, ctypes.c_uint32(action), number, len(compared), each
        )
        assert done == 0, (name, done)

    def load(self) -> None:
        """From now on, for this process and all that it starts."""
        assert self.library.seccomp_load(self.context) == 0


def confine(unit: Unit) -> None:
    """Put this process under the filters of a unit, for good."""
    if unit.get("MemoryDenyWriteExecute") == ["yes"]:
        memory = Filter(ALLOW)
        refused = ERRNO | errno.EPERM
        both = WRITE | EXECUTE
        memory.add(refused, "mmap", (2, MASKED, both, both))
        memory.add(refused, "mprotect", (2, MASKED, EXECUTE, EXECUTE))
        memory.add(refused, "pkey_mprotect", (2, MASKED, EXECUTE, EXECUTE))
        memory.add(refused, "shmat", (2, MASKED, SHM_EXEC, SHM_EXEC))
        memory.load()
    names = " ".join(unit["RestrictAddressFamilies"]).split()
    known = {int(getattr(socket, name)) for name in names}
    families = Filter(ALLOW)
    for family in set(FAMILIES) - known:
        families.add(ERRNO | errno.EAFNOSUPPORT, "socket", (0, EQUAL, family, 0))
    families.load()
    calls = Filter(KILL)
    for name in sorted(allowed(unit)):
        calls.add(ALLOW, name)
    calls.load()


if __name__ == "__main__":
    confine(read_unit(Path(sys.argv[1])))
    os.execvp(sys.argv[2], sys.argv[2:])
