"""One WebSocket on its way between Granian and an application."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

from gateway.errors import Code
from gateway.serve.asgi import DISCONNECT
from gateway.serve.granian.check import refusal
from gateway.serve.hypercorn.refusal import CONTENT_TYPE, PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.serve.asgi import App, Message
    from gateway.serve.granian.server import Server

log = logging.getLogger("gateway.server")

GOING_AWAY = 1001
NO_STATUS = 1005
ABNORMAL = 1006
TOO_BIG = 1009
RESPONSE = "websocket.http.response"


class WebSocket:
    """A handshake and the messages that follow it.

    Granian does not tell of a client that leaves before the handshake is answered.
    """

    def __init__(self, server: Server, app: App, watcher: Any) -> None:
        self._server = server
        self._app = app
        self._watcher = watcher
        self._proto = watcher.proto
        self._scope = watcher.scope
        self.peer = (*self._scope["client"], self._scope["server"][1])
        self._answered = False
        self._accepted = False
        self._gone: Message | None = None
        self._denial: Message | None = None
        self._body = bytearray()
        self._receiving: Any = None
        self._closing: Any = None
        server.websockets.add(self)
        self.task = server.loop.create_task(self._run())

    async def _run(self) -> None:
        server, scope = self._server, self._scope
        try:
            names = [name for name, _ in scope["headers"]]
            if scope["http_version"] == "1":
                scope["http_version"] = "1.0"
            code = refusal(scope, names, server.limits)
            if code is None and len(server.websockets) > server.limits.connections:
                code = Code.TOO_MANY_CONNECTIONS
            if code is not None:
                await self._refuse(code)
                return
            scope["extensions"] = {RESPONSE: {}, DISCONNECT: {"notify": self._notify}}
            await self._app(scope, self._receive, self._send)
        except ConnectionResetError:
            if self._gone is None:
                log.exception("An application failed")
        except Exception:
            log.exception("An application failed")
        finally:
            await self._finish()

    async def _finish(self) -> None:
        try:
            if not self._answered:
                await self._refuse(Code.INTERNAL_ERROR)
            if self._closing is not None:
                await asyncio.wait([self._closing])
        finally:
            self._watcher.done()
            del self._proto, self._scope, self._app, self._watcher, self.task
            self._server.websockets.discard(self)
            if self._server.draining:
                self._server.ended()

    async def go_away(self) -> None:
        """The server ends: tell the client."""
        if self._accepted and self._gone is None:
            self._end(GOING_AWAY)
            await asyncio.wait([self._closing])

    def _end(self, code: int) -> Message:
        self._gone = gone = {"type": "websocket.disconnect", "code": code, "reason": ""}
        message = {"type": "websocket.close", "code": code, "reason": ""}
        if self._receiving is not None:
            self._receiving.cancel()  # Granian sends no Close frame while it is asked for a message
        # Two may wait for it, which Granian's own future does not bear.
        self._closing = self._server.loop.create_task(self._sent(message))
        return gone

    async def _sent(self, message: Message) -> None:
        with contextlib.suppress(Exception):
            await self._proto.send(message)

    def _notify(self, on_disconnect: Callable[[], object] | None) -> None:
        if self._gone is not None and on_disconnect is not None:
            on_disconnect()

    async def _receive(self) -> Message:
        message: Message = self._gone or await self._next()
        if message["type"] == "websocket.disconnect":
            # Granian has no reason, and NO_STATUS where there was no close frame at all, too.
            code = ABNORMAL if message["code"] == NO_STATUS else message["code"]
            self._gone = {**message, "code": code, "reason": ""}
            return self._gone
        if message["type"] == "websocket.receive":
            message = {"text": None, "bytes": None, **message}
            if self._is_large(message):
                return self._end(TOO_BIG)
        return message

    async def _next(self) -> Message:
        """Granian's next message; why the WebSocket has ended where it has meanwhile."""
        self._receiving = self._proto.receive()
        try:
            message: Message = await self._receiving
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._gone is None or (task is not None and task.cancelling()):
                raise
            return self._gone
        finally:
            self._receiving = None
        return self._gone or message

    def _is_large(self, message: Message) -> bool:
        limit = self._server.limits.websocket_message
        text = message["text"]
        if text is None:
            return len(message["bytes"]) > limit
        return len(text) > limit or (not text.isascii() and len(text.encode()) > limit)

    async def _send(self, message: Message) -> None:
        if self._gone is not None:
            raise ConnectionResetError("the client is gone")
        match message["type"]:
            case "websocket.http.response.start":
                self._denial = message
            case "websocket.http.response.body":
                self._body += message.get("body", b"")
                if not message.get("more_body", False):
                    assert self._denial is not None
                    await self._answer(self._denial, bytes(self._body))
            case "websocket.accept":
                self._answered = self._accepted = True
                await self._proto.send(message)
            case "websocket.close":
                if not self._accepted:
                    await self._refuse(Code.UPGRADE_REFUSED)
                    return
                self._gone = {"type": "websocket.disconnect", "code": message.get("code", 1000)}
                self._gone["reason"] = message.get("reason") or ""
                await self._proto.send(message)
            case _:
                await self._proto.send(message)

    async def _refuse(self, code: Code) -> None:
        self._server.count(code)
        body = PROBLEMS[code]
        headers = [(b"content-type", CONTENT_TYPE), (b"content-length", b"%d" % len(body))]
        await self._answer({"status": code.status, "headers": headers}, body)

    async def _answer(self, head: Message, body: bytes) -> None:
        self._answered = True
        headers = [*head["headers"], (b"connection", b"close")]
        await self._proto.send({**head, "type": f"{RESPONSE}.start", "headers": headers})
        await self._proto.send({"type": f"{RESPONSE}.body", "body": body, "more_body": False})
