"""The HTTP server's WebSocket side, over real sockets."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import Code
from gateway.serve.asgi import DISCONNECT
from tests.support.http1 import connect as connect_http1
from tests.support.probe import Probe
from tests.support.server import live, live_on, on_granian, served, until
from tests.support.websocket import HANDSHAKE, connect, handshake


@live
async def test_messages_go_both_ways() -> None:
    app = Probe()
    async with served(app) as server, connect(server.port, "/ws/a%2Fb?c=d") as socket:
        for message in ("text", "ä" * 1000, b"bytes", "", b"", bytes(500_000)):
            await socket.send(message)
            assert await socket.receive() == message
        scope = app.scopes[0]
        assert (scope["type"], scope["scheme"]) == ("websocket", "ws")
        assert (scope["raw_path"], scope["query_string"]) == (b"/ws/a%2Fb", b"c=d")


@live
async def test_subprotocol_is_agreed_and_compression_is_not() -> None:
    offers = (
        ("Sec-WebSocket-Protocol", "chat, other"),
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
    )
    async with served(Probe()) as server, connect(server.port, headers=offers) as socket:
        assert socket.headers["sec-websocket-protocol"] == "chat"
        assert "sec-websocket-extensions" not in socket.headers
        await socket.send("text")
        assert await socket.receive() == "text"


@live_on("hypercorn")
async def test_compressed_frame_is_refused() -> None:
    app = Probe()
    async with served(app) as server, connect(server.port) as socket:
        await socket.client.send(b"\xc1\x80\0\0\0\0")
        assert await socket.receive() is None
        assert socket.closed[0] == 1002
        await until(lambda: not app.running)


PROTOCOL = "Sec-WebSocket-Protocol"
AMBIGUOUS = {
    "the key is for this hop only": (("Connection", "Sec-WebSocket-Key"),),
    "the version is": (("Connection", "keep-alive, sec-websocket-VERSION"),),
    "the protocols are, in another spelling": (("Connection", "sec_websocket.protocol"),),
    "two lines of protocols": ((PROTOCOL, "a"), (PROTOCOL, "b")),
    "two equal lines": ((PROTOCOL, "a"), (PROTOCOL, "a")),
    "no protocol in the line": ((PROTOCOL, ""),),
    "no protocol in the list": ((PROTOCOL, "a,,b"),),
    "a protocol with a blank": ((PROTOCOL, "a b"),),
    "a protocol beyond ASCII": ((PROTOCOL, "\u00e4"),),
    "an extension beyond ASCII": (("Sec-WebSocket-Extensions", "\u00e4"),),
    "an option beyond ASCII": (("Connection", "\u00e4"),),
    "two keys": (HANDSHAKE[-1],),
    "two versions": (("Sec-WebSocket-Version", "13"),),
    "another version": (("Sec-WebSocket-Version", "8"),),
}


@pytest.mark.parametrize("case", AMBIGUOUS)
@live
async def test_handshake_with_two_readings_is_refused(case: str) -> None:
    app = Probe()
    async with served(app) as server, connect_http1(server.port) as client:
        await client.send(handshake("/ws", AMBIGUOUS[case]))
        answer = await client.response()
        assert (answer.status, answer.code) == (400, "upgrade-refused")
        assert await client.ended() == b""
        assert server.refused == [Code.UPGRADE_REFUSED]
    assert not app.scopes


@live_on("hypercorn")
async def test_leaving_before_the_answer_is_told_at_once() -> None:
    app = Probe()
    async with served(app) as server:
        async with connect_http1(server.port) as client:
            await client.send(handshake("/undecided"))
            await until(lambda: app.received)
            told = []
            app.scopes[0]["extensions"][DISCONNECT]["notify"](lambda: told.append(True))
            assert not told
        await until(lambda: told)
        app.scopes[0]["extensions"][DISCONNECT]["notify"](lambda: told.append(True))
        assert len(told) == 2
        await until(lambda: not app.running)


@live
async def test_denial_carries_status_and_body() -> None:
    async with served(Probe()) as server, connect_http1(server.port) as client:
        await client.send(handshake("/denied"))
        answer = await client.response()
        assert (answer.status, answer.body) == (403, b"no")
        assert answer.header("connection").endswith("close")
        assert await client.ended() == b""


@live
async def test_failure_before_the_answer_is_a_problem() -> None:
    async with served(Probe()) as server, connect_http1(server.port) as client:
        await client.send(handshake("/fail"))
        answer = await client.response()
        assert (answer.status, answer.code) == (500, "internal-error")
        assert server.refused == [Code.INTERNAL_ERROR]


@live
async def test_each_side_learns_why_the_other_closed() -> None:
    app = Probe()
    app.go.set()
    async with served(app) as server:
        async with connect(server.port, "/wsdeaf") as socket:
            await socket.send("last words")
            await socket.close(4000, "bye")
            while await socket.receive() is not None:
                pass
            assert socket.closed[0] == 4000
            await until(lambda: not app.running)
            assert app.received[-2]["text"] == "last words"
        reason = "" if on_granian() else "bye"
        assert app.received[-1] == {
            "type": "websocket.disconnect", "code": 4000, "reason": reason,
        }  # fmt: skip
        async with connect(server.port) as socket:
            await socket.send("close")
            assert await socket.receive() is None
            assert socket.closed == (4001, "asked to")
        async with connect(server.port) as socket:
            await socket.send("hello")
            await socket.receive()
        await until(lambda: not app.running, 1.0)
        assert app.received[-1]["code"] == 1006


VIOLATIONS = {
    "no mask": (b"\x81\x01a", 1002),
    "reserved bits": (b"\xf1\x80\0\0\0\0", 1002),
    "an unknown opcode": (b"\x83\x80\0\0\0\0", 1002),
    "a fragmented control frame": (b"\x09\x80\0\0\0\0", 1002),
    "a continuation of nothing": (b"\x80\x80\0\0\0\0", 1002),
    "text that is not UTF-8": (b"\x81\x81\0\0\0\0\xff", 1007),
    "a close code of 1 byte": (b"\x88\x81\0\0\0\0a", 1002),
    "a close code that may not be sent": (b"\x88\x82\0\0\0\0\x03\xed", 1002),
    "a length of 2^63": (b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 1002),
}


@pytest.mark.parametrize("case", VIOLATIONS)
@live_on("hypercorn")
async def test_violation_closes_with_its_code(case: str) -> None:
    raw, code = VIOLATIONS[case]
    app = Probe()
    async with served(app) as server, connect(server.port) as socket:
        await socket.client.send(raw)
        assert await socket.receive() is None
        assert socket.closed[0] == code
        await until(lambda: not app.running)
        assert app.types == ["websocket.connect", "websocket.disconnect"]


@pytest.mark.parametrize(
    "message", [bytes(1001), "a" * 1001, "ä" * 501], ids=["bytes", "ascii", "text"]
)
@live
async def test_message_over_the_limit_closes_with_1009(message: str | bytes) -> None:
    app = Probe()
    async with served(app, websocket_message=1000) as server, connect(server.port) as socket:
        await socket.send(message[: 1000 if len(message) > 1000 else 500])
        assert len(await socket.receive()) in {1000, 500}
        await socket.send(message)
        await socket.send("more")
        assert await socket.receive() is None
        assert socket.closed[0] == 1009
        await until(lambda: not app.running)
        assert len(app.received) == 3


@live_on("hypercorn")
async def test_fragments_add_up_to_the_limit() -> None:
    app = Probe()
    async with served(app, websocket_message=1000) as server, connect(server.port) as socket:
        await socket.client.send(b"\x02\x80\0\0\0\0")
        for _ in range(30):
            await socket.client.send(b"\x00\xa8\0\0\0\0", bytes(40))
        assert await socket.receive() is None
        assert socket.closed[0] == 1009


@live
async def test_ping_is_answered() -> None:
    async with served(Probe()) as server, connect(server.port) as socket:
        await socket.ping()
        await socket.send("then")
        assert (await socket.receive(), socket.pongs) == ("then", 1)


@live_on("hypercorn")
async def test_pings_keep_a_quiet_socket_and_find_a_dead_one() -> None:
    app = Probe()
    async with served(app, idle_timeout=0.6) as server:
        async with connect(server.port) as socket:
            quiet = asyncio.create_task(socket.receive())
            await until(lambda: socket.pings >= 5)
            assert app.running
            quiet.cancel()
        async with connect(server.port) as socket:
            assert await socket.receive(pong=False) is None  # the server's reset
            await until(lambda: not app.running)


@live
async def test_messages_that_nobody_takes_stop_the_client() -> None:
    app = Probe()
    async with served(app) as server, connect(server.port, "/wsdeaf") as socket:
        size = 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                while size < 2**26:
                    await socket.send(bytes(2**18))
                    size += 2**18
        assert 2**18 < size < 2**25
        socket.client.writer.transport.abort()
        app.go.set()
        await until(lambda: not app.running)


@live
async def test_shutdown_closes_with_1001() -> None:
    app = Probe()
    async with served(app, drain_timeout=5.0) as server:
        async with connect(server.port) as socket:
            await socket.send("hello")
            await socket.receive()
            server.shutdown.set()
            assert await socket.receive() is None
            assert socket.closed[0] == 1001
        await server.task
    assert app.received[-1]["code"] == 1001
