"""HTTP/1.1 messages as bytes: a request's head, and a response as it arrives; no I/O.

llhttp parses the responses in its strict mode. What it lets through beyond RFC 9112 is
refused here, each with its reason; the rest of the table is in tests/live/test_upstream.py.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, NoReturn

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from gateway.errors import Code, ForwardError

if TYPE_CHECKING:
    from gateway.model import Headers

TOKEN = (string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~").encode()  # RFC 9110 §5.6.2
VISIBLE = bytes(range(0x21, 0x7F))
FIELD_VALUE = b"\t " + VISIBLE + bytes(range(0x80, 0x100))  # RFC 9110 §5.5
CONNECTION_FIELDS = frozenset({
    b"connection", b"content-length", b"expect", b"keep-alive", b"proxy-connection",
    b"transfer-encoding", b"upgrade",
})  # fmt: skip
MAX_LINES = 256
"""Header lines of a response. Each is handled by itself on its way to the client, so that the
bytes of `upstream.max_head` alone would allow thousands: a long turn of the event loop."""
EXPECTS_CONTENT = frozenset({"POST", "PUT", "PATCH"})


def request_head(method: str, target: bytes, headers: Headers, connection_fields: bytes) -> bytes:
    """Write a request's head, with `connection_fields` as finished lines before the others.

    `headers` hold exactly one host and no field that belongs to the connection. Every byte is
    checked once more; what is wrong here is a fault of the gateway, `internal-error`.
    """
    names = [name for name, _ in headers]
    lines = b"\r\n".join(map(b": ".join, headers))
    method_bytes = method.encode("latin-1", "replace")
    if not method_bytes or method_bytes.translate(None, TOKEN) or method == "CONNECT":
        raise ForwardError(Code.INTERNAL_ERROR, f"method {method!r} cannot be sent")
    if not target.startswith(b"/") or target.translate(None, VISIBLE):
        raise ForwardError(Code.INTERNAL_ERROR, f"target {target!r} cannot be sent")
    if b"" in names or b"".join(names).translate(None, TOKEN):
        raise ForwardError(Code.INTERNAL_ERROR, "a header name is not a token")
    if names.count(b"host") != 1 or not CONNECTION_FIELDS.isdisjoint(names):
        raise ForwardError(Code.INTERNAL_ERROR, "wrong host or connection fields")
    if lines.translate(None, FIELD_VALUE) != b"\r\n" * (len(names) - 1):
        raise ForwardError(Code.INTERNAL_ERROR, "a header value holds a control character")
    return b"%b %b HTTP/1.1\r\n%b%b\r\n\r\n" % (method_bytes, target, connection_fields, lines)


def framing(method: str, length: int | None) -> bytes:
    """Write the framing field of a request with `length` bytes of content (None: chunked)."""
    if length is None:
        return b"transfer-encoding: chunked\r\n"
    if length or method in EXPECTS_CONTENT:  # RFC 9110 §8.6
        return b"content-length: %d\r\n" % length
    return b""


class ResponseReader:
    """One response on its way in: bytes are fed, the head and pieces of the body come out.

    `started` is true from the first byte on, `head_done` once `status`, `headers` (lower-case
    names) and `http_version` hold the final response's, `complete` once its last byte is in.
    `body` holds what was not taken yet, `buffered` bytes in all. `keep_alive` says whether the
    connection may carry another request. `upgraded` is true after a 101 that was asked for, and
    `rest` holds what followed its head.
    """

    # Defaults of the class: a request pays only for what it changes.
    started = False
    head_done = False
    complete = False
    keep_alive = True
    upgraded = False
    status = 0
    headers: Headers = ()
    http_version = ""
    buffered = 0
    rest = b""
    _length = -1
    _chunked = False
    _overhead = 0
    _fault = ""

    def __init__(self, method: str, max_head: int, *, upgrade: bool = False) -> None:
        self._method = method
        self._max_head = max_head
        self._upgrade = upgrade
        self._headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []
        self._parser: HttpResponseParser | None = HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Take the next bytes, at least one.

        Bytes beyond the response's end are dropped and clear `keep_alive`. Anything malformed
        raises ForwardError `upstream-protocol`.
        """
        if not self.started:
            self.started = True
            if data[0] != ord("H"):  # llhttp skips empty lines and takes RTSP/ and ICE/
                self._refuse("the response does not begin with HTTP/")
        self._overhead += len(data)
        try:
            if self._method == "HEAD":
                self._feed_lines(data)
            else:
                self._feed_all(data)
        except HttpParserUpgrade as pause:
            self.rest = data[pause.args[0] :]
        except HttpParserError as error:
            if not self.complete:
                self._refuse(self._fault or str(error))
            self.keep_alive = False
        if self.complete:
            self._parser = None  # it refers to this object: no cycle is left for the collector
        elif self._overhead > self._max_head:
            self._refuse("the head, or framing without content, is too large")

    def finish(self) -> None:
        """Take the end of the connection; ForwardError `upstream-reset` if bytes are missing."""
        if self.head_done and self._length < 0 and not self._chunked:
            self.complete = True
            self.keep_alive = False
        if not self.complete:
            raise ForwardError(Code.UPSTREAM_RESET, "closed before the end of the response")

    def take(self) -> bytes:
        """Return the content that has arrived since the last call."""
        content = self.body[0] if len(self.body) == 1 else b"".join(self.body)
        self.body.clear()
        self.buffered = 0
        return content

    def _feed_all(self, data: bytes) -> None:
        # llhttp does not say where a message ended and skips empty lines behind it. The last
        # byte is fed alone: a message that is complete before it is followed by something.
        assert self._parser is not None
        if len(data) > 1:
            self._parser.feed_data(memoryview(data)[:-1])
            if self.complete:
                self.keep_alive = False
                return
        try:
            self._parser.feed_data(data[-1:])
        except HttpParserUpgrade:
            self.rest = b""  # its offset counts from the last byte

    def _feed_lines(self, data: bytes) -> None:
        # httptools cannot tell llhttp that a response to HEAD has no content (RFC 9112 §6.3).
        # A head ends with a line, so that what follows the line in which it ended is excess.
        assert self._parser is not None
        for line in data.splitlines(keepends=True):
            if self.complete:
                self.keep_alive = False
                return
            self._parser.feed_data(line)

    def _refuse(self, fault: str) -> NoReturn:
        self._parser = None
        raise ForwardError(Code.UPSTREAM_PROTOCOL, fault)

    def _stop(self, fault: str) -> NoReturn:
        self._fault = fault
        raise ValueError(fault)  # out of llhttp's callback; feed() reports the fault

    # Called by httptools.

    def on_message_begin(self) -> None:
        if self.complete:
            self._stop("bytes after the response")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head_done:
            return  # trailers are dropped
        name = name.lower()
        value = value.strip(b" \t")
        self._headers.append((name, value))
        if len(self._headers) > MAX_LINES:
            self._stop(f"more than {MAX_LINES} header lines")
        if name == b"content-length":  # llhttp refuses lists, duplicates, signs and overflow
            self._length = int(value)
        elif name == b"transfer-encoding":
            # llhttp takes unknown codings; nobody here would undo them (RFC 9112 §6.1).
            if self._chunked or value.lower() != b"chunked":
                self._stop("transfer codings other than chunked")
            self._chunked = True
        elif name == b"connection":
            tokens = [token.strip(b" \t") for token in value.lower().split(b",")]
            self.keep_alive = self.keep_alive and b"close" not in tokens

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        version = self._parser.get_http_version()
        if version not in ("1.1", "1.0"):
            self._stop(f"HTTP/{version}")
        if self._overhead > self._max_head and self._head_size() > self._max_head:
            self._stop("the head is too large")
        if not 100 <= status <= 599:  # RFC 9110 §15
            self._stop(f"status {status}")
        if self._chunked and (version == "1.0" or self._length >= 0):  # RFC 9112 §6.1, §6.3
            self._stop("ambiguous framing")
        if (status < 200 or status == 204) and (self._chunked or self._length > 0):
            self._stop(f"content announced with status {status}")  # RFC 9110 §8.6
        if status == 101:
            self._switch()
        elif status >= 200:
            self._begin_content(status, version)
        else:
            self._headers.clear()
            self._length = -1

    def on_body(self, content: bytes) -> None:
        self._overhead = 0
        self.body.append(content)
        self.buffered += len(content)

    def on_message_complete(self) -> None:
        self.complete = self.head_done  # of an interim response otherwise

    def _head_size(self) -> int:
        return sum(len(name) + len(value) + 4 for name, value in self._headers)

    def _switch(self) -> None:
        assert self._parser is not None
        if not (self._upgrade and self._parser.should_upgrade()):
            self._stop("switched protocols without being asked")
        self.status = 101
        self.headers = tuple(self._headers)
        self.http_version = "1.1"
        self.head_done = self.upgraded = True
        self.keep_alive = False

    def _begin_content(self, status: int, version: str) -> None:
        self.status = status
        self.http_version = version
        self.headers = tuple(self._headers)
        self.head_done = True
        self.keep_alive = self.keep_alive and version == "1.1"
        if self._method == "HEAD":
            self.complete = True
