import asyncio
import contextlib
import gc
import socket
import ssl
import threading

import pytest
import uvloop

from gateway.config.model import Upstream, UpstreamTls
from gateway.errors import Code, ConfigError, ForwardError, GatewayError
from gateway.serve.upstream import Pool
from gateway.serve.upstream.connection import HIGH_WATER
from gateway.serve.upstream.dial import dialers
from tests.support.certificates import Authority
from tests.support.pools import pieces, refused
from tests.support.upstream import answers, ok, only, until, upstream

HEADERS = ((b"host", b"orders.example"), (b"accept", b"*/*"))
H = b"HTTP/1.1 200 OK\r\n"
SEGMENT = 256 * 1024
SHORT = 0.15


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
        gc.collect()  # a leaked transport warns when it is collected

    return run


@contextlib.asynccontextmanager
async def pool_to(script, **settings):
    async with upstream(script) as up:
        pool = Pool(Upstream(url=up.url, **settings))
        try:
            yield up, pool
        finally:
            await pool.close()
            assert not only(pool)._members
            assert not only(pool)._opening
            assert not only(pool)._waiters


async def get(pool, method="GET", body=None, length=None, target=b"/"):
    response = await pool.request(method, target, HEADERS, body, length=length)
    return response.status, await content(response)


async def content(response):
    pieces = b""
    while not response.ended:
        pieces += await response.read_chunk()
    return pieces


def sending(data, *, then="hang"):
    """Read a request, send these bytes, then `hang`, `close` or `reset`."""

    async def script(peer):
        if await peer.request() is None:
            return
        peer.send(data)
        await peer.drain()
        if then == "reset":
            peer.reset()
        elif then == "hang":
            await peer.closed()

    return script


# Requests and responses that are well.


def test_requests_share_a_connection(run):
    async def scenario():
        async with pool_to(answers(ok(b"a"), ok(b"b"), ok(b"c"))) as (up, pool):
            assert [await get(pool) for _ in range(3)] == [(200, b"a"), (200, b"b"), (200, b"c")]
            assert len(up.peers) == 1

    run(scenario())


def test_the_request_arrives_as_it_was_given(run):
    async def scenario():
        async with pool_to(answers(ok())) as (up, pool):
            await get(pool, target=b"/a%2Fb?c=%20&d")
            await get(pool, "POST")
            await get(pool, "PUT", b"whole")
            await get(pool, "PATCH", pieces(b"in", b"", b"pieces"), length=8)
            await get(pool, "POST", pieces(b"a" * 20, b"", b"b"))
            await get(pool, "POST", pieces())
            await get(pool, "POST", pieces(), length=0)
            assert up.requests[0].target == "/a%2Fb?c=%20&d"
            plain = tuple((name.decode(), value.decode()) for name, value in HEADERS)
            framed = [(r.method, r.headers[:-2], r.body) for r in up.requests]
            assert all(r.headers[-2:] == plain for r in up.requests)
            assert framed == [
                ("GET", (), b""),
                ("POST", (("content-length", "0"),), b""),
                ("PUT", (("content-length", "5"),), b"whole"),
                ("PATCH", (("content-length", "8"),), b"inpieces"),
                ("POST", (("transfer-encoding", "chunked"),), b"a" * 20 + b"b"),
                ("POST", (("transfer-encoding", "chunked"),), b""),
                ("POST", (("content-length", "0"),), b""),
            ]
            assert len(up.peers) == 1

    run(scenario())


def test_the_head_goes_out_before_a_slow_first_piece_and_with_a_ready_one(run):
    async def scenario():
        head_seen = asyncio.Event()

        async def script(peer):
            first = await peer.reader.read(65536)
            segments.append(first)
            head_seen.set()
            peer.send(ok(headers=b"connection: close\r\n"))
            await peer.closed()

        async def slow():
            await head_seen.wait()
            yield b"late"

        segments = []
        async with pool_to(script) as (_, pool):
            await get(pool, "POST", slow(), length=4)
            await get(pool, "POST", pieces(b"now!"), length=4)
        assert segments[0].endswith(b"\r\n\r\n")
        assert segments[1].endswith(b"\r\n\r\nnow!")

    run(scenario())


