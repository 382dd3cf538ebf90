"""Runs Granian's workers, ends what stands still, and drains when the gateway stops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from granian import _granian
from granian._granian import CallbackScheduler, WorkerSignal
from granian.http import HTTP1Settings, HTTP2Settings

from gateway.serve import hypercorn
from gateway.serve.balance import Load
from gateway.serve.granian.exchange import Exchange
from gateway.serve.granian.sockets import (
    Peer,
    connections,
    end,
    has_left,
    is_sending,
)
from gateway.serve.granian.websocket import WebSocket
from gateway.serve.hypercorn.descriptors import raise_descriptor_limit
from gateway.serve.hypercorn.listener import BACKLOG
from gateway.serve.terms import first_to_end

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.config.model import Limits
    from gateway.serve.granian.listener import Certificate
    from gateway.serve.hypercorn import BoundListener
    from gateway.serve.terms import Terms

log = logging.getLogger("gateway.server")

_rust: Any = _granian
"""Its stubs describe another signature than it has."""

LAST_WORDS = 1.0
"""Seconds for what is left when the drain time is over."""
LONGEST_SWEEP = 0.25
SWEEPS_PER_TIMEOUT = 4
LOOKS_PER_TIMEOUT = 4
SMALLEST_BUFFER = 8192
"""Bytes; hyper takes no smaller one."""
REQUESTS_PER_TURN = 32
STREAM_WINDOW = 65535
CONNECTION_WINDOW = 2**20
RUNTIME_THREADS = 1
BLOCKING_THREADS = 1
BLOCKING_IDLE = 30


async def serve(listeners: Sequence[BoundListener], terms: Terms) -> None:
    """Serve the listeners under the terms, then drain and close them.

    Not counted is what hyper refuses itself. The load is told of the connections now and then; who
    takes the next one is the kernel's choice.
    """
    own = [listener for listener in listeners if not listener.capped]
    edge = [listener for listener in listeners if listener.capped]
    raise_descriptor_limit(terms.limits.connections)
    beside = asyncio.create_task(hypercorn.serve(own, replace(terms, last_call=None, load=Load())))
    try:
        await Server(edge, terms).run(terms, beside)
    finally:
        if not terms.shutdown.is_set():
            beside.cancel()
        await asyncio.gather(beside, return_exceptions=True)


class Server:
    """What the connections of all listeners share."""

    def __init__(self, listeners: Sequence[BoundListener], terms: Terms) -> None:
        self.limits = terms.limits
        self.load = terms.load
        self.count = terms.counters
        self.loop = asyncio.get_running_loop()
        self.draining = False
        self.exchanges: set[Exchange] = set()
        self.websockets: set[WebSocket] = set()
        self.requests: dict[Peer, int] = {}
        """Requests that run, by their client's connection; none is left at 0."""
        self.active_at: dict[Peer, float] = {}
        """When a connection's last request ended (the loop's time)."""
        self._seen_at: dict[Peer, float] = {}
        self._listeners = listeners
        self._ports = frozenset(
            sock.getsockname()[1] for listener in listeners for sock in listener.sockets
        )
        self._sockets = sum(len(listener.sockets) for listener in listeners)
        self._workers: set[Worker] = set()
        self._changed = asyncio.Event()
        self._suspects: set[Peer] = set()

    async def run(self, terms: Terms, beside: asyncio.Task[None]) -> None:
        """Serve until the shutdown, or `beside` has ended, then drain."""
        sweeper = self.loop.create_task(self._sweep())
        waiting = self.loop.create_task(terms.shutdown.wait())
        patience = self.limits.drain_timeout
        try:
            for listener in self._listeners:
                self._open(listener)
            # Raises where anything but the shutdown has ended.
            await first_to_end(sweeper, waiting, beside)
        except asyncio.CancelledError:
            patience = 0.0
            raise
        finally:
            self.draining = True
            for listener in self._listeners:
                if certificate := _certificate(listener):
                    certificate.changed = lambda: None
                listener.close()
            await self._drain(patience, terms.last_call)
            for task in (sweeper, waiting):
                task.cancel()
            await asyncio.gather(sweeper, waiting, return_exceptions=True)

    def tell_all(self, peer: Peer) -> None:
        """One stream's client is gone: its connection may be, for only one is ever told."""
        self._suspects.add(peer)

    def cut(self, exchange: Exchange, *, reset: bool) -> None:
        """End a connection, as its response cannot be ended otherwise without seeming whole."""
        number = connections(self._ports).get(exchange.peer)
        if number is not None:
            end(number, exchange.peer, reset=reset)

    def ended(self) -> None:
        """An exchange, a WebSocket or a worker has ended."""
        self._changed.set()

    def _open(self, listener: BoundListener) -> None:
        share = max(1, self.limits.connections // self._sockets)
        listener.bound_silence(self.limits.idle_timeout)
        for sock in listener.sockets:
            worker = Worker(self, listener, sock, share)
            worker.start()
            self._workers.add(worker)
        if certificate := _certificate(listener):
            before = {worker for worker in self._workers if worker.listener is listener}
            certificate.changed = lambda: self._renew(listener, before)

    def _renew(self, listener: BoundListener, before: set[Worker]) -> None:
        """Serve with a new certificate: new workers first, then no more by the old ones."""
        self._open(listener)
        for worker in before:
            worker.stop()

    def forget(self, worker: Worker) -> None:
        """A worker has ended."""
        self._workers.discard(worker)
        self.ended()

    async def _sweep(self) -> None:
        limits = self.limits
        shortest = min(limits.idle_timeout, limits.head_timeout)
        pause = min(LONGEST_SWEEP, shortest / SWEEPS_PER_TIMEOUT)
        look_again = self.loop.time()
        while True:
            await asyncio.sleep(pause)
            now = self.loop.time()
            for exchange in list(self.exchanges):
                try:
                    exchange.sweep(now, pause)
                except Exception:  # a fault of ours ends one request, not all
                    log.exception("A request failed")
                    exchange.client_left()
            if self._suspects or now > look_again:
                look_again = now + shortest / LOOKS_PER_TIMEOUT
                self._look(now)

    def _look(self, now: float) -> None:
        """End idle connections; tell the requests whose client has left."""
        open_now = connections(self._ports)
        self.load.count(len(open_now))
        left = self._suspects - open_now.keys()
        self._suspects = set()
        upgraded = {websocket.peer for websocket in self.websockets}
        for peer, number in open_now.items():
            if peer not in self._seen_at:
                self._seen_at[peer] = now
            if peer in upgraded:
                continue
            if peer not in self.requests:
                self._look_at_idle(peer, number, now)
            elif has_left(number):
                # hyper does not look at the socket while a further request waits in its buffer.
                left.add(peer)
        for times in (self.active_at, self._seen_at):
            for peer in times.keys() - open_now.keys():
                del times[peer]
        for exchange in list(self.exchanges):
            if exchange.peer in left:
                exchange.client_left()

    def _look_at_idle(self, peer: Peer, number: int, now: float) -> None:
        if now > self._deadline(peer):
            if is_sending(
                number
            ):  # for how long is the kernel's to judge: BoundListener.bound_silence
                self.active_at[peer] = now
            else:
                end(number, peer, reset=False)

    def _deadline(self, peer: Peer) -> float:
        """Until when an idle connection may send its next request, or its first."""
        if peer in self.active_at:
            return self.active_at[peer] + self.limits.idle_timeout
        return self._seen_at[peer] + self.limits.head_timeout

    async def _drain(
        self, patience: float, last_call: Callable[[], Awaitable[None]] | None
    ) -> None:
        # Granian drops what a WebSocket has not sent once its worker stops.
        closing = [websocket.go_away() for websocket in self.websockets]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*closing, return_exceptions=True), LAST_WORDS)
        for worker in self._workers:
            worker.stop()
        await self._wait(patience)
        if (self.exchanges or self.websockets) and last_call is not None:
            await last_call()
            await self._wait(LAST_WORDS)
        for peer, number in connections(self._ports).items():
            end(number, peer, reset=True)
        for task in [e.task for e in self.exchanges] + [w.task for w in self.websockets]:
            task.cancel()
        await self._wait(LAST_WORDS)
        if self._workers:
            log.error("Granian has not ended in time")

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.exchanges or self.websockets or self._workers:
                    self._changed.clear()
                    await self._changed.wait()


