"""HTTP/1.1: Hypercorn's H11Protocol over an h11 connection that refuses more."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import h11
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.events import Event as StreamEvent, Request, Response, StreamClosed
from hypercorn.protocol.h11 import (
    STREAM_ID,
    H2ProtocolAssumedError,
    H11Protocol,
    H11WSConnection,
)
from hypercorn.typing import ConnectionState

from gateway.errors import Code
from gateway.serve.hypercorn import refusal
from gateway.serve.hypercorn.chunks import StrictBuffer
from gateway.serve.hypercorn.heads import RequestHead, Unacceptable, http1_head
from gateway.serve.hypercorn.settings import completed
from gateway.serve.hypercorn.stream import Stream
from gateway.serve.hypercorn.websocket import WebSocket

if TYPE_CHECKING:
    from gateway.config.model import Limits
    from gateway.serve.hypercorn.peer import Peer

NO_REQUEST = RequestHead(b"", b"", [])
PRIOR_KNOWLEDGE = (b"PRI", b"*", b"2.0")

# What an h11 error is about, by a word of its message; the first that fits.
ERRORS = (
    ("Host", Code.BAD_HOST),
    ("header line", Code.BAD_HEADER),
    ("continuation line", Code.BAD_HEADER),
    ("", Code.BAD_FRAMING),
)


class StrictConnection(h11.Connection):
    """An h11 connection whose requests have passed `http1_head`.

    `head` is that of the last request, `refusal` why `next_event` raised. It never reports
    that the client waits for `100 Continue`, or Hypercorn would send it at once.
    """

    def __init__(self, limits: Limits, max_incomplete: int, *, prior_knowledge: bool) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=max_incomplete)
        self._receive_buffer = StrictBuffer()
        self.head = NO_REQUEST
        self.refusal = Code.BAD_FRAMING
        self._limits = limits
        self._prior_knowledge = prior_knowledge

    @property
    def they_are_waiting_for_100_continue(self) -> bool:
        """Never, to Hypercorn; `client_is_waiting_for_100_continue` tells the truth."""
        return False

    def next_event(self) -> Any:
        """h11's next event; raises RemoteProtocolError for what is refused."""
        before = bytes(self._receive_buffer) if self.their_state is h11.IDLE else b""
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            self.refusal = self._why(error)
            raise
        if type(event) is h11.Request:
            raw = before[: len(before) - len(self._receive_buffer)]
            self._accept(event, raw)
        return event

    def _accept(self, request: h11.Request, raw: bytes) -> None:
        line = (request.method, request.target, request.http_version)
        if self._prior_knowledge and line == PRIOR_KNOWLEDGE:
            return
        try:
            self.head = http1_head(request, raw, self._limits)
        except Unacceptable as unacceptable:
            self.refusal = unacceptable.code
            self._process_error(self.their_role)
            raise h11.RemoteProtocolError(unacceptable.code.text) from None

    def _why(self, error: h11.RemoteProtocolError) -> Code:
        if error.error_status_hint == 431:
            whole_line = b"\n" in bytes(self._receive_buffer)
            return Code.HEAD_TOO_LARGE if whole_line else Code.URL_TOO_LONG
        text = str(error)
        return next(code for word, code in ERRORS if word in text)


