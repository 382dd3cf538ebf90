"""The lines that frame a chunked request body: such as no two parsers read differently."""

from __future__ import annotations

import re

import h11
from h11._receivebuffer import ReceiveBuffer

from gateway.serve.hypercorn.heads import has_clean_lines

CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,20})(?:;[\t -~\x80-\xff]*)?\r\n")
"""A chunk's size and extensions (RFC 9112 §7.1); h11 takes blanks, a bare CR and controls, too."""


class StrictBuffer(ReceiveBuffer):
    """An h11 connection's received bytes; chunk lines and trailers are checked on their way out.

    h11 takes single lines for chunks alone, and several for a head or a trailer section.
    """

    def __init__(self) -> None:
        super().__init__()
        self._in_trailers = False

    def maybe_extract_next_line(self) -> bytearray | None:
        """The next chunk line, once it is there; raises RemoteProtocolError."""
        line = super().maybe_extract_next_line()
        if line is not None:
            match = CHUNK_LINE.fullmatch(line)
            if match is None:
                raise h11.RemoteProtocolError("illegal chunk line")
            self._in_trailers = not match[1].strip(b"0")
        return line

    def maybe_extract_lines(self) -> list[bytearray] | None:
        """The lines up to an empty one, once it is there; raises RemoteProtocolError."""
        if not self._in_trailers:
            return super().maybe_extract_lines()  # a head, which `http1_head` looks at
        before = bytes(self)
        lines = super().maybe_extract_lines()
        if lines is not None:
            self._in_trailers = False
            if not has_clean_lines(before[: len(before) - len(self)]):
                raise h11.RemoteProtocolError("illegal trailer section")
        return lines
