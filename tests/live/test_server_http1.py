"""The HTTP server's HTTP/1.1 side, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from gateway.config.model import Listener
from gateway.errors import Code
from gateway.serve.granian.exchange import Exchange
from gateway.serve.hypercorn.peer import Peer
from tests.support.http1 import Client, connect, request
from tests.support.probe import Probe
from tests.support.server import bind, live, live_on, on_granian, served, until

HOST = b"Host: api.example\r\n"
HANDSHAKE = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)

REFUSED = {
    # framing (RFC 9112 §6): nothing that two parsers could cut differently
    "length and chunks": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Code.BAD_FRAMING,
    ),
    "chunks and length": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        Code.BAD_FRAMING,
    ),
    "two equal lengths": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        Code.BAD_FRAMING,
    ),
    "two lengths": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        Code.BAD_FRAMING,
    ),
    "a list of lengths": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1, 1\r\n\r\nx",
        Code.BAD_FRAMING,
    ),
    "a signed length": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +1\r\n\r\nx",
        Code.BAD_FRAMING,
    ),
    "a huge length": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999\r\n\r\nx",
        Code.BAD_FRAMING,
    ),
    "an unknown coding": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n",
        Code.BAD_FRAMING,
    ),
    "two codings": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        Code.BAD_FRAMING,
    ),
    "chunked twice": (
        b"POST / HTTP/1.1\r\n" + HOST
        + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Code.BAD_FRAMING,
    ),
    "a coding after a vertical tab": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        Code.BAD_HEADER,
    ),
    "chunks in 1.0": (
        b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Code.BAD_FRAMING,
    ),
    "a bad chunk size": (
        b"POST /hang HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        Code.BAD_FRAMING,
    ),
    "a chunk longer than its size": (
        b"POST /hang HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n0\r\n\r\n",
        Code.BAD_FRAMING,
    ),
    # lines (RFC 9112 §2.2, §5)
    "bare LF": (b"GET / HTTP/1.1\nHost: api.example\n\n", Code.BAD_HEADER),
    "one bare LF": (b"GET / HTTP/1.1\r\n" + HOST + b"A: 1\nB: 2\r\n\r\n", Code.BAD_HEADER),
    "a bare CR": (b"GET / HTTP/1.1\r\n" + HOST + b"A: 1\rB: 2\r\n\r\n", Code.BAD_HEADER),
    "a folded line": (b"GET / HTTP/1.1\r\n" + HOST + b"A: 1\r\n 2\r\n\r\n", Code.BAD_HEADER),
    "a folded first line": (b"GET / HTTP/1.1\r\n A: 1\r\n" + HOST + b"\r\n", Code.BAD_HEADER),
    "NUL in a value": (b"GET / HTTP/1.1\r\n" + HOST + b"A: 1\x002\r\n\r\n", Code.BAD_HEADER),
    "a control in a value": (b"GET / HTTP/1.1\r\n" + HOST + b"A: 1\x012\r\n\r\n", Code.BAD_HEADER),
    "DEL in a value": (b"GET / HTTP/1.1\r\n" + HOST + b"A: 1\x7f2\r\n\r\n", Code.BAD_HEADER),
    "a blank before the colon": (b"GET / HTTP/1.1\r\n" + HOST + b"A : 1\r\n\r\n", Code.BAD_HEADER),
    "a name that is no token": (b"GET / HTTP/1.1\r\n" + HOST + b"A(b): 1\r\n\r\n", Code.BAD_HEADER),
    "an empty name": (b"GET / HTTP/1.1\r\n" + HOST + b": 1\r\n\r\n", Code.BAD_HEADER),
    "no colon": (b"GET / HTTP/1.1\r\n" + HOST + b"A\r\n\r\n", Code.BAD_HEADER),
    # the request line
    "TLS on a plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Code.BAD_FRAMING),
    "HTTP/0.9": (b"GET /\r\n\r\n", Code.BAD_FRAMING),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\n" + HOST + b"\r\n", Code.BAD_FRAMING),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", Code.BAD_FRAMING),
    "two blanks": (b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n", Code.BAD_FRAMING),
    "a method in lower case": (b"get / HTTP/1.1\r\n" + HOST + b"\r\n", Code.BAD_FRAMING),
    "a path with a byte over 127": (b"GET /\xe4 HTTP/1.1\r\n" + HOST + b"\r\n", Code.BAD_FRAMING),
    "CONNECT": (b"CONNECT api.example:443 HTTP/1.1\r\n" + HOST + b"\r\n", Code.BAD_PATH),
    "CONNECT with a path": (b"CONNECT /x HTTP/1.1\r\n" + HOST + b"\r\n", Code.BAD_PATH),
    "asterisk form": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", Code.BAD_PATH),
    "no slash": (b"GET x HTTP/1.1\r\n" + HOST + b"\r\n", Code.BAD_PATH),
    "a fragment": (b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n", Code.BAD_PATH),
    "a fragment in the query": (b"GET /a?b#c HTTP/1.1\r\n" + HOST + b"\r\n", Code.BAD_PATH),
    # absolute form (RFC 9112 §3.2.2)
    "absolute form, other host": (b"GET http://evil.example/ HTTP/1.1\r\n" + HOST + b"\r\n", Code.BAD_HOST),
    "absolute form, other port": (
        b"GET http://api.example:81/ HTTP/1.1\r\n" + HOST + b"\r\n", Code.BAD_HOST,
    ),
    "absolute form, user": (b"GET http://a@api.example/ HTTP/1.1\r\n" + HOST + b"\r\n", Code.BAD_HOST),
    "absolute form, no host": (b"GET http:///x HTTP/1.1\r\n" + HOST + b"\r\n", Code.BAD_PATH),
    "another scheme": (b"GET ftp://api.example/ HTTP/1.1\r\n" + HOST + b"\r\n", Code.BAD_PATH),
    # Host
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", Code.BAD_HOST),
    "two Hosts": (b"GET / HTTP/1.1\r\n" + HOST + b"Host: b.example\r\n\r\n", Code.BAD_HOST),
    "two equal Hosts": (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", Code.BAD_HOST),
    # WebSocket handshakes (RFC 6455 §4.2.1)
    "WebSocket by POST": (b"POST /ws HTTP/1.1\r\n" + HOST + HANDSHAKE + b"\r\n", Code.UPGRADE_REFUSED),
    "WebSocket in 1.0": (b"GET /ws HTTP/1.0\r\n" + HOST + HANDSHAKE + b"\r\n", Code.UPGRADE_REFUSED),
    "WebSocket with a body": (
        b"GET /ws HTTP/1.1\r\n" + HOST + HANDSHAKE + b"Content-Length: 1\r\n\r\nx",
        Code.UPGRADE_REFUSED,
    ),
    "WebSocket of another version": (
        b"GET /ws HTTP/1.1\r\n" + HOST + HANDSHAKE.replace(b"13", b"12") + b"\r\n",
        Code.UPGRADE_REFUSED,
    ),
    "WebSocket without a key": (
        b"GET /ws HTTP/1.1\r\n" + HOST + HANDSHAKE.replace(b"-Key", b"-Other") + b"\r\n",
        Code.UPGRADE_REFUSED,
    ),
    "WebSocket with a short key": (
        b"GET /ws HTTP/1.1\r\n" + HOST + HANDSHAKE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhl") + b"\r\n",
        Code.UPGRADE_REFUSED,
    ),
    "frames before the handshake's answer": (
        b"GET /undecided HTTP/1.1\r\n" + HOST + HANDSHAKE + b"\r\n\x81\x80\0\0\0\0",
        Code.BAD_FRAMING,
    ),
    # sizes
    "a long target": (b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\n" + HOST + b"\r\n", Code.URL_TOO_LONG),
    "an endless target": (b"GET /" + b"a" * 60000, Code.URL_TOO_LONG),
    "a large field": (
        b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"a" * 32768 + b"\r\n\r\n", Code.HEAD_TOO_LARGE,
    ),
    "an endless field": (b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"a" * 60000, Code.HEAD_TOO_LARGE),
    "many fields": (b"GET / HTTP/1.1\r\n" + HOST + b"A: 1\r\n" * 100 + b"\r\n", Code.HEAD_TOO_LARGE),
}  # fmt: skip


READ_BY_GRANIAN = (
    "length and chunks",
    "chunks and length",
    "two equal lengths",
    "bare LF",
    "one bare LF",
    "a fragment",
    "a fragment in the query",
    "absolute form, other host",
    "absolute form, other port",
    "absolute form, user",
    "another scheme",
    "WebSocket by POST",
    "frames before the handshake's answer",
)
"""What Granian reads in one way of several: test_server_granian.py shows that it does no harm."""
BODIES = ("a bad chunk size", "a chunk longer than its size")
"""Granian does not tell a body that is none from a client that has left: it is not counted."""


@pytest.mark.parametrize("case", sorted(REFUSED.keys() - set(READ_BY_GRANIAN)))
@live
async def test_refused_below_asgi(case: str) -> None:
    await refused_below_asgi(case)


@pytest.mark.parametrize("case", READ_BY_GRANIAN)
@live_on("hypercorn")
async def test_second_reading_is_refused(case: str) -> None:
    await refused_below_asgi(case)


async def refused_below_asgi(case: str) -> None:
    raw, code = REFUSED[case]
    app = Probe()
    async with served(app) as server, connect(server.port) as client:
        await client.send(raw)
        answer = await client.response()
        if on_granian() and answer.code is None:  # hyper's own refusal has no document
            assert answer.status in {400, 431}
            assert (app.scopes, server.refused) == ([], [])
        else:
            assert (answer.status, answer.code) == (code.status, code.text)
            assert server.refused == ([] if on_granian() and case in BODIES else [code])
            assert answer.header("connection").endswith("close")
            assert await client.ended() == b""
        await until(lambda: not app.running)
        seen = b"".join(message.get("body", b"") for message in app.received)
        assert seen in {b"", b"x" if on_granian() else b""}  # what came before the fault


ACCEPTED = {
    "origin form": (b"GET /scope/a%2Fb//c/..;x?d=%20&e=/? HTTP/1.1\r\n" + HOST + b"\r\n",
                    "/scope/a%2Fb//c/..;x", "d=%20&e=/?"),
    "absolute form": (b"GET http://API.example/scope?x HTTP/1.1\r\n" + HOST + b"\r\n", "/scope", "x"),
    "absolute form, only a query": (
        b"GET http://api.example?x HTTP/1.1\r\n" + HOST + b"\r\n", "/", "x"),
    "absolute form, nothing": (b"GET http://api.example HTTP/1.1\r\n" + HOST + b"\r\n", "/", ""),
    "another upgrade": (
        b"GET /scope HTTP/1.1\r\n" + HOST + b"Upgrade: foo\r\nConnection: Upgrade\r\n\r\n",
        "/scope", ""),
    "an h2c upgrade": (
        b"GET /scope HTTP/1.1\r\n" + HOST
        + b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n",
        "/scope", ""),
    "a field with obs-text": (b"GET /scope HTTP/1.1\r\n" + HOST + b"A: \xe4\r\n\r\n", "/scope", ""),
    "as many fields as allowed": (
        b"GET /scope HTTP/1.1\r\n" + HOST + b"A: 1\r\n" * 99 + b"\r\n", "/scope", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", ACCEPTED)
@live
async def test_target_reaches_the_application_byte_by_byte(case: str) -> None:
    raw, path, query = ACCEPTED[case]
    app = Probe()
    async with served(app) as server, connect(server.port) as client:
        await client.send(raw)
        answer = await client.response()
        assert answer.status == 200
        scope = app.scopes[0]
        assert (scope["raw_path"], scope["query_string"]) == (path.encode(), query.encode())
        assert scope["http_version"] == "1.1"
        assert scope["client"][0] == "127.0.0.1"
        assert server.refused == []


@live
async def test_every_split_of_a_request_reads_the_same() -> None:
    raw = request("POST", "/echo", (("X-A", "b"),), b"payload")
    async with served(Probe()) as server, connect(server.port) as client:
        for at in range(1, len(raw), 7):
            await client.send(raw[:at])
            await asyncio.sleep(0)
            await client.send(raw[at:])
            assert (await client.response()).body == b"payload"


@live
async def test_requests_in_one_segment_are_answered_in_order() -> None:
    async with served(Probe()) as server, connect(server.port) as client:
        await client.send(*(request("POST", "/echo", (), b"%d" % n) for n in range(20)))
        assert [(await client.response()).body for _ in range(20)] == [b"%d" % n for n in range(20)]


@live
async def test_trailers_and_chunk_extensions_go_nowhere() -> None:
    app = Probe()
    async with served(app) as server, connect(server.port) as client:
        await client.send(
            b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
            b"3;a=b\r\nabc\r\n0\r\nContent-Length: 9\r\nX-Auth-Subject: root\r\n\r\n"
        )
        assert (await client.response()).body == b"abc"
        names = [name for name, _ in app.scopes[0]["headers"]]
        assert names == [b"host", b"transfer-encoding"]
        assert (await client.request()).status == 200


CHUNKS = {
    "a bare CR in an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "a bare CR before the line's end": b"5;a\r\r\nhello\r\n0\r\n\r\n",
    "a bare LF in an extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "bare LFs": b"5\nhello\n0\n\n",
    "NUL in an extension": b"5;a\0\r\nhello\r\n0\r\n\r\n",
    "DEL in an extension": b"5;a\x7f\r\nhello\r\n0\r\n\r\n",
    "a blank after the size": b"5 \r\nhello\r\n0\r\n\r\n",
    "a tab after the size": b"5\t\r\nhello\r\n0\r\n\r\n",
    "a blank before an extension": b"5 ;a\r\nhello\r\n0\r\n\r\n",
    "a blank before the size": b" 5\r\nhello\r\n0\r\n\r\n",
    "a prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "no size": b";a\r\nhello\r\n0\r\n\r\n",
    "a bare CR in the last line": b"5\r\nhello\r\n0;a\rb\r\n\r\n",
    "a blank in the last line": b"5\r\nhello\r\n00 \r\n\r\n",
    "a bare LF for the trailers": b"5\r\nhello\r\n0\r\n\n",
    "a bare LF in the trailers": b"5\r\nhello\r\n000\r\na: b\nc: d\r\n\r\n",
    "a bare LF at the trailers' end": b"5\r\nhello\r\n0\r\na: b\r\n\n",
    "a folded trailer": b"5\r\nhello\r\n0\r\na: b\r\n c\r\n\r\n",
    "a control in a trailer": b"5\r\nhello\r\n0\r\na: \x01\r\n\r\n",
}


CHUNKS_READ_BY_GRANIAN = (
    "NUL in an extension",
    "DEL in an extension",
    "a blank after the size",
    "a tab after the size",
    "a blank before an extension",
    "a blank in the last line",
    "a bare LF for the trailers",
    "a bare LF at the trailers' end",
)
"""As READ_BY_GRANIAN."""


@pytest.mark.parametrize("case", sorted(CHUNKS.keys() - set(CHUNKS_READ_BY_GRANIAN)))
@live
async def test_chunks_with_two_readings_are_refused(case: str) -> None:
    await chunks_are_refused(case)


@pytest.mark.parametrize("case", CHUNKS_READ_BY_GRANIAN)
@live_on("hypercorn")
async def test_chunks_with_a_second_reading_are_refused(case: str) -> None:
    await chunks_are_refused(case)


async def chunks_are_refused(case: str) -> None:
    app = Probe()
    head = request("POST", "/echo", (("Transfer-Encoding", "chunked"),))
    async with served(app) as server:
        for cut in (0, 1):
            async with connect(server.port) as client:
                await client.send(head, CHUNKS[case][:cut])
                await until(lambda cut=cut: len(app.scopes) > cut)
                await client.send(CHUNKS[case][cut:], request("GET", "/smuggled"))
                answer = await client.response()
                assert (answer.status, answer.code) == (400, "bad-framing")
                assert await client.ended() == b""
            await until(lambda: not app.running)
        assert server.refused == ([] if on_granian() else [Code.BAD_FRAMING] * 2)
        assert {scope["path"] for scope in app.scopes} == {"/echo"}


@live
async def test_chunks_that_can_be_read_one_way_pass() -> None:
    lines = (b"5;a=b", b'005;a="b c";d', b"5;\xe4", b"5;")
    async with served(Probe()) as server, connect(server.port) as client:
        for line in lines:
            for trailers in (b"", b"a: b\r\nc: d\r\n"):
                await client.send(request("POST", "/echo", (("Transfer-Encoding", "chunked"),)))
                await client.send(line + b"\r\nhello\r\n0;x\r\n" + trailers + b"\r\n")
                assert (await client.response()).body == b"hello"


@live
async def test_close_is_honoured() -> None:
    async with served(Probe()) as server, connect(server.port) as client:
        answer = await client.request("GET", "/", (("Connection", "close"),))
        assert (answer.status, answer.header("connection")) == (200, "close")
        assert await client.ended() == b""


@live
async def test_no_banner_one_date_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    async with served(Probe()) as server, connect(server.port) as client:
        answer = await client.request()
        names = [name for name, _ in answer.headers]
        banner = ["server"] if on_granian() else []
        assert sorted(names) == ["content-length", "content-type", "date", *banner]
    assert caplog.records == []


@live
async def test_continue_goes_out_when_the_body_is_first_awaited() -> None:
    app = Probe()
    expect = (("Expect", "100-continue"), ("Content-Length", "3"))
    async with served(app) as server:
        async with connect(server.port) as client:
            await client.send(request("POST", "/echo", expect))
            assert (await client.head())[0] == 100
            await client.send(b"abc")
            assert (await client.response()).body == b"abc"
            assert (await client.request("POST", "/echo", (), b"again")).body == b"again"
        async with connect(server.port) as client:  # an application that never asks
            await client.send(request("POST", "/hello", expect))
            answer = await client.response()
            assert (answer.status, answer.header("connection")) == (200, "close")
            assert await client.ended() == b""
        async with connect(server.port) as client:  # a body that comes unasked
            await client.send(request("POST", "/echo", expect), b"abc")
            if on_granian():  # it asks all the same (RFC 9110 §10.1.1: it may omit that)
                assert (await client.head())[0] == 100
            assert (await client.response()).body == b"abc"


@live
async def test_statuses_without_a_body() -> None:
    async with served(Probe()) as server, connect(server.port) as client:
        assert (await client.request("HEAD", "/status/200")).header("content-length") == "3"
        answer = await client.request("GET", "/status/204")
        assert (answer.status, answer.header("content-length")) == (204, None)
        answer = await client.request("GET", "/status/304")
        assert (answer.status, answer.header("content-length")) == (304, None)
        assert (await client.request("GET", "/status/200")).body == b"abc"


@live
async def test_response_streams_as_it_is_sent() -> None:
    app = Probe()
    async with served(app) as server, connect(server.port) as client:
        await client.send(request("GET", "/parts"))
        status, headers = await client.head()
        assert (status, dict(headers)["transfer-encoding"]) == (200, "chunked")
        assert await client.chunk() == b"one"
        app.go.set()
        assert [await client.chunk(), await client.chunk()] == [b"two", b""]
        assert (await client.request()).status == 200


@live
async def test_http10_is_answered_without_chunks_and_closed() -> None:
    app = Probe()
    app.go.set()
    async with served(app) as server, connect(server.port) as client:
        await client.send(b"GET /parts HTTP/1.0\r\n\r\n")
        answer = await client.response()
        assert (answer.body, answer.header("transfer-encoding")) == (b"onetwo", None)


@pytest.mark.parametrize("target", ["/cut", "/cut?length"])
@live
async def test_failure_within_a_response_is_no_clean_end(target: str) -> None:
    app = Probe()
    async with served(app) as server, connect(server.port) as client:
        await client.send(request("GET", target))
        head = await client.head()
        app.go.set()
        rest = await client.ended()
        assert head[0] == 200
        assert rest.endswith(b"part\r\n" if target == "/cut" else b"part")


@live
async def test_failure_within_an_http10_response_resets() -> None:
    app = Probe()
    async with served(app) as server, connect(server.port) as client:
        await client.send(b"GET /cut HTTP/1.0\r\n\r\n")
        await client.head()
        assert await client.reader.readexactly(4) == b"part"
        app.go.set()
        with pytest.raises(ConnectionResetError):
            await client.reader.read()


@live
async def test_failure_before_a_response_is_a_problem() -> None:
    async with served(Probe()) as server, connect(server.port) as client:
        answer = await client.request("GET", "/fail")
        assert (answer.status, answer.code) == (500, "internal-error")
        assert server.refused == [Code.INTERNAL_ERROR]
        assert (await client.request()).status == 200


@live
async def test_application_learns_that_the_client_left() -> None:
    app = Probe()
    async with served(app, head_timeout=1.0) as server:
        async with connect(server.port) as client:
            await client.send(request("POST", "/hang", (("Content-Length", "10"),)), b"abc")
            await until(lambda: app.received)
        await until(lambda: not app.running, 1.0)
        assert app.types[-1] == "http.disconnect"
        async with connect(server.port) as client:  # also while the next request waits
            await client.send(request("GET", "/hang"), request())
            await until(lambda: app.running)
        await until(lambda: not app.running, 1.0)


@live
async def test_sending_to_a_client_that_left_raises() -> None:
    app = Probe()
    async with served(app) as server:
        async with connect(server.port) as client:
            await client.send(request("GET", "/flood"))
            await client.head()
        await until(lambda: not app.running, 2.0)
        assert isinstance(app.failure, ConnectionResetError)


@live
async def test_slow_reader_holds_the_application_and_is_ended() -> None:
    app = Probe()
    async with served(app, idle_timeout=1.0) as server, connect(server.port) as client:
        client.writer.transport.pause_reading()
        await client.send(request("GET", "/flood"))
        await until(lambda: app.sent)
        await until(lambda: not app.running)
        # The kernel's socket buffers take a few megabytes, the server no more than its own.
        assert app.sent < 16 * 1024**2


def held(port: int) -> list[str]:
    """The kernel's connections to this port of ours, also those that no process has any more."""
    table = Path("/proc/net/tcp").read_text().splitlines()[1:]
    rows = [line.split() for line in table]
    over = {"06", "0A"}  # TIME_WAIT and LISTEN (linux/tcp_states.h)
    return [row[3] for row in rows if row[1].endswith(f":{port:04X}") and row[3] not in over]


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="looks into Linux' table")
@live
async def test_answer_that_a_client_left_untaken_is_not_kept() -> None:
    """The application has ended, and so has the client's side: the kernel alone has the answer."""

    async def large(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(2**20)})

    async with served(large, idle_timeout=0.5) as server:
        async with connect(server.port) as client:
            await client.send(request())
            await client.head()  # by now it serves
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, ("127.0.0.1", server.port))
            await loop.sock_sendall(sock, request())
            assert await loop.sock_recv(sock, 12) == b"HTTP/1.1 200"
            sock.shutdown(socket.SHUT_WR)
            await until(lambda: not held(server.port), 10)


