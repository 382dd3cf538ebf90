"""An ASGI application that shows the server from above: what it is given, and when."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from gateway.serve.asgi import Receive, Scope, Send

DEADLINE = 10.0


class Probe:
    """Answers by path, see the methods; remembers the scopes and every message received."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.received: list[dict[str, Any]] = []
        self.sent = 0
        self.failure: BaseException | None = None
        self.go = asyncio.Event()
        self.running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)

        async def remember() -> dict[str, Any]:
            message = await receive()
            self.received.append(message)
            return message

        name = scope["path"].split("/")[1]
        self.running += 1
        try:
            await getattr(self, name, self.hello)(scope, remember, send)
        except Exception as error:
            self.failure = error
            raise
        finally:
            self.running -= 1

    @property
    def types(self) -> list[str]:
        """The types of the messages received."""
        return [message["type"] for message in self.received]

    async def hello(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer without looking at the body."""
        await respond(send, body=b"hello")

    async def scope(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the scope as JSON, bytes as latin-1."""
        await receive()
        shown = {key: scope[key] for key in scope if key not in {"state", "extensions", "asgi"}}
        await respond(send, body=json.dumps(shown, default=lambda b: b.decode("latin-1")).encode())

    async def echo(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the body."""
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        await respond(send, body=body)

    async def parts(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send one part, wait for `go`, send another."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await self.go.wait()
        await send({"type": "http.response.body", "body": b"two", "more_body": False})

    async def cut(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Fail within the response; with `?length` it had announced one."""
        headers = [(b"content-length", b"100")] if scope["query_string"] == b"length" else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        await self.go.wait()
        raise RuntimeError("the application fails on purpose")

    async def fail(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Fail before the response."""
        raise RuntimeError("the application fails on purpose")

    async def status(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the status in the path, and a length as an upstream would state it."""
        status = int(scope["path"].split("/")[2])
        await receive()
        await respond(send, status=status, body=b"abc")

    async def hang(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Receive until the client is gone."""
        while (await receive())["type"] != "http.disconnect":
            pass

    async def deaf(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait for `go` without receiving, then answer."""
        await self.go.wait()
        await respond(send, body=b"hello")

    async def sip(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Receive forty messages, then wait for `go`."""
        for _ in range(40):
            self.sent += len((await receive())["body"])
        await self.go.wait()

    async def flood(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send without end, 16 KiB at a time; `sent` counts the bytes that were taken."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 16384, "more_body": True})
            self.sent += 16384
            await asyncio.sleep(0)

    async def ws(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Accept, then send every message back; `close` in a message closes with 4001."""
        assert (await receive())["type"] == "websocket.connect"
        await send(
            {"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)}
        )
        while (message := await receive())["type"] == "websocket.receive":
            if message["text"] == "close":
                await send({"type": "websocket.close", "code": 4001, "reason": "asked to"})
            else:
                await send(message | {"type": "websocket.send"})

    async def wsdeaf(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Accept, and receive nothing before `go`."""
        await receive()
        await send({"type": "websocket.accept"})
        await self.go.wait()
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async def denied(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the handshake with a response."""
        await receive()
        kind = "websocket.http.response"
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"2")]
        await send({"type": f"{kind}.start", "status": 403, "headers": headers})
        await send({"type": f"{kind}.body", "body": b"no"})

    async def undecided(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Receive the handshake, and then whatever comes instead of an answer."""
        while (await receive())["type"] not in {"websocket.disconnect", "http.disconnect"}:
            pass


async def respond(send: Send, *, status: int = 200, body: bytes) -> None:
    """Send a whole response."""
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
