"""What a request that Granian passes on must be before any application sees it.

hyper has parsed it, so what is looked at is what is left of it: see docs/servers.md.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Any

from gateway.errors import Code
from gateway.serve.hypercorn.heads import (
    DIGITS,
    METHOD,
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
FRAMED = frozenset({b"content-length", b"transfer-encoding"})


def refusal(scope: Scope, limits: Limits) -> Code | None:
    """Why a request is refused, or None."""
    path, query, headers = scope["raw_path"], scope["query_string"], scope["headers"]
    if len(path) + len(query) + bool(query) > limits.url:
        return Code.URL_TOO_LONG
    size = sum(map(len, chain.from_iterable(headers))) + 4 * len(headers)
    if size > limits.head or len(headers) > limits.headers:
        return Code.HEAD_TOO_LARGE
    websocket = scope["type"] == "websocket"
    method = b"GET" if websocket else scope["method"].encode()
    names = [name for name, _ in headers]
    try:
        _check_request_line(scope, method)
        hosts = names.count(b"host")
        if hosts > 1 or NO_HOST in headers or not (hosts or scope["http_version"] == "1.0"):
            return Code.BAD_HOST
        if not FRAMED.isdisjoint(names):
            _check_framing(headers, names)
        if scope["http_version"] == "2":
            for name, value in headers:
                check_http2_field(name, value)
        elif websocket and not is_websocket(
            method, b"1.1" if scope["http_version"] == "1.1" else b"1.0",
            headers, framed=not FRAMED.isdisjoint(names),
        ):  # fmt: skip
            return Code.UPGRADE_REFUSED
    except Unacceptable as unacceptable:
        return unacceptable.code
    return None


def _check_request_line(scope: Scope, method: bytes) -> None:
    if METHOD.fullmatch(method) is None:
        raise Unacceptable(Code.BAD_FRAMING if scope["http_version"] != "2" else Code.BAD_HEADER)
    if method == b"CONNECT" and scope["http_version"] == "2":
        raise Unacceptable(Code.UPGRADE_REFUSED)
    if (
        method == b"CONNECT"
        or TARGET.fullmatch(scope["raw_path"]) is None
        or QUERY.fullmatch(scope["query_string"]) is None
    ):
        raise Unacceptable(Code.BAD_PATH)


def _check_framing(headers: list[Any], names: list[bytes]) -> None:
    """One framing only, as it came (RFC 9112 §6.3)."""
    values = [value for name, value in headers if name in FRAMED]
    if len(values) != 1:
        raise Unacceptable(Code.BAD_FRAMING)
    if b"transfer-encoding" in names:
        if values[0].lower() != b"chunked":
            raise Unacceptable(Code.BAD_FRAMING)
    elif DIGITS.fullmatch(values[0]) is None:
        raise Unacceptable(Code.BAD_FRAMING)
