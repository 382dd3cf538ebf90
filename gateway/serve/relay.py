"""Passes WebSocket messages between a client and an upstream, until either ends or time is up."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from gateway.serve.turn import Turn
from gateway.serve.upstream import Closed

if TYPE_CHECKING:
    from gateway.serve.asgi import Message, Receive, Send
    from gateway.serve.upstream import UpstreamSocket

NORMAL = 1000
GOING_AWAY = 1001
NO_STATUS = 1005
ABNORMAL = 1006
POLICY_VIOLATION = 1008  # RFC 6455 §7.4.1
INTERNAL_ERROR = 1011
UNSENDABLE = frozenset({NO_STATUS, ABNORMAL, 1015})
"""Codes that only say what happened; RFC 6455 §7.4.1 forbids to send them."""


async def relay(
    socket: UpstreamSocket,
    receive: Receive,
    send: Send,
    *,
    expires_at: float | None,
    revoked: asyncio.Future[None],
) -> tuple[int, int]:
    """Accept the client and relay; the bytes that came from the client, and those to it.

    At `expires_at` (Unix seconds), and once `revoked` is done, both sides are closed with 1008.
    """
    counts = [0, 0]
    tasks: list[asyncio.Task[Closed]] = []
    closed: Closed | None = None
    tell_client = False
    try:
        accept: Message = {"type": "websocket.accept", "subprotocol": socket.subprotocol}
        await send({**accept, "headers": []})
        tasks = [
            asyncio.create_task(_upwards(socket, receive, counts)),
            asyncio.create_task(_downwards(socket, send, counts)),
        ]
        left = None if expires_at is None else max(0.0, expires_at - time.time())
        ends: tuple[asyncio.Future[Any], ...] = (*tasks, revoked)
        await asyncio.wait(ends, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        tell_client = not tasks[0].done()
        over = "token revoked" if revoked.done() else "token expired"
        closed = next(
            (task.result() for task in tasks if task.done()),
            Closed(code=POLICY_VIOLATION, reason=over),
        )
    finally:
        # From here on nothing passes, whether or not the client takes what it is told.
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        endings = [_close_upstream(socket, closed)]
        if closed is not None and tell_client:
            endings.append(_close_client(send, closed))
        await asyncio.gather(*endings)
    return counts[0], counts[1]


async def _upwards(socket: UpstreamSocket, receive: Receive, counts: list[int]) -> Closed:
    turn = Turn()
    while True:
        await turn.breathe()
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return Closed(code=message.get("code") or NO_STATUS, reason=message.get("reason") or "")
        data = message.get("text")
        if data is None:
            data = message.get("bytes") or b""
        counts[0] += len(data)
        await socket.send(data)


async def _downwards(socket: UpstreamSocket, send: Send, counts: list[int]) -> Closed:
    turn = Turn()
    while True:
        await turn.breathe()
        message = await socket.receive()
        if isinstance(message, Closed):
            return message
        counts[1] += len(message)
        if isinstance(message, str):
            await send({"type": "websocket.send", "text": message})
        else:
            await send({"type": "websocket.send", "bytes": message})


async def _close_client(send: Send, closed: Closed) -> None:
    code = _sendable(closed.code, lost=INTERNAL_ERROR)
    try:
        await send({"type": "websocket.close", "code": code, "reason": closed.reason})
    except ConnectionResetError:
        return  # it left first


async def _close_upstream(socket: UpstreamSocket, closed: Closed | None) -> None:
    closed = closed or Closed(code=INTERNAL_ERROR)
    await socket.close(_sendable(closed.code, lost=GOING_AWAY), closed.reason)


def _sendable(code: int, *, lost: int) -> int:
    """The code that tells one side how the other ended; `lost` where it ended without a word."""
    if code == ABNORMAL:
        return lost
    return NORMAL if code in UNSENDABLE else code