def test_every_framing_leaves_the_connection_as_it_should(run):
    table = [
        ("GET", H + b"content-length: 2\r\n\r\nab", b"ab", True),
        ("GET", H + b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", b"ab", True),
        ("HEAD", H + b"content-length: 2\r\n\r\n", b"", True),
        ("GET", b"HTTP/1.1 204 X\r\n\r\n", b"", True),
        ("GET", b"HTTP/1.1 304 X\r\ncontent-length: 2\r\n\r\n", b"", True),
        ("GET", b"HTTP/1.1 100 C\r\n\r\n" + ok(b"ab"), b"ab", True),
        ("GET", ok(b"ab", b"connection: close\r\n"), b"ab", False),
        ("GET", b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nab", b"ab", False),
    ]

    async def scenario():
        for method, answer, body, kept in table:
            async with pool_to(answers(answer)) as (up, pool):
                assert (await get(pool, method))[1] == body
                assert (await get(pool, method))[1] == body
                assert len(up.peers) == (1 if kept else 2), answer
        async with pool_to(sending(H + b"\r\nuntil the end", then="close")) as (_, pool):
            assert await get(pool) == (200, b"until the end")

    run(scenario())


def test_a_response_in_single_bytes(run):
    answer = (
        b"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\n" + H
        + b"a: b\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n1\r\nd\r\n0\r\nt: u\r\n\r\n"
    )  # fmt: skip

    async def script(peer):
        while await peer.request():
            for byte in answer:
                peer.send(bytes([byte]))
                await asyncio.sleep(0)

    async def scenario():
        async with pool_to(script) as (up, pool):
            assert await get(pool) == (200, b"abcd")
            assert await get(pool) == (200, b"abcd")
            assert len(up.peers) == 1

    run(scenario())


def test_content_streams(run):
    """The first piece is here before the last is sent."""

    async def scenario():
        seen = asyncio.Event()

        async def script(peer):
            await peer.request()
            peer.send(H + b"content-length: 10\r\n\r\nfirst")
            await seen.wait()
            peer.send(b"final")

        async with pool_to(script) as (_, pool):
            response = await pool.request("GET", b"/", HEADERS)
            assert await response.read_chunk() == b"first"
            assert not response.ended
            seen.set()
            assert await response.read_chunk() == b"final"
            assert response.ended
            assert await response.read_chunk() == b""

    run(scenario())


def test_both_directions_at_once(run):
    async def echo(peer):
        head = await peer.head()
        peer.send(H + b"transfer-encoding: chunked\r\n\r\n")
        assert head.header("transfer-encoding") == "chunked"
        while size := int(await peer.reader.readline(), 16):
            piece = await peer.reader.readexactly(size + 2)
            peer.send(b"%x\r\n%b" % (size, piece))
        await peer.reader.readexactly(2)
        peer.send(b"0\r\n\r\n")
        await peer.closed()

    async def scenario():
        questions: asyncio.Queue[bytes | None] = asyncio.Queue()

        async def body():
            while (question := await questions.get()) is not None:
                yield question

        async with pool_to(echo) as (up, pool):
            response = await pool.request("POST", b"/", HEADERS, body())
            for question in (b"one", b"two", b"three"):
                questions.put_nowait(question)
                assert await response.read_chunk() == question
            questions.put_nowait(None)
            assert await response.read_chunk() == b""
            assert response.ended
            assert len(up.peers) == 1

    run(scenario())


# Bytes that nobody asked for.

MALFORMED = {
    "obs-fold": H + b"a: b\r\n c\r\ncontent-length: 0\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
    "NUL": H + b"a: \0\r\ncontent-length: 0\r\n\r\n",
    "two lengths": H + b"content-length: 0\r\ncontent-length: 5\r\n\r\nabcde",
    "both framings": H + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "another coding": H + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "unasked 101": b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    "not HTTP": b"220 mail.example ESMTP\r\n",
    "bad chunk behind the head": H + b"transfer-encoding: chunked\r\n\r\nxyz\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_response_is_502_and_ends_the_connection(run, name):
    async def script(peer):
        await peer.request()
        peer.send(MALFORMED[name] if peer.number == 0 else ok())
        await peer.closed()

    async def scenario():
        async with pool_to(script) as (up, pool):
            await refused(Code.UPSTREAM_PROTOCOL, pool.request("GET", b"/", HEADERS))
            assert await get(pool) == (200, b"ok")
            assert len(up.peers) == 2

    run(scenario())


def test_content_that_turns_malformed_does_not_end_well(run):
    async def script(peer):
        await peer.request()
        peer.send(H + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await seen.wait()
        peer.send(b"oops\r\n")
        await peer.closed()

    async def scenario():
        nonlocal seen
        seen = asyncio.Event()
        async with pool_to(script) as (_, pool):
            response = await pool.request("GET", b"/", HEADERS)
            assert await response.read_chunk() == b"abc"
            seen.set()
            for _ in range(2):
                await refused(Code.UPSTREAM_PROTOCOL, response.read_chunk())
            assert not response.ended

    seen = None
    run(scenario())


SPLIT = ok(b"mine") + ok(b"of another", b"set-cookie: stolen=1\r\n")


@pytest.mark.parametrize("extra", [b"\r\n", b"x", ok(b"of another")])
def test_bytes_behind_a_response_are_nobodys(run, extra):
    """In the segment that completes it: the next request would get them as its answer."""

    async def script(peer):
        while await peer.request():
            peer.send(ok(b"of connection %d" % peer.number) + extra)

    async def scenario():
        async with pool_to(script) as (up, pool):
            for number in range(3):
                assert await get(pool) == (200, b"of connection %d" % number)
            assert len(up.peers) == 3

    run(scenario())


def test_a_second_response_split_anywhere_is_nobodys(run):
    """At every offset of the two responses; the rest comes when it may do most harm."""
    cuts = range(len(ok(b"mine")), len(SPLIT))

    async def script(peer):
        await peer.request()
        if peer.number % 2:
            peer.send(ok(b"well"))
            await peer.closed()
            return
        cut = cuts[peer.number // 2]
        peer.send(SPLIT[:cut])
        await peer.drain()
        await asyncio.sleep(0)
        peer.send(SPLIT[cut:])
        await peer.closed()

    async def scenario():
        async with pool_to(script) as (up, pool):
            for number in range(len(cuts)):
                assert await get(pool) == (200, b"mine")
                if number + 1 < len(cuts) or len(up.peers) % 2:
                    await until(lambda: not only(pool)._idle)
                assert await get(pool) == (200, b"well")
                only(pool).retire()  # the well-behaved one
                only(pool)._retired = False
                await until(lambda: not only(pool)._members)

    run(scenario())


def test_a_response_that_arrives_on_an_unused_connection_is_nobodys(run):
    """aio-libs/aiohttp #13656."""

    async def script(peer):
        while await peer.request():
            peer.send(ok(b"answer %d" % peer.number))
            if peer.number == 0:
                await go.wait()
                peer.send(ok(b"stolen"))

    async def scenario():
        nonlocal go
        go = asyncio.Event()
        async with pool_to(script) as (up, pool):
            assert await get(pool) == (200, b"answer 0")
            assert len(only(pool)._idle) == 1
            go.set()
            await until(lambda: not only(pool)._members)
            assert await get(pool) == (200, b"answer 1")
            assert len(up.peers) == 2

    go = None
    run(scenario())


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("late", [ok(b"stolen"), b""])
def test_what_the_kernel_holds_before_a_request_is_not_its_answer(run, method, late):
    """The loop has not seen the bytes, or the end, yet when the next request comes."""
    listener = socket.create_server(("127.0.0.1", 0))
    say, said = threading.Event(), threading.Event()

    def serve():
        first, _ = listener.accept()
        with first:
            first.recv(65536)
            first.sendall(ok(b"answer 0"))
            say.wait(5)
            first.sendall(late) if late else first.shutdown(socket.SHUT_WR)
            said.set()
            second, _ = listener.accept()
            with second:
                second.recv(65536)
                second.sendall(ok(b"answer 1"))
                while second.recv(65536):
                    pass

    async def scenario():
        pool = Pool(Upstream(url=f"http://127.0.0.1:{listener.getsockname()[1]}"))
        assert await get(pool, method) == (200, b"answer 0")
        await until(lambda: len(only(pool)._idle) == 1)
        say.set()
        said.wait(5)  # and the loop stands still
        assert await get(pool, method) == (200, b"answer 1")
        await pool.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener:
        run(scenario())
        thread.join(5)
    assert not thread.is_alive()


def test_an_upstream_that_speaks_first_is_not_answering(run):
    """Whether its bytes are there before the request is written, or with it."""
    listener = socket.create_server(("127.0.0.1", 0))
    spoken = threading.Event()

    def serve():
        first, _ = listener.accept()
        with first:
            first.sendall(ok(b"not asked for"))
            spoken.set()
            with contextlib.suppress(ConnectionError):
                while first.recv(65536):
                    pass

    async def scenario():
        pool = Pool(Upstream(url=f"http://127.0.0.1:{listener.getsockname()[1]}"))
        dial = only(pool)._dialer.dial

        async def slow_dial(protocol):
            await dial(protocol)
            spoken.wait(5)

        only(pool)._dialer = Stub(slow_dial)
        await refused(Code.UPSTREAM_PROTOCOL, pool.request("GET", b"/", HEADERS))
        await pool.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener:
        run(scenario())
        thread.join(5)


class Stub:
    is_plain = True

    def __init__(self, dial):
        self.dial = dial


# Connections that end.


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize(
    "start",
    [
        H + b"content-length: 10\r\n\r\nabc",
        H + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        H + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
    ],
)
def test_content_that_is_cut_off_is_an_error(run, start, then):
    async def script(peer):
        await peer.request()
        peer.send(start)
        await peer.drain()
        await seen.wait()
        peer.reset() if then == "reset" else peer.close()

    async def scenario():
        nonlocal seen
        seen = asyncio.Event()
        async with pool_to(script) as (_, pool):
            response = await pool.request("GET", b"/", HEADERS)
            assert await response.read_chunk() == b"abc"
            seen.set()
            await refused(Code.UPSTREAM_RESET, response.read_chunk())
            assert not response.ended

    seen = None
    run(scenario())


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("start", [b"", b"HTT", H + b"a: "])
@pytest.mark.parametrize("then", ["close", "reset"])
def test_no_answer_on_a_new_connection_is_502_at_once(run, start, then, method):
    async def scenario():
        async with pool_to(sending(start, then=then)) as (up, pool):
            await refused(Code.UPSTREAM_RESET, pool.request(method, b"/", HEADERS))
            assert len(up.requests) == 1

    run(scenario())


def once_then(start, *, then):
    """Each connection answers one request; the second is read and not answered."""

    async def script(peer):
        await peer.request()
        peer.send(ok(b"answer of %d" % peer.number))
        if await peer.request() is not None:
            peer.send(start)
            await peer.drain()
            if then == "reset":
                peer.reset()

    return script


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize(
    ("method", "body"), [("GET", None), ("GET", b"a"), ("HEAD", None), ("OPTIONS", None)]
)
def test_a_safe_request_is_sent_again_on_a_fresh_connection(run, method, body, then):
    async def scenario():
        async with pool_to(once_then(b"", then=then)) as (up, pool):
            await get(pool)
            status, answer = await get(pool, method, body)
            assert (status, answer) == (200, b"" if method == "HEAD" else b"answer of 1")
            assert [len(peer.requests) for peer in up.peers] == [2, 1]
            assert up.requests[1] == up.requests[2]

    run(scenario())


@pytest.mark.parametrize(
    ("method", "body", "length", "start"),
    [
        ("DELETE", None, None, b""),
        ("PUT", None, None, b""),
        ("POST", b"a", None, b""),
        ("GET", "pieces", 1, b""),
        ("GET", "pieces", None, b""),
        ("PROPFIND", None, None, b""),
        ("GET", None, None, b"H"),
    ],
)
@pytest.mark.parametrize("then", ["close", "reset"])
def test_nothing_else_is_ever_sent_again(run, method, body, length, start, then):
    """A DELETE that aiohttp replays is applied twice."""

    async def scenario():
        async with pool_to(once_then(start, then=then)) as (up, pool):
            await get(pool)
            given = pieces(b"a") if body == "pieces" else body
            await refused(
                Code.UPSTREAM_RESET, pool.request(method, b"/", HEADERS, given, length=length)
            )
            assert [len(peer.requests) for peer in up.peers] == [2]

    run(scenario())


def test_a_safe_request_is_sent_again_only_once(run):
    async def script(peer):
        await peer.request()
        if peer.number == 0:
            peer.send(ok())
            await peer.request()

    async def scenario():
        async with pool_to(script) as (up, pool):
            await get(pool)
            await refused(Code.UPSTREAM_RESET, pool.request("GET", b"/", HEADERS))
            assert [len(peer.requests) for peer in up.peers] == [2, 1]

    run(scenario())


def test_a_safe_request_is_sent_again_on_a_fresh_connection_though_the_pool_is_full(run):
    async def script(peer):
        await peer.request()
        if peer.number == 2:
            peer.send(ok(b"fresh"))
            await peer.closed()
            return
        both.append(peer)
        await until(lambda: len(both) >= 2)
        peer.send(ok())
        await peer.request()

    async def scenario():
        async with pool_to(script, max_connections=2) as (up, pool):
            await asyncio.gather(get(pool), get(pool))
            assert len(only(pool)._idle) == 2
            assert await get(pool) == (200, b"fresh")
            assert sorted(len(peer.requests) for peer in up.peers[:2]) == [1, 2]

    both = []
    run(scenario())


# Time limits.


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 200 OK\r\na: ", b"HTTP/1.1 100 Continue\r\n\r\n"]
)
def test_no_head_in_time_is_504(run, start):
    async def scenario():
        async with pool_to(sending(start), first_byte_timeout=SHORT) as (up, pool):
            await refused(Code.UPSTREAM_TIMEOUT, pool.request("GET", b"/", HEADERS))
            assert len(up.requests) == 1

    run(scenario())


def test_a_head_that_drips_is_504(run):
    async def script(peer):
        await peer.request()
        with contextlib.suppress(ConnectionError):
            for byte in H + b"a: " + b"x" * 1000:
                peer.send(bytes([byte]))
                await peer.drain()
                await asyncio.sleep(0.01)

    async def scenario():
        async with pool_to(script, first_byte_timeout=SHORT) as (_, pool):
            await refused(Code.UPSTREAM_TIMEOUT, pool.request("GET", b"/", HEADERS))

    run(scenario())


def test_content_that_stops_is_an_error(run):
    async def scenario():
        script = sending(H + b"content-length: 10\r\n\r\nabc")
        async with pool_to(script, idle_timeout=SHORT) as (_, pool):
            response = await pool.request("GET", b"/", HEADERS)
            assert await response.read_chunk() == b"abc"
            await refused(Code.UPSTREAM_TIMEOUT, response.read_chunk())

    run(scenario())


def test_content_that_drips_goes_on(run):
    async def script(peer):
        await peer.request()
        peer.send(H + b"content-length: 10\r\n\r\n")
        for _ in range(10):
            await asyncio.sleep(0.05)
            peer.send(b"x")
        await peer.closed()

    async def scenario():
        async with pool_to(script, idle_timeout=0.3, first_byte_timeout=0.3) as (_, pool):
            assert await get(pool) == (200, b"x" * 10)

    run(scenario())


def test_an_upstream_that_takes_no_content_is_504(run):
    async def script(peer):
        await peer.head()
        await released.wait()

    async def endless():
        while True:
            yield b"x" * 65536

    async def scenario():
        nonlocal released
        released = asyncio.Event()
        async with pool_to(script, idle_timeout=SHORT) as (_, pool):
            await refused(Code.UPSTREAM_TIMEOUT, pool.request("POST", b"/", HEADERS, endless()))
            released.set()

    released = None
    run(scenario())


def test_the_clients_slowness_is_not_the_upstreams(run):
    """Neither while its content is awaited, nor while it does not read."""

    async def slow():
        for _ in range(3):
            await asyncio.sleep(2 * SHORT)
            yield b"a"

    async def scenario():
        limits = {"idle_timeout": SHORT, "first_byte_timeout": SHORT, "keep_alive": SHORT}
        async with pool_to(answers(ok(), ok(b"x" * 500_000)), **limits) as (up, pool):
            await get(pool)
            response = await pool.request("POST", b"/", HEADERS, slow())
            await asyncio.sleep(2 * SHORT)
            first = await response.read_chunk()
            await asyncio.sleep(2 * SHORT)
            assert len(first) + len(await content(response)) == 500_000
            assert len(up.peers) == 1

    run(scenario())


def test_an_unused_connection_is_closed_in_time(run):
    async def scenario():
        async with pool_to(answers(ok()), keep_alive=SHORT) as (up, pool):
            await get(pool)
            await get(pool)
            assert len(up.peers) == 1
            await until(lambda: not only(pool)._members)
            await get(pool)
            assert len(up.peers) == 2
        async with pool_to(answers(ok()), keep_alive=0) as (up, pool):
            await get(pool)
            await get(pool)
            assert len(up.peers) == 2

    run(scenario())


# Sizes.

FLOODS = {
    "one header": H + b"a: ",
    "no end of the status": b"HTTP/1.1 200 ",
    "chunk extension": H + b"transfer-encoding: chunked\r\n\r\n1;",
    "trailer": H + b"transfer-encoding: chunked\r\n\r\n0\r\na: ",
}


@pytest.mark.parametrize("name", FLOODS)
def test_endless_framing_is_refused(run, name):
    async def script(peer):
        await peer.request()
        peer.send(FLOODS[name])
        with contextlib.suppress(ConnectionError):
            for _ in range(4000):
                peer.send(b"x" * 1000)
                await peer.drain()

    async def scenario():
        async with pool_to(script, max_head=10_000) as (_, pool):
            await refused(Code.UPSTREAM_PROTOCOL, get(pool))

    run(scenario())


def test_a_head_up_to_the_limit_passes(run):
    async def scenario():
        for size, fits in ((9_900, True), (10_100, False)):
            answer = ok(b"ab", b"x: " + b"y" * size + b"\r\n")
            async with pool_to(answers(answer), max_head=10_000) as (_, pool):
                if fits:
                    assert await get(pool) == (200, b"ab")
                else:
                    await refused(Code.UPSTREAM_PROTOCOL, get(pool))

    run(scenario())


def test_a_slow_reader_bounds_what_is_read_from_the_upstream(run):
    size = 30_000_000

    async def script(peer):
        nonlocal written
        await peer.request()
        peer.send(H + b"content-length: %d\r\n\r\n" % size)
        for _ in range(size // 100_000):
            peer.send(b"x" * 100_000)
            written += 100_000
            await peer.drain()
        await peer.closed()

    async def scenario():
        async with pool_to(script) as (_, pool):
            response = await pool.request("GET", b"/", HEADERS)
            before = -1
            while before != written:  # until the upstream does not get on
                before = written
                await asyncio.sleep(0.05)
            assert HIGH_WATER <= response.reader.buffered < HIGH_WATER + SEGMENT
            assert written < size
            total = 0
            while not response.ended:
                total += len(await response.read_chunk())
                assert response.reader.buffered < HIGH_WATER + SEGMENT
            assert total == size

    written = 0
    run(scenario())


def test_a_slow_upstream_bounds_what_is_read_from_the_client(run):
    size = 30_000_000

    async def body():
        nonlocal given
        while given < size:
            given += 100_000
            yield b"x" * 100_000

    async def script(peer):
        head = await peer.head()
        await go.wait()
        peer.send(ok(b"%d" % len(await peer.body(head))))
        await peer.closed()

    async def scenario():
        nonlocal go
        go = asyncio.Event()
        async with pool_to(script) as (_, pool):
            answer = asyncio.create_task(get(pool, "POST", body(), length=size))
            before = -1
            while before != given:
                before = given
                await asyncio.sleep(0.05)
            assert 0 < given < size
            go.set()
            assert await answer == (200, b"%d" % size)

    go, given = None, 0
    run(scenario())


# Content of requests.


@pytest.mark.parametrize("status", [b"413 Too Large", b"200 OK"])
def test_an_early_answer_ends_the_upload_and_the_connection(run, status):
    async def endless():
        nonlocal ended
        try:
            while True:
                yield b"x" * 1000
                await asyncio.sleep(0.001)
        finally:
            ended = True

    async def script(peer):
        await peer.head()
        await peer.reader.readline()
        peer.send(b"HTTP/1.1 %b\r\ncontent-length: 3\r\n\r\nno!" % status)
        await peer.closed()

    async def scenario():
        async with pool_to(script) as (up, pool):
            source = endless()
            response = await pool.request("POST", b"/", HEADERS, source)
            assert await content(response) == b"no!"
            assert response.status == int(status[:3])
            await until(lambda: ended and not only(pool)._members)
            await source.aclose()
            assert len(up.peers) == 1

    ended = False
    run(scenario())


def test_an_early_error_stops_the_upload_before_its_content_ends(run):
    async def waiting():
        nonlocal stopped
        try:
            yield b"x"
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async def script(peer):
        await peer.head()
        peer.send(b"HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\n")
        await stopped.wait()
        peer.send(b"no")
        await peer.closed()

    async def scenario():
        nonlocal stopped
        stopped = asyncio.Event()
        async with pool_to(script) as (_, pool):
            assert await get(pool, "POST", waiting()) == (403, b"no")
            await until(lambda: not only(pool)._members)

    stopped = None
    run(scenario())


@pytest.mark.parametrize("length", [None, 10])
def test_what_the_content_raises_is_raised(run, length):
    async def broken():
        yield b"abc"
        raise GatewayError(Code.BODY_TOO_LARGE, "more than was allowed")

    async def script(peer):
        nonlocal received
        received = await peer.reader.read()

    async def scenario():
        async with pool_to(script) as (_, pool):
            await refused(
                Code.BODY_TOO_LARGE, pool.request("POST", b"/", HEADERS, broken(), length=length)
            )
            await until(lambda: received is not None)
            assert not received.endswith(b"0\r\n\r\n")

    received = None
    run(scenario())


def test_what_the_content_raises_after_the_head_is_raised(run):
    async def broken():
        yield b"abc"
        await go.wait()
        raise GatewayError(Code.BODY_TIMEOUT, "too slow")

    async def script(peer):
        await peer.head()
        peer.send(H + b"transfer-encoding: chunked\r\n\r\n")
        await peer.closed()

    async def scenario():
        nonlocal go
        go = asyncio.Event()
        async with pool_to(script) as (_, pool):
            response = await pool.request("POST", b"/", HEADERS, broken())
            go.set()
            await refused(Code.BODY_TIMEOUT, response.read_chunk())

    go = None
    run(scenario())


def test_content_that_cancels_itself_does_not_hang_the_request(run):
    async def cancelled():
        yield b"abc"
        raise asyncio.CancelledError

    async def script(peer):
        await peer.head()
        await peer.closed()

    async def scenario():
        async with pool_to(script) as (_, pool):
            await refused(
                Code.UPSTREAM_RESET, pool.request("POST", b"/", HEADERS, cancelled(), length=9)
            )

    run(scenario())


@pytest.mark.parametrize("parts", [(b"abc",), (b"abcdefghijk",), (b"abcdefghij", b"k"), ()])
def test_content_that_is_not_as_long_as_declared_is_refused(run, parts):
    async def script(peer):
        nonlocal received
        received = await peer.reader.read()

    async def scenario():
        async with pool_to(script) as (_, pool):
            await refused(
                Code.BAD_FRAMING, pool.request("POST", b"/", HEADERS, pieces(*parts), length=10)
            )
            await until(lambda: received is not None)
            assert b"k" not in received.partition(b"\r\n\r\n")[2]

    received = None
    run(scenario())


# Limits on connections, and cancellation.


def test_a_connection_serves_one_request_at_a_time(run):
    async def script(peer):
        nonlocal most
        while request := await peer.request():
            active.append(request)
            most = max(most, len(active))
            await asyncio.sleep(0.002)
            active.remove(request)
            peer.send(ok(request.target.encode()))

    async def scenario():
        async with pool_to(script, max_connections=3) as (up, pool):
            targets = [b"/%d" % number for number in range(30)]
            answers = await asyncio.gather(*(get(pool, target=target) for target in targets))
            assert answers == [(200, target) for target in targets]
            assert len(up.peers) == most == 3
            assert [r.target for r in up.requests].count("/29") == 1

    most, active = 0, []
    run(scenario())


def test_too_many_that_wait_are_503(run):
    async def scenario():
        nonlocal go
        go = asyncio.Event()
        async with pool_to(gated, max_connections=1, max_pending=1) as (_, pool):
            first = asyncio.create_task(get(pool))
            await until(lambda: len(only(pool)._members) == 1)
            second = asyncio.create_task(get(pool))
            await until(lambda: len(only(pool)._waiters) == 1)
            await refused(Code.UPSTREAM_BUSY, get(pool))
            go.set()
            assert await first == await second == (200, b"ok")

    async def gated(peer):
        while await peer.request():
            await go.wait()
            peer.send(ok())

    go = None
    run(scenario())


def test_waiting_too_long_for_a_connection_is_503(run):
    async def scenario():
        async with pool_to(sending(b""), max_connections=1, connect_timeout=SHORT) as (_, pool):
            first = asyncio.create_task(get(pool))
            await until(lambda: len(only(pool)._members) == 1)
            await refused(Code.UPSTREAM_BUSY, get(pool))
            assert not only(pool)._waiters
            first.cancel()
            await asyncio.wait([first])

    run(scenario())


def test_a_connection_that_dies_lets_the_next_one_open(run):
    async def script(peer):
        await peer.request()
        if peer.number == 0:
            await go.wait()
            peer.reset()
        else:
            peer.send(ok())
            await peer.closed()

    async def scenario():
        nonlocal go
        go = asyncio.Event()
        async with pool_to(script, max_connections=1) as (_, pool):
            first = asyncio.create_task(get(pool))
            await until(lambda: len(only(pool)._members) == 1)
            second = asyncio.create_task(get(pool))
            await until(lambda: len(only(pool)._waiters) == 1)
            go.set()
            await refused(Code.UPSTREAM_RESET, first)
            assert await second == (200, b"ok")

    go = None
    run(scenario())


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 ", H + b"content-length: 9\r\n\r\nabc"])
def test_cancelling_closes_the_connection_and_frees_its_place(run, start):
    async def script(peer):
        await peer.request()
        if peer.number == 0:
            peer.send(start)
            await peer.closed()
            gone.set()
        else:
            peer.send(ok())
            await peer.closed()

    async def scenario():
        nonlocal gone
        gone = asyncio.Event()
        async with pool_to(script, max_connections=1) as (up, pool):

            async def read():
                response = await pool.request("GET", b"/", HEADERS)
                try:
                    await content(response)
                finally:
                    response.close()

            task = asyncio.create_task(read())
            await until(lambda: up.requests)
            await asyncio.sleep(0.01)
            second = asyncio.create_task(get(pool))
            await until(lambda: len(only(pool)._waiters) == 1)
            task.cancel()
            assert await second == (200, b"ok")
            await asyncio.wait_for(gone.wait(), 1)
            assert task.cancelled()

    gone = None
    run(scenario())


def test_cancelling_an_upload_closes_the_connection(run):
    async def endless():
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0.001)

    async def script(peer):
        await peer.head()
        await peer.closed()
        gone.set()

    async def scenario():
        nonlocal gone
        gone = asyncio.Event()
        async with pool_to(script) as (up, pool):
            task = asyncio.create_task(get(pool, "POST", endless()))
            await until(lambda: up.requests)
            task.cancel()
            await asyncio.wait_for(gone.wait(), 1)
            await asyncio.wait([task])

    gone = None
    run(scenario())


def test_cancelling_at_any_moment_loses_no_place(run):
    """Requests cancelled while they wait, connect or read: the pool is whole afterwards."""

    async def scenario():
        settings = {"max_connections": 2, "max_pending": 100}
        async with pool_to(answers(ok()), **settings) as (_, pool):
            for moment in range(12):
                tasks = [asyncio.create_task(get(pool)) for _ in range(8)]
                for _ in range(moment):
                    await asyncio.sleep(0)
                for task in tasks[::2]:
                    task.cancel()
                for done in await asyncio.gather(*tasks[1::2]):
                    assert done == (200, b"ok")
                await asyncio.gather(*tasks, return_exceptions=True)
                assert len(only(pool)._members) + only(pool)._opening <= 2
            assert not only(pool)._opening
            assert not only(pool)._waiters

    run(scenario())


def test_cancelling_while_connecting_leaves_nothing(run):
    async def scenario():
        async with pool_to(answers(ok()), keep_alive=0) as (_, pool):
            for moment in range(14):
                for _ in range(4):
                    task = asyncio.create_task(get(pool))
                    for _ in range(moment):
                        await asyncio.sleep(0)
                    task.cancel()
                    await asyncio.wait([task])
                await until(lambda: pool.counts() == (0, 0, 0))

    run(scenario())


def test_closing_a_response_that_is_complete_keeps_the_connection(run):
    async def scenario():
        async with pool_to(answers(ok())) as (up, pool):
            response = await pool.request("GET", b"/", HEADERS)
            other = await pool.request("GET", b"/", HEADERS)
            response.close()
            other.close()
            assert await get(pool) == (200, b"ok")
            assert len(up.peers) == 1

    run(scenario())


def test_a_retired_pool_serves_but_keeps_nothing(run):
    async def scenario():
        async with pool_to(answers(ok())) as (up, pool):
            await get(pool)
            response = asyncio.create_task(get(pool))
            await asyncio.sleep(0)
            pool.retire()
            assert await response == await get(pool) == (200, b"ok")
            await until(lambda: not only(pool)._members)
            assert len(up.peers) == 2

    run(scenario())


def test_a_closed_pool_fails_what_is_under_way_and_refuses_the_rest(run):
    async def scenario():
        async with pool_to(sending(H + b"content-length: 9\r\n\r\n"), max_connections=1) as (
            _,
            pool,
        ):
            response = await pool.request("GET", b"/", HEADERS)
            waiting = asyncio.create_task(get(pool))
            await until(lambda: len(only(pool)._waiters) == 1)
            await pool.close()
            await refused(Code.SHUTTING_DOWN, response.read_chunk())
            await refused(Code.SHUTTING_DOWN, waiting)
            await refused(Code.SHUTTING_DOWN, get(pool))

    run(scenario())


# Reaching the upstream.


def test_nobody_listens(run):
    async def scenario():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        for url in (f"http://127.0.0.1:{port}", "http+unix:/nowhere/at/all"):
            pool = Pool(Upstream(url=url))
            await refused(Code.UPSTREAM_CONNECT, get(pool))
            await pool.close()

    run(scenario())


def test_a_name_that_cannot_be_one(run):
    async def scenario():
        pool = Pool(Upstream(url=f"http://{'a' * 70}.invalid"))
        await refused(Code.UPSTREAM_CONNECT, get(pool))
        await pool.close()

    run(scenario())


def test_a_unix_socket(run, tmp_path):
    async def scenario():
        async with upstream(answers(ok()), path=tmp_path / "s") as up:
            pool = Pool(Upstream(url=up.url))
            assert await get(pool) == (200, b"ok")
            assert await get(pool) == (200, b"ok")
            assert len(up.peers) == 1
            await pool.close()

    run(scenario())


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@contextlib.asynccontextmanager
async def tls_pool(script, context, tls, **settings):
    async with upstream(script, tls=context) as up:
        pool = Pool(Upstream(url=up.url, tls=UpstreamTls(**tls), **settings))
        yield up, pool
        await pool.close()


def test_tls(run, authority):
    async def scenario():
        context = authority.server_context("127.0.0.1")
        tls = {"ca_file": authority.root}
        async with tls_pool(answers(ok(b"x" * 300_000)), context, tls) as (up, pool):
            for _ in range(3):
                assert await get(pool) == (200, b"x" * 300_000)
            assert await get(pool, "POST", pieces(b"a" * 300_000)) == (200, b"x" * 300_000)
            assert len(up.peers) == 1

    run(scenario())


def test_tls_with_another_name(run, authority):
    names = []

    async def scenario():
        context = authority.server_context("orders.internal")
        context.sni_callback = lambda _socket, name, _context: names.append(name)
        tls = {"ca_file": authority.root, "server_name": "orders.internal"}
        async with tls_pool(answers(ok()), context, tls) as (_, pool):
            assert await get(pool) == (200, b"ok")

    run(scenario())
    assert names == ["orders.internal"]


def test_tls_that_does_not_verify_is_never_spoken_to(run, authority, tmp_path):
    async def scenario():
        context = authority.server_context("127.0.0.1")
        stranger = Authority(tmp_path, "stranger").root
        for tls in (
            {},
            {"ca_file": stranger},
            {"ca_file": authority.root, "server_name": "orders.internal"},
        ):
            async with tls_pool(answers(ok()), context, tls) as (up, pool):
                await refused(Code.UPSTREAM_CONNECT, get(pool))
                assert not up.requests

    run(scenario())


def test_tls_with_a_client_certificate(run, authority):
    async def scenario():
        context = authority.server_context("127.0.0.1", client_root=authority.root)
        certificate, key = authority.issue("gateway.internal")
        tls = {"ca_file": authority.root, "certificate": certificate, "key": key}
        async with tls_pool(answers(ok()), context, tls) as (_, pool):
            assert await get(pool) == (200, b"ok")
        async with tls_pool(answers(ok()), context, {"ca_file": authority.root}) as (up, pool):
            with pytest.raises(ForwardError):  # TLS 1.3 tells the client after its handshake
                await get(pool)
            assert not up.requests

    run(scenario())


def test_tls_that_is_cut_off_does_not_end_a_response(run, authority):
    """A FIN without close_notify may be anybody's (RFC 8446 §6.1)."""

    async def script(peer):
        await peer.request()
        peer.send(H + b"\r\nhalf of it")
        await peer.drain()
        with socket.socket(fileno=socket.dup(peer.writer.get_extra_info("socket").fileno())) as raw:
            raw.shutdown(socket.SHUT_WR)
        await peer.closed()

    async def scenario():
        context = authority.server_context("127.0.0.1")
        async with tls_pool(script, context, {"ca_file": authority.root}) as (_, pool):
            response = await pool.request("GET", b"/", HEADERS)
            await refused(Code.UPSTREAM_RESET, content(response))

    run(scenario())


def test_tls_that_ends_well_ends_a_response(run, authority):
    async def scenario():
        context = authority.server_context("127.0.0.1")
        script = sending(H + b"\r\nall of it", then="close")
        async with tls_pool(script, context, {"ca_file": authority.root}) as (_, pool):
            assert await get(pool) == (200, b"all of it")

    run(scenario())


def test_a_handshake_that_hangs_is_502(run):
    async def silent(peer):
        await peer.closed()

    async def scenario():
        async with upstream(silent) as up:
            url = up.url.replace("http:", "https:")
            pool = Pool(Upstream(url=url, connect_timeout=SHORT))
            await refused(Code.UPSTREAM_CONNECT, get(pool))
            await pool.close()

    run(scenario())


@pytest.mark.parametrize("key", ["ca_file", "certificate"])
@pytest.mark.parametrize("text", [None, "", "no certificate"])
def test_tls_files_that_cannot_be_used(tmp_path, key, text):
    file = tmp_path / "file.pem"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        tls = {"ca_file": {"ca_file": file}, "certificate": {"certificate": file, "key": file}}
        Pool(Upstream(url="https://a.example", tls=UpstreamTls(**tls[key])))
    assert raised.value.problems[0].key == f"tls.{key}"


def test_an_encrypted_key_does_not_ask_for_its_password(tmp_path, authority):
    from cryptography.hazmat.primitives import serialization

    certificate, key = authority.issue("encrypted.internal")
    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        loaded.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ConfigError, match="encrypted"):
        tls = UpstreamTls(certificate=certificate, key=key)
        Pool(Upstream(url="https://a.example", tls=tls))


def test_verification_cannot_be_off():
    (dialer,) = dialers(Upstream(url="https://a.example"))
    context = dialer.at("192.0.2.1")._tls
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
