"""The whole gateway and requests that are too large, too slow, or wait for `100 Continue`."""

import asyncio

import pytest

from tests.support import http1, http2
from tests.support.gateway import either_server  # noqa: F401  a fixture
from tests.support.gateway import bearer, live, running
from tests.support.upstream import ok

HYPERCORN_ONLY = (
    "test_a_client_that_leaves_before_the_policy_has_its_body",
    "test_refused_below_the_pipeline_and_counted",
    "test_refused_on_http2_stream_by_stream",
    "test_a_slow_head_is_408",
    "test_continue_is_sent_when_the_body_is_needed",
)


OVER = b"GET /open/smuggled HTTP/1.1\r\nHost: a\r\n\r\n" * 50  # CONFIG's limit is 1 KiB
EXPECT = ("Expect", "100-continue")


async def swallow(peer):
    """Take whatever comes, and answer only what is whole."""
    while (head := await peer.head()) is not None:
        try:
            await peer.body(head)
        except (asyncio.IncompleteReadError, ValueError, ConnectionError):
            return  # the gateway ended it
        peer.send(ok())


LENGTH = (("Content-Length", str(len(OVER))),)
CHUNKED = (("Transfer-Encoding", "chunked"),)
CHUNK = b"%x\r\n%b\r\n" % (len(OVER), OVER)


OVER_LIMIT = {
    "declared": (LENGTH, b""),
    "declared and sent": (LENGTH, OVER),
    "chunked": (CHUNKED, CHUNK + b"0\r\n\r\n"),
    "chunked without end": (CHUNKED, CHUNK),
}


@live
async def test_a_body_over_the_limit_is_413(tmp_path):
    async with running(tmp_path, swallow) as gateway:
        for name, (headers, body) in OVER_LIMIT.items():
            async with http1.connect(gateway.port) as client:
                await client.send(http1.request("POST", "/open/x", headers), body)
                answer = await client.response()
                assert (answer.status, answer.code) == (413, "body-too-large"), name
                event = await gateway.event(answer.json()["decision_id"])
                assert (event["code"], event["status"]) == ("body-too-large", 413)
                # The connection goes on only where all of the body has been read.
                if answer.header("connection") == "close":
                    assert await client.ended() == b"", name
                else:
                    assert (await client.request("POST", "/open/next")).status == 200, name
        targets = {request.target for request in gateway.service.requests}
        assert targets <= {"/open/x", "/open/next"}


@live
async def test_a_body_over_the_limit_is_413_on_http2(tmp_path):
    async with running(tmp_path, swallow) as gateway, http2.connect(gateway.port) as client:
        for lines in ([("content-length", str(len(OVER)))], []):
            answer = await client.request("POST", "/open/x", lines, OVER)
            assert (answer.status, answer.code) == (413, "body-too-large")
            answer = await client.request("POST", "/open/x", body=b"small")
            assert answer.status == 200  # only the stream ended


@live
async def test_a_body_at_the_limit_passes(tmp_path):
    async with running(tmp_path) as gateway:
        answer = await gateway.ask("/open/x", method="POST", body=b"x" * 1024)
        assert answer.json()["body"] == "x" * 1024
        answer = await gateway.ask("/open/x", method="POST", body=b"x" * 1025)
        assert answer.status == 413


PAYMENTS = """package gateway.authz

decision := {"allow": input.request.body.amount < 100}
"""
PAY = {
    "routes": [
        {
            "id": "pay", "paths": "/pay", "upstream": "service", "body": {"max": "32"},
            "authentication": "anonymous",
        }
    ]
}  # fmt: skip
JSON = ("Content-Type", "application/json")


@live
async def test_a_body_for_the_policy_has_a_limit_of_its_own(tmp_path):
    async with running(tmp_path, policy=PAYMENTS, config=PAY) as gateway:
        for body, status, code in (
            (b'{"amount": 5}', 200, None),
            (b'{"amount": 500}', 403, "policy-denied"),
            (b'{"amount": 5, "amount": 500}', 400, "body-malformed"),
            (b'{"amount": 5' + b" " * 40 + b"}", 413, "body-too-large"),
        ):
            answer = await gateway.ask("/pay", method="POST", headers=(JSON,), body=body)
            assert (answer.status, answer.code) == (status, code), body
        (request,) = gateway.service.requests
        assert request.body == b'{"amount": 5}'
        async with http1.connect(gateway.port) as client:
            lines = (JSON, EXPECT, ("Content-Length", "15"))
            await client.send(http1.request("POST", "/pay", lines))
            assert (await client.response()).status == 100
            await client.send(b'{"amount": 500}')
            assert (await client.response()).code == "policy-denied"


@live
async def test_a_client_that_leaves_before_the_policy_has_its_body(tmp_path, caplog):
    async with running(tmp_path, policy=PAYMENTS, config=PAY) as gateway:
        async with http1.connect(gateway.port) as client:
            lines = (JSON, EXPECT, ("Content-Length", "15"))
            await client.send(http1.request("POST", "/pay", lines))
            assert (await client.response()).status == 100
            await client.send(b'{"amount"')
        async with http2.connect(gateway.port) as client:
            lower = [(name.lower(), value) for name, value in (JSON, EXPECT)]
            stream = client.open(http2.head("POST", "/pay", lower), end=False)
            await client.until(lambda: client.streams[stream].interim)
            client.h2.send_data(stream, b'{"amount"')
            client.h2.reset_stream(stream)
            await client.flush()
        for event in await gateway.events(2):
            assert (event["status"], event["incomplete"]) == (0, True)
            assert event["error"]["code"] == ""
            assert "code" not in event
        assert gateway.service.requests == []
        assert not caplog.records


