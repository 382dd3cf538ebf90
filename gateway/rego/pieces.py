"""A large module in pieces: the compiler's time grows with the square of a module's length.

Each piece is a module of its own with the same package and imports. What stands elsewhere becomes
blanks, so that lines, columns and byte offsets are those of the whole. The plan means the same:
only the locals of `_` may have other numbers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.rego.source import Source

PIECE: Final = 8 << 10
"""Least characters of a piece: 8,192 take the compiler 2 ms."""

MOST_PIECES: Final = 64
"""Most pieces of a module: each holds blanks for all that is before it."""


def pieces(source: Source) -> list[str]:
    """Return what the compiler gets of a module."""
    text = source.prepared
    size = max(PIECE, len(text) // MOST_PIECES)
    cuts: list[int] = []
    for statement in source.statements if len(text) > size else ():
        if statement[0].text not in ("package", "import"):
            cut, _ = source.prepared_span(statement[0].start, statement[0].start)
            if not cuts or cut - cuts[-1] >= size:
                cuts.append(cut)
    if len(cuts) < 2:
        return [text]
    head, before = text[: cuts[0]], ""
    made: list[str] = []
    for start, end in zip(cuts, [*cuts[1:], len(text)], strict=True):
        made.append(head + before + text[start:end])
        before += _blank(text[start:end])
    return made


def _blank(text: str) -> str:
    """Return blanks for each byte of a text, on lines as long."""
    return re.sub(rb"[^\n]", b" ", text.encode()).decode()
