"""One request and its response: Hypercorn's HTTPStream with a bounded inbox."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from hypercorn.protocol.events import Body, EndBody, Event, Request, Response
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream

from gateway.errors import Code
from gateway.serve.asgi import DISCONNECT
from gateway.serve.hypercorn import refusal
from gateway.serve.hypercorn.inbox import BodyInbox

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from gateway.serve.hypercorn.peer import Peer

log = logging.getLogger("gateway.server")


def scope_of(request: Request, peer: Peer, kind: str, scheme: str) -> dict[str, Any]:
    """The ASGI scope of a request; `raw_path` is the path's bytes as they came."""
    path, _, query_string = request.raw_path.partition(b"?")
    return {
        "type": kind,
        "http_version": request.http_version,
        "asgi": {"spec_version": "2.4", "version": "3.0"},
        "method": request.method,
        "scheme": scheme,
        "path": unquote(path.decode("ascii")) if b"%" in path else path.decode("ascii"),
        "raw_path": path,
        "query_string": query_string,
        "root_path": "",
        "headers": request.headers,
        "client": peer.client,
        "server": peer.address,
        "state": {},
        "extensions": {},
    }


class Stream(HTTPStream):
    """A request on its way through an application.

    `wanted` and `taken` are told what the application receives (BodyInbox). An application's
    `send` raises ConnectionResetError once the client is gone.
    """

    def __init__(
        self,
        peer: Peer,
        send: Callable[[Event], Awaitable[None]],
        stream_id: int,
        *,
        wanted: Callable[[], Awaitable[None]],
        taken: Callable[[int], Awaitable[None]],
        bounded: bool,
    ) -> None:
        super().__init__(*peer.shared, *peer.ends, send, stream_id)
        self.peer = peer
        self.inbox = BodyInbox(wanted, taken, bounded=bounded)
        self._chunked = bounded  # HTTP/2 counts its frames
        self._app: asyncio.Task[None]
        self.app_put: Any = self.inbox.put

    @property
    def started(self) -> bool:
        """Whether a response has begun."""
        return self.state is not ASGIHTTPState.REQUEST

    async def handle(self, event: Event) -> None:
        """Take what the client sent."""
        if not isinstance(event, Request):
            if self._chunked and isinstance(event, Body):
                await self.peer.turn.breathe()
            await super().handle(event)
            return
        self.start_time = self.peer.received_at
        self.scope = scope_of(event, self.peer, "http", self.scheme)  # type: ignore[assignment]
        self.scope["extensions"][DISCONNECT] = {"notify": self.inbox.notify}
        self._app = self.peer.run_app(self._run)

    def when_ended(self, call: Callable[[], object]) -> None:
        """Call this once the application has ended, which may be long after the stream has."""
        self._app.add_done_callback(lambda _: call())

    async def app_send(self, message: Any) -> None:
        """The application's `send`; None when it has ended."""
        if self.closed and message is not None:
            raise ConnectionResetError("the client is gone")
        await super().app_send(message)

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

    async def _send_error_response(self, status_code: int) -> None:  # noqa: ARG002  always 500 here
        self.peer.refused(Code.INTERNAL_ERROR)
        await send_problem(self.send, self.stream_id, Code.INTERNAL_ERROR)
        self.state = ASGIHTTPState.CLOSED


async def send_problem(
    send: Callable[[Event], Awaitable[None]], stream_id: int, code: Code
) -> None:
    """Answer a stream with a problem document."""
    body = refusal.PROBLEMS[code]
    headers = [
        (b"content-type", refusal.CONTENT_TYPE),
        (b"content-length", b"%d" % len(body)),
    ]
    await send(Response(stream_id=stream_id, headers=headers, status_code=code.status))
    await send(Body(stream_id=stream_id, data=body))
    await send(EndBody(stream_id=stream_id))
