"""What a request's head must be before any application sees it (RFC 9112, RFC 9113).

h11 and h2 parse; here is refused what they let through and what two parsers could read
differently. Nothing here waits or keeps state.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, NamedTuple

from gateway.config.model import METHOD as ROUTE_METHOD
from gateway.errors import Code
from gateway.wire import FIELD_NAME as TOKEN, HANDSHAKE, SPELLING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import h11

    from gateway.config.model import Limits

Lines = list[tuple[bytes, bytes]]

METHOD = re.compile(ROUTE_METHOD.pattern.encode())
TARGET = re.compile(rb"/[!-\"$-~]*")  # visible ASCII but '#'
ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#\x00-\x20\x7f-\xff]+)([/?][!-\"$-~]*)?")
FIELD_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
FIELD_VALUE = re.compile(rb"(?![ \t])[^\x00-\x08\x0a-\x1f\x7f]*(?<![ \t])")
IN_HEAD = bytes({*range(0x20, 0x7F), *range(0x80, 0x100), *b"\t\r\n"})
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:([^\r]*)", re.IGNORECASE)
DIGITS = re.compile(rb"[0-9]{1,18}")
_TOKEN = TOKEN.pattern.encode()
SUBPROTOCOLS = re.compile(_TOKEN + rb"(?:[ \t]*,[ \t]*" + _TOKEN + rb")*")
HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)


class RequestHead(NamedTuple):
    """A request's head that may go on; `target` is in origin form."""

    method: bytes
    target: bytes
    headers: Lines
    websocket: bool = False


