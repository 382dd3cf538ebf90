"""The whole gateway and WebSockets: the handshake is decided on, the messages pass."""

import asyncio
import contextlib
import time

import pytest

from tests.support import http1
from tests.support.gateway import either_server  # noqa: F401  a fixture
from tests.support.gateway import bearer, live, policy_for, running, until
from tests.support.websocket import connect, handshake
from tests.support.websocket_upstream import echo, websocket

HYPERCORN_ONLY = (
    "test_close_codes_pass_both_ways",
    "test_a_client_that_leaves_ends_its_handshake",
)


MESSAGES = ["text", "\u20ac\U0001f600", b"\x00\xff", "", b"", "x" * 100_000, b"y" * 100_000]


def opened(gateway, *headers, **claims):
    """A WebSocket of alice's to /items."""
    return connect(gateway.port, "/items", (*bearer(gateway.token(**claims)), *headers))


class Record:
    """An upstream script that keeps its socket and lets the test decide what is sent."""

    def __init__(self):
        self.socket = None
        self.ended = asyncio.Event()

    async def __call__(self, socket):
        self.socket = socket
        while await socket.receive() is not None:
            pass
        await socket.answer_close()
        self.ended.set()


@live
async def test_messages_pass_both_ways(tmp_path):
    async with running(tmp_path, websocket(echo)) as gateway, opened(gateway) as socket:
        for message in MESSAGES:
            await socket.send(message)
            assert await socket.receive() == message
        await socket.close(4000, "done")
        assert await socket.receive() is None
        assert socket.closed == (4000, "done")
        (event,) = await gateway.events()
        assert (event["status"], event["outcome"]) == (101, "forwarded")
        size = sum(len(message) for message in MESSAGES)
        assert (event["bytes_in"], event["bytes_out"]) == (size, size)


@live
async def test_identity_goes_with_the_handshake_and_the_token_does_not(tmp_path):
    record = Record()
    async with running(tmp_path, websocket(record)) as gateway:
        spoofed = (("x_auth_subject", "root"), ("X-Forwarded-For", "198.51.100.1"))
        async with opened(gateway, *spoofed):
            await until(lambda: record.socket)
        headers = record.socket.headers
        assert headers["x-auth-subject"] == "alice"
        assert headers["x-forwarded-for"] == "127.0.0.1"
        assert headers["host"] == "api.example"
        assert "authorization" not in headers
        assert "root" not in str(headers)


@live
async def test_a_subprotocol_is_the_upstreams_choice(tmp_path):
    record = Record()
    chosen = b"Sec-WebSocket-Protocol: b"
    async with running(tmp_path, websocket(record, chosen)) as gateway:
        async with opened(gateway, ("Sec-WebSocket-Protocol", "a, b")) as socket:
            assert socket.headers["sec-websocket-protocol"] == "b"
            await until(lambda: record.socket)
            assert record.socket.headers["sec-websocket-protocol"] == "a, b"
    async with running(tmp_path, websocket(record)) as gateway:
        async with opened(gateway, ("Sec-WebSocket-Protocol", "a, b")) as socket:
            assert "sec-websocket-protocol" not in socket.headers


@live
async def test_close_codes_pass_both_ways(tmp_path):
    record = Record()
    async with running(tmp_path, websocket(record)) as gateway:
        for closed in ((1000, ""), (1001, "moving"), (4321, "\u20ac")):
            record.ended.clear()
            async with opened(gateway) as socket:
                await socket.close(*closed)
                await record.ended.wait()
                assert record.socket.closed == closed
            async with opened(gateway) as socket:
                await until(lambda: not record.socket.closed)
                await record.socket.close(*closed)
                assert await socket.receive() is None
                assert socket.closed == closed


@live
async def test_an_end_without_close_is_not_a_normal_close(tmp_path):
    record = Record()

    async def breaks_off(socket):
        await socket.send("half")
        socket.client.writer.transport.abort()

    async with running(tmp_path, websocket(breaks_off)) as gateway, opened(gateway) as socket:
        assert await socket.receive() == "half"
        assert await socket.receive() is None
        assert socket.closed == (1011, "")
    async with running(tmp_path, websocket(record)) as gateway:
        async with opened(gateway) as socket:
            await until(lambda: record.socket)
            socket.client.writer.transport.abort()
        await record.ended.wait()
        assert record.socket.closed == (1001, "")


