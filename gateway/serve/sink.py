"""Log sinks: a bounded queue in front of a thread that writes; a request never waits."""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import ConfigError, Problem
from gateway.record.metrics import SinkCounts
from gateway.serve.shared import Turn, Turns, alone

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config.model import AccessLog, DecisionLog, Log

MAX_BYTES = 64 * 1024 * 1024
"""Most bytes that wait, whatever the number of lines."""

BATCH_BYTES = 256 * 1024
LINGER = 0.05
"""Seconds that the first line of a batch waits for company: a wake-up costs the thread that
serves requests as much as several lines do."""

RETRY = 0.5
"""Seconds between two attempts to write to a sink that failed."""

RETRY_AT_END = 0.05
"""The same once the sink closes."""

STREAMS = {"stdout": 1, "stderr": 2}
MODE = 0o640

Report = Callable[[str], None]


class Stream:
    """Standard output or standard error."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.descriptor = STREAMS[name]

    def open(self) -> int:
        """The descriptor to write to."""
        return self.descriptor

    def close(self) -> None:
        """Nothing: the stream is the process's."""


class File:
    """A file that is opened anew when it was renamed or removed; OSError where it cannot be."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.path = path
        self.descriptor = -1

    def open(self) -> int:
        """The descriptor of what the path names now."""
        if self.descriptor < 0 or not self._current():
            self._open()
        return self.descriptor

    def close(self) -> None:
        """Close the file."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _current(self) -> bool:
        try:
            named = self.path.stat()
        except FileNotFoundError:
            return False
        held = os.fstat(self.descriptor)
        return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        made = os.open(self.path, flags, MODE)
        self.close()
        self.descriptor = made


class Sink:
    """Writes lines to a target from a thread of its own; `put` is called from one thread.

    A failed write is tried again with the same lines, while the queue holds what follows; what
    no longer fits is dropped and counted. `report` hears of the first failure in a row, and of
    its end. A `turn` is for each batch, where other processes write to the target.
    """

    def __init__(
        self, target: Stream | File, *, limit: int, report: Report, turn: Turn | None = None
    ) -> None:
        self.name = target.name
        self._target = target
        self._turn = turn or Turn()
        self._limit = limit
        self._report = report
        self._lines: deque[bytes] = deque()
        # Each of these is written by one thread only: first the caller's, then the sink's.
        self._put_lines = 0
        self._put_bytes = 0
        self._dropped = 0
        self._taken_bytes = 0
        self._written = 0
        self._errors = 0
        self._offset = 0
        self._failing = False
        self._deadline = 0.0
        self._waiting = threading.Event()
        self._closing = threading.Event()
        self._stale = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"log {self.name}", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> bool:
        """Queue a line, without its end; False where there was no room, or after `close`."""
        if (
            len(self._lines) >= self._limit
            or self._put_bytes - self._taken_bytes + len(line) > MAX_BYTES
            or self._closing.is_set()
        ):
            self._dropped += 1
            return False
        self._put_lines += 1
        self._put_bytes += len(line)
        self._lines.append(line)
        if not self._waiting.is_set():
            self._waiting.set()
        return True

    def counts(self) -> SinkCounts:
        """What became of the lines so far."""
        return SinkCounts(
            written=self._written,
            dropped=self._dropped,
            errors=self._errors,
            queued=self._put_lines - self._written,
        )

    def reopen(self) -> None:
        """Open the target anew before the next line (after rotation)."""
        self._stale.set()

    def share(self, turn: Turn) -> None:
        """Write in turns with other processes from the next batch on."""
        self._turn = turn

    def close(self, timeout: float) -> bool:
        """Write what is queued, for at most `timeout` seconds; False where lines were lost.

        Blocks. Lost lines count as dropped.
        """
        self._deadline = time.monotonic() + timeout
        self._closing.set()
        self._waiting.set()
        self._thread.join(timeout)
        lost = self._put_lines - self._written
        if not lost:
            return True
        self._put_lines -= lost
        self._dropped += lost
        self._report(f"log {self.name}: {lost} lines could not be written before the end")
        return False

    def _run(self) -> None:
        while True:
            self._waiting.wait()
            self._closing.wait(LINGER)
            self._waiting.clear()
            while self._lines:
                if not self._write(self._take()):
                    return
            if self._closing.is_set() and not self._lines:
                self._target.close()
                return

    def _take(self) -> bytes:
        batch: list[bytes] = []
        size = 0
        while self._lines and size < BATCH_BYTES:
            line = self._lines.popleft()
            size += len(line)
            batch.append(line)
        self._taken_bytes += size
        batch.append(b"")
        return b"\n".join(batch)

    def _write(self, batch: bytes) -> bool:
        """Write a batch to its end; False where the time to close is over before."""
        self._offset = 0
        while True:
            try:
                with self._turn as turn:
                    self._write_on(batch, turn)
            except OSError as error:
                self._fail(error)
                if not self._pause():
                    return False
            else:
                if self._offset < len(batch):
                    return False
                self._succeed()
                return True

    def _write_on(self, batch: bytes, turn: Turn) -> None:
        """Write what is left of a batch, until the time to close is over.

        OSError; `_offset` is at the beginning of a line then.
        """
        descriptor = self._open(turn)
        turn.torn = True  # should this process end before the batch does
        try:
            while self._offset < len(batch):
                try:
                    count = os.write(descriptor, memoryview(batch)[self._offset :])
                except BlockingIOError:
                    # Somebody made the stream non-blocking, and its reader is slow: no failure.
                    select.select((), (self._target.descriptor,), (), RETRY_AT_END)
                    if self._over():
                        return
                else:
                    self._written += batch.count(b"\n", self._offset, self._offset + count)
                    self._offset += count
        finally:
            start = batch.rfind(b"\n", 0, self._offset) + 1
            turn.torn = start != self._offset
            self._offset = start

    def _open(self, turn: Turn) -> int:
        if self._stale.is_set():
            self._stale.clear()
            self._target.close()
        descriptor = self._target.open()
        if turn.torn:
            # The line that was cut off ends here; it is written again as a whole.
            os.write(descriptor, b"\n")
            turn.torn = False
        return descriptor

    def _fail(self, error: OSError) -> None:
        self._errors += 1
        if not self._failing:
            self._failing = True
            self._report(f"log {self.name}: {error.strerror or error}; lines wait in the queue")

    def _succeed(self) -> None:
        if self._failing:
            self._failing = False
            self._report(f"log {self.name}: writing again")

    def _pause(self) -> bool:
        if self._closing.is_set():
            time.sleep(RETRY_AT_END)
        else:
            self._closing.wait(RETRY)
        return not self._over()

    def _over(self) -> bool:
        return self._closing.is_set() and time.monotonic() >= self._deadline