class Unacceptable(Exception):  # noqa: N818  the request is refused, the server has not failed
    """The head is refused with `code`."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.text)
        self.code = code


def http1_head(request: h11.Request, raw: bytes, limits: Limits) -> RequestHead:
    """The head that h11 parsed from `raw`; raises Unacceptable."""
    method, target, version = request.method, request.target, request.http_version
    headers = list(request.headers)
    if len(target) > limits.url:
        raise Unacceptable(Code.URL_TOO_LONG)
    if len(raw) - raw.index(b"\n") > limits.head or len(headers) > limits.headers:
        raise Unacceptable(Code.HEAD_TOO_LARGE)
    if version not in {b"1.1", b"1.0"} or METHOD.fullmatch(method) is None:
        raise Unacceptable(Code.BAD_FRAMING)
    if not has_clean_lines(raw):
        raise Unacceptable(Code.BAD_HEADER)
    fields = dict(headers)
    framed = _check_framing(fields, version, raw)
    return RequestHead(
        method,
        _origin_form(method, target, fields.get(b"host", b"")),
        headers,
        b"upgrade" in fields and is_websocket(method, version, headers, framed=framed),
    )


def has_clean_lines(raw: bytes) -> bool:
    """Whether every line ends with CR LF, none is folded, and none holds control characters."""
    # h11 takes a bare LF as the end of a line, joins folded lines (RFC 9112 §2.2, §5.2) and
    # lets most control characters into a value.
    ends = raw.count(b"\r\n")
    return (
        raw.count(b"\n") == ends == raw.count(b"\r")
        and b"\n " not in raw
        and b"\n\t" not in raw
        and not raw.translate(None, IN_HEAD)
    )


def _check_framing(fields: dict[bytes, bytes], version: bytes, raw: bytes) -> bool:
    """Whether a body is declared (RFC 9112 §6)."""
    coded = b"transfer-encoding" in fields
    if coded and (b"content-length" in fields or version == b"1.0"):
        raise Unacceptable(Code.BAD_FRAMING)
    if b"content-length" not in fields:
        return coded
    # h11 merges repeated equal lengths, so the lines themselves are looked at.
    lengths = CONTENT_LENGTH.findall(raw)
    if len(lengths) != 1 or DIGITS.fullmatch(lengths[0].strip(b" \t")) is None:
        raise Unacceptable(Code.BAD_FRAMING)
    return True


def _origin_form(method: bytes, target: bytes, host: bytes) -> bytes:
    if method == b"CONNECT":
        raise Unacceptable(Code.BAD_PATH)
    if TARGET.fullmatch(target):
        return target
    absolute = ABSOLUTE.fullmatch(target)
    if absolute is None:  # `*`, an authority alone, a fragment
        raise Unacceptable(Code.BAD_PATH)
    if absolute[1].lower() != host.lower():
        raise Unacceptable(Code.BAD_HOST)
    rest = absolute[2] or b"/"
    return rest if rest[:1] == b"/" else b"/" + rest


def _tokens(headers: Iterable[tuple[bytes, bytes]], field: bytes) -> set[bytes]:
    return {
        token.strip(b" \t").lower()
        for name, value in headers if name == field
        for token in value.split(b",")
    }  # fmt: skip


def is_websocket(method: bytes, version: bytes, headers: Lines, *, framed: bool) -> bool:
    """Whether the request asks for a WebSocket; another upgrade is ignored (RFC 9110 §7.8).

    A handshake that is incomplete (RFC 6455 §4.2.1), or that could be read as another one, is
    refused.
    """
    if _tokens(headers, b"upgrade") != {b"websocket"}:
        return False
    options = _tokens(headers, b"connection")
    if b"upgrade" not in options:
        return False
    values = {field: [v for name, v in headers if name == field] for field in HANDSHAKE}
    if (
        method != b"GET"
        or version != b"1.1"
        or framed
        or values[b"sec-websocket-version"] != [b"13"]
        or len(values[b"sec-websocket-key"]) != 1
        or not _is_nonce(values[b"sec-websocket-key"][0])
        # Several lines are legal, but which of their protocols were offered?
        or len(values[b"sec-websocket-protocol"]) > 1
        or not all(map(SUBPROTOCOLS.fullmatch, values[b"sec-websocket-protocol"]))
        or not all(map(bytes.isascii, values[b"sec-websocket-extensions"]))
        # Whoever obeys `Connection` first sees no handshake, or another one (RFC 9110 §7.6.1).
        or any(option.translate(SPELLING).startswith(b"sec-websocket-") for option in options)
        or not all(map(bytes.isascii, options))
    ):
        raise Unacceptable(Code.UPGRADE_REFUSED)
    return True


def _is_nonce(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False


def http2_head(lines: Sequence[tuple[bytes, bytes]], limits: Limits) -> RequestHead:
    """The head of an HTTP/2 request as h2 decoded it; raises Unacceptable.

    `host` comes first in the headers, from `:authority` or a Host line that agrees with it.
    """
    pseudo, headers = _split_pseudo(lines)
    path, method = pseudo.pop(b":path", b""), pseudo.pop(b":method", b"")
    pseudo.pop(b":scheme", None)  # the listener knows better
    if len(path) > limits.url:
        raise Unacceptable(Code.URL_TOO_LONG)
    size = sum(len(name) + len(value) + 4 for name, value in lines) - len(path)
    if size > limits.head or len(headers) > limits.headers:
        raise Unacceptable(Code.HEAD_TOO_LARGE)
    if method == b"CONNECT" or b":protocol" in pseudo:  # RFC 8441 is not offered
        raise Unacceptable(Code.UPGRADE_REFUSED)
    host = _host(pseudo.pop(b":authority", None), headers)
    if pseudo or METHOD.fullmatch(method) is None:
        raise Unacceptable(Code.BAD_HEADER)
    if TARGET.fullmatch(path) is None:
        raise Unacceptable(Code.BAD_PATH)
    lengths = [value for name, value in headers if name == b"content-length"]
    if len(lengths) > 1 or (lengths and DIGITS.fullmatch(lengths[0]) is None):
        raise Unacceptable(Code.BAD_FRAMING)
    others = [line for line in headers if line[0] != b"host"]
    return RequestHead(method, path, [(b"host", host), *others])


def _split_pseudo(lines: Iterable[tuple[bytes, bytes]]) -> tuple[dict[bytes, bytes], Lines]:
    pseudo: dict[bytes, bytes] = {}
    headers: Lines = []
    for name, value in lines:
        if name[:1] == b":":
            _check_value(value)
            if headers or name in pseudo:  # RFC 9113 §8.3
                raise Unacceptable(Code.BAD_HEADER)
            pseudo[name] = value
        else:
            check_http2_field(name, value)
            headers.append((name, value))
    return pseudo, headers


def _check_value(value: bytes) -> None:
    if FIELD_VALUE.fullmatch(value) is None:
        raise Unacceptable(Code.BAD_HEADER)


def check_http2_field(name: bytes, value: bytes) -> None:
    """Raise Unacceptable for a field that HTTP/2 must not carry.

    RFC 9113 §8.2: lower-case names, no connection-specific fields, `te` only for trailers.
    """
    _check_value(value)
    if FIELD_NAME.fullmatch(name) is None or name in HOP_BY_HOP:
        raise Unacceptable(Code.BAD_HEADER)
    if name == b"te" and value != b"trailers":
        raise Unacceptable(Code.BAD_HEADER)


def _host(authority: bytes | None, headers: Lines) -> bytes:
    hosts = {value.lower() for name, value in headers if name == b"host"}
    count = sum(name == b"host" for name, _ in headers)
    if count > 1 or (authority is not None and hosts - {authority.lower()}):
        raise Unacceptable(Code.BAD_HOST)
    if authority is not None:
        return authority
    if not hosts:
        raise Unacceptable(Code.BAD_HOST)
    return next(value for name, value in headers if name == b"host")
