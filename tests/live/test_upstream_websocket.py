import asyncio
import base64
import contextlib
import gc
import hashlib
import os

import pytest
import uvloop
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Message, Ping, Pong, TextMessage

from gateway.config.model import Upstream
from gateway.errors import Code, ForwardError
from gateway.serve.upstream import Closed, Pool, Response, UpstreamSocket, connect_websocket
from gateway.serve.upstream.connection import HIGH_WATER
from tests.support.turns import watched
from tests.support.upstream import ok, only, until, upstream

HEADERS = ((b"host", b"orders.example"), (b"x-auth-subject", b"alice"))
SHORT = 0.15
SEGMENT = 256 * 1024
CLOSE = b"\x88\x02\x03\xe8"


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Run a scenario in a loop of its own; nothing of it may be left afterwards."""

    def run(scenario):
        async def main():
            async with asyncio.timeout(20):
                await scenario
                await until(lambda: len(asyncio.all_tasks()) == 1)

        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())
        gc.collect()

    return run


def accept(head, *extra: bytes) -> bytes:
    key = head.header("sec-websocket-key").encode()
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    lines = (
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest),
        *extra,
    )
    return b"\r\n".join(lines) + b"\r\n\r\n"


class Side:
    """The upstream's side of a WebSocket; `seen` are the events that came."""

    def __init__(self, peer, head):
        self.peer = peer
        self.head = head
        self.frames = Connection(ConnectionType.SERVER)
        self.seen = []

    def send(self, event):
        self.peer.send(self.frames.send(event))

    async def events(self):
        while data := await self.peer.reader.read(65536):
            self.frames.receive_data(data)
            for event in self.frames.events():
                self.seen.append(event)
                yield event

    async def rest(self):
        """Read until the other side ends, answering its close."""
        with contextlib.suppress(ConnectionError):
            async for event in self.events():
                if isinstance(event, CloseConnection):
                    with contextlib.suppress(Exception):
                        self.send(event.response())
                    return


def websocket(script, *extra):
    async def serve(peer):
        head = await peer.head()
        peer.send(accept(head, *extra))
        await script(Side(peer, head))

    return serve


async def echo(side):
    async for event in side.events():
        if isinstance(event, Message):
            side.send(event)
        elif isinstance(event, Ping | CloseConnection):
            side.send(event.response())


@contextlib.asynccontextmanager
async def opened(script, *, max_message=1_000_000, subprotocols=(), **settings):
    async with upstream(script) as up:
        pool = Pool(Upstream(url=up.url, **settings))
        try:
            found = await connect_websocket(
                pool, b"/feed?a=%20", HEADERS, subprotocols=subprotocols, max_message=max_message
            )
            yield up, pool, found
        finally:
            await pool.close()
            assert not only(pool)._members


def test_messages_go_both_ways(run):
    messages = ["text", "\u20ac\U0001f600", b"\x00\xff", "", b"", "x" * 200_000, b"y" * 200_000]

    async def scenario():
        async with opened(websocket(echo)) as (up, pool, found):
            assert isinstance(found, UpstreamSocket)
            for message in messages:
                await found.send(message)
                assert await found.receive() == message
            await found.close(4000, "done")
            assert await found.receive() == Closed(code=4000, reason="done")
            await until(lambda: not only(pool)._members)
            head = up.requests[0]
            assert (head.method, head.target) == ("GET", "/feed?a=%20")
            assert head.header("x-auth-subject") == "alice"
            assert head.header("connection") == "Upgrade"
            assert head.header("upgrade") == "websocket"
            assert head.header("sec-websocket-version") == "13"
            assert head.header("sec-websocket-protocol") is None
            assert head.header("sec-websocket-extensions") is None

    run(scenario())


