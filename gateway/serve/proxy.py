"""The proxied path: an ASGI application that plans each request and does what the plan says."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gateway.errors import Code, ForwardError, GatewayError
from gateway.forward import response_headers
from gateway.model import Answer, Forward, Need, Trail
from gateway.pipeline import NO_FACTS, plan, refuse, settled
from gateway.record.event import Exchange
from gateway.serve.asgi import DISCONNECT
from gateway.serve.head import declared_length, has_content, read_head
from gateway.serve.relay import relay
from gateway.serve.upstream import Response, connect_websocket
from gateway.wire import OWN_PREFIX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.model import Facts, Headers, Refuse
    from gateway.record.event import Recorded
    from gateway.serve.asgi import App, Receive, Scope, Send
    from gateway.serve.runtime import Runtime

    Notify = Callable[[Callable[[], object] | None], None]

log = logging.getLogger("gateway.proxy")

READ_FIRST: Final = 64 * 1024
"""Bytes of a declared body up to which it is read before the upstream hears of the request: as
much as waits for an application anyway, and most bodies. Who sends one slowly has no connection
to the upstream meanwhile."""

MAX_REFUSAL: Final = 1024**2
"""Most bytes of an upstream's answer to a WebSocket handshake that it does not take. It is read
before it is passed on: Granian takes it as a whole, and it may be a download or a stream."""


class Proxy:
    """An ASGI application for the edge listeners; `own` serves what is not proxied."""

    def __init__(self, runtime: Runtime, own: App) -> None:
        self.runtime = runtime
        self.own = own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["raw_path"].startswith(OWN_PREFIX):
            await self.own(scope, receive, send)
        else:
            await Request(self.runtime, scope, receive, send).run()


class Request:
    """One request, from its head to its record.

    `status` is 0 until an answer has begun. `known` is what an unfinished plan has found.
    """

    __slots__ = (
        "body_ended", "bytes_in", "bytes_out", "content_seen", "first_byte", "head", "known",
        "left", "notify", "receive", "recorder", "runtime", "scope", "send", "snapshot",
        "status", "task", "tokens", "upstream", "waited",
    )  # fmt: skip

    def __init__(self, runtime: Runtime, scope: Scope, receive: Receive, send: Send) -> None:
        self.runtime = runtime
        # A reload while this request runs must not give it half of another configuration.
        self.snapshot = runtime.snapshot
        self.tokens = runtime.tokens.sources
        self.recorder = runtime.recorder
        self.head = read_head(scope)
        self.scope = scope
        self.receive = receive
        self.send = send
        self.status = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.first_byte = 0.0
        self.waited = 0.0
        self.upstream = ""
        self.content_seen: bytes | None = None
        self.body_ended = not has_content(self.head)
        self.known: Trail | None = None
        self.notify: Notify = scope["extensions"][DISCONNECT]["notify"]
        self.task: asyncio.Task[None] | None = None
        self.left = False

    async def run(self) -> None:
        """Plan, do it, record it; whatever fails on the way is recorded, too."""
        started, clock = time.time(), time.perf_counter()
        self.task = asyncio.current_task()
        outcome: Recorded | None = None
        self.recorder.metrics.in_flight += 1
        planned = clock
        code, detail, complete = None, "", False
        try:
            if self.head.websocket:
                await self.receive()  # websocket.connect
                self.notify(self.leave)
            outcome = await self.planned()
            planned = time.perf_counter()
            code, detail = await self.carry_out(outcome)
            complete = True
        except GatewayError as error:
            # The answer had begun and is left without its end, which the server shows the client.
            code, detail = error.code, error.detail
        except (ConnectionResetError, Gone) as error:
            detail = str(error)
        except asyncio.CancelledError:
            if not self.left or self.task is None or self.task.uncancel():
                code = Code.SHUTTING_DOWN
                raise
            detail = "the client left before the answer's end"
        finally:
            self.notify(None)
            self.recorder.metrics.in_flight -= 1
            timings = {"plan": planned - clock} if outcome else {}
            if self.waited:
                timings["upstream_token"] = self.waited
            if self.first_byte:
                timings["upstream_first_byte"] = self.first_byte - planned - self.waited
            exchange = Exchange(
                started=started,
                duration=time.perf_counter() - clock,
                status=self.status,
                bytes_in=self.bytes_in,
                bytes_out=self.bytes_out,
                timings=timings,
                code=code,
                detail=detail,
                complete=complete,
                upstream=self.upstream,
            )
            recorded = outcome or self.undecided()
            self.recorder.record(recorded, exchange)
            shadow = self.snapshot.shadow
            if shadow is not None:
                body = len(self.content_seen or b"")
                self.runtime.shadowing.offer(shadow, recorded, self.recorder, body)

    async def planned(self) -> Recorded:
        """The plan, once everything is there that it needs."""
        facts = NO_FACTS
        try:
            while True:
                if self.snapshot.denied is not self.runtime.denied:
                    self.snapshot = self.snapshot.with_denied(self.runtime.denied)
                outcome = plan(self.head, facts, self.snapshot, time.time())
                if not isinstance(outcome, Need):
                    trail = outcome.trail
                    if not (trail.charges or trail.taken):
                        return outcome
                    return await self.charged(outcome)
                self.known = outcome.trail
                facts = await self.bring(outcome, facts)
        except GatewayError as error:
            fault = error
        except Gone:
            raise
        except Exception as error:  # a fault of ours refuses, whatever it is
            log.exception("a request could not be planned")
            fault = GatewayError(Code.INTERNAL_ERROR, f"{type(error).__name__}: {error}")
        return refuse(fault, self.trail, self.snapshot)

    async def charged(self, outcome: Recorded) -> Recorded:
        """The outcome after its charges."""
        charges = outcome.trail.charges
        taken = await self.runtime.quotas.take(charges) if charges else None
        return settled(outcome, taken, self.snapshot)

    @property
    def trail(self) -> Trail:
        """What is known before there is an outcome."""
        return self.known or Trail(head=self.head, revision=self.snapshot.revision)

    def undecided(self) -> Recorded:
        """What is recorded where the client left, or the gateway ended, before the decision."""
        return Answer(status=0, headers=(), body=b"", trail=self.trail)

    async def bring(self, need: Need, facts: Facts) -> Facts:
        """The facts with what the plan needs; GatewayError where it cannot be had."""
        if need.kind == "keys":
            keyring = await self.runtime.keys.newest(need.issuer)
            return replace(facts, keyrings={**facts.keyrings, need.issuer: keyring})
        if need.kind == "session":
            found = await self.runtime.sessions.find(need.login, need.cookie, self.snapshot)
            return replace(facts, session=found)
        if need.kind == "introspection":
            issuer = self.snapshot.config.issuers[need.issuer]
            answer = await self.runtime.introspection.ask(need.issuer, issuer, need.token)
            return replace(facts, introspected=answer)
        if need.kind == "quota":
            return replace(facts, admitted=await self.runtime.quotas.take(need.charges))
        self.content_seen = await self.whole_body(need.max_bytes)
        return replace(facts, body=self.content_seen)

    async def carry_out(self, outcome: Recorded) -> tuple[Code | None, str]:
        """Do what was planned; what failed after the plan, and why."""
        try:
            if not isinstance(outcome, Forward):
                await self.answer(outcome)
            elif self.head.websocket:
                await self.websocket(outcome)
            else:
                await self.http(outcome)
        except GatewayError as error:
            fault = error
        except (ConnectionResetError, Gone):
            raise
        except Exception as error:  # a fault of ours refuses, whatever it is
            log.exception("a request could not be answered")
            fault = GatewayError(Code.INTERNAL_ERROR, f"{type(error).__name__}: {error}")
        else:
            return None, ""
        if self.status:
            raise fault
        await self.answer(refuse(fault, outcome.trail, self.snapshot))
        return fault.code, fault.detail

    async def answer(self, outcome: Refuse | Answer) -> None:
        """Send an answer of our own."""
        body = b"" if self.head.method == "HEAD" else outcome.body
        kind = "websocket.http.response" if self.head.websocket else "http.response"
        headers = [*outcome.headers]
        if outcome.status != 204:  # RFC 9110 §8.6
            headers.append((b"content-length", b"%d" % len(outcome.body)))
        self.notify(None)  # as in `respond`
        await self.send({"type": f"{kind}.start", "status": outcome.status, "headers": headers})
        self.status = outcome.status
        self.bytes_out = len(body)
        await self.send({"type": f"{kind}.body", "body": body, "more_body": False})

    async def http(self, forward: Forward) -> None:
        """Forward a request and stream the response back."""
        headers = await self.headers(forward)
        content, length = await self.content(forward)
        self.notify(self.leave)
        response = await self.runtime.pool(forward.upstream).request(
            forward.method, forward.target, headers, content, length=length
        )
        self.first_byte = time.perf_counter()
        self.upstream = response.address
        try:
            await self.respond(response, forward)
        finally:
            response.close()

    async def headers(self, forward: Forward) -> Headers:
        """The request headers, with the assertion and the token for the upstream, if any."""
        headers = (*forward.headers, *self.runtime.signers.sign(forward.assertion))
        if forward.token is None:
            return headers
        # Only now: whoever is refused, by a rate limit too, must not cause a call.
        began = time.perf_counter()
        try:
            value = await self.tokens[forward.token.endpoint].header(forward.token)
        finally:
            self.waited = time.perf_counter() - began
        return (*headers, (b"authorization", value))

    def leave(self) -> None:
        """The client is gone: end what is done for it."""
        self.left = True
        if self.task is not None:
            self.task.cancel()

    async def respond(self, response: Response, forward: Forward) -> None:
        """Stream a response; each piece goes out as it comes."""
        headers = response_headers(response.headers, forward)
        self.status = response.status
        await self.send(
            {"type": "http.response.start", "status": response.status, "headers": list(headers)}
        )
        more = True
        while more:
            piece = b"" if response.ended else await response.read_chunk()
            self.bytes_out += len(piece)
            more = not response.ended
            if not more:
                self.notify(None)  # after the last piece the server disconnects the stream, too
            await self.send({"type": "http.response.body", "body": piece, "more_body": more})

    async def content(self, forward: Forward) -> tuple[bytes | AsyncIterator[bytes], int | None]:
        """The request's content and its length: nothing, all that there is, or a stream."""
        if self.content_seen is not None or self.body_ended:
            return self.content_seen or b"", None
        length = declared_length(self.head)
        if length is not None and length <= READ_FIRST:
            return await self.whole_body(forward.max_body), None
        pieces = self.body(forward.max_body)
        if length is not None or self.head.http_version.startswith("1"):
            return pieces, length
        # HTTP/2 shows only now whether there is content at all; a GET must not become chunked.
        first = await anext(pieces, b"")
        return (first, None) if self.body_ended else (_after(first, pieces), None)

    async def whole_body(self, limit: int) -> bytes:
        """All of the request's body; raises like `body`."""
        content = bytearray()  # pieces of a byte or two would take many times their size
        async for piece in self.body(limit):
            content += piece
        return bytes(content)

    async def body(self, limit: int) -> AsyncIterator[bytes]:
        """The pieces of the request's body; GatewayError over `limit` bytes or too late."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.snapshot.config.limits.body_timeout
        while not self.body_ended:
            try:
                async with asyncio.timeout_at(deadline):
                    message = await self.receive()
            except TimeoutError:
                raise GatewayError(Code.BODY_TIMEOUT) from None
            if message["type"] == "http.disconnect":
                raise Gone("the client left while it sent the body")
            piece: bytes = message.get("body", b"")
            self.bytes_in += len(piece)
            if self.bytes_in > limit:
                raise GatewayError(Code.BODY_TOO_LARGE, f"more than {limit} bytes")
            self.body_ended = not message.get("more_body", False)
            if piece:
                yield piece

    async def websocket(self, forward: Forward) -> None:
        """Open a WebSocket to the upstream and pass the messages on."""
        # From the handshake on: its token may be denied before the upstream has answered.
        with self.runtime.open.opened(forward.trail) as revoked:
            if self.runtime.denied is not self.snapshot.denied:
                self.runtime.open.end_denied(self.runtime.denied)
            await self.connected(forward, revoked)

    async def connected(self, forward: Forward, revoked: asyncio.Future[None]) -> None:
        """As `websocket`; nothing passes any more once `revoked` is done."""
        socket = await connect_websocket(
            self.runtime.pool(forward.upstream),
            forward.target,
            await self.headers(forward),
            subprotocols=tuple(self.scope["subprotocols"]),
            max_message=self.snapshot.config.limits.websocket_message,
        )
        self.first_byte = time.perf_counter()
        self.upstream = socket.address
        if isinstance(socket, Response):
            await self.refused_by_upstream(socket, forward)
            return
        self.notify(None)  # from here on the relay hears of it
        self.status = 101
        self.bytes_in, self.bytes_out = await relay(
            socket,
            self.receive,
            self.send,
            expires_at=forward.expires_at,
            revoked=revoked,
        )

    async def refused_by_upstream(self, response: Response, forward: Forward) -> None:
        """Pass on the upstream's answer to a handshake that it does not take."""
        try:
            body = await _refusal(response, forward.upstream.idle_timeout)
        finally:
            response.close()
        headers = response_headers(response.headers, forward)
        kind = "websocket.http.response"
        self.status = response.status
        self.notify(None)  # as in `respond`
        await self.send(
            {"type": f"{kind}.start", "status": response.status, "headers": list(headers)}
        )
        self.bytes_out = len(body)
        await self.send({"type": f"{kind}.body", "body": body, "more_body": False})


class Gone(Exception):  # noqa: N818  nobody's error
    """The client left."""


async def _after(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


async def _refusal(response: Response, seconds: float) -> bytes:
    """All of an answer to a handshake; ForwardError where it is too much, or takes longer."""
    content = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while not response.ended:
                content += await response.read_chunk()
                if len(content) > MAX_REFUSAL:
                    detail = f"more than {MAX_REFUSAL} bytes in answer to a handshake"
                    raise ForwardError(Code.UPSTREAM_PROTOCOL, detail)
    except TimeoutError:
        raise ForwardError(Code.UPSTREAM_TIMEOUT, "the answer to a handshake goes on") from None
    return bytes(content)