@pytest.mark.parametrize("path", ["/deaf", "/sip"])
@live
async def test_body_that_nobody_takes_stops_the_client(path: str) -> None:
    app = Probe()
    async with served(app) as server, connect(server.port) as client:
        await client.send(request("POST", path, (("Content-Length", str(2**30)),)))
        size = 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                while size < 2**26:
                    client.writer.write(b"x" * 65536)
                    await client.writer.drain()
                    size += 65536
        # The kernel's socket buffers take a few megabytes, the server no more than its own.
        assert size - app.sent < 2**25


@live
async def test_answer_is_read_though_the_body_was_not_all_sent() -> None:
    async with served(Probe()) as server, connect(server.port) as client:
        client.writer.write(request("POST", "/hello", (("Content-Length", "4000000"),)))
        client.writer.write(bytes(2_000_000))
        answer = await client.response()
        assert (answer.body, answer.header("connection")) == (b"hello", "close")
        assert await client.reader.read() == b""  # an end, no reset


@live
async def test_fault_while_looking_after_one_connection_ends_no_other(monkeypatch, caplog) -> None:
    def fault(*_: object) -> None:
        raise RuntimeError("a fault of the server's")

    app = Probe()
    async with served(app, idle_timeout=1.0) as server, connect(server.port) as client:
        await client.send(request("GET", "/hang"))
        await until(lambda: app.running)
        monkeypatch.setattr(Exchange if on_granian() else Peer, "sweep", fault)
        await until(lambda: caplog.records)
        monkeypatch.undo()
        async with connect(server.port) as other:
            assert (await other.request()).status == 200
        assert {record.exc_info[0] for record in caplog.records} == {RuntimeError}


