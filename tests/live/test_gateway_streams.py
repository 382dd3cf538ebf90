"""The whole gateway and bodies that take their time: nothing is held back, no end is invented."""

import asyncio

import pytest

from tests.support import http1, http2
from tests.support.gateway import either_server  # noqa: F401  a fixture
from tests.support.gateway import live, running
from tests.support.upstream import ok

EVENTS = 5
QUIET = 0.5
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"


class Feed:
    """An upstream that sends one server-sent event for each `release`, then waits for its end."""

    def __init__(self, *, chunked=True):
        self.chunked = chunked
        self.due = asyncio.Semaphore(0)
        self.ended = asyncio.Event()

    async def __call__(self, peer):
        if await peer.request() is None:
            return
        framing = b"transfer-encoding: chunked\r\n" if self.chunked else b"connection: close\r\n"
        peer.send(STREAM + framing + b"\r\n")
        leaving = asyncio.create_task(peer.closed())
        leaving.add_done_callback(lambda _: self.ended.set())
        for number in range(EVENTS):
            await self.due.acquire()
            event = b"id: %d\ndata: event\n\n" % number
            peer.send(b"%x\r\n%b\r\n" % (len(event), event) if self.chunked else event)
        await self.due.acquire()
        peer.send(b"0\r\n\r\n" if self.chunked else b"")
        leaving.cancel()

    def release(self):
        self.due.release()


async def http1_pieces(client):
    """The pieces of a response as they come, after its head."""
    status, headers = await client.head()
    assert (status, dict(headers)["content-type"]) == (200, "text/event-stream")
    while piece := await client.chunk():
        yield piece


async def http2_pieces(client, stream_id):
    stream, seen = client.streams[stream_id], 0
    await client.until(lambda: stream.status)
    assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
    while True:
        await client.until(lambda: len(stream.body) > seen or stream.ended)
        if len(stream.body) == seen:
            return
        yield bytes(stream.body[seen:])
        seen = len(stream.body)


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "until the end"])
@pytest.mark.parametrize("version", [1, 2])
@live
async def test_each_event_arrives_before_the_next_is_sent(tmp_path, version, chunked):
    """Also after a quiet time longer than a client may be idle, for the client owes nothing."""
    feed = Feed(chunked=chunked)
    connect = {1: http1, 2: http2}[version].connect
    config = {"limits": {"idle_timeout": "200ms"}}
    async with running(tmp_path, feed, config=config) as gateway, connect(gateway.port) as client:
        if version == 1:
            await client.send(http1.request("GET", "/open/feed"))
            pieces = http1_pieces(client)
        else:
            pieces = http2_pieces(client, client.open(http2.head("GET", "/open/feed")))
        for number in range(EVENTS):
            if number == 2 and chunked:
                await asyncio.sleep(QUIET)
            feed.release()
            assert await anext(pieces) == b"id: %d\ndata: event\n\n" % number
        feed.release()
        assert await anext(pieces, None) is None


@pytest.mark.parametrize("version", [1, 2])
@live
async def test_a_client_that_leaves_ends_the_feed(tmp_path, version):
    feed = Feed()
    async with running(tmp_path, feed) as gateway:
        if version == 1:
            async with http1.connect(gateway.port) as client:
                await client.send(http1.request("GET", "/open/feed"))
                feed.release()
                assert await anext(http1_pieces(client))
            await feed.ended.wait()
        else:
            async with http2.connect(gateway.port) as client:
                stream = client.open(http2.head("GET", "/open/feed"))
                feed.release()
                assert await anext(http2_pieces(client, stream))
                client.h2.reset_stream(stream)
                await client.flush()
                await feed.ended.wait()  # with the connection still there
        (event,) = await gateway.events()
        assert (event["status"], event["incomplete"]) == (200, True)