@live
async def test_both_sides_are_closed_when_the_token_expires(tmp_path):
    record = Record()
    issuer = {"issuers": {"corp": {"leeway": "1s"}}}
    async with running(tmp_path, websocket(record), config=issuer) as gateway:
        expiry = int(time.time()) + 1
        async with opened(gateway, exp=expiry) as socket:
            assert await socket.receive() is None
            assert time.time() > expiry + 0.9  # like a request, with the leeway
            assert socket.closed == (1008, "token expired")
            await record.ended.wait()
            assert record.socket.closed == (1008, "token expired")
            # A client that does not answer the close is not waited for.
            assert await socket.client.ended() == b""
        refused = await gateway.ask(token=gateway.token(exp=expiry))
        assert refused.code == "token-expired"


@live
async def test_nothing_passes_after_expiry_though_the_client_reads_nothing(tmp_path):
    ended, closed = asyncio.Event(), []

    async def pours(socket):
        async def pour():
            while True:
                await socket.send(b"x" * 65536)

        pouring = asyncio.create_task(pour())
        while await socket.receive() is not None:
            pass
        pouring.cancel()
        closed.append((socket.closed, time.time()))
        ended.set()

    issuer = {"issuers": {"corp": {"leeway": "0s"}}}
    async with running(tmp_path, websocket(pours), config=issuer) as gateway:
        expiry = int(time.time()) + 4
        async with opened(gateway, exp=expiry) as socket:
            while not ended.is_set():
                await socket.send("still here")
                await asyncio.sleep(0.01)
            ((code, at),) = closed
            assert code == (1008, "token expired")
            assert at > expiry - 0.1
            socket.client.writer.transport.abort()


@live
async def test_a_client_that_leaves_ends_its_handshake(tmp_path):
    gone = asyncio.Event()

    async def hangs(peer):
        if await peer.head() is not None:
            await peer.closed()
            gone.set()

    async with running(tmp_path, hangs) as gateway:
        async with http1.connect(gateway.port) as client:
            await client.send(handshake("/items", bearer(gateway.token())))
            await until(lambda: gateway.service.requests)
        await asyncio.wait_for(gone.wait(), 5)
        (event,) = await gateway.events()
        assert (event["status"], event["incomplete"], event["outcome"]) == (0, True, "forwarded")
        assert "code" not in event
        assert event["error"] == {"code": "", "message": "the client left before the answer's end"}


@live
async def test_refused_handshakes_are_http_responses(tmp_path):
    routes = [
        {
            "id": "feed", "paths": "/feed", "upstream": "service", "websocket": True,
            "websocket_origins": ["https://app.example"],
        },
        {"id": "plain", "paths": "/plain", "upstream": "service"},
    ]  # fmt: skip
    async with running(tmp_path, websocket(echo), config={"routes": routes}) as gateway:
        token, origin = bearer(gateway.token()), ("Origin", "https://app.example")
        evil = ("Origin", "https://evil.example")
        for target, headers, status, code in (
            ("/feed", (origin,), 401, "token-missing"),
            ("/feed", (origin, *bearer(gateway.token(exp=1))), 401, "token-expired"),
            ("/feed", (origin, *bearer(gateway.token(roles=[]))), 403, "policy-denied"),
            ("/feed", token, 403, "origin-refused"),
            ("/feed", (evil, *token), 403, "origin-refused"),
            ("/feed", (origin, evil, *token), 403, "origin-refused"),
            ("/plain", token, 400, "upgrade-refused"),
            ("/nowhere", token, 404, "route-unknown"),
        ):
            async with http1.connect(gateway.port) as client:
                await client.send(handshake(target, headers))
                answer = await client.response()
                assert (answer.status, answer.code) == (status, code), headers
                event = await gateway.event(answer.json()["decision_id"])
                assert (event["status"], event["code"]) == (status, code)
        assert gateway.service.requests == []
        async with connect(gateway.port, "/feed", (origin, *token)) as socket:
            await socket.send("welcome")
            assert await socket.receive() == "welcome"