@live
async def test_stalled_head_is_answered_408() -> None:
    async with served(Probe(), head_timeout=0.2) as server:
        async with connect(server.port) as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: a")
            await head_times_out(client)
        assert server.refused == ([] if on_granian() else [Code.HEAD_TIMEOUT])
        async with connect(server.port) as client:  # nothing came: nothing to answer
            assert await client.ended() == b""
        async with connect(server.port) as client:  # the second head, too
            await client.request()
            await client.send(b"GET")
            await head_times_out(client)


async def head_times_out(client: Client) -> None:
    """Hypercorn answers, hyper only closes."""
    if not on_granian():
        answer = await client.response()
        assert (answer.status, answer.code) == (408, "head-timeout")
    assert await client.ended() == b""


@live
async def test_drip_of_a_head_does_not_extend_its_time() -> None:
    async with served(Probe(), head_timeout=0.3) as server, connect(server.port) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
        answer = asyncio.create_task(client.ended())
        while not answer.done():
            client.writer.write(b"A: 1\r\n")
            await asyncio.sleep(0.02)
        assert (b"408" in await answer) is not on_granian()


@live
async def test_idle_connection_is_closed_silently() -> None:
    async with served(Probe(), idle_timeout=0.2) as server, connect(server.port) as client:
        assert (await client.request()).status == 200
        assert await client.ended() == b""
        assert server.refused == []


