"""The whole gateway and a hostile upstream: its faults reach nobody but the request they answer."""

import asyncio
import os
import re

import pytest

from tests.support import http1, http2
from tests.support.gateway import either_server  # noqa: F401  a fixture
from tests.support.gateway import live, running, until
from tests.support.upstream import answers, ok

STOLEN = ok(b"stolen")


async def ask(gateway, version, target="/open/x", method="GET", body=b""):
    """Status, code, body and completeness of an answer on a connection of its own."""
    if version == 1:
        answer = await gateway.ask(target, method=method, body=body)
        return answer.status, answer.code, answer.body, answer.complete
    async with http2.connect(gateway.port) as client:
        stream = await client.request(method, target, body=body)
        return stream.status, stream.code, bytes(stream.body), stream.ended


@live
async def test_bytes_behind_a_response_reach_nobody(tmp_path):
    extras = [STOLEN, STOLEN[:20], b"\r\n", b"\x00"] * 2

    async def script(peer):
        while (request := await peer.request()) is not None:
            peer.send(ok(request.target.encode()) + extras[peer.number])

    async with running(tmp_path, script) as gateway:
        for number in range(len(extras)):
            target = f"/open/{number}"
            answer = await gateway.ask(target)
            assert (answer.status, answer.body) == (200, target.encode())
        assert [len(peer.requests) for peer in gateway.service.peers] == [1] * len(extras)


@pytest.mark.parametrize("method", ["GET", "POST"])
@live
async def test_a_response_that_nobody_asked_for_reaches_nobody(tmp_path, method):
    """Whether the next request comes at once, or when the unused connection has been closed."""

    async def script(peer):
        while (request := await peer.request()) is not None:
            peer.send(ok(request.target.encode()))

    async with running(tmp_path, script) as gateway:
        for number in range(20):
            first, second = f"/open/{number}", f"/open/{number}/next"
            assert (await gateway.ask(first)).body == first.encode()
            unused = gateway.service.peers[-1]
            os.write(unused.writer.get_extra_info("socket").fileno(), STOLEN)
            if number % 2:
                await until(unused.writer.is_closing)
            answer = await gateway.ask(second, method=method)
            assert (answer.status, answer.body) == (200, second.encode())
        assert len(gateway.service.peers) > 20


MALFORMED = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nx-long: " + b"x" * 70_000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"x-many: x\r\n" * 8000 + b"\r\n",
    b"HTTP/1.1 200 OK\r\nx-bad: a\x00b\r\n\r\n",
    b"HTTP/1.1 99 Low\r\n\r\n",
    b"HTTP/2.0 200 OK\r\n\r\n",
    b"220 smtp.example ESMTP\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
]


@pytest.mark.parametrize("version", [1, 2])
@live
async def test_a_malformed_response_is_502(tmp_path, version):
    async def script(peer):
        while (request := await peer.request()) is not None:
            peer.send(MALFORMED[int(request.target.removeprefix("/open/"))])

    async with running(tmp_path, script) as gateway:
        for number, raw in enumerate(MALFORMED):
            status, code, _, complete = await ask(gateway, version, f"/open/{number}")
            assert (status, code, complete) == (502, "upstream-protocol", True), raw[:60]
        for event in await gateway.events(len(MALFORMED)):
            assert (event["outcome"], event["code"]) == ("failed", "upstream-protocol")


@live
async def test_a_response_in_single_bytes_is_whole(tmp_path):
    whole = (
        b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nx-one: 1\r\ntransfer-encoding: chunked\r\n\r\n"
        b"2;extension\r\nab\r\n1\r\nc\r\n0\r\nx-trailer: dropped\r\n\r\n"
    )

    async def script(peer):
        while await peer.request() is not None:
            for byte in whole:
                peer.send(bytes([byte]))
                await peer.drain()
                await asyncio.sleep(0)

    async with running(tmp_path, script) as gateway:
        for version in (1, 2):
            assert await ask(gateway, version) == (200, None, b"abc", True)
        answer = await gateway.ask("/open/x")
        assert (answer.header("x-one"), answer.header("link")) == ("1", None)
        assert answer.header("x-trailer") is None


CUT = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
]


