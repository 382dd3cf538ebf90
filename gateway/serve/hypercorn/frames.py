"""What an HTTP/2 client may cost besides its requests: a budget for control frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER = 9
FRAMES_PER_TURN = 16
MAX_LENGTH = 16384

DATA, HEADERS, RST_STREAM, CONTINUATION = 0x0, 0x1, 0x3, 0x9
END_STREAM, END_HEADERS = 0x1, 0x4

# Cost of a frame by its type (RFC 9113 §6); DATA only when it is empty.
COSTS = {
    DATA: 1, HEADERS: 0, 0x2: 1, RST_STREAM: 10, 0x4: 10, 0x5: 10, 0x6: 5, 0x7: 0, 0x8: 1,
    CONTINUATION: 10,
}  # fmt: skip
UNKNOWN = 5
HEADER_BYTES_PER_CREDIT = 1024
REQUEST_WEIGHT = 4
HEADER_BYTES_PER_FRAME = 128
"""Starting a request takes as long as 4 other frames, 128 bytes of its head as one more."""

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
    """A frame or header block is longer than we allow; h2 would first wait for all of it."""


class FrameMeter:
    """Walks the frames of one connection and charges for each; times are the loop's.

    `max_block` is the most bytes that a header block may have before it is unpacked.
    """

    def __init__(self, now: float, max_block: int) -> None:
        self._max_block = max_block
        self._block = 0
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
        """The data in pieces that take about as long as FRAMES_PER_TURN small frames.

        Raises TooManyFrames or TooLongFrame before the piece that goes too far.
        """
        self.earn((now - self._since) * PER_SECOND)
        self._since = now
        start = at = weight = 0
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
            weight += self._begin_frame()
            if weight >= FRAMES_PER_TURN:
                yield data[start:at]
                start, weight = at, 0
        if start < len(data):
            yield data[start:]

    def _begin_frame(self) -> int:
        """Charge for the frame whose header is there; how many small frames it weighs."""
        length, kind, flags = int.from_bytes(self._header[:3], "big"), *self._header[3:5]
        self._header.clear()
        self._skip = length
        if length > MAX_LENGTH:
            raise TooLongFrame
        if kind != DATA or (length == 0 and not flags & END_STREAM):
            self.charge(COSTS.get(kind, UNKNOWN))
        if kind not in {HEADERS, CONTINUATION}:
            return 1
        self.charge(length // HEADER_BYTES_PER_CREDIT)
        self._block += length
        if self._block > self._max_block:
            raise TooLongFrame
        if flags & END_HEADERS:
            self._block = 0
        return REQUEST_WEIGHT + length // HEADER_BYTES_PER_FRAME