@live
async def test_stalled_body_is_answered_408() -> None:
    app = Probe()
    async with served(app, idle_timeout=0.2) as server, connect(server.port) as client:
        await client.send(request("POST", "/echo", (("Content-Length", "10"),)), b"abc")
        answer = await client.response()
        assert (answer.status, answer.code) == (408, "body-timeout")
        await until(lambda: not app.running)
        assert app.types[-1] == "http.disconnect"


@live
async def test_slow_application_is_not_timed_out() -> None:
    app = Probe()
    async with served(app, idle_timeout=0.1, head_timeout=0.1) as server:
        async with connect(server.port) as client:
            await client.send(request("GET", "/deaf"))
            await asyncio.sleep(0.4)
            app.go.set()
            assert (await client.response()).body == b"hello"


@live_on("hypercorn")
async def test_connections_over_the_cap_are_turned_away() -> None:
    async with served(Probe(), connections=2) as server:
        async with connect(server.port) as one, connect(server.port) as two:
            assert [(await c.request()).status for c in (one, two)] == [200, 200]
            async with connect(server.port) as three:
                answer = await three.response()
                assert (answer.status, answer.code) == (503, "too-many-connections")
                assert await three.ended() == b""
            assert (await one.request()).status == 200
        assert server.refused == [Code.TOO_MANY_CONNECTIONS]
        async with connect(server.port) as four:
            assert (await four.request()).status == 200