@live
async def test_a_request_body_is_passed_on_as_it_comes(tmp_path):
    """And the answer's first byte goes out before the request's last has come."""

    async def upper(peer):
        if await peer.head() is None:
            return
        peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while size := int(await peer.reader.readline(), 16):
            piece = await peer.reader.readexactly(size + 2)
            peer.send(b"%x\r\n%b" % (size, piece.upper()))
        peer.send(b"0\r\n\r\n")

    async with running(tmp_path, upper) as gateway, http1.connect(gateway.port) as client:
        chunked = (("Transfer-Encoding", "chunked"),)
        await client.send(http1.request("POST", "/open/x", chunked))
        assert (await client.head())[0] == 200
        for word in (b"one", b"three"):
            await client.send(b"%x\r\n%b\r\n" % (len(word), word))
            assert await client.chunk() == word.upper()
        await client.send(b"0\r\n\r\n")
        assert await client.chunk() == b""


@pytest.mark.parametrize("version", [1, 2])
@live
async def test_a_small_body_is_read_before_a_connection_is_taken(tmp_path, version, either_server):
    """Who sends it slowly holds no connection to the upstream."""
    config = {"upstreams": {"service": {"max_connections": 1}}}
    fields = [("expect", "100-continue"), ("content-length", "9")]
    async with running(tmp_path, config=config) as gateway:
        if version == 1:
            async with http1.connect(gateway.port) as client:
                await client.send(http1.request("POST", "/open/slow", tuple(fields)))
                assert (await client.response()).status == 100
                await client.send(b"half")
                assert (await gateway.ask("/open/other")).status == 200
                await client.send(b"-half")
                body = (await client.response()).json()["body"]
        else:
            async with http2.connect(gateway.port) as client:
                opened = client.open(http2.head("POST", "/open/slow", fields), end=False)
                stream = client.streams[opened]
                if either_server == "hypercorn":  # hyper leaves it out in HTTP/2
                    await client.until(lambda: stream.interim == [100])
                client.h2.send_data(opened, b"half")
                await client.flush()
                assert (await gateway.ask("/open/other")).status == 200
                await client.send_body(opened, b"-half")
                body = (await client.finished(opened)).json()["body"]
        assert body == "half-half"
        other, slow = gateway.service.requests
        assert (other.target, slow.target) == ("/open/other", "/open/slow")
        assert slow.header("content-length") == "9"
        first, second = await gateway.events(2)
        assert (first["bytes_in"], second["bytes_in"]) == (0, 9)


@pytest.mark.parametrize("version", [1, 2])
@live
async def test_an_answer_before_the_body_is_sent(tmp_path, version):
    """It arrives, and the connection is used for no second request of the upstream's."""

    async def early(peer):
        while (head := await peer.head()) is not None:
            peer.send(ok(head.target.encode()))
            if head.method == "POST":
                await peer.closed()
                return

    async with running(tmp_path, early, config={"limits": {"body": "1MiB"}}) as gateway:
        if version == 1:
            async with http1.connect(gateway.port) as client:
                lines = (("Content-Length", "100000"),)
                await client.send(http1.request("POST", "/open/early", lines), b"x" * 10)
                answer = await client.response()
                assert (answer.status, answer.body) == (200, b"/open/early")
                assert answer.header("connection") == "close"
                assert await client.ended() == b""
        else:
            async with http2.connect(gateway.port) as client:
                stream = client.open(http2.head("POST", "/open/early"), end=False)
                client.h2.send_data(stream, b"x" * 10)
                answer = await client.finished(stream)
                assert (answer.status, answer.body) == (200, b"/open/early")
                assert (await client.request("GET", "/open/next")).body == b"/open/next"
        assert (await gateway.ask("/open/next")).body == b"/open/next"
        post, *others = [peer.requests for peer in gateway.service.peers]
        assert [request.method for request in post] == ["POST"]
        assert others


@live
async def test_a_slow_reader_bounds_what_is_read_from_the_upstream(tmp_path):
    size, sent = 64 * 1024 * 1024, 0

    async def flood(peer):
        nonlocal sent
        if await peer.request() is None:
            return
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        while sent < size:
            peer.send(bytes(65536))
            await peer.drain()
            sent += 65536

    async with running(tmp_path, flood) as gateway, http1.connect(gateway.port) as client:
        await client.send(http1.request("GET", "/open/x"))
        await client.head()
        before = -1
        while sent != before:  # until nothing moves any more
            before = sent
            await asyncio.sleep(0.2)
        assert sent < size // 4
        answer = 0
        while answer < size:
            answer += len(await client.reader.read(1 << 20))