class Http1(H11Protocol):
    """One HTTP/1.1 connection; its requests follow one after the other."""

    connection: StrictConnection | H11WSConnection
    stream: Stream | WebSocket | None

    def __init__(self, peer: Peer) -> None:
        server = peer.server
        super().__init__(*peer.shared, ConnectionState({}), *peer.ends, peer.send)
        self.peer = peer
        self.connection = StrictConnection(
            server.limits,
            server.settings.h11_max_incomplete_size,
            prior_knowledge=peer.listener.http2 and not peer.tls,
        )

    @property
    def unread(self) -> bool:
        """Whether the client may still be sending what nobody reads."""
        if isinstance(self.connection, H11WSConnection):
            return True
        return self.connection.their_state in {h11.SEND_BODY, h11.ERROR}

    async def handle(self, event: Event) -> None:
        """Take bytes from the client, or its leaving."""
        if self.stream is None and isinstance(event, RawData):
            self.peer.head_begins()
        await super().handle(event)

    async def stream_send(self, event: StreamEvent) -> None:
        """Send what a stream has for the client."""
        match event:
            case Response(status_code=status) if status >= 200:
                headers = completed(status, event.headers)
                if self._is_last():
                    headers = [*headers, (b"connection", b"close")]
                await self._send_h11_event(h11.Response(headers=headers, status_code=status))
            case StreamClosed() if self.connection.our_state in {h11.SEND_BODY, h11.ERROR}:
                # The application stopped within its response.
                await self._close_stream()
                self._cut_off()
            case _:
                await super().stream_send(event)

    async def refuse(self, code: Code) -> None:
        """Answer with a refusal, or cut off the response that has begun; then close."""
        self.peer.refused(code)
        started = self.stream is not None and self.stream.started
        await self._close_stream()
        if started:
            self._cut_off()
        else:
            await self.send(RawData(refusal.HTTP1[code]))
            await self.send(Closed())

    async def expire(self) -> None:
        """The head did not come in time, or no next request came."""
        if self.stream is not None:
            return
        if bytes(self.connection.trailing_data[0]):
            await self.refuse(Code.HEAD_TIMEOUT)
        else:
            await self.send(Closed())

    def sweep(self, since: float) -> None:
        """Refuse what has stood still since before `since` (the loop's time)."""
        stream = self.stream
        if isinstance(stream, WebSocket):
            if stream.connected and self.peer.received_at < since:
                self.peer.abort()
        elif stream is not None and (stream.inbox.stalled_since or math.inf) < since:
            self.peer.spawn(self.refuse, Code.BODY_TIMEOUT)

    async def drain(self) -> None:
        """The server ends: no further request."""
        if self.stream is None:
            await self.send(Closed())
        elif isinstance(self.stream, WebSocket):
            await self.stream.go_away()

    def _is_last(self) -> bool:
        if isinstance(self.connection, H11WSConnection):
            return True
        return self.context.terminated.is_set() or self.connection.their_state is h11.SEND_BODY

    def _cut_off(self) -> None:
        """End a response so that no client takes it for a whole one.

        Without length and chunks (HTTP/1.0) only a reset tells.
        """
        if self.connection.our_state is not None and self._version == b"1.0":
            self.peer.abort()
        else:
            self.peer.close()

    @property
    def _version(self) -> bytes | None:
        connection = self.connection
        return connection.their_http_version if isinstance(connection, h11.Connection) else None

    async def _check_protocol(self, event: h11.Request) -> None:
        # h2c upgrades are ignored (RFC 9113 has dropped them); prior knowledge is a choice.
        if event.http_version == b"2.0":
            raise H2ProtocolAssumedError(
                b"PRI * HTTP/2.0\r\n\r\n" + self.connection.trailing_data[0]
            )

    async def _create_stream(self, request: h11.Request) -> None:
        connection = self.connection
        assert isinstance(connection, StrictConnection)
        head = connection.head
        if head.websocket:
            self.stream = WebSocket(self.peer, self.stream_send, STREAM_ID, self.refuse)
            self.connection = H11WSConnection(connection)
        else:
            self.stream = Stream(
                self.peer, self.stream_send, STREAM_ID,
                wanted=self._body_wanted, taken=_nothing, bounded=True,
            )  # fmt: skip
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=head.headers,
                http_version=request.http_version.decode(),
                method=head.method.decode(),
                raw_path=head.target,
                state=self.connection_state,
            )
        )

    async def _body_wanted(self) -> None:
        connection = self.connection
        if isinstance(connection, h11.Connection) and connection.client_is_waiting_for_100_continue:
            await self._send_h11_event(h11.InformationalResponse(status_code=100, headers=[]))

    async def _send_error_response(self, status_code: int) -> None:  # noqa: ARG002  the code says more
        assert isinstance(self.connection, StrictConnection)
        await self.refuse(self.connection.refusal)


async def _nothing(_size: int) -> None:
    """TCP's flow control needs no word about what was taken."""
