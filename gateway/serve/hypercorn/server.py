"""Accepts connections, ends the slow ones, and drains when the gateway stops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING, Any

from hypercorn.asyncio.worker_context import WorkerContext

from gateway.errors import Code
from gateway.serve.hypercorn import refusal
from gateway.serve.hypercorn.descriptors import raise_descriptor_limit
from gateway.serve.hypercorn.peer import Peer
from gateway.serve.hypercorn.settings import Settings
from gateway.serve.terms import first_to_end

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from gateway.serve.hypercorn.listener import BoundListener
    from gateway.serve.terms import Terms

log = logging.getLogger("gateway.server")

ACCEPTS_PER_TURN = 16
ACCEPT_PAUSE = 0.1
"""Seconds to wait when the machine has no descriptor or memory for a connection."""
SWEEPS_PER_TIMEOUT = 8
SLOWEST_SWEEP = 1.0
LAST_WORDS = 1.0
"""Seconds for what is left when the drain time is over."""
OWN_CONNECTIONS = 64
"""Most connections at once to listeners that are not `capped`: those of operators, not clients."""


async def serve(listeners: Sequence[BoundListener], terms: Terms) -> None:
    """Serve the listeners under the terms, then drain and close them."""
    limits = terms.limits
    raise_descriptor_limit(limits.connections)
    server = Server(terms)
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(terms.shutdown.wait()), loop.create_task(server.sweep())]
    for listener in listeners:
        listener.bound_silence(limits.idle_timeout)
        tasks += [loop.create_task(server.accept(listener, sock)) for sock in listener.sockets]
    waiting, sweeper, *acceptors = tasks
    patience = limits.drain_timeout
    try:
        await first_to_end(*tasks)  # raises where anything but the shutdown has ended
    except asyncio.CancelledError:
        patience = 0.0
        raise
    finally:
        await _cancel(waiting, *acceptors)
        for listener in listeners:
            listener.close()
        await server.drain(patience, terms.last_call)
        await _cancel(sweeper)


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Places:
    """The connections that share a limit, from when they are accepted until they are gone."""

    __slots__ = ("limit", "taken")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken: set[Peer] = set()


class Server:
    """What the connections of all listeners share."""

    def __init__(self, terms: Terms) -> None:
        self.load = terms.load
        self.limits = limits = terms.limits
        self.count = terms.counters
        self.settings = Settings(limits)
        self.context = WorkerContext(None)
        self._loop = asyncio.get_running_loop()
        self._peers: set[Peer] = set()
        # Clients cannot keep operators out, nor can these take what clients may have.
        self._places = {True: Places(limits.connections), False: Places(OWN_CONNECTIONS)}
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task; its failure is logged."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def remember(self, peer: Peer) -> None:
        """A connection is there."""
        self._peers.add(peer)

    def forget(self, peer: Peer) -> None:
        """A connection is gone."""
        self._peers.discard(peer)
        self._places[peer.listener.capped].taken.discard(peer)
        self._count(peer.listener)
        self._changed.set()

    async def accept(self, listener: BoundListener, sock: socket.socket) -> None:
        """Take connections until cancelled."""
        accepted = 0
        places = self._places[listener.capped]
        while True:
            if listener.capped:
                await self.load.turn()
            try:
                client, _ = await self._loop.sock_accept(sock)
            except OSError as error:
                log.warning("cannot accept on %s: %s", listener.address, error)
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            if len(places.taken) >= places.limit:
                self._turn_away(listener, client)
            else:
                peer = Peer(self, listener)
                places.taken.add(peer)  # handshakes count, too
                self._count(listener)
                self.spawn(self._open(peer, client))
            accepted += 1
            if accepted % ACCEPTS_PER_TURN == 0:
                await asyncio.sleep(0)

    async def sweep(self) -> None:
        """End what takes too long, again and again."""
        limits = self.limits
        shortest = min(limits.head_timeout, limits.idle_timeout)
        while True:
            await asyncio.sleep(min(SLOWEST_SWEEP, shortest / SWEEPS_PER_TIMEOUT))
            now = self._loop.time()
            for peer in list(self._peers):
                try:
                    peer.sweep(now)
                except Exception:  # a fault of ours ends one connection, not all
                    log.exception("A connection failed")
                    peer.abort()

    async def drain(self, patience: float, last_call: Callable[[], Awaitable[None]] | None) -> None:
        """Let requests in flight end within `patience` seconds, then end them."""
        await self.context.terminated.set()
        for peer in list(self._peers):
            peer.drain()
        await self._wait(patience)
        if self._peers and last_call is not None:
            await last_call()
            await self._wait(LAST_WORDS)
        for peer in list(self._peers):
            peer.abort()
        await asyncio.sleep(0)
        for task in list(self._tasks):
            task.cancel()
        await self._wait(LAST_WORDS)

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._peers or self._tasks:
                    self._changed.clear()
                    await self._changed.wait()

    async def _open(self, peer: Peer, client: socket.socket) -> None:
        certificate = peer.listener.certificate
        try:
            await self._loop.connect_accepted_socket(
                lambda: peer,
                client,
                ssl=certificate.context if certificate else None,
                ssl_handshake_timeout=max(self.limits.head_timeout, 0.1) if certificate else None,
                ssl_shutdown_timeout=LAST_WORDS if certificate else None,
            )
        except OSError:  # the client left, or its handshake failed
            client.close()
        finally:
            if peer not in self._peers:
                self.forget(peer)

    def _count(self, listener: BoundListener) -> None:
        if listener.capped:
            self.load.count(len(self._places[True].taken))

    def _turn_away(self, listener: BoundListener, client: socket.socket) -> None:
        self.count(Code.TOO_MANY_CONNECTIONS)
        with client:
            client.setblocking(False)
            if listener.certificate is None:
                with contextlib.suppress(OSError):
                    client.send(refusal.HTTP1[Code.TOO_MANY_CONNECTIONS])
                    client.shutdown(socket.SHUT_WR)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("A task of the server failed", exc_info=error)
