"""Hypercorn's own settings, from the gateway's limits."""

from __future__ import annotations

import sys
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from hypercorn.config import Config
from hypercorn.logging import Logger

if TYPE_CHECKING:
    from gateway.config.model import Limits

PINGS_PER_IDLE_TIMEOUT = 3


class QuietLogger(Logger):
    """No files and no streams: the gateway's own modules log what fails."""

    async def access(self, *_: Any) -> None:
        """Write nothing: the gateway has an access log of its own."""


class Settings(Config):
    """What Hypercorn's protocols read, with nothing that names the server."""

    logger_class = QuietLogger
    errorlog = None
    accesslog = None
    keep_alive_max_requests = sys.maxsize

    def __init__(self, limits: Limits) -> None:
        # The request line, the header section and the line ends between them.
        self.h11_max_incomplete_size = limits.url + limits.head + 64
        self.h2_max_concurrent_streams = limits.streams
        self.h2_max_header_list_size = limits.head
        self.websocket_max_message_size = limits.websocket_message
        self.websocket_ping_interval = limits.idle_timeout / PINGS_PER_IDLE_TIMEOUT

    def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:  # noqa: ARG002  Hypercorn's signature
        """Nothing: `completed` adds what a response must have."""
        return []


class _Date:
    second = 0
    line = (b"date", b"")


def completed(status: int, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers with a Date, unless there is one (RFC 9110 §6.6.1).

    204 must not have a Content-Length (§8.6); with 304 some clients wait for the bytes.
    """
    if status in {204, 304}:
        headers = [line for line in headers if line[0].lower() != b"content-length"]
    if any(name == b"date" for name, _ in headers):
        return headers
    now = int(time.time())
    if now != _Date.second:
        _Date.second = now
        _Date.line = (b"date", formatdate(now, usegmt=True).encode())
    return [*headers, _Date.line]