@live
async def test_operators_connections_have_a_cap_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.serve.hypercorn.server.OWN_CONNECTIONS", 2)
    own = bind(Listener(address="127.0.0.1:0"), Probe(), capped=False)
    own_port = int(own.address.rpartition(":")[2])
    async with served(Probe(), beside=[own], connections=2) as server:
        async with contextlib.AsyncExitStack() as stack:
            ports = [server.port, server.port, own_port, own_port]
            clients = [await stack.enter_async_context(connect(port)) for port in ports]
            assert [(await c.request()).status for c in clients] == [200] * 4
            for port in (own_port,) if on_granian() else (server.port, own_port):
                async with connect(port) as another:
                    assert (await another.response()).code == "too-many-connections"
        for port in (server.port, own_port):
            async with connect(port) as client:
                assert (await client.request()).status == 200


@live
async def test_shutdown_lets_requests_in_flight_end() -> None:
    app = Probe()
    async with served(app, drain_timeout=5.0) as server:
        async with connect(server.port) as busy, connect(server.port) as idle:
            assert (await idle.request()).status == 200
            await busy.send(request("GET", "/deaf"))
            await until(lambda: app.running)
            server.shutdown.set()
            assert await idle.ended() == b""
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", server.port)
            app.go.set()
            answer = await busy.response()
            assert (answer.body, answer.header("connection")) == (b"hello", "close")
            assert await busy.ended() == b""
        await server.task


@live
async def test_shutdown_ends_what_does_not_end() -> None:
    app = Probe()
    async with served(app, drain_timeout=0.1) as server, connect(server.port) as client:
        await client.send(request("GET", "/deaf"))
        await until(lambda: app.running)
        server.shutdown.set()
        assert await client.ended() == b""
        await server.task
        assert not app.running


@live_on("hypercorn")
async def test_unix_socket(tmp_path) -> None:
    path = tmp_path / "gateway.sock"
    app = Probe()
    async with served(app, address=f"unix:{path}"):
        async with connect(str(path)) as client:
            assert (await client.request()).status == 200
            assert app.scopes[0]["client"] is None
    assert not path.exists()


@live
async def test_a_connection_that_breaks_is_only_its_own(caplog: pytest.LogCaptureFixture) -> None:
    async with served(Probe()) as server, connect(server.port) as good:
        for raw in (
            b"",
            b"\0" * 9000,
            b"GET / HTTP/1.1\r\n" * 9,
            b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        ):
            async with connect(server.port) as bad:
                await bad.send(raw)
        assert (await good.request()).status == 200
    assert caplog.records == []