@pytest.mark.parametrize("how", ["close", "reset", "no chunk"])
@pytest.mark.parametrize("version", [1, 2])
@live
async def test_a_response_that_breaks_off_is_no_clean_end(tmp_path, how, version):
    go_on = asyncio.Event()

    async def script(peer):
        if (request := await peer.request()) is None:
            return
        peer.send(CUT[int(request.target.removeprefix("/open/"))])
        await go_on.wait()
        if how == "reset":
            peer.reset()
        elif how == "no chunk":
            peer.send(b"no chunk\r\n")

    async def broken_off(gateway, target):
        """Whether the client sees that what followed `half` is not all."""
        if version == 1:
            async with http1.connect(gateway.port) as client:
                await client.send(http1.request("GET", target))
                await client.reader.readuntil(b"half")
                go_on.set()
                rest = await client.ended()
                return len(rest) < 96 and not rest.endswith(b"0\r\n\r\n")
        async with http2.connect(gateway.port) as client:
            stream = client.streams[client.open(http2.head("GET", target))]
            await client.until(lambda: stream.body == b"half")
            go_on.set()
            await client.until(lambda: stream.ended or stream.reset is not None or client.closed)
            return not stream.ended

    async with running(tmp_path, script) as gateway:
        for number, raw in enumerate(CUT):
            go_on.clear()
            assert await broken_off(gateway, f"/open/{number}"), raw
        for event in await gateway.events(len(CUT)):
            assert event["incomplete"]
            assert event["code"] in {"upstream-reset", "upstream-protocol"}


@live
async def test_an_end_without_length_is_a_clean_end(tmp_path):
    async def script(peer):
        if await peer.request() is not None:
            peer.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")

    async with running(tmp_path, script) as gateway:
        for version in (1, 2):
            assert await ask(gateway, version) == (200, None, b"all of it", True)


@live
async def test_a_slow_drip_passes_and_a_stop_is_cut(tmp_path):
    """The limit is for the time between two pieces, not for all of them."""

    async def script(peer):
        if await peer.request() is None:
            return
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n")
        for _ in range(8):
            peer.send(b"x")
            await asyncio.sleep(0.15)
        await peer.closed()

    config = {"upstreams": {"service": {"idle_timeout": "1s"}}}
    async with running(tmp_path, script, config=config) as gateway:
        found = await asyncio.gather(ask(gateway, 1), ask(gateway, 2))
        assert found == [(200, None, b"x" * 8, False)] * 2
        assert {event["code"] for event in await gateway.events(2)} == {"upstream-timeout"}


@live
async def test_no_answer_is_504_and_no_upstream_is_502(tmp_path):
    async def silent(peer):
        if await peer.request() is not None:
            await peer.closed()

    service = {"first_byte_timeout": "300ms"}
    config = {"upstreams": {"service": service, "gone": {"url": "http://127.0.0.1:1"}}}
    gone = {"id": "gone", "paths": "/gone", "upstream": "gone", "authentication": "anonymous"}
    routes = [{"id": "open", "paths": "/open/x", "upstream": "service"}, gone]
    routes[0]["authentication"] = "anonymous"
    policy = 'package gateway.authz\ndecision := {"allow": true}\n'
    async with running(
        tmp_path, silent, policy=policy, config={**config, "routes": routes}
    ) as gateway:
        for version in (1, 2):
            status, code, *_ = await ask(gateway, version)
            assert (status, code) == (504, "upstream-timeout")
            status, code, *_ = await ask(gateway, version, "/gone")
            assert (status, code) == (502, "upstream-connect")
        assert len(gateway.service.requests) == 2


SENT = {("GET", b""): 2, ("DELETE", b""): 1, ("POST", b""): 1, ("PUT", b"x"): 1, ("GET", b"x"): 2}


@pytest.mark.parametrize("how", ["close", "reset"])
@live
async def test_only_what_is_safe_is_sent_again(tmp_path, how):
    """The upstream takes a request on a connection used before, and ends without an answer."""
    unlucky = set()

    async def script(peer):
        while (request := await peer.request()) is not None:
            if "unlucky" in request.target and request.target not in unlucky:
                unlucky.add(request.target)
                if how == "reset":
                    peer.reset()
                return
            peer.send(ok(request.target.encode()))

    async with running(tmp_path, script) as gateway:
        for number, ((method, body), sent) in enumerate(SENT.items()):
            assert (await gateway.ask("/open/first")).status == 200
            target = f"/open/unlucky-{number}"
            answer = await gateway.ask(target, method=method, body=body)
            targets = [request.target for request in gateway.service.requests]
            assert targets.count(target) == sent, method
            good = (200, None) if sent == 2 else (502, "upstream-reset")
            assert (answer.status, answer.code) == good, method


@live
async def test_a_response_cannot_split_or_speak_for_the_gateway(tmp_path, either_server):
    raw = ok(
        b"body",
        b"connection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nproxy-authenticate: Basic\r\n"
        b"alt-svc: h2=other\r\nupgrade: h2c\r\nx-kept: 1\r\n",
    )
    async with running(tmp_path, answers(raw)) as gateway:
        async with http1.connect(gateway.port) as client:
            answer = await client.request("GET", "/open/x")
            names = {name for name, _ in answer.headers}
            banner = {"server"} if either_server == "granian" else set()
            assert names == {"content-length", "x-kept", "date"} | banner
            assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT", answer.header("date"))
            assert (await client.request("GET", "/open/x")).status == 200