class Worker:
    """Granian's threads for one listening socket."""

    def __init__(
        self, server: Server, listener: BoundListener, sock: socket.socket, connections: int
    ) -> None:
        self.server = server
        self.listener = listener
        self._sock = sock
        self._connections = connections
        self._signal = WorkerSignal()
        self._stopped = False
        self._came: deque[Any] = deque()
        self._called = False

    def start(self) -> None:
        """Accept connections."""
        loop = self.server.loop
        limits = self.server.limits
        # The worker owns the descriptor that it is given.
        holder = _rust.SocketHolder(os.dup(self._sock.fileno()), False, BACKLOG)
        certificate = _certificate(self.listener)
        with contextlib.ExitStack() as stack:
            tls: tuple[Any, ...] = (False, None, None, None, "tls1.2", None, [], False)
            if certificate is not None:
                paths = stack.enter_context(certificate.context.files())
                tls = (True, *paths, *tls[3:])
            worker = _rust.ASGIWorker(
                1, (None, holder), None,
                RUNTIME_THREADS, BLOCKING_THREADS, 1, BLOCKING_IDLE, self._connections,
                "auto" if self.listener.http2 else "1",
                http1_settings(limits), http2_settings(limits),
                True, None, *tls, (None, None),
            )  # fmt: skip
            self._signal.add_cb(self._ended)
            worker.serve_async(Scheduler(loop, self._take, None, None, None), loop, self._signal)

    def stop(self) -> None:
        """Accept no more, and end connections as they become idle."""
        if not self._stopped:
            self._stopped = True
            self._signal.set()

    def _ended(self) -> None:
        """Called in a thread of Granian's."""
        self.server.loop.call_soon_threadsafe(self.server.forget, self)

    def _take(self, watcher: Any) -> None:
        """Called for each request in a thread of Granian's, with the GIL."""
        self._came.append(watcher)
        if not self._called:
            self._called = True
            self.server.loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        came, server, app = self._came, self.server, self.listener.app
        self._called = False
        for _ in range(REQUESTS_PER_TURN):
            if not came:
                return
            watcher = came.popleft()
            kind = Exchange if watcher.scope["type"] == "http" else WebSocket
            kind(server, app, watcher)
        self._called = True
        server.loop.call_soon(self._begin)


def _certificate(listener: BoundListener) -> Certificate | None:
    return cast("Certificate | None", listener.certificate)


class Scheduler(CallbackScheduler):
    """Hands each request over without a task of Granian's own."""

    def __init__(self, _loop: Any, callback: Callable[[Any], None], *_: Any) -> None:
        super().__init__()
        self._schedule_fn = callback


def http1_settings(limits: Limits) -> HTTP1Settings:
    """The limits that hyper holds HTTP/1.1 to."""
    return HTTP1Settings(
        header_read_timeout=max(1, int(limits.head_timeout * 1000)),
        # The request line, the header section and the line ends between them.
        max_buffer_size=max(SMALLEST_BUFFER, limits.url + limits.head + 64),
    )


def http2_settings(limits: Limits) -> HTTP2Settings:
    """The limits that h2 holds HTTP/2 to."""
    return HTTP2Settings(
        initial_connection_window_size=CONNECTION_WINDOW,
        initial_stream_window_size=STREAM_WINDOW,
        max_concurrent_streams=limits.streams,
        max_headers_size=limits.head,
        max_send_buffer_size=STREAM_WINDOW,
    )
