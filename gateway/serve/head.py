"""The head of an ASGI request as a value, and the id that it is known by."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from gateway.model import Head

if TYPE_CHECKING:
    from gateway.model import Headers
    from gateway.serve.asgi import Scope

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = tuple(high + low for high in _ALPHABET for low in _ALPHABET)
_SHIFTS: Final = tuple(range(120, -1, -10))


def read_head(scope: Scope) -> Head:
    """The head of an ASGI request, with a new decision id."""
    headers: Headers = tuple(map(tuple, scope["headers"]))
    client = scope.get("client")
    websocket = scope["type"] == "websocket"
    scheme = scope["scheme"]
    return Head(
        id=new_id(time.time()),
        method="GET" if websocket else scope["method"],
        scheme={"ws": "http", "wss": "https"}[scheme] if websocket else scheme,
        authority=next((value for name, value in headers if name == b"host"), b""),
        raw_path=scope["raw_path"],
        query_string=scope["query_string"],
        headers=headers,
        http_version=scope["http_version"],
        peer=client[0] if client else "",
        websocket=websocket,
    )


class _Random:
    """Random bytes, drawn from the system many at a time: each call costs more than a plan."""

    def __init__(self) -> None:
        self._drawn = b""
        self._used = 0
        # A process that forks must not hand out the same bytes twice.
        os.register_at_fork(after_in_child=self._forget)

    def take(self, count: int) -> bytes:
        start = self._used
        self._used = end = start + count
        if end > len(self._drawn):
            self._drawn = os.urandom(max(count, 4096))
            start, self._used = 0, count
        return self._drawn[start : start + count]

    def _forget(self) -> None:
        self._drawn, self._used = b"", 0


_random = _Random()


def new_id(now: float) -> str:
    """A ULID: 48 bits of time in ms and 80 random bits, sortable, 26 characters."""
    number = (int(now * 1000) << 80) | int.from_bytes(_random.take(10), "big")
    return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])


def has_content(head: Head) -> bool:
    """Whether a request may have content (RFC 9112 §6.3); HTTP/2 tells it only by sending it."""
    if not head.http_version.startswith("1"):
        return declared_length(head) != 0
    fields = head.fields
    return b"transfer-encoding" in fields or fields.get(b"content-length", [b"0"]) != [b"0"]


def declared_length(head: Head) -> int | None:
    """The Content-Length, as the server has checked it, or None."""
    for value in head.fields.get(b"content-length", ()):
        if value.isdigit():
            return int(value)
    return None
