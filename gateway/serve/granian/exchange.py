"""One request and its response on their way between Granian and an application."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import Code
from gateway.serve.asgi import DISCONNECT
from gateway.serve.granian.check import FRAMED, NO_HOST, refusal
from gateway.serve.hypercorn.refusal import CONTENT_TYPE, PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.serve.asgi import App, Message, Scope
    from gateway.serve.granian.server import Server

log = logging.getLogger("gateway.server")

GONE: Final = {"type": "http.disconnect"}
NO_BODY: Final = {"type": "http.request", "body": b"", "more_body": False}
CLOSE: Final = (b"connection", b"close")
BODILESS: Final = frozenset({204, 304})


class Exchange:
    """A request that an application answers, in a task of its own.

    An application's `send` raises ConnectionResetError once the client is gone. `sweep` looks at
    it from time to time instead of a timer and a task that wait for each request.
    """

    __slots__ = (
        "_app", "_bodiless", "_came_all", "_gone", "_head", "_http1", "_names", "_on_disconnect",
        "_proto", "_receiving", "_receiving_since", "_scope", "_sending_since", "_server",
        "_started_at", "_state", "_watcher", "peer", "task",
    )  # fmt: skip

    def __init__(self, server: Server, app: App, watcher: Any) -> None:
        self._server = server
        self._app = app
        self._proto = watcher.proto
        self._scope = scope = watcher.scope
        self.peer = (*scope["client"], scope["server"][1])
        version = scope["http_version"]
        self._http1 = version != "2"
        if version == "1":
            http10(scope)
        elif version == "2":
            http2(scope)
        self._names = names = [name for name, _ in scope["headers"]]
        self._came_all = self._http1 and FRAMED.isdisjoint(names)
        self._head: Message | None = None
        self._bodiless = False
        self._state = 0  # 1: the head is out, 2: all of it
        self._gone = False
        self._on_disconnect: Callable[[], object] | None = None
        self._receiving: Any = None
        self._receiving_since = self._sending_since = math.inf
        self._started_at = server.loop.time()
        self._watcher: asyncio.Task[None] | None = None
        server.exchanges.add(self)
        server.requests[self.peer] = server.requests.get(self.peer, 0) + 1
        self.task = server.loop.create_task(self._run())

    async def _run(self) -> None:
        server, scope = self._server, self._scope
        try:
            code = refusal(scope, self._names, server.limits)
            if code is None and server.requests[self.peer] > server.limits.streams:
                code = Code.TOO_MANY_CONNECTIONS
            if code is not None:
                self._refuse(code)
                return
            scope["extensions"] = {DISCONNECT: {"notify": self.notify}}
            await self._app(scope, self.receive, self.send)
        except ConnectionResetError:
            if not self._gone:
                log.exception("An application failed")
        except Exception:
            log.exception("An application failed")
        finally:
            self._finish()

    def _finish(self) -> None:
        server, peer = self._server, self.peer
        if self._watcher is not None:
            self._watcher.cancel()
        if not self._gone and self._state == 0:
            self._refuse(Code.INTERNAL_ERROR)
        elif not self._gone and self._state == 1:
            server.cut(self, reset=self._scope["http_version"] == "1.0")
        left = server.requests[peer] - 1
        if left:
            server.requests[peer] = left
        else:
            del server.requests[peer]
        server.active_at[peer] = server.loop.time()
        server.exchanges.discard(self)
        # hyper goes on with the connection once nobody holds the request's body.
        del self._proto, self._scope, self._app, self.task
        if server.draining:
            server.ended()

    # the application's side

    def notify(self, on_disconnect: Callable[[], object] | None) -> None:
        """Call this once the client is gone, at once if it is; None calls nothing any more."""
        self._on_disconnect = on_disconnect
        if self._gone and on_disconnect is not None:
            on_disconnect()

    async def receive(self) -> Message:
        """The next piece of the body, then the client's leaving."""
        if self._gone:
            return GONE
        if self._watcher is None and self._came_all:
            self._watch()
            if self._http1:
                return NO_BODY
        if self._watcher is not None:
            await asyncio.wait([self._watcher])
            return GONE
        self._receiving_since = self._server.loop.time()
        try:
            self._receiving = self._proto.receive()
            message: Message = await self._receiving
        except asyncio.CancelledError:
            if not self._ended_while_waiting():
                raise
            return GONE
        finally:
            self._receiving = None
            self._receiving_since = math.inf
        if message["type"] != "http.request":
            # The client has left, or what it sent is no body; Granian does not tell which.
            self._answer(Code.BAD_FRAMING)
            self.client_left()
        elif not message["more_body"]:
            self._came_all = True
        return message

    def _ended_while_waiting(self) -> bool:
        return self._gone and not self.task.cancelling()

    async def send(self, message: Message) -> None:
        """Take a part of the response."""
        if self._gone:
            raise ConnectionResetError("the client is gone")
        if message["type"] == "http.response.start":
            self._head = message
            return
        head = self._head
        if head is not None:
            self._send_head(head)
        more = message.get("more_body", False)
        if self._bodiless:
            # hyper would send it in HTTP/2.
            message = {"type": "http.response.body", "body": b"", "more_body": more}
        if more:
            self._sending_since = self._server.loop.time()
            try:
                await self._proto.send(message)
            finally:
                self._sending_since = math.inf
        else:
            self._proto.send(message)
            self._state = 2

    def _send_head(self, head: Message) -> None:
        self._bodiless = head["status"] in BODILESS or self._scope["method"] == "HEAD"
        if head["status"] in BODILESS:
            # RFC 9110 §8.6; with 304 some clients wait for the bytes.
            lines = [line for line in head["headers"] if line[0] != b"content-length"]
            head = {**head, "headers": lines}
        if self._http1 and not self._came_all:
            # Nobody reads the rest of the body (RFC 9112 §9.3).
            head = {**head, "headers": [*head["headers"], CLOSE]}
        self._head = None
        self._proto.send(head)
        self._state = 1

    # the server's side

    def sweep(self, now: float, pause: float) -> None:
        """Notice what has taken longer than one pause between sweeps; end what stands still."""
        since = now - self._server.limits.idle_timeout
        if self._receiving_since < since:
            self._refuse(Code.BODY_TIMEOUT)
            self.client_left()
        elif self._sending_since < since:
            self._server.cut(self, reset=True)
            self.client_left()
        elif self._started_at < now - pause and not self._gone:
            if self._head is not None and self._state == 0:
                # Granian holds a head back until there is a piece to send with it.
                self._send_head(self._head)
                self._proto.send({"type": "http.response.body", "body": b"", "more_body": True})
            if self._came_all and (self._on_disconnect is not None or self._state == 1):
                self._watch()

    def client_left(self) -> None:
        """The client is gone: nothing more comes or goes."""
        if self._gone:
            return
        self._gone = True
        if self._receiving is not None:
            self._receiving.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._on_disconnect is not None:
            self._on_disconnect()

    def _watch(self) -> None:
        if self._watcher is None:
            self._watcher = self._server.loop.create_task(self._until_gone())

    async def _until_gone(self) -> None:
        receive = self._proto.receive
        while (await receive())["type"] == "http.request":
            pass
        if self._state == 2:
            self._gone = True
            return
        if not self._http1:
            self._server.tell_all(self.peer)
        self.client_left()

    def _refuse(self, code: Code) -> None:
        """Answer with a problem document, or cut off the response that has begun; then close."""
        self._server.count(code)
        self._answer(code)

    def _answer(self, code: Code) -> None:
        if self._state:
            self._server.cut(self, reset=True)
            return
        body = PROBLEMS[code]
        headers = [(b"content-type", CONTENT_TYPE), (b"content-length", b"%d" % len(body))]
        if self._http1 and (code is not Code.INTERNAL_ERROR or not self._came_all):
            headers.append(CLOSE)
        self._proto.send({"type": "http.response.start", "status": code.status, "headers": headers})
        content = b"" if self._scope["method"] == "HEAD" else body
        self._proto.send({"type": "http.response.body", "body": content, "more_body": False})
        self._state = 2


def http10(scope: Scope) -> None:
    """Show an HTTP/1.0 request as it came: Granian shows an empty Host where there is none."""
    scope["http_version"] = "1.0"
    if scope["headers"][0] == NO_HOST:
        del scope["headers"][0]


def http2(scope: Scope) -> None:
    """Show an HTTP/2 request as HTTP/1.1 has it: one line of cookies (RFC 9113 §8.2.3)."""
    headers = scope["headers"]
    cookies = [value for name, value in headers if name == b"cookie"]
    if len(cookies) > 1:
        others = [line for line in headers if line[0] != b"cookie"]
        scope["headers"] = [*others, (b"cookie", b"; ".join(cookies))]