def test_the_clients_handshake_is_not_passed_on(run):
    async def scenario():
        async with upstream(websocket(echo)) as up:
            pool = Pool(Upstream(url=up.url))
            theirs = (
                (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
                (b"sec-websocket-version", b"12"),
                (b"sec-websocket-extensions", b"permessage-deflate"),
                (b"sec-websocket-protocol", b"old"),
            )
            found = await connect_websocket(pool, b"/", HEADERS + theirs, max_message=100)
            assert isinstance(found, UpstreamSocket)
            names = [name for name, _ in up.requests[0].headers]
            assert names.count("sec-websocket-key") == names.count("sec-websocket-version") == 1
            assert "sec-websocket-extensions" not in names
            assert "sec-websocket-protocol" not in names
            await pool.close()

    run(scenario())


def test_a_subprotocol_is_chosen_from_those_offered(run):
    async def scenario():
        script = websocket(echo, b"Sec-WebSocket-Protocol: v2.orders", b"X-Extra: 1")
        async with opened(script, subprotocols=("v1.orders", "v2.orders")) as (up, _, found):
            assert found.subprotocol == "v2.orders"
            assert (b"x-extra", b"1") in found.headers
            assert up.requests[0].header("sec-websocket-protocol") == "v1.orders, v2.orders"

    run(scenario())


BAD = {
    "wrong accept": lambda head: accept(head).replace(b"Accept: ", b"Accept: x"),
    "no accept": lambda head: accept(head).replace(b"Sec-WebSocket-Accept", b"X-Accept"),
    "two accepts": lambda head: accept(head, b"Sec-WebSocket-Accept: x"),
    "another protocol": lambda head: accept(head).replace(b": websocket", b": h2c"),
    "no upgrade": lambda head: accept(head).replace(b"Upgrade: websocket\r\n", b""),
    "no connection": lambda head: accept(head).replace(b"Connection: Upgrade\r\n", b""),
    "an extension": lambda head: accept(head, b"Sec-WebSocket-Extensions: permessage-deflate"),
    "a subprotocol": lambda head: accept(head, b"Sec-WebSocket-Protocol: c"),
    "two subprotocols": lambda head: accept(
        head, b"Sec-WebSocket-Protocol: a", b"Sec-WebSocket-Protocol: b"
    ),
    "a list of subprotocols": lambda head: accept(head, b"Sec-WebSocket-Protocol: a, b"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_handshake_is_502(run, name):
    async def script(peer):
        peer.send(BAD[name](await peer.head()))
        await peer.closed()

    async def scenario():
        async with upstream(script) as up:
            pool = Pool(Upstream(url=up.url))
            with pytest.raises(ForwardError) as raised:
                await connect_websocket(
                    pool, b"/", HEADERS, subprotocols=("a", "b"), max_message=100
                )
            assert raised.value.code is Code.UPSTREAM_PROTOCOL
            await until(lambda: not only(pool)._members)
            await pool.close()

    run(scenario())


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 403 No\r\ncontent-length: 7\r\n\r\nrefused", 403, b"refused"),
        (b"HTTP/1.1 302 X\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n", 302, b""),
        (ok(b"no socket"), 200, b"no socket"),
    ],
)
def test_a_refused_handshake_is_the_upstreams_response(run, answer, status, body):
    """aiohttp would follow the redirect."""

    async def script(peer):
        await peer.head()
        peer.send(answer)
        await peer.closed()

    async def scenario():
        async with opened(script) as (up, pool, found):
            assert isinstance(found, Response)
            assert found.status == status
            assert (b"".join([await found.read_chunk()]) if not found.ended else b"") == body
            assert len(up.requests) == 1
            assert len(only(pool)._idle) == 1

    run(scenario())


def test_frames_that_come_with_the_handshake_and_in_single_bytes(run):
    async def script(peer):
        head = await peer.head()
        side = Side(peer, head)
        first = side.frames.send(TextMessage(data="first"))
        second = side.frames.send(BytesMessage(data=b"second"))
        peer.send(accept(head) + first + second[:3])
        for byte in second[3:]:
            await peer.drain()
            await asyncio.sleep(0)
            peer.send(bytes([byte]))
        await side.rest()

    async def scenario():
        async with opened(script) as (_, _, found):
            assert await found.receive() == "first"
            assert await found.receive() == b"second"

    run(scenario())


def test_fragments_and_pings_between_them(run):
    async def script(side):
        side.send(TextMessage(data="one ", message_finished=False))
        side.send(Ping(payload=b"?"))
        side.send(TextMessage(data="", message_finished=False))
        side.send(TextMessage(data="message"))
        async for event in side.events():
            if isinstance(event, Pong):
                side.send(TextMessage(data=f"pong {event.payload.decode()}"))
            elif isinstance(event, CloseConnection):
                return

    async def scenario():
        async with opened(websocket(script)) as (_, _, found):
            assert await found.receive() == "one message"
            assert await found.receive() == "pong ?"

    run(scenario())


@pytest.mark.parametrize(
    ("parts", "fits"),
    [
        ([TextMessage(data="x" * 100)], True),
        ([TextMessage(data="x" * 101)], False),
        ([TextMessage(data="\u20ac" * 34)], False),  # 102 bytes
        ([BytesMessage(data=b"x" * 101)], False),
        ([BytesMessage(data=b"x" * 60, message_finished=False), BytesMessage(data=b"x" * 41)], False),
        ([BytesMessage(data=b"x" * 60, message_finished=False), BytesMessage(data=b"x" * 40)], True),
    ],
)  # fmt: skip
def test_a_message_over_the_limit_closes_with_1009(run, parts, fits):
    async def script(side):
        nonlocal upstream_side
        upstream_side = side
        for part in parts:
            side.send(part)
        await side.rest()

    async def scenario():
        async with opened(websocket(script), max_message=100) as (_, pool, found):
            first = await found.receive()
            if fits:
                assert len(first) == 100
            else:
                assert first == Closed(code=1009, reason="message too big")
                assert await found.receive() == first
                await until(lambda: upstream_side.seen and not only(pool)._members)
                assert upstream_side.seen[-1].code == 1009

    upstream_side = None
    run(scenario())


FAULTS = {
    "reserved bit": (b"\xc1\x01a", 1002),
    "unknown opcode": (b"\x83\x01a", 1002),
    "masked by a server": (b"\x81\x81\0\0\0\0a", 1002),
    "continuation of nothing": (b"\x80\x01a", 1002),
    "text within text": (b"\x01\x01a\x81\x01b", 1002),
    "long ping": (b"\x89\x7e\x00\x7e" + b"x" * 126, 1002),
    "fragmented ping": (b"\x09\x01a", 1002),
    "not UTF-8": (b"\x81\x02\xc3\x28", 1007),
    "UTF-8 cut off": (b"\x81\x01\xc3", 1007),
    "close of one byte": (b"\x88\x01a", 1002),
    "close with a local code": (b"\x88\x02\x03\xed", 1002),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_the_frames_closes_the_socket(run, name):
    data, code = FAULTS[name]

    async def script(side):
        nonlocal upstream_side
        upstream_side = side
        side.peer.send(data)
        await side.rest()

    async def scenario():
        async with opened(websocket(script)) as (_, pool, found):
            closed = await found.receive()
            assert isinstance(closed, Closed)
            assert closed.code == code
            await found.send("nobody gets this")
            await until(lambda: not only(pool)._members)
            await until(lambda: bool(upstream_side.seen))
            assert [event.code for event in upstream_side.seen] == [code]

    upstream_side = None
    run(scenario())


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (CloseConnection(code=1000, reason="bye"), Closed(code=1000, reason="bye")),
        (CloseConnection(code=4321), Closed(code=4321)),
        (CloseConnection(code=1005), Closed(code=1000)),
        (b"\x88\x00", Closed(code=1005)),
        (b"", Closed(code=1006)),
    ],
)
def test_how_the_upstream_closes(run, said, heard):
    async def script(side):
        side.send(TextMessage(data="last"))
        side.peer.send(said) if isinstance(said, bytes) else side.send(said)

    async def scenario():
        async with opened(websocket(script)) as (_, pool, found):
            await until(lambda: not only(pool)._members)
            assert await found.receive() == "last"
            for _ in range(2):
                assert await found.receive() == heard
            await found.close()

    run(scenario())