@dataclass(frozen=True, slots=True, kw_only=True)
class Sinks:
    """The sinks of the decision log and the access log; None where one is off, maybe the same."""

    decisions: Sink | None
    access: Sink | None

    def counts(self) -> dict[str, SinkCounts]:
        """What became of the lines, by target."""
        return {sink.name: sink.counts() for sink in self._each()}

    def reopen(self) -> None:
        """Open every target anew."""
        for sink in self._each():
            sink.reopen()

    def close(self, timeout: float) -> bool:
        """Write what is queued, for at most `timeout` seconds in all; False where lines were lost.

        Blocks.
        """
        deadline = time.monotonic() + timeout
        return all(sink.close(max(0.0, deadline - time.monotonic())) for sink in self._each())

    def _each(self) -> tuple[Sink, ...]:
        return tuple(sink for sink in {self.decisions, self.access} if sink)


def open_sinks(log: Log, report: Report, turns: Turns = alone) -> Sinks:
    """The sinks of a configuration; ConfigError where a file cannot be opened.

    Two logs with one target share its sink, so that no line is written into another. `report`
    is called with one line of text, from the sinks' threads. `turns` are those to write to the
    targets, by their names.
    """
    opened: dict[str, Sink] = {}

    def sink(section: DecisionLog | AccessLog, key: str) -> Sink | None:
        if section.sink == "off":
            return None
        target = File(section.path) if section.path else Stream(section.sink)
        if target.name not in opened:
            try:
                target.open()
            except OSError as error:
                message = f"{target.name}: {error.strerror or error}"
                raise ConfigError((Problem(message, key=f"{key}.path"),)) from None
            opened[target.name] = Sink(
                target, limit=log.decisions.queue, report=report, turn=turns(target.name)
            )
        return opened[target.name]

    return Sinks(
        decisions=sink(log.decisions, "log.decisions"), access=sink(log.access, "log.access")
    )
