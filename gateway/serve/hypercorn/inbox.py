"""What an application still has to receive: `get` is its ASGI `receive`."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.serve.asgi import Message

HIGH_WATER = 65536
"""Bytes that wait for the application before the client has to."""
MESSAGES = 64
"""WebSocket messages that do."""


class _Inbox:
    """Tells of the client's leaving at once, whoever waits for what."""

    def __init__(self) -> None:
        self._gone = False
        self._on_disconnect: Callable[[], object] | None = None

    def notify(self, on_disconnect: Callable[[], object] | None) -> None:
        """Call this once the client is gone, at once if it is; None calls nothing any more."""
        self._on_disconnect = on_disconnect
        if self._gone and on_disconnect is not None:
            on_disconnect()

    def _tell(self) -> None:
        if self._on_disconnect is not None:
            self._on_disconnect()


class BodyInbox(_Inbox):
    """A request's body, then `http.disconnect`.

    `wanted` is awaited before the application waits for the body the first time, `taken` with
    the size of each piece that it gets. `stalled_since` is the loop's time since when it waits
    for the client. With `bounded`, `put` waits while too much is waiting (in HTTP/2 the flow
    control bounds it).
    """

    def __init__(
        self,
        wanted: Callable[[], Awaitable[None]],
        taken: Callable[[int], Awaitable[None]],
        *,
        bounded: bool,
    ) -> None:
        super().__init__()
        self.complete = False
        self.stalled_since: float | None = None
        self._wanted = wanted
        self._taken = taken
        self._bounded = bounded
        self._body = bytearray()
        self._asked = False
        self._ended = False
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()

    async def put(self, message: Message) -> None:
        """Take a message from the protocol."""
        if message["type"] == "http.disconnect":
            self.close()
            self._tell()
        else:
            self._body += message["body"]
            self.complete = not message["more_body"]
        self._filled.set()
        while self._bounded and len(self._body) > HIGH_WATER and not self._gone:
            self._emptied.clear()
            await self._emptied.wait()

    async def get(self) -> Message:
        """The next message; all of the body that is there at once."""
        while not self._gone:
            if not self._ended and (self._body or self.complete):
                return await self._next_body()
            if not self._asked:
                self._asked = True
                await self._wanted()
                continue
            self._filled.clear()
            self.stalled_since = None if self.complete else asyncio.get_running_loop().time()
            try:
                await self._filled.wait()
            finally:
                self.stalled_since = None
        return {"type": "http.disconnect"}

    def close(self) -> None:
        """The application has ended: nothing waits for it any more."""
        self._gone = True
        self._body.clear()
        self._emptied.set()

    async def _next_body(self) -> Message:
        body = bytes(self._body)
        self._body.clear()
        self._emptied.set()
        self._ended = self.complete
        message = {"type": "http.request", "body": body, "more_body": not self.complete}
        if body:
            await self._taken(len(body))
        return message


class MessageInbox(_Inbox):
    """A WebSocket's messages; `put` waits while too many are waiting."""

    def __init__(self) -> None:
        super().__init__()
        self._messages: deque[Message] = deque()
        self._size = 0
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()

    async def put(self, message: Message) -> None:
        """Take a message from the protocol; nothing follows the disconnect."""
        if self._gone:
            return
        if message["type"] == "websocket.disconnect":
            self._gone = True
            self._emptied.set()
            self._tell()
        self._messages.append(message)
        self._size += _size(message)
        self._filled.set()
        while (self._size > HIGH_WATER or len(self._messages) > MESSAGES) and not self._gone:
            self._emptied.clear()
            await self._emptied.wait()

    async def get(self) -> Message:
        """The next message; the disconnect is the last and repeats."""
        while not self._messages:
            self._filled.clear()
            await self._filled.wait()
        self._emptied.set()
        if self._messages[0]["type"] == "websocket.disconnect":
            return self._messages[0]
        message = self._messages.popleft()
        self._size -= _size(message)
        return message

    def close(self) -> None:
        """The application has ended: nothing waits for it any more."""
        self._gone = True
        self._messages.clear()
        self._emptied.set()


def _size(message: Message) -> int:
    return len(message.get("bytes") or message.get("text") or b"")
