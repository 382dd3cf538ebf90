"""Decision logs that commands name."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from gateway.workbench.decisions import SHORT, is_named
from gateway.workbench.events import GZIP, MAX_EVENT, Read, read_events, read_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

STDIN = "-"
MOST_ALIKE = 10
"""So many decisions whose ids end alike are counted."""


class Logs:
    """The events of logs, one log after the other; `-` is standard input.

    `size` is that of all files in bytes, None where it is not known; `position` is how many of
    them were read, packed as they are.
    """

    def __init__(self, logs: Iterable[Path]) -> None:
        self._logs = tuple(logs)
        self._file: BinaryIO | None = None
        self._before = 0
        files = [log for log in self._logs if log.is_file()]
        self.size = (
            sum(log.stat().st_size for log in files) if len(files) == len(self._logs) else None
        )

    @property
    def position(self) -> int:
        """How many bytes were read."""
        return self._before + (self._file.tell() if self._file else 0)

    def __iter__(self) -> Iterator[Read]:
        for log in self._logs:
            if str(log) == STDIN:
                yield from read_events(sys.stdin.buffer, "standard input")
                continue
            with log.open("rb") as file:
                self._file = file
                yield from read_events(file, str(log))
                self._before, self._file = self.position, None


def events_of(logs: Iterable[Path]) -> Iterator[Read]:
    """The events of logs, one log after the other; `-` is standard input."""
    return iter(Logs(logs))


def named(word: str, events: Iterable[dict[str, Any]], where: str = "") -> dict[str, Any]:
    """The event with a decision id, or with an id that ends so; ClickException without one."""
    matches: dict[str, dict[str, Any]] = {}
    for event in events:
        if is_named(event, word):
            if event["decision_id"] == word:
                return event
            if len(matches) < MOST_ALIKE:
                matches[event["decision_id"]] = event
    if not matches:
        short = f"; an end of one has {SHORT} characters or more" if len(word) < SHORT else ""
        said = f"no decision {word!r}" + (f" in {where}" if where else "")
        raise click.ClickException(said + short)
    if len(matches) > 1:
        many = "" if len(matches) < MOST_ALIKE else " or more"
        said = f"{len(matches)}{many} decision ids end in {word!r}: give one whole"
        raise click.ClickException(said)
    return next(iter(matches.values()))


def followed(log: Path) -> Iterator[Read | None]:
    """The events of a log that grows, without end; None where it has no more for now.

    A log that was renamed is read to its end, then the new one of its name from the beginning;
    one that was cut short is read anew.
    """
    file: BinaryIO = log.open("rb")
    successor: BinaryIO | None = None
    number, held, length = 0, b"", 0
    try:
        if file.read(len(GZIP)) == GZIP:
            raise click.ClickException(f"{log}: compressed; --follow reads a plain log")
        file.seek(0)
        while True:
            if line := file.readline(MAX_EVENT):
                length += len(line)
                held = held + line if length <= MAX_EVENT else b""
                if line.endswith(b"\n"):
                    number += 1
                    if length > MAX_EVENT:  # what follows in such a line is no event of its own
                        yield Read(str(log), number, {}, f"longer than {MAX_EVENT} bytes")
                    else:
                        yield from read_line(held, str(log), number)
                    held, length = b"", 0
            elif successor is not None:
                file.close()
                file, successor = successor, None
                number, held, length = 0, b"", 0
            elif (successor := _successor(log, file)) is None:
                if os.fstat(file.fileno()).st_size < file.tell():
                    file.seek(0)
                    number, held, length = 0, b"", 0
                yield None
    finally:
        for opened in filter(None, (file, successor)):
            opened.close()


def _successor(log: Path, file: BinaryIO) -> BinaryIO | None:
    """The file that has taken the name of this one; its writer may have been late with a line."""
    try:
        found = log.open("rb")
    except FileNotFoundError:
        return None  # between rename and creation
    if os.path.sameopenfile(found.fileno(), file.fileno()):
        found.close()
        return None
    return found
