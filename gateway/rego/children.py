"""The child processes of a compilation, started ahead where somebody waits for the next one.

One child turns source into plan JSON and knows none of this package's code (compile_worker). The
other turns large plans into Python, so that a serving process keeps its interpreter for requests.
Each is used once.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

CPU_SECONDS: Final = 60
WALL_SECONDS: Final = 120

KEPT: Final = ("PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""What a child gets of our environment: the last two, for a Python may not start without them."""

WORKER: Final = Path(__file__).with_name("compile_worker.py")
_ROOT: Final = Path(__file__).parents[2]
_GENERATE: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from gateway.rego.compiler import finish_in_child; finish_in_child()"
)


class Child:
    """A process that waits for its one question; OSError if it cannot be started."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603  our own interpreter and files
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={name: os.environ[name] for name in KEPT if name in os.environ}
            | {"LC_ALL": "C.UTF-8"},
        )

    @property
    def alive(self) -> bool:
        """Whether the process still waits."""
        return self._process.poll() is None

    def answer(self, question: bytes, seconds: float) -> tuple[bytes, int | None]:
        """What the process said, and its exit status, None where it took longer than `seconds`.

        It is gone afterwards.
        """
        try:
            said, _ = self._process.communicate(question, timeout=seconds)
        except subprocess.TimeoutExpired as error:
            return error.stdout or b"", None
        finally:
            self.close()
        return said, self._process.returncode

    def kill(self) -> None:
        """End the process at once; a thread that waits for its answer gets what there is."""
        self._process.kill()

    def close(self) -> None:
        """End the process and reap it."""
        self.kill()
        with self._process:  # closes the pipes and reaps it
            pass


class Kind:
    """Children of one kind; `ahead` keeps one started."""

    def __init__(self, command: Callable[[], list[str]]) -> None:
        self.ahead = False
        self._closed = False
        self._command = command
        self._spare: Child | None = None
        self._asked: set[Child] = set()
        self._lock = threading.Lock()

    def ask(self, question: bytes, seconds: float) -> tuple[bytes, int | None]:
        """Ask a child, as `Child.answer`; OSError if none can be started, or after `close`."""
        child = self._taken()
        try:
            return child.answer(question, seconds)
        finally:
            with self._lock:
                self._asked.discard(child)
            self.prepare()

    def _taken(self) -> Child:
        """Return a child that waits, and remember that it is asked."""
        with self._lock:
            child, self._spare = self._spare, None
            if child is not None and not child.alive:
                child.close()
                child = None
            if self._closed:
                raise OSError(errno.ESHUTDOWN, os.strerror(errno.ESHUTDOWN))
            child = child or Child(self._command())
            self._asked.add(child)
            return child

    def start_ahead(self) -> None:
        """Keep a child started for the next question; does nothing after `close`."""
        with self._lock:
            self.ahead = not self._closed
        self.prepare()

    def prepare(self) -> None:
        """Start the child of the next question, if `ahead` and there is none."""
        if self.ahead:
            self.start()

    def start(self) -> None:
        """Start the child of the next question, if there is none; `close` ends it, too."""
        with self._lock:
            if not self._closed and self._spare is None:
                try:
                    self._spare = Child(self._command())
                except OSError:
                    return  # the question itself will find out

    def close(self) -> None:
        """End all children, also those that are being asked, and start no other one."""
        with self._lock:
            self.ahead, self._closed = False, True
            child, self._spare = self._spare, None
            for asked in self._asked:
                asked.kill()
        if child is not None:
            child.close()


class Children:
    """The children of both kinds; who calls `start_ahead` has to call `close`."""

    def __init__(self) -> None:
        self.compile = Kind(lambda: [sys.executable, "-I", str(WORKER), str(CPU_SECONDS)])
        self.generate = Kind(lambda: [sys.executable, "-I", "-c", _GENERATE, str(_ROOT)])

    def start_ahead(self) -> None:
        """Keep one of each started for the next question."""
        self.compile.start_ahead()
        self.generate.start_ahead()

    def close(self) -> None:
        """End all children, at once."""
        self.compile.close()
        self.generate.close()