BELOW = (
    (http1.request("GET", "/open/x?" + "x" * 9000), 414, "url-too-long"),
    (http1.request("GET", "/open/x", (("X-Long", "x" * 40_000),)), 431, "head-too-large"),
    (http1.request("GET", "/open/x", (("X-Many", "x"),) * 101), 431, "head-too-large"),
    (b"GET /open/x HTTP/1.1\r\nHost: a\r\nX-Endless: " + b"x" * 80_000, 431, "head-too-large"),
    (http1.request("POST", "/open/x", CHUNKED + LENGTH), 400, "bad-framing"),
)


@live
async def test_refused_below_the_pipeline_and_counted(tmp_path):
    async with running(tmp_path) as gateway:
        for raw, status, code in BELOW:
            async with http1.connect(gateway.port) as client:
                await client.send(raw)
                answer = await client.response()
                assert (answer.status, answer.code) == (status, code), raw[:60]
                await client.ended()
        metrics = await gateway.metrics()
        for code, count in (("url-too-long", 1), ("head-too-large", 3), ("bad-framing", 1)):
            assert f'gateway_server_refusals_total{{code="{code}"}} {count}.0' in metrics
        assert gateway.service.requests == []


@live
async def test_refused_on_http2_stream_by_stream(tmp_path):
    async with running(tmp_path) as gateway, http2.connect(gateway.port) as client:
        for path, headers, status, code in (
            ("/open/x?" + "x" * 9000, [], 414, "url-too-long"),
            ("/open/x", [("x-long", "x" * 33_000)], 431, "head-too-large"),
            ("/open/x", [("x-many", "x")] * 101, 431, "head-too-large"),
        ):
            answer = await client.request("GET", path, headers)
            assert (answer.status, answer.code) == (status, code)
            assert (await client.request("GET", "/open/x")).status == 200


@live
async def test_a_slow_head_is_408(tmp_path):
    config = {"limits": {"head_timeout": "300ms"}}
    async with running(tmp_path, config=config) as gateway:
        async with http1.connect(gateway.port) as client:
            await client.send(b"GET /open/x HTTP/1.1\r\nHost: ")
            answer = await client.response()
            assert (answer.status, answer.code) == (408, "head-timeout")
        async with http1.connect(gateway.port) as client:
            assert await client.ended() == b""  # who says nothing is not answered


@pytest.mark.parametrize("limit", ["body_timeout", "idle_timeout"])
@live
async def test_a_slow_body_is_408(tmp_path, limit):
    async def on_http1(port):
        async with http1.connect(port) as client:
            lines = (("Content-Length", "9"),)
            await client.send(http1.request("POST", "/open/x", lines), b"half")
            answer = await client.response()
            assert await client.ended() == b""
            return answer.status, answer.code

    async def on_http2(port):
        async with http2.connect(port) as client:
            stream = client.open(http2.head("POST", "/open/x"), end=False)
            client.h2.send_data(stream, b"half")
            answer = await client.finished(stream)
            return answer.status, answer.code

    config = {"limits": {limit: "400ms"}}
    async with running(tmp_path, swallow, config=config) as gateway:
        answers = await asyncio.gather(on_http1(gateway.port), on_http2(gateway.port))
        assert answers == [(408, "body-timeout")] * 2


@live
async def test_a_drip_does_not_extend_the_time_for_a_body(tmp_path):
    config = {"limits": {"body_timeout": "600ms"}}

    async def drip(client):
        while True:
            await client.send(b"1\r\nx\r\n")
            await asyncio.sleep(0.05)

    async with running(tmp_path, swallow, config=config) as gateway:
        async with http1.connect(gateway.port) as client:
            await client.send(http1.request("POST", "/open/x", CHUNKED))
            dripping = asyncio.create_task(drip(client))
            answer = await client.response()
            assert (answer.status, answer.code) == (408, "body-timeout")
            dripping.cancel()


@live
async def test_continue_is_sent_when_the_body_is_needed(tmp_path):
    async def script(peer):
        while (head := await peer.head()) is not None:
            assert head.header("expect") is None
            peer.send(ok(await peer.body(head)))

    async with running(tmp_path, script) as gateway, http1.connect(gateway.port) as client:
        lines = (EXPECT, ("Content-Length", "7"))
        await client.send(http1.request("POST", "/items", (*lines, *bearer(gateway.token()))))
        assert (await client.response()).status == 100
        await client.send(b"content")
        assert (await client.response()).body == b"content"
        async with http2.connect(gateway.port) as other:
            lines = [(name.lower(), value) for name, value in (EXPECT, *bearer(gateway.token()))]
            stream = other.open(http2.head("POST", "/items", lines), end=False)
            await other.until(lambda: other.streams[stream].interim == [100])
            await other.send_body(stream, b"content")
            assert (await other.finished(stream)).body == b"content"


@live
async def test_continue_is_not_sent_for_a_refused_request(tmp_path):
    async with running(tmp_path) as gateway:
        for target, length, status in (("/items", "7", 401), ("/open/x", "2000", 413)):
            lines = (EXPECT, ("Content-Length", length))
            async with http1.connect(gateway.port) as client:
                await client.send(http1.request("POST", target, lines))
                assert (await client.response()).status == status
                assert await client.ended() == b""
            async with http2.connect(gateway.port) as client:
                lower = [(name.lower(), value) for name, value in lines]
                stream = client.open(http2.head("POST", target, lower), end=False)
                answer = await client.finished(stream)
                assert (answer.status, answer.interim) == (status, [])
        assert gateway.service.requests == []