def test_a_reset_is_1006(run):
    async def script(side):
        await go.wait()
        side.peer.reset()

    async def scenario():
        nonlocal go
        go = asyncio.Event()
        async with opened(websocket(script)) as (_, _, found):
            receiving = asyncio.create_task(found.receive())
            await asyncio.sleep(0)
            go.set()
            assert await receiving == Closed(code=1006)

    go = None
    run(scenario())


def test_a_silent_upstream_is_pinged_and_then_given_up(run):
    async def script(side):
        nonlocal upstream_side
        upstream_side = side
        await side.rest()

    async def scenario():
        async with opened(websocket(script), idle_timeout=2 * SHORT) as (_, _, found):
            assert await found.receive() == Closed(code=1006)
        assert sum(isinstance(event, Ping) for event in upstream_side.seen) == 1

    upstream_side = None
    run(scenario())


def test_a_quiet_socket_whose_upstream_answers_pings_stays(run):
    async def script(side):
        nonlocal pings
        async for event in side.events():
            if isinstance(event, Ping):
                pings += 1
                side.send(event.response())

    async def scenario():
        async with opened(websocket(script), idle_timeout=SHORT) as (_, pool, found):
            await until(lambda: pings >= 4)
            assert len(only(pool)._members) == 1
            assert found._closed is None

    pings = 0
    run(scenario())


def test_an_upstream_that_does_not_answer_a_close_is_given_up(run, monkeypatch):
    monkeypatch.setattr("gateway.serve.upstream.websocket.CLOSE_TIMEOUT", SHORT)

    async def script(side):
        await side.peer.closed()

    async def scenario():
        async with opened(websocket(script), idle_timeout=1) as (_, pool, found):
            await found.close(1001)
            assert not only(pool)._members

    run(scenario())


def test_a_slow_reader_bounds_what_is_queued(run):
    async def script(side):
        nonlocal sent
        for _ in range(3000):
            side.send(BytesMessage(data=b"x" * 10_000))
            sent += 1
            await side.peer.drain()
        side.send(CloseConnection(code=1000))
        await side.rest()

    async def scenario():
        async with opened(websocket(script), idle_timeout=SHORT) as (_, _, found):
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(2 * SHORT)  # and the upstream is not taken for silent
            assert sent < 3000
            assert HIGH_WATER <= found._queued < 2 * HIGH_WATER
            count = 0
            while isinstance(await found.receive(), bytes):
                count += 1
            assert count == 3000

    sent = 0
    run(scenario())


