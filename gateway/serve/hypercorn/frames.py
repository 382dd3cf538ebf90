"""What an HTTP/2 client may cost besides its requests: a budget for control frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER = 9
FRAMES_PER_TURN = 16
MAX_LENGTH = 16384

DATA, HEADERS, RST_STREAM, PING, WINDOW_UPDATE = 0x0, 0x1, 0x3, 0x6, 0x8
END_STREAM = 0x1

# Cost of a frame by its type (RFC 9113 §6); DATA only when it is empty.
COSTS = {
    DATA: 1, HEADERS: 0, 0x2: 1, RST_STREAM: 10, 0x4: 10, 0x5: 10, PING: 5, 0x7: 0,
    WINDOW_UPDATE: 1, 0x9: 10,
}  # fmt: skip
UNKNOWN = 5

CAPACITY = 1000.0
"""The most that a client can have saved up: 200 pings or 100 resets at once."""
PER_SECOND = 50.0
PER_REQUEST = 20
"""Earned by a request that is answered in full."""
PER_DATA_FRAME = 4
"""Earned by a DATA frame that we send, which clients answer with WINDOW_UPDATEs."""
RESET_BY_US = COSTS[RST_STREAM]
"""Cost of a stream error that the client provoked."""


class TooManyFrames(Exception):  # noqa: N818  a verdict on the client
    """The client has used up its budget."""


class TooLongFrame(Exception):  # noqa: N818  same
    """A frame is longer than we allow; h2 would first wait for all of it."""


class FrameMeter:
    """Walks the frames of one connection and charges for each; times are the loop's."""

    def __init__(self, now: float) -> None:
        self._credit = CAPACITY
        self._since = now
        self._skip = len(PREFACE)
        self._header = bytearray()

    def earn(self, credit: float) -> None:
        """Add to the budget."""
        self._credit = min(CAPACITY, self._credit + credit)

    def charge(self, cost: float) -> None:
        """Take from the budget; raises TooManyFrames."""
        self._credit -= cost
        if self._credit < 0:
            raise TooManyFrames

    def pieces(self, data: bytes, now: float) -> Iterator[bytes]:
        """The data in pieces of at most FRAMES_PER_TURN frames.

        Raises TooManyFrames or TooLongFrame before the piece that goes too far.
        """
        self.earn((now - self._since) * PER_SECOND)
        self._since = now
        start = at = frames = 0
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at += step
                continue
            part = data[at : at + HEADER - len(self._header)]
            self._header += part
            at += len(part)
            if len(self._header) < HEADER:
                break
            self._begin_frame()
            frames += 1
            if frames % FRAMES_PER_TURN == 0:
                yield data[start:at]
                start = at
        if start < len(data):
            yield data[start:]

    def _begin_frame(self) -> None:
        length, kind, flags = int.from_bytes(self._header[:3], "big"), *self._header[3:5]
        self._header.clear()
        self._skip = length
        if length > MAX_LENGTH:
            raise TooLongFrame
        if kind != DATA or (length == 0 and not flags & END_STREAM):
            self.charge(COSTS.get(kind, UNKNOWN))
