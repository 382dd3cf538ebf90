"""A response that an upstream is sending."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.errors import Code, ForwardError

if TYPE_CHECKING:
    from gateway.model import Headers
    from gateway.serve.upstream.connection import Connection
    from gateway.serve.upstream.message import ResponseReader


class Response:
    """The answer to one request: read it with `read_chunk` until `ended`, else `close` it.

    `reader`, `connection`, `sent` (the whole request has been written), `upload` (what writes
    the rest of it) and the methods below `close` are for this package.
    """

    __slots__ = ("_fault", "_waiter", "connection", "reader", "sent", "upload")

    def __init__(self, reader: ResponseReader) -> None:
        self._fault: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.reader = reader
        self.connection: Connection | None = None
        self.sent = False
        self.upload: asyncio.Task[None] | None = None

    @property
    def status(self) -> int:
        """Status code, 200 to 599, or 101 after an upgrade."""
        return self.reader.status

    @property
    def headers(self) -> Headers:
        """Header lines in order, names lower-case, as the upstream sent them."""
        return self.reader.headers

    @property
    def http_version(self) -> str:
        """`1.1` or `1.0`."""
        return self.reader.http_version

    @property
    def address(self) -> str:
        """Where the response comes from: ADDRESS:PORT, or a Unix socket's path."""
        assert self.connection is not None
        return self.connection.owner.address

    @property
    def ended(self) -> bool:
        """Whether all content has been read."""
        return self.reader.complete and not self.reader.body

    async def read_chunk(self) -> bytes:
        """Return the content that has arrived, waiting for some; empty at the end.

        ForwardError `upstream-reset`, `upstream-protocol`, `upstream-timeout` if the content does
        not end well: what was read is then a part of it, and the client has to see that. What
        the request's own content raised is raised here too.
        """
        reader = self.reader
        while not reader.body and not reader.complete:
            if self._fault is not None:
                raise self._fault
            assert self.connection is not None
            self.connection.await_content()
            await self._wait()
        content = reader.take()
        if not reader.complete and self._fault is None and self.connection is not None:
            self.connection.resume_reading()
        return content

    def close(self) -> None:
        """Give up what has not arrived; the connection is then closed."""
        over = self.reader.complete and not self.reader.upgraded
        if not over and self._fault is None and self.connection is not None:
            self.connection.fail(ForwardError(Code.UPSTREAM_RESET, "given up by the gateway"))

    async def head(self) -> None:
        """Wait for the response's head; raises like `read_chunk`."""
        while not self.reader.head_done and self._fault is None:
            await self._wait()
        if self._fault is not None and not self.reader.complete:
            raise self._fault

    def fail(self, fault: BaseException) -> None:
        """Let the reader see `fault` after what has arrived before it."""
        self._fault = self._fault or fault
        self.stop_upload()
        self.wake()

    def stop_upload(self) -> None:
        """Write no more of the request."""
        upload, self.upload = self.upload, None
        if upload is not None:
            upload.cancel()

    def wake(self) -> None:
        """Something has changed."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
