"""What Granian does otherwise than Hypercorn, over real sockets, and why it does no harm.

docs/servers.md lists these differences.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from gateway.config.model import Listener, Tls
from gateway.errors import Code, ConfigError
from gateway.serve import hypercorn
from gateway.serve.asgi import Receive, Scope, Send
from gateway.serve.granian import bind
from gateway.serve.granian.listener import Certificate
from gateway.serve.granian.sockets import connections
from tests.live.test_server_http1 import CHUNKS, CHUNKS_READ_BY_GRANIAN, HANDSHAKE, HOST, REFUSED
from tests.live.test_server_http2 import BROKEN, FLOODS, PREFACE, REFUSED as REFUSED2
from tests.live.test_server_tls import authority, shown, tls, trusting  # noqa: F401  fixtures
from tests.live.test_server_websocket import VIOLATIONS
from tests.support import http1, http2, websocket
from tests.support.certificates import Authority
from tests.support.http1 import connect, request
from tests.support.probe import Probe
from tests.support.server import live_on, served, until

granian = live_on("granian")

LENGTHS = {
    "length and chunks": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "chunks and length": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "chunks behind a bare LF": b"Content-Length: 5\r\nA: 1\nTransfer-Encoding: chunked\r\n",
    "a length behind a bare LF": b"Transfer-Encoding: chunked\r\nA: 1\nContent-Length: 5\r\n",
}


@pytest.mark.parametrize("case", LENGTHS)
@granian
async def test_nothing_follows_a_length_beside_chunks(case: str) -> None:
    """The chunks are the body (RFC 9112 §6.3), and no byte behind them is read as a request."""
    app = Probe()
    async with served(app) as server, connect(server.port) as client:
        await client.send(
            b"POST /echo HTTP/1.1\r\n", HOST, LENGTHS[case], b"\r\n3\r\nabc\r\n0\r\n\r\n"
        )
        await client.send(request("GET", "/smuggled"))
        answer = await client.response()
        assert (answer.body, answer.header("connection")) == (b"abc", "close")
        assert await client.ended() == b""
    assert [scope["path"] for scope in app.scopes] == ["/echo"]
    assert b"content-length" not in dict(app.scopes[0]["headers"])


READ = {
    "two equal lengths": ("/", [(b"host", b"api.example"), (b"content-length", b"1")]),
    "bare LF": ("/", [(b"host", b"api.example")]),
    "one bare LF": ("/", [(b"host", b"api.example"), (b"a", b"1"), (b"b", b"2")]),
    "a fragment": ("/a", [(b"host", b"api.example")]),
    "a fragment in the query": ("/a", [(b"host", b"api.example")]),
    "absolute form, other host": ("/", [(b"host", b"api.example")]),
    "absolute form, other port": ("/", [(b"host", b"api.example")]),
    "absolute form, user": ("/", [(b"host", b"api.example")]),
    "another scheme": ("/", [(b"host", b"api.example")]),
}


@pytest.mark.parametrize("case", READ)
@granian
async def test_application_gets_the_one_reading_that_decides(case: str) -> None:
    """The application routes, decides and forwards by these lines: what was dropped goes nowhere."""
    app = Probe()
    path, headers = READ[case]
    async with served(app) as server, connect(server.port) as client:
        await client.send(REFUSED[case][0])
        assert (await client.response()).status == 200
    assert [(scope["path"], scope["headers"]) for scope in app.scopes] == [(path, headers)]
    assert app.scopes[0]["query_string"] in {b"", b"b"}


@pytest.mark.parametrize("case", CHUNKS_READ_BY_GRANIAN)
@granian
async def test_chunk_lines_have_one_length_however_they_are_written(case: str) -> None:
    app = Probe()
    head = request("POST", "/echo", (("Transfer-Encoding", "chunked"),))
    async with served(app) as server, connect(server.port) as client:
        await client.send(head, CHUNKS[case], request("GET", "/next"))
        assert (await client.response()).body == b"hello"
        if "bare LF" not in case:
            assert (await client.response()).body == b"hello"
    # A bare LF is no end of the trailers: what follows is none of the body, nor a request.
    expected = ["/echo"] if "bare LF" in case else ["/echo", "/next"]
    assert [scope["path"] for scope in app.scopes] == expected


@granian
async def test_websocket_by_post_is_read_as_a_get() -> None:
    """The application sees the handshake of a GET, and decides on it; there is no body."""
    app = Probe()
    async with served(app) as server, connect(server.port) as client:
        await client.send(b"POST /ws HTTP/1.1\r\n", HOST, HANDSHAKE, b"\r\n")
        assert (await client.head())[0] == 101
        assert app.scopes[0]["type"] == "websocket"
        assert "method" not in app.scopes[0]


@pytest.mark.parametrize("case", ["a fragment", "another host"])
@granian
async def test_http2_application_gets_the_one_reading_that_decides(case: str) -> None:
    app = Probe()
    async with served(app) as server, http2.connect(server.port) as client:
        stream = await client.finished(client.open(REFUSED2[case][0]))
        assert stream.status == 200
    scope = app.scopes[0]
    host = b"evil.example" if case == "another host" else b"api.example"
    assert [value for name, value in scope["headers"] if name == b"host"] == [host]
    assert scope["raw_path"] == (b"/a" if case == "a fragment" else b"/")


@pytest.mark.parametrize("case", ["a blank before a value", "a tab after a value"])
@granian
async def test_blanks_around_an_http2_value_are_refused(case: str) -> None:
    app = Probe()
    async with served(app) as server, http2.connect(server.port) as client:
        stream = await client.finished(client.open(REFUSED2[case][0]))
        assert (stream.status, stream.code) == (400, "bad-header")
    assert app.scopes == []


@pytest.mark.parametrize("case", ["a length that is no number", "a head far over the limit"])
@granian
async def test_faulty_http2_head_costs_its_stream(case: str) -> None:
    app = Probe()
    async with served(app) as server, connect(server.port) as client:
        client.writer.write(PREFACE + http2.frame(4) + BROKEN[case])
        said = b""
        while not any(kind in said for kind in (b"\x03\0\0\0\0\x01", b"\x01\x05\0\0\0\x01")):
            said += await asyncio.wait_for(client.reader.read(65536), 5)
            assert not client.reader.at_eof(), said
    assert app.scopes == []


@granian
async def test_connections_over_the_cap_wait() -> None:
    async with served(Probe(), connections=2) as server:
        async with connect(server.port) as three:
            async with connect(server.port) as one, connect(server.port) as two:
                await three.request()
                assert (await one.request()).status == 200
                await two.send(request())
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(two.reader.read(1), 0.2)
                await three.close()
                assert (await two.response()).status == 200
        assert server.refused == []


@granian
async def test_websockets_over_the_cap_are_turned_away() -> None:
    """A connection that has become a WebSocket is no longer counted by Granian."""
    async with served(Probe(), connections=1) as server:
        async with websocket.connect(server.port) as socket:
            await socket.send("first")
            assert await socket.receive() == "first"
            async with connect(server.port) as client:
                await client.send(websocket.handshake("/ws"))
                assert (await client.response()).code == "too-many-connections"
        assert server.refused == [Code.TOO_MANY_CONNECTIONS]


@granian
async def test_websocket_outlives_the_time_for_a_head() -> None:
    async with (
        served(Probe(), head_timeout=0.3, idle_timeout=0.3) as server,
        websocket.connect(server.port) as socket,
    ):
        ends = time.monotonic() + 1.5  # many times as long, and talking all the while
        while time.monotonic() < ends:
            await socket.send("still there")
            assert await socket.receive() == "still there"
            await asyncio.sleep(0.02)


@granian
async def test_one_port_of_a_client_at_two_listeners_is_two_connections() -> None:
    second = bind(Listener(address="127.0.0.1:0"), Probe())
    other = second.sockets[0].getsockname()[1]
    async with served(Probe(), head_timeout=0.3, beside=[second]) as server:
        busy, silent = socket.socket(), socket.socket()
        for sock, port in ((busy, server.port), (silent, other)):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(("127.0.0.1", busy.getsockname()[1]))
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=busy)
        silence, quiet = await asyncio.open_connection(sock=silent)
        try:
            writer.write(request("GET", "/hang"))
            async with asyncio.timeout(10):
                assert await silence.read() == b""
            assert not reader.at_eof()
        finally:
            writer.close()
            quiet.close()


@granian
async def test_cancelled_server_does_not_drain() -> None:
    async with served(Probe(), drain_timeout=600.0) as server:
        async with connect(server.port) as client:
            await client.send(request("GET", "/deaf"))
            await until(lambda: connections(frozenset({server.port})))
            server.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await server.task
        server.task = asyncio.create_task(asyncio.sleep(0))


@granian
async def test_connection_without_a_request_is_closed() -> None:
    async with served(Probe(), head_timeout=0.2) as server:
        for said in (b"", b"\0", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + http2.frame(4)):
            async with connect(server.port) as client:
                await client.send(said)
                await client.ended()


async def large(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with 16 MiB in one piece."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": bytes(2**24)})


@granian
async def test_reader_of_a_whole_answer_that_reads_nothing_is_ended() -> None:
    """The application has ended by then; the kernel notices that nothing is taken."""
    async with served(large, idle_timeout=0.5) as server:
        async with connect(server.port) as client:
            await client.send(request())
            await client.head()  # by now it serves
        async with connect(server.port) as client:
            client.writer.transport.pause_reading()
            await client.send(request())
            await until(lambda: connections(frozenset({server.port})))
            await until(lambda: not connections(frozenset({server.port})), 10.0)


@granian
async def test_slow_reader_of_a_whole_answer_gets_all_of_it() -> None:
    async with served(large, idle_timeout=0.5) as server, connect(server.port) as client:
        await client.send(request())
        await client.head()
        left = 2**24
        while left:
            left -= len(await client.reader.readexactly(min(left, 2**17)))
            await asyncio.sleep(0.02)
        assert left == 0


@granian
async def test_failure_within_an_http2_response_ends_the_connection() -> None:
    app = Probe()
    async with served(app) as server, http2.connect(server.port) as client:
        stream = client.streams[client.open(http2.head(path="/cut"))]
        await client.until(lambda: stream.body == b"part")
        app.go.set()
        await client.until(lambda: client.closed)
        assert not stream.ended


@granian
async def test_reader_without_window_is_ended() -> None:
    app = Probe()
    async with (
        served(app, idle_timeout=0.4) as server,
        http2.connect(server.port, window=False) as client,
    ):
        client.open(http2.head(path="/flood"))
        await client.until(lambda: client.closed)
        await until(lambda: not app.running)
        assert isinstance(app.failure, ConnectionResetError)
        assert app.sent <= 2**18


@granian
async def test_idle_http2_connection_is_closed_pings_or_not() -> None:
    async with served(Probe(), idle_timeout=0.2) as server, http2.connect(server.port) as client:
        await client.request()
        while not client.closed:
            client.h2.ping(b"12345678")
            await client.flush()
            await asyncio.sleep(0.02)


@granian
async def test_shutdown_answers_what_came_in_http2() -> None:
    app = Probe()
    block = b"\x82\x86\x04\x05/deaf\x01\x0bapi.example"  # GET, http, the path, the authority
    async with served(app, drain_timeout=5.0) as server:
        async with connect(server.port) as client:
            await client.send(PREFACE, http2.frame(4), http2.frame(1, 1, block, flags=5))
            await until(lambda: app.running)
            server.shutdown.set()
            said = b""
            while http2.frame(7, 0, b"\x7f\xff\xff\xff" + bytes(4)) not in said:  # GOAWAY
                said += await asyncio.wait_for(client.reader.read(65536), 5)
            ping = said.index(b"\0\0\x08\x06\0\0\0\0\0")
            await client.send(http2.frame(6, 0, said[ping + 9 : ping + 17], flags=1))
            app.go.set()
            assert b"hello" in await client.ended()
        await server.task


@granian
async def test_applications_of_one_connection_are_bounded() -> None:
    app = Probe()
    async with served(app, streams=2) as server, http2.connect(server.port) as client:
        for _ in range(30):
            client.h2.reset_stream(client.open(http2.head(path="/deaf")))
            await client.flush()
            await asyncio.sleep(0.002)
            assert app.running <= 2
        app.go.set()
        await until(lambda: not app.running)


@pytest.mark.parametrize("case", FLOODS)
@granian
async def test_flood_does_not_hold_up_others(case: str) -> None:
    """hyper answers floods in its own thread, and ends few of them."""
    async with served(Probe()) as server:
        attacks = [asyncio.create_task(_flood(server.port, FLOODS[case])) for _ in range(4)]
        slowest = 0.0
        async with connect(server.port) as client:
            for _ in range(20):
                started = time.monotonic()
                assert (await client.request()).status == 200
                slowest = max(slowest, time.monotonic() - started)
        for attack in attacks:
            attack.cancel()
        await asyncio.gather(*attacks, return_exceptions=True)
        print(f"slowest answer beside {case}: {slowest * 1000:.0f} ms")


async def _flood(port: int, frames: bytes) -> None:
    while True:
        async with connect(port) as client:
            client.writer.write(PREFACE + http2.frame(4) + frames * 5000)
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("case", VIOLATIONS)
@granian
async def test_violation_closes_the_websocket(case: str) -> None:
    app = Probe()
    async with served(app) as server, websocket.connect(server.port) as socket:
        await socket.client.send(VIOLATIONS[case][0])
        assert await socket.receive() is None
        await until(lambda: not app.running)
        assert app.types == ["websocket.connect", "websocket.disconnect"]


@granian
async def test_client_that_leaves_before_the_handshakes_answer_is_noticed_with_it() -> None:
    app = Probe()
    async with served(app) as server:
        async with connect(server.port) as client:
            await client.send(websocket.handshake("/wsdeaf"))
        app.go.set()
        await until(lambda: not app.running)


async def renewed(port: int, authority: Authority) -> bytes | None:  # noqa: F811
    """The certificate shown; None where the old worker ended within the handshake."""
    try:
        return await shown(port, authority)
    except ConnectionError:
        return None


@granian
async def test_certificate_is_renewed_by_new_workers(authority, tls) -> None:  # noqa: F811
    app = Probe()
    async with served(app, tls=tls) as server:
        store = server.listener.certificate
        assert isinstance(store, Certificate)
        before = await shown(server.port, authority)
        async with http1.connect(server.port, context=trusting(authority)) as busy:
            await busy.send(request("GET", "/deaf"))
            await until(lambda: app.running)
            authority.issue("localhost")  # a new pair in the same files
            store.context = store.load()
            while await renewed(server.port, authority) in {before, None}:
                pass
            app.go.set()
            assert (await busy.response()).body == b"hello"  # a request in flight goes on
        assert await shown(server.port, authority) != before
        good = store.context
        tls.key.write_text("no key")
        with pytest.raises(Exception, match="no pair"):
            store.load()
        assert store.context is good


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_certificate_that_only_openssl_takes_is_refused(tmp_path: Path) -> None:
    """Of X.509's first version: Granian would end the process."""
    key, asked, certificate = (str(tmp_path / name) for name in ("key", "request", "crt"))
    for command in (
        ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", asked, "-subj", "/CN=a"],
        ["x509", "-req", "-in", asked, "-signkey", key, "-days", "1", "-out", certificate],
    ):  # fmt: skip
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    files = Tls(certificate=Path(certificate), key=Path(key))
    hypercorn.Certificate(files, http2=True)
    with pytest.raises(ConfigError, match="UnsupportedCertVersion"):
        Certificate(files)


def test_unix_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="TCP addresses only"):
        bind(Listener(address=f"unix:{tmp_path}/socket"), Probe())
