"""HTTP/2: Hypercorn's H2Protocol with bounds, and streams that cannot harm each other."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from functools import partial
from typing import TYPE_CHECKING, Any

import h2.config
import h2.connection
import h2.events
import h2.settings
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import (
    Body,
    EndBody,
    Event as StreamEvent,
    Request,
    Response,
    StreamClosed,
)
from hypercorn.protocol.h2 import (
    BUFFER_HIGH_WATER,
    BUFFER_LOW_WATER,
    BufferCompleteError,
    H2Protocol,
    StreamBuffer,
)
from hypercorn.typing import ConnectionState
from priority.priority import DeadlockError, MissingStreamError, PriorityTree

from gateway.errors import Code
from gateway.serve.hypercorn import frames, refusal
from gateway.serve.hypercorn.compression import BoundedEncoder, compressible
from gateway.serve.hypercorn.heads import HOP_BY_HOP, RequestHead, Unacceptable, http2_head
from gateway.serve.hypercorn.settings import completed
from gateway.serve.hypercorn.stream import Stream
from gateway.serve.turn import Turn

if TYPE_CHECKING:
    from gateway.serve.hypercorn.peer import Peer

RECEIVE_WINDOW = 1024 * 1024
"""Bytes of request bodies that wait for applications, over all streams of a connection."""
FIELD_OVERHEAD = 32
"""Bytes that a field counts for besides its name and value (RFC 9113 §6.5.2)."""
HELD_HEADS = 1024 * 1024
"""Bytes of the heads of requests in flight, over all streams of a connection; one head always has
room. A client that has sent a head once may send it again in a few bytes."""
GOAWAY = struct.Struct(">3sBBLLL")


class FlowBuffer(StreamBuffer):
    """A stream's response on its way out; `push` waits while the client takes nothing.

    (StreamBuffer lets go when the client's window is 0.) `moved_at` is the loop's time of the
    last progress. `unread`: the application ended without all of the request.
    """

    def __init__(self, event_class: Any) -> None:
        super().__init__(event_class)
        self._loop = asyncio.get_running_loop()
        self.moved_at = self._loop.time()
        self.unread = False

    @property
    def ended(self) -> bool:
        """Whether nothing more will be pushed."""
        return self._complete

    async def push(self, data: bytes) -> None:
        """Add data; waits while too much is waiting. Raises BufferCompleteError at the end."""
        if self._complete:
            raise BufferCompleteError
        if not self.buffer:
            self.moved_at = self._loop.time()
        self.buffer.extend(data)
        await self._is_empty.clear()
        if len(self.buffer) >= BUFFER_HIGH_WATER:
            await self._paused.clear()
            await self._paused.wait()

    async def pop(self, max_length: int) -> bytes:
        """At most `max_length` bytes from the front."""
        data = bytes(self.buffer[:max_length])
        del self.buffer[:max_length]
        if data:
            self.moved_at = self._loop.time()
        if len(self.buffer) < BUFFER_LOW_WATER:
            await self._paused.set()
        if not self.buffer:
            await self._is_empty.set()
        return data


class Http2(H2Protocol):
    """One HTTP/2 connection and its streams."""

    streams: dict[int, Stream]  # type: ignore[assignment]  # no WebSocket streams here
    stream_buffers: dict[int, FlowBuffer]  # type: ignore[assignment]

    def __init__(self, peer: Peer) -> None:
        super().__init__(*peer.shared, ConnectionState({}), *peer.ends, peer.send)
        self.peer = peer
        self.unread = True
        self.draining = False
        # What is a little too large is answered with 431, what is larger ends the connection.
        limits = peer.server.limits
        largest = limits.url + limits.head + (limits.headers + 8) * FIELD_OVERHEAD
        self.meter = frames.FrameMeter(peer.loop.time(), largest)
        self._heads_held = 0
        self._heads_most = max(HELD_HEADS, largest)
        self.connection = _connection(limits.streams, limits.head, largest)
        self.priority = PriorityTree(maximum_streams=2 * limits.streams)

    # the peer's side

    async def initiate(self, headers: Any = None, settings: bytes | None = None) -> None:
        """Send our settings and start to send what streams have."""
        await super().initiate(headers, settings)
        self.connection.increment_flow_control_window(RECEIVE_WINDOW)
        await self._flush()
        await self.send(Updated(idle=True))

    async def handle(self, event: Event) -> None:
        """Take bytes from the client, or its leaving."""
        if not isinstance(event, RawData):
            await super().handle(event)
            for stream_id in list(self.stream_buffers):  # applications wait for these, too
                await self._drop(stream_id)
            return
        try:
            for turn, piece in enumerate(self.meter.pieces(event.data, self.peer.received_at)):
                if turn:
                    await asyncio.sleep(0)
                if self.peer.closing:
                    return
                await self._handle_events(self.connection.receive_data(piece))
        except frames.TooManyFrames:
            await self._end(ErrorCodes.ENHANCE_YOUR_CALM, Code.CONNECTION_FLOOD)
        except frames.TooLongFrame:
            await self._end(ErrorCodes.FRAME_SIZE_ERROR, Code.BAD_FRAMING)
        except ProtocolError:
            await self._flush()  # h2 has queued the GOAWAY
            self.peer.refused(Code.BAD_FRAMING)
            await self.send(Closed())

    async def expire(self) -> None:
        """No request came for too long."""
        await self._end(ErrorCodes.NO_ERROR)

    def sweep(self, since: float) -> None:
        """End the streams that have stood still since before `since` (the loop's time)."""
        for stream_id, buffer in list(self.stream_buffers.items()):
            if buffer.buffer and buffer.moved_at < since:
                self.peer.spawn(self._give_up, stream_id)
        for stream_id, stream in list(self.streams.items()):
            stalled = stream.inbox.stalled_since
            if stalled is not None and stalled < since:
                self.peer.spawn(self._give_up, stream_id)

    async def drain(self) -> None:
        """The server ends: answer what has come, take no more (RFC 9113 §6.8)."""
        self.draining = True
        await self._go_away(ErrorCodes.NO_ERROR)
        await self._close_if_drained()

    # the streams' side

    async def send_task(self) -> None:
        """Send what streams have, frame by frame; others get their turn in between."""
        turn = Turn()
        while not self.closed:
            await turn.breathe()  # before the choice: the stream may be gone afterwards
            try:
                stream_id = next(self.priority)
            except DeadlockError:
                await self.has_data.wait()
                await self.has_data.clear()
                turn.begin()
            else:
                await self._send_data(stream_id)

    async def stream_send(self, event: StreamEvent) -> None:
        """Send what a stream has for the client."""
        match event:
            case Response(stream_id=stream_id, status_code=status):
                await self._send_head(stream_id, status, event.headers)
            case StreamClosed(stream_id=stream_id):
                await self._app_ended(stream_id)
            case _:
                await super().stream_send(event)

    async def _app_ended(self, stream_id: int) -> None:
        stream, buffer = self.streams.get(stream_id), self.stream_buffers.get(stream_id)
        unread = stream is not None and not stream.inbox.complete
        if buffer is None:
            if unread:
                self._reset(stream_id, ErrorCodes.NO_ERROR)
        elif buffer.ended:
            buffer.unread = unread
        else:  # it stopped within its response
            self._reset(stream_id, ErrorCodes.INTERNAL_ERROR)
            await self._drop(stream_id)
        await self._close_stream(stream_id)
        await self._flush()

    async def _send_head(
        self, stream_id: int, status: int, headers: list[tuple[bytes, bytes]]
    ) -> None:
        lines = [line for line in completed(status, headers) if line[0].lower() not in HOP_BY_HOP]
        lines = [(b":status", b"%d" % status), *compressible(lines)]
        try:
            self.connection.send_headers(stream_id, lines)
        except ProtocolError:
            # h2 has several names for a stream, or a connection, that has ended meanwhile.
            if stream_id in self.stream_buffers and not self.peer.closing:
                raise
        else:
            await self._flush()

    async def _body_wanted(self, stream_id: int, expected: bool) -> None:
        stream = self.streams.get(stream_id)
        if expected and stream is not None and not stream.started:
            with contextlib.suppress(ProtocolError):
                self.connection.send_headers(stream_id, [(b":status", b"100")])
                await self._flush()

    async def _body_taken(self, stream_id: int, size: int) -> None:
        with contextlib.suppress(ProtocolError):
            self.connection.acknowledge_received_data(size, stream_id)
            await self._flush()

    # h2's side

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        for event in events:
            match event:
                case h2.events.RequestReceived():
                    await self._on_request(event)
                case h2.events.DataReceived():
                    await self._on_data(event)
                case h2.events.StreamEnded():
                    await self._on_end(event)
                case h2.events.StreamReset():
                    await self._on_reset(event)
                case h2.events.WindowUpdated():
                    await self._window_updated(event.stream_id)
                case h2.events.RemoteSettingsChanged():
                    await self._window_updated(None)
                case h2.events.ConnectionTerminated():
                    await self.send(Closed())  # h2 sends nothing any more
        await self._flush()

    async def _on_request(self, event: h2.events.RequestReceived) -> None:
        stream_id = event.stream_id
        size = sum(len(name) + len(value) + FIELD_OVERHEAD for name, value in event.headers)
        # Streams that the client has reset still have an application to finish, and its head.
        if (
            self.draining
            or len(self.peer.apps) >= 2 * self.peer.server.limits.streams
            or self._heads_held + size > self._heads_most
        ):
            self._reset(stream_id, ErrorCodes.REFUSED_STREAM)  # RFC 9113 §8.7
            return
        try:
            head = http2_head(event.headers, self.peer.server.limits)
        except Unacceptable as unacceptable:
            await self._refuse(stream_id, unacceptable.code, whole=event.stream_ended is not None)
            return
        await self._open(stream_id, head, size)
        await self.send(Updated(idle=False))

    async def _on_data(self, event: h2.events.DataReceived) -> None:
        stream = self.streams.get(event.stream_id)
        unseen = event.flow_controlled_length
        if stream is not None:
            await stream.handle(Body(stream_id=event.stream_id, data=event.data))
            unseen -= len(event.data)
        if unseen:
            self.connection.acknowledge_received_data(unseen, event.stream_id)

    async def _on_end(self, event: h2.events.StreamEnded) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            await stream.handle(EndBody(stream_id=event.stream_id))

    async def _on_reset(self, event: h2.events.StreamReset) -> None:
        if not event.remote_reset:
            self.meter.charge(frames.RESET_BY_US)
        await self._drop(event.stream_id)
        await self._close_stream(event.stream_id)

    async def _open(self, stream_id: int, head: RequestHead, size: int) -> None:
        expected = any(name == b"expect" for name, _ in head.headers)
        stream = self.streams[stream_id] = Stream(
            self.peer, self.stream_send, stream_id,
            wanted=partial(self._body_wanted, stream_id, expected),
            taken=partial(self._body_taken, stream_id), bounded=False,
        )  # fmt: skip
        self.stream_buffers[stream_id] = FlowBuffer(self.context.event_class)
        self.priority.insert_stream(stream_id)
        self.priority.block(stream_id)
        await stream.handle(
            Request(
                stream_id=stream_id,
                headers=head.headers,
                http_version="2",
                method=head.method.decode(),
                raw_path=head.target,
                state=self.connection_state,
            )
        )
        self._heads_held += size
        stream.when_ended(partial(self._release_head, size))

    def _release_head(self, size: int) -> None:
        self._heads_held -= size

    async def _refuse(self, stream_id: int, code: Code, *, whole: bool) -> None:
        """Answer a request with a refusal; `whole` if the client has sent all of it."""
        self.peer.refused(code)
        body = refusal.PROBLEMS[code]
        headers = [
            (b":status", b"%d" % code.status),
            (b"content-type", refusal.CONTENT_TYPE),
            (b"content-length", b"%d" % len(body)),
        ]
        with contextlib.suppress(ProtocolError):
            self.connection.send_headers(stream_id, headers)
            if self.connection.local_flow_control_window(stream_id) >= len(body):
                self.connection.send_data(stream_id, body, end_stream=True)
                if not whole:
                    self._reset(stream_id, ErrorCodes.NO_ERROR)
            else:
                self._reset(stream_id, ErrorCodes.CANCEL)

    async def _give_up(self, stream_id: int) -> None:
        """A stream has stood still for too long."""
        stream = self.streams.get(stream_id)
        if stream is not None and not stream.started:
            await self._refuse(stream_id, Code.BODY_TIMEOUT, whole=False)
        else:
            self._reset(stream_id, ErrorCodes.CANCEL)
        await self._drop(stream_id)
        await self._close_stream(stream_id)
        await self._flush()

    async def _send_data(self, stream_id: int) -> None:
        buffer = self.stream_buffers.get(stream_id)
        if buffer is None:
            self.priority.remove_stream(stream_id)
            return
        try:
            window = self.connection.local_flow_control_window(stream_id)
            data = await buffer.pop(max(0, min(window, self.connection.max_outbound_frame_size)))
            if data:
                self.connection.send_data(stream_id, data, end_stream=buffer.complete)
                self.meter.earn(frames.PER_DATA_FRAME)
            elif buffer.complete:
                self.connection.end_stream(stream_id)
            else:
                self.priority.block(stream_id)
            if buffer.complete:
                self.meter.earn(frames.PER_REQUEST)
                if buffer.unread:  # RFC 9113 §8.1: the rest of the request is not wanted
                    self._reset(stream_id, ErrorCodes.NO_ERROR)
                await self._drop(stream_id)
        except ProtocolError:  # the stream has ended meanwhile
            await self._drop(stream_id)
        await self._flush()
        await self._close_if_drained()

    def _reset(self, stream_id: int, error: ErrorCodes) -> None:
        with contextlib.suppress(ProtocolError):
            self.connection.reset_stream(stream_id, error)

    async def _drop(self, stream_id: int) -> None:
        """Forget what a stream still had to send."""
        buffer = self.stream_buffers.pop(stream_id, None)
        if buffer is not None:
            await buffer.close()
            with contextlib.suppress(MissingStreamError):
                self.priority.remove_stream(stream_id)

    async def _close_stream(self, stream_id: int) -> None:
        await super()._close_stream(stream_id)
        if not self.streams:
            await self.send(Updated(idle=True))
        await self._close_if_drained()

    async def _close_if_drained(self) -> None:
        if self.draining and not self.streams and not self.stream_buffers:
            await self.send(Closed())

    async def _end(self, error: ErrorCodes, code: Code | None = None) -> None:
        if code is not None:
            self.peer.refused(code)
        await self._go_away(error)
        await self.send(Closed())

    async def _go_away(self, error: ErrorCodes) -> None:
        # By hand: after h2's own close_connection() no stream could be answered.
        last = self.connection.highest_inbound_stream_id
        await self.send(RawData(GOAWAY.pack(b"\0\0\x08", 7, 0, 0, last, error)))


def _connection(streams: int, head: int, largest: int) -> h2.connection.H2Connection:
    # Heads are checked by http2_head, stream by stream; h2 would end the whole connection.
    connection = h2.connection.H2Connection(
        config=h2.config.H2Configuration(
            client_side=False, header_encoding=None, validate_inbound_headers=False
        )
    )
    connection.local_settings = h2.settings.Settings(
        client=False,
        initial_values={
            h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: streams,
            h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: head,
        },
    )
    connection.decoder.max_header_list_size = largest
    connection.encoder = BoundedEncoder()
    return connection
