"""The proxied path: an ASGI application that plans each request and does what the plan says."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gateway import wire
from gateway.errors import Code, ForwardError, GatewayError
from gateway.forward import response_headers
from gateway.model import Answer, Facts, Forward, Head, Need, Refuse
from gateway.pipeline import NO_FACTS, plan, refuse
from gateway.record.event import Exchange
from gateway.serve import relay

if TYPE_CHECKING:
    from gateway.model import Headers
    from gateway.record.event import Recorded
    from gateway.serve.asgi import App, Receive, Scope, Send
    from gateway.serve.runtime import Runtime
    from gateway.serve.upstream import Response

log = logging.getLogger("gateway.proxy")

OWN_PREFIX: Final = b"/.well-known/gateway/"
"""Paths that the gateway answers itself, on every host."""

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = tuple(high + low for high in _ALPHABET for low in _ALPHABET)
_SHIFTS: Final = tuple(range(120, -1, -10))


class Proxy:
    """An ASGI application for the edge listeners; `own` serves what is not proxied."""

    def __init__(self, runtime: Runtime, own: App) -> None:
        self.runtime = runtime
        self.own = own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan" or scope["raw_path"].startswith(OWN_PREFIX):
            await self.own(scope, receive, send)
        else:
            await Request(self.runtime, scope, receive, send).run()


class Request:
    """One request from its head to its record."""

    __slots__ = (
        "_body_taken", "_started", "_task", "bytes_in", "bytes_out", "first_byte", "head",
        "receive", "runtime", "scope", "send", "snapshot", "status",
    )  # fmt: skip

    def __init__(self, runtime: Runtime, scope: Scope, receive: Receive, send: Send) -> None:
        self.runtime = runtime
        self.snapshot = runtime.snapshot
        self.scope = scope
        self.receive = receive
        self.send = send
        self.head = read_head(scope)
        self.status = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.first_byte = 0.0

    async def run(self) -> None:
        """Plan, act, record."""
        started, clock = time.time(), time.perf_counter()
        recorder = self.runtime.recorder
        outcome: Recorded
        fault: GatewayError | None = None
        complete = False
        outcome = await self.plan()
        planned = time.perf_counter()
        try:
            if isinstance(outcome, Forward):
                ...
            else:
                await self.answer(outcome)
            complete = True
        except GatewayError as error:
            ...
        finally:
            ...
