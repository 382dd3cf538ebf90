"""Requests to one upstream: which target gets them, and what is tried again."""

from __future__ import annotations

import asyncio
import logging
import socket
from operator import add
from time import monotonic
from typing import TYPE_CHECKING, Any

from gateway.errors import Code, ForwardError
from gateway.record.metrics import UpstreamGauges
from gateway.serve.upstream.balance import Balancer, Pick
from gateway.serve.upstream.dial import dialers
from gateway.serve.upstream.message import ResponseReader, framing, request_head
from gateway.serve.upstream.response import Response
from gateway.serve.upstream.retry import REASONS, Budget, blame, verdict
from gateway.serve.upstream.target import Target

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gateway.config.model import Upstream
    from gateway.model import Headers
    from gateway.serve.upstream.connection import Content
    from gateway.serve.upstream.endpoint import Endpoint
    from gateway.serve.upstream.resolve import Lookup

log = logging.getLogger("gateway.upstream")


class Pool:
    """Sends requests to `upstream` and keeps its connections, all in one event loop.

    Building it reads the TLS files; ConfigError with keys below the upstream's. `lookup` resolves
    host names.
    """

    def __init__(self, upstream: Upstream, lookup: Lookup = socket.getaddrinfo) -> None:
        self.upstream = upstream
        self._targets = [
            Target(upstream, dialer, lookup, self._changed) for dialer in dialers(upstream)
        ]
        self._resolvers = [each.resolver for each in self._targets if each.resolver]
        self._unresolved = bool(self._resolvers)
        self._endpoints: list[Endpoint] = []
        self._sole: Pick[Endpoint] | None = None  # where there is no choice
        self._balancer = Balancer(upstream.balance)
        self._budget = Budget(upstream.retries)
        self._retries = dict.fromkeys(REASONS.values(), 0)
        self._over_budget = 0
        self._waiters: set[asyncio.Future[None]] = set()  # for an address
        self._retired = False
        self._closed = False
        self._changed()

    def request(
        self,
        method: str,
        target: bytes,
        headers: Headers,
        body: Content | None = None,
        *,
        length: int | None = None,
    ) -> Coroutine[Any, Any, Response]:
        """Send a request; await its response, whose head has then arrived.

        `body` is the content, or its pieces: `length` bytes in all, chunked if that is None.
        Pieces may still be going out when this returns; once the response is an error or
        complete, they are not. ForwardError `upstream-connect`, `-busy`, `-protocol`, `-reset`,
        `-timeout`; what `body` raises is raised. A cancelled request closes its connection.

        Nothing that an upstream may have got is sent again, but what `upstream.retries` lets go
        out twice, as long as no byte of an answer has come (retry.verdict).
        """
        content = body or b""
        if isinstance(content, bytes):
            length = len(content)
        head = request_head(method, target, headers, framing(method, length))
        self._budget.requests += 1
        # Not awaited here: that would cost each request another coroutine.
        return self._send(method, head, content, length)

    def upgrade(
        self, target: bytes, headers: Headers, fields: bytes
    ) -> Coroutine[Any, Any, Response]:
        """Ask with a GET on a fresh connection for another protocol, named in `fields`.

        The connection of a response with status 101 does not read until the caller, who owns
        it, takes its transport over. What may have been sent is not sent again.
        """
        head = request_head("GET", target, headers, fields)
        return self._send("GET", head, b"", 0, upgrade=True)

    async def _send(
        self, method: str, head: bytes, content: Content, length: int | None, upgrade: bool = False
    ) -> Response:
        begun = monotonic()
        pick = self._sole or await self._begin()
        fresh = upgrade
        tried: list[Endpoint] = []
        while True:
            endpoint = pick.target
            response = Response(ResponseReader(method, self.upstream.max_head, upgrade=upgrade))
            try:
                connection = None if fresh else endpoint.take_idle()
                if connection is None:
                    connection = await endpoint.acquire(fresh=fresh)
                connection.send(head, response, content, length)
                await response.head()
            except BaseException as fault:
                response.close()
                tried.append(endpoint)
                replayable = isinstance(content, bytes) and not upgrade
                replayable = replayable and method in self.upstream.retries.methods
                again = self._again(pick, fault, response, tried, begun, replayable)
                if again is None:
                    raise
                pick = again
                fresh = upgrade or response.connection is not None
            else:
                if pick is not self._sole:
                    self._answered(pick, response)
                return response

    def _again(
        self,
        pick: Pick[Endpoint],
        fault: BaseException,
        response: Response,
        tried: list[Endpoint],
        begun: float,
        replayable: bool,
    ) -> Pick[Endpoint] | None:
        """Where the request goes next; None where it has failed for good."""
        now = monotonic()
        code = fault.code if isinstance(fault, ForwardError) else None
        self._failed(pick, code, response, now)
        if isinstance(fault, ForwardError) and code in REASONS:
            fault.detail = f"{pick.target.address}: {fault.detail}"
        retries, used = self.upstream.retries, response.connection
        if code is None or len(tried) > retries.attempts or now - begun > retries.timeout:
            return None
        answered = response.reader.started
        how = verdict(code, sent=used is not None, answered=answered, replayable=replayable)
        if how == "no":
            return None
        again = self._balancer.pick(self._endpoints, now, tried)
        if again is None and used is not None and used.reused:
            again = pick  # the upstream may have closed it just when the request was sent
        if again is not None and how == "by budget" and not self._budget.take(now):
            again.target.health.abandoned(again)
            self._over_budget += 1
            return None
        if again is not None:
            self._retries[REASONS[code]] += 1
        return again

    def _answered(self, pick: Pick[Endpoint], response: Response) -> None:
        now = monotonic()
        if response.status in self.upstream.ejection.statuses:
            self._count_failure(pick, now, f"status {response.status}", certain=False)
        elif pick.target.health.succeeded(pick, now):
            log.info("upstream %s takes part again", pick.target.address)
            self._settle()

    def _failed(
        self, pick: Pick[Endpoint], code: Code | None, response: Response, now: float
    ) -> None:
        if code is Code.UPSTREAM_CONNECT:
            self._look_up()  # the address may be another one by now
        if pick is self._sole:
            return
        to_blame = blame(code, begun=response.connection is not None, sent=response.sent)
        if code is None or to_blame == "none":
            pick.target.health.abandoned(pick)
        else:
            self._count_failure(pick, now, REASONS[code], certain=to_blame == "certain")

    def _count_failure(
        self, pick: Pick[Endpoint], now: float, reason: str, *, certain: bool
    ) -> None:
        endpoint = pick.target
        if endpoint.health.failed(pick, now, certain=certain):
            seconds = endpoint.health.until - now
            log.warning("upstream %s is left out for %g s: %s", endpoint.address, seconds, reason)
            for target in self._targets:
                target.ejections += endpoint in target.endpoints
            self._settle()

    async def _begin(self) -> Pick[Endpoint]:
        if self._unresolved:
            self._unresolved = False
            self._look_up()
        if not self._endpoints:
            await self._resolved()
        pick = self._balancer.pick(self._endpoints, monotonic())
        assert pick is not None
        return pick

    async def _resolved(self) -> None:
        """Wait until there is an address; ForwardError `upstream-connect`, `-busy`."""
        deadline = asyncio.get_running_loop().time() + self.upstream.connect_timeout
        while not self._endpoints:
            if self._closed:
                raise ForwardError(Code.SHUTTING_DOWN)
            self._look_up()
            if not any(resolver.looking for resolver in self._resolvers):
                errors = (f"{each.name}: {each.error}" for each in self._resolvers)
                raise ForwardError(Code.UPSTREAM_CONNECT, "; ".join(errors))
            if len(self._waiters) >= self.upstream.max_pending:
                raise ForwardError(Code.UPSTREAM_BUSY, "too many requests wait for an address")
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                async with asyncio.timeout_at(deadline):
                    await waiter
            except TimeoutError:
                names = ", ".join(each.name for each in self._resolvers)
                fault = f"{names} not resolved in time"
                raise ForwardError(Code.UPSTREAM_CONNECT, fault) from None
            finally:
                self._waiters.discard(waiter)

    def _look_up(self) -> None:
        for resolver in self._resolvers:
            resolver.refresh()

    def _changed(self) -> None:
        if self._closed:
            return
        self._endpoints = [endpoint for each in self._targets for endpoint in each.endpoints]
        if self._retired:
            self.retire()
        self._settle()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _settle(self) -> None:
        """See whether there is a choice; one that was left out is watched until it is well."""
        alone = len(self._endpoints) == 1 and not self._unresolved
        well = alone and not self._endpoints[0].health.until
        self._sole = Pick(self._endpoints[0]) if well else None

    def gauges(self) -> UpstreamGauges:
        """What the metrics show of this moment."""
        return UpstreamGauges(
            targets={
                url: target.gauges()
                for url, target in zip(self.upstream.urls, self._targets, strict=True)
            },
            retries=self._retries,
            over_budget=self._over_budget,
        )

    def counts(self) -> tuple[int, int, int]:
        """How many connections are in use and unused, and how many requests wait for one."""
        total = [0, 0, len(self._waiters)]
        for target in self._targets:
            for endpoint in target.every():
                total = [*map(add, total, endpoint.counts())]
        return total[0], total[1], total[2]

    def retire(self) -> None:
        """Keep no unused connection from now on; requests are served as before."""
        self._retired = True
        for target in self._targets:
            target.retire()

    async def close(self) -> None:
        """Abort everything; returns when the last connection is gone."""
        self._closed = True
        self.retire()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        await asyncio.gather(*(each.close() for target in self._targets for each in target.every()))