ANSWERS = (
    (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nfull", 403, b"full"),
    (
        b"HTTP/1.1 302 Found\r\nlocation: http://other.example/\r\n"
        b"transfer-encoding: chunked\r\n\r\n3\r\nrun\r\n0\r\n\r\n",
        302,
        b"run",
    ),
    (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 200, b"ok"),
)
MALFORMED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: wrong\r\n\r\n",
    b"nonsense\r\n\r\n",
)


@live
async def test_an_upstream_that_refuses_the_handshake_is_heard(tmp_path):
    raws = [*(raw for raw, _, _ in ANSWERS), *MALFORMED]

    async def script(peer):
        if await peer.request() is not None:
            peer.send(raws[peer.number])

    async def shake(gateway):
        async with http1.connect(gateway.port) as client:
            await client.send(handshake("/items", bearer(gateway.token())))
            return await client.response()

    async with running(tmp_path, script) as gateway:
        for _, status, body in ANSWERS:
            answer = await shake(gateway)
            assert (answer.status, answer.body) == (status, body)
        for raw in MALFORMED:
            answer = await shake(gateway)
            assert (answer.status, answer.code) == (502, "upstream-protocol"), raw


@pytest.mark.parametrize(
    ("piece", "status", "code"),
    [(b"x" * 65536, 502, "upstream-protocol"), (b"x", 504, "upstream-timeout")],
    ids=["at once", "for ever"],
)
@live
async def test_an_answer_to_a_handshake_that_does_not_end_is_not_kept(
    tmp_path, piece, status, code
):
    """What answers a GET with a download or a stream, and does not look at the handshake."""
    sent = 0

    async def script(peer):
        nonlocal sent
        if await peer.request() is None:
            return
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while not peer.writer.is_closing():
                peer.send(piece)
                sent += len(piece)
                await peer.drain()
                await asyncio.sleep(0 if len(piece) > 1 else 0.01)

    config = {"upstreams": {"service": {"idle_timeout": "500ms"}}}
    async with running(tmp_path, script, config=config) as gateway:
        async with http1.connect(gateway.port) as client:
            await client.send(handshake("/items", bearer(gateway.token())))
            answer = await client.response()
            assert (answer.status, answer.code) == (status, code)
        (event,) = await gateway.events()
        assert (event["status"], event["code"]) == (status, code)
        await until(lambda: gateway.service.peers[0].writer.is_closing())
        assert sent < 2**24


@pytest.mark.parametrize("size", [1024, 1025])
@live
async def test_a_message_over_the_limit_closes_both_sides(tmp_path, size):
    record = Record()
    config = {"limits": {"websocket_message": "1KiB"}}
    async with running(tmp_path, websocket(record), config=config) as gateway:
        async with opened(gateway) as socket:
            await socket.send(b"x" * size)
            if size > 1024:
                assert await socket.receive() is None
                assert socket.closed[0] == 1009
                await record.ended.wait()
        record.ended.clear()
        async with opened(gateway) as socket:
            await until(lambda: not record.socket.closed)
            await record.socket.send(b"x" * size)
            message = await socket.receive()
            assert message == (b"x" * size if size == 1024 else None)
            assert size == 1024 or socket.closed[0] == 1009


@live
async def test_an_open_socket_outlives_a_reload(tmp_path):
    async with running(tmp_path, websocket(echo)) as gateway, opened(gateway) as socket:
        await gateway.settled()
        (tmp_path / "policies" / "authz.rego").write_text(policy_for("writer"))
        gateway.configure({"upstreams": {"service": {"url": "http://127.0.0.1:1"}}})
        token = gateway.token(roles=["writer"])
        async with asyncio.timeout(15):
            while (await gateway.ask(token=token)).code != "upstream-connect":
                await asyncio.sleep(0.01)
        await socket.send("still here")
        assert await socket.receive() == "still here"


@live
async def test_a_stopping_gateway_says_that_it_goes_away(tmp_path):
    record = Record()
    async with running(tmp_path, websocket(record)) as gateway, opened(gateway) as socket:
        await until(lambda: record.socket)
        gateway.gateway.stop.set()
        assert await socket.receive() is None
        assert socket.closed == (1001, "")
        await record.ended.wait()
        assert record.socket.closed == (1001, "")
