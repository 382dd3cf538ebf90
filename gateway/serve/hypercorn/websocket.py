"""WebSocket (RFC 6455): Hypercorn's WSStream with bounds, and closes that say why."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from hypercorn.protocol.events import Body, Data, Event, Request, StreamClosed
from hypercorn.protocol.ws_stream import (
    ASGIWebsocketState,
    FrameTooLargeError,
    Handshake,
    WebsocketBuffer,
    WSStream,
)
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Message, Ping, TextMessage
from wsproto.frame_protocol import CloseReason

from gateway.errors import Code
from gateway.serve.asgi import DISCONNECT
from gateway.serve.hypercorn.inbox import MessageInbox
from gateway.serve.hypercorn.stream import scope_of, send_problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.serve.hypercorn.peer import Peer

log = logging.getLogger("gateway.server")


class MessageBuffer(WebsocketBuffer):
    """The message that is coming in; its limit is in bytes for text, too."""

    def extend(self, event: Message[Any]) -> None:
        """Add a piece; raises FrameTooLargeError."""
        if isinstance(event, TextMessage) and not event.data.isascii():
            self.length += len(event.data.encode()) - len(event.data)
        super().extend(event)


class WebSocket(WSStream):
    """A WebSocket on its way through an application.

    `refuse` answers and closes the connection of a client that does not keep to the protocol.
    An application's `send` raises ConnectionResetError once the client is gone.
    """

    def __init__(
        self,
        peer: Peer,
        send: Callable[[Event], Awaitable[None]],
        stream_id: int,
        refuse: Callable[[Code], Awaitable[None]],
    ) -> None:
        super().__init__(*peer.shared, *peer.ends, send, stream_id)
        self.peer = peer
        self.buffer = MessageBuffer(peer.server.limits.websocket_message)
        self.inbox = MessageInbox()
        self.app_put = self.inbox.put
        self._refuse = refuse
        self._close = (int(CloseReason.ABNORMAL_CLOSURE), "")

    @property
    def connected(self) -> bool:
        """Whether the handshake is done."""
        return self.state in {ASGIWebsocketState.CONNECTED, ASGIWebsocketState.CLOSED}

    @property
    def started(self) -> bool:
        """Whether a response has begun."""
        return self.state is not ASGIWebsocketState.HANDSHAKE

    async def handle(self, event: Event) -> None:
        """Take what the client sent."""
        match event:
            case Request():
                await self._open(event)
            case Body() | Data() if not self.closed and not self.handshake.accepted:
                await self._refuse(Code.BAD_FRAMING)
            case StreamClosed() if not self.closed:
                self.closed = True
                code, reason = self._close
                await self.inbox.put(
                    {"type": "websocket.disconnect", "code": code, "reason": reason}
                )
            case _:
                await super().handle(event)

    async def app_send(self, message: Any) -> None:
        """The application's `send`; None when it has ended."""
        if self.closed and message is not None:
            raise ConnectionResetError("the client is gone")
        await super().app_send(message)

    async def go_away(self) -> None:
        """The server ends."""
        if self.state is ASGIWebsocketState.CONNECTED:
            await self._end(CloseReason.GOING_AWAY)

    async def _open(self, request: Request) -> None:
        self.handshake = Handshake(request.headers, request.http_version)
        # No compression: a small frame could grow to a thousand times its size.
        self.handshake.extensions = None
        scope = scope_of(request, self.peer, "websocket", self.scheme)
        scope["subprotocols"] = self.handshake.subprotocols or []
        scope["extensions"] = {
            "websocket.http.response": {},
            DISCONNECT: {"notify": self.inbox.notify},
        }
        self.start_time = self.peer.received_at
        self.scope = scope  # type: ignore[assignment]
        await self.inbox.put({"type": "websocket.connect"})
        self.peer.run_app(self._run)

    async def _run(self) -> None:
        try:
            await self.peer.listener.app(self.scope, self.inbox.get, self.app_send)  # type: ignore[arg-type]
        except ConnectionResetError:
            if not self.closed:
                log.exception("An application failed")
        except Exception:
            log.exception("An application failed")
        finally:
            self.inbox.close()
            await self.app_send(None)

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            await self.peer.turn.breathe()
            match event:
                case Message():
                    try:
                        self.buffer.extend(event)
                    except FrameTooLargeError:
                        await self._end(CloseReason.MESSAGE_TOO_BIG)
                        return
                    if event.message_finished:
                        message = self.buffer.to_message()
                        self.buffer.clear()
                        await self.inbox.put(message)
                case Ping():
                    await self._send_wsproto_event(event.response())
                case CloseConnection():
                    await self._closed_by_client(event)
                    return

    async def _closed_by_client(self, event: CloseConnection) -> None:
        if self.connection.state is ConnectionState.OPEN:  # what came is not WebSocket
            await self._end(event.code)
            return
        self._close = (int(event.code), event.reason or "")
        if self.connection.state is ConnectionState.REMOTE_CLOSING:
            await self._send_wsproto_event(event.response())
        await self.send(StreamClosed(stream_id=self.stream_id))

    async def _end(self, code: int) -> None:
        self._close = (int(code), "")
        await self._send_wsproto_event(CloseConnection(code=code))
        await self.send(StreamClosed(stream_id=self.stream_id))

    async def _send_pings(self) -> None:
        interval = self.config.websocket_ping_interval
        assert interval is not None
        while not self.closed:
            await asyncio.sleep(interval)
            await self._send_wsproto_event(Ping())

    async def _send_error_response(self, status_code: int) -> None:
        code = Code.INTERNAL_ERROR if status_code == 500 else Code.UPGRADE_REFUSED
        self.peer.refused(code)
        await send_problem(self.send, self.stream_id, code)
