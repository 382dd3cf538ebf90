"""What a request that Granian passes on must be before any application sees it.

hyper has parsed it, so what is looked at is what is left of it: see docs/servers.md.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING

from gateway.config.model import METHOD
from gateway.errors import Code
from gateway.serve.hypercorn.heads import (
    DIGITS,
    TARGET,
    Unacceptable,
    check_http2_field,
    is_websocket,
)

if TYPE_CHECKING:
    from gateway.config.model import Limits
    from gateway.serve.asgi import Scope

QUERY = re.compile(rb"[!-\"$-~]*")  # visible ASCII but '#'
NO_HOST = (b"host", b"")
COMMON = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
FRAMED = frozenset({b"content-length", b"transfer-encoding"})


def refusal(scope: Scope, names: list[bytes], limits: Limits) -> Code | None:
    """Why a request is refused, or None; `names` are those of its header lines, in order."""
    path, query, headers = scope["raw_path"], scope["query_string"], scope["headers"]
    version = scope["http_version"]
    if len(path) + len(query) + bool(query) > limits.url:
        return Code.URL_TOO_LONG
    size = sum(map(len, chain.from_iterable(headers))) + 4 * len(headers)
    if size > limits.head or len(headers) > limits.headers:
        return Code.HEAD_TOO_LARGE
    websocket = scope["type"] == "websocket"
    method = "GET" if websocket else scope["method"]
    if method not in COMMON and METHOD.fullmatch(method) is None:
        return Code.BAD_HEADER if version == "2" else Code.BAD_FRAMING
    if method == "CONNECT":
        return Code.UPGRADE_REFUSED if version == "2" else Code.BAD_PATH
    if TARGET.fullmatch(path) is None or QUERY.fullmatch(query) is None:
        return Code.BAD_PATH
    hosts = names.count(b"host")
    if hosts > 1 or NO_HOST in headers or not (hosts or version == "1.0"):
        return Code.BAD_HOST
    framed = not FRAMED.isdisjoint(names)
    if framed and not _is_framed_once(headers):
        return Code.BAD_FRAMING
    if websocket or version == "2":
        try:
            _check_rarer(scope, framed=framed)
        except Unacceptable as unacceptable:
            return unacceptable.code
    return None


def _check_rarer(scope: Scope, *, framed: bool) -> None:
    version, headers = scope["http_version"], scope["headers"]
    if version == "2":
        for name, value in headers:
            check_http2_field(name, value)
    elif not is_websocket(b"GET", version.encode(), headers, framed=framed):
        raise Unacceptable(Code.UPGRADE_REFUSED)


def _is_framed_once(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether there is one framing only, as it came (RFC 9112 §6.3)."""
    lines = [line for line in headers if line[0] in FRAMED]
    if len(lines) != 1:
        return False
    name, value = lines[0]
    if name == b"transfer-encoding":
        return value.lower() == b"chunked"
    return DIGITS.fullmatch(value) is not None