SMALL = {
    "messages": (b"", b"\x82\x00", b""),
    "fragments": (b"\x02\x00", b"\x00\x00", b"\x80\x00"),
    "pings": (b"", b"\x89\x00", b""),
    "pongs": (b"", b"\x8a\x00", b""),
}


@pytest.mark.parametrize("kind", SMALL)
def test_frames_of_no_size_do_not_hold_up_others(run, kind, monkeypatch):
    monkeypatch.setattr("gateway.serve.turn.LONGEST", 0.001)
    first, frame, last = SMALL[kind]

    async def script(side):
        side.peer.send(first + frame * 50_000 + last + CLOSE)
        await side.rest()

    async def scenario():
        async with opened(websocket(script)) as (_, _, found), watched() as turns:
            count = 0
            while isinstance(await found.receive(), bytes):
                count += 1
            assert count == {"messages": 50_000, "fragments": 1}.get(kind, 0)
            assert await found.receive() == Closed(code=1000)
            assert turns.longest < 0.02

    run(scenario())


def test_what_came_before_the_end_is_received(run):
    async def script(side):
        side.peer.send(b"\x82\x00" * 50_000)
        await side.rest()

    async def scenario():
        async with opened(websocket(script)) as (_, _, found):
            await until(lambda: found._queued >= HIGH_WATER)
            found._transport.abort()
            await found._lost.wait()
            count = 0
            while isinstance(message := await found.receive(), bytes):
                count += 1
            assert message == Closed(code=1006)
            assert count > 2 * HIGH_WATER // 64
            await found.close()

    run(scenario())


def test_closing_does_not_wait_for_what_nobody_receives(run):
    async def script(side):
        side.peer.send(b"\x82\x00" * 50_000)
        await side.rest()

    async def scenario():
        async with opened(websocket(script)) as (_, _, found):
            await until(lambda: found._queued >= HIGH_WATER)
            async with asyncio.timeout(2):
                await found.close()

    run(scenario())


def test_an_upstream_that_takes_no_messages_is_given_up(run):
    async def script(side):
        await released.wait()

    async def scenario():
        nonlocal released
        released = asyncio.Event()
        async with opened(websocket(script), idle_timeout=SHORT) as (_, _, found):
            async with asyncio.timeout(5):
                while found._closed is None:
                    await found.send(b"x" * 100_000)
            assert await found.receive() == Closed(code=1006)
            released.set()

    released = None
    run(scenario())


def test_a_flood_of_pings_does_not_pile_up_pongs(run):
    async def script(side):
        ping = bytes([0x89, 125]) + os.urandom(125)
        with contextlib.suppress(ConnectionError):
            for _ in range(3000):
                side.peer.send(ping * 64)
                await side.peer.drain()
        await released.wait()

    async def scenario():
        nonlocal released
        released = asyncio.Event()
        async with opened(websocket(script), idle_timeout=SHORT) as (_, _, found):
            most = 0
            while found._closed is None:
                most = max(most, found._transport.get_write_buffer_size())
                await asyncio.sleep(0.001)
            assert most < 500_000
            released.set()

    released = None
    run(scenario())


def test_a_socket_counts_as_a_connection(run):
    async def scenario():
        async with opened(websocket(echo), max_connections=1, connect_timeout=SHORT) as (
            _,
            pool,
            found,
        ):
            with pytest.raises(ForwardError) as raised:
                await connect_websocket(pool, b"/", HEADERS, max_message=100)
            assert raised.value.code is Code.UPSTREAM_BUSY
            await found.close()
            again = await connect_websocket(pool, b"/", HEADERS, max_message=100)
            assert isinstance(again, UpstreamSocket)

    run(scenario())


def test_cancelling_the_handshake_closes_the_connection(run):
    async def script(peer):
        await peer.head()
        await peer.closed()
        gone.set()

    async def scenario():
        nonlocal gone
        gone = asyncio.Event()
        async with upstream(script) as up:
            pool = Pool(Upstream(url=up.url))
            task = asyncio.create_task(connect_websocket(pool, b"/", HEADERS, max_message=100))
            await until(lambda: up.requests)
            task.cancel()
            await asyncio.wait_for(gone.wait(), 1)
            await asyncio.wait([task])
            await pool.close()

    gone = None
    run(scenario())


def test_closing_the_pool_closes_the_socket(run):
    async def script(side):
        nonlocal upstream_side
        upstream_side = side
        await side.rest()

    async def scenario():
        async with opened(websocket(script)) as (_, pool, found):
            await pool.close()
            assert (await found.receive()).code == 1001
            await found.close()

    upstream_side = None
    run(scenario())
