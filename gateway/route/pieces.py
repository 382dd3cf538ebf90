"""How many pieces a header may have that is taken apart, by a policy's input or by the log.

The size of a header is bounded, but each piece costs many times what its bytes do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.errors import Code, RouteError
from gateway.wire import holds_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import Head

MOST: Final = 500
"""Pieces of a Cookie or a URL; browsers send fewer."""

MOST_OF_PROXIES: Final = 100

OF_PROXIES: Final = {
    b"x-forwarded-for": b",",
    b"x-forwarded-host": b",",
    b"x-forwarded-proto": b",",
    b"forwarded": b",;",
}
"""What separates the pieces of what is read only where a trusted proxy sent it."""


def check_pieces(head: Head) -> None:
    """RouteError HEAD_TOO_LARGE where the lines of a header have too many pieces together."""
    for name, lines in head.fields.items():
        if len(lines) == 1 and len(lines[0]) < MOST:  # the case of nearly all
            continue
        if name == b"cookie":
            _check(name, lines, b";", MOST)
        elif holds_url(name):
            _check(name, lines, b"?&#;", MOST)


def check_proxies_pieces(head: Head) -> None:
    """The same for the headers of a trusted proxy."""
    for name, separators in OF_PROXIES.items():
        _check(name, head.fields.get(name, ()), separators, MOST_OF_PROXIES)


def _check(name: bytes, lines: Sequence[bytes], separators: bytes, most: int) -> None:
    count = sum(len(line) + 1 - len(line.translate(None, separators)) for line in lines)
    if count > most:
        raise RouteError(Code.HEAD_TOO_LARGE, f"{name.decode()} has {count} pieces")
