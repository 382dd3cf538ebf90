"""Decision logs that commands name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from gateway.workbench.events import read_events

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from gateway.workbench.events import Read

STDIN = "-"


def events_of(logs: Iterable[Path]) -> Iterator[Read]:
    """The events of logs, one log after the other; `-` is standard input."""
    for log in logs:
        if str(log) == STDIN:
            yield from read_events(sys.stdin.buffer, "standard input")
        else:
            with log.open("rb") as file:
                yield from read_events(file, str(log))
