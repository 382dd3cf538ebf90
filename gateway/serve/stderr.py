"""The gateway's own messages on standard error, written so that nobody waits or is fooled."""

from __future__ import annotations

import contextlib
import copy
import logging
from typing import TYPE_CHECKING, Any

from gateway.serve.sink import Sink, Stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.serve.shared import Turn

QUEUE = 10_000
CLOSE_WITHIN = 2.0

# What could end a line, move the cursor, or turn the reading direction.
CONTROLS = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F),
            *range(0x2066, 0x206A))  # fmt: skip
ESCAPES = {number: f"\\u{number:04x}" for number in CONTROLS}


class Escaping(logging.Formatter):
    """Shows control characters of messages as code points, for some repeat what clients sent."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines of a record."""
        own = copy.copy(record)
        own.exc_text = None  # as another formatter wrote it
        return super().format(own)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        """The line of a record."""
        record.message = record.message.translate(ESCAPES)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802  same
        """The traceback of a record, indented, for a message in it may have lines of its own."""
        text = super().formatException(ei)
        return "\n".join(f"    {line.translate(ESCAPES)}" for line in text.split("\n"))


class Queued(logging.Handler):
    """Hands lines to a sink: what cannot be written at once is written later, or dropped."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self.sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the lines of a record; logging lets one thread in at a time."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001  a message that cannot be formatted fails nobody's work
            self.handleError(record)
        else:
            self.sink.put(line.encode(errors="backslashreplace"))


@contextlib.contextmanager
def messages_on_stderr(*, verbose: bool, turn: Turn | None = None) -> Iterator[Sink]:
    """Write messages to standard error meanwhile; with `verbose` the gateway's own debug ones.

    Those of libraries may hold tokens (hpack writes every header), hence not theirs. With a
    `turn` the process is one of several, and says which.
    """
    sink = Sink(Stream("stderr"), limit=QUEUE, report=lambda _: None, turn=turn)
    handler = Queued(sink)
    which = "[%(process)d]" if turn else ""
    handler.setFormatter(Escaping(f"%(asctime)s %(levelname)s %(name)s{which}: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("gateway").setLevel(logging.DEBUG if verbose else logging.INFO)
    try:
        yield sink
    finally:
        root.removeHandler(handler)
        sink.close(CLOSE_WITHIN)
