"""How many pieces a header may have that is taken apart, by a policy's input or by the log.

The size of a header is bounded, but each piece costs many times what its bytes do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.errors import Code, RouteError

if TYPE_CHECKING:
    from gateway.model import Head

Bounds = dict[bytes, tuple[bytes, int]]

_URL: Final = (b"?&#;", 500)

OF_CLIENTS: Final[Bounds] = {
    b"cookie": (b";", 500),
    b"referer": _URL,
    b"location": _URL,
    b"x-original-url": _URL,
    b"x-rewrite-url": _URL,
    b"x-forwarded-uri": _URL,
}
"""What separates the pieces of a header, and how many there may be; browsers send fewer."""

OF_PROXIES: Final[Bounds] = {
    b"x-forwarded-for": (b",", 100),
    b"x-forwarded-host": (b",", 100),
    b"x-forwarded-proto": (b",", 100),
    b"forwarded": (b",;", 100),
}
"""The same for what is read only where a trusted proxy sent it."""


def check_pieces(head: Head, bounds: Bounds) -> None:
    """RouteError HEAD_TOO_LARGE where the lines of a header have too many pieces together."""
    for name, (separators, most) in bounds.items():
        lines = head.fields.get(name)
        if lines is None:
            continue
        count = sum(len(line) + 1 - len(line.translate(None, separators)) for line in lines)
        if count > most:
            raise RouteError(Code.HEAD_TOO_LARGE, f"{name.decode()} has {count} pieces")
