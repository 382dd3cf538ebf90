"""The whole gateway and HTTP/2 clients, by prior knowledge and by ALPN."""

import asyncio
import json
import ssl

import pytest

from tests.support import http1, http2
from tests.support.certificates import Authority
from tests.support.gateway import either_server  # noqa: F401  a fixture
from tests.support.gateway import bearer, live, running, tls
from tests.support.upstream import answers, ok

HYPERCORN_ONLY = ("test_duplicates_and_smuggled_lines_are_refused",)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


def trusting(authority):
    return ssl.create_default_context(cafile=authority.root)


def lines(token=None):
    return [(name.lower(), value) for name, value in bearer(token)]


@pytest.mark.parametrize("secure", [False, True])
@live
async def test_get_post_and_refusals(tmp_path, authority, secure):
    config = tls(authority, tmp_path) if secure else {}
    context = trusting(authority) if secure else None
    async with running(tmp_path, config=config) as gateway:
        async with http2.connect(gateway.port, context=context) as client:
            seen = (await client.request("GET", "/items?a=1", lines(gateway.token()))).json()
            assert (seen["method"], seen["target"], seen["body"]) == ("GET", "/items?a=1", "")
            headers = seen["headers"]
            assert (headers["x-auth-subject"], headers["host"]) == ("alice", "api.example")
            assert headers["x-forwarded-proto"] == ("https" if secure else "http")
            assert headers.keys().isdisjoint({"authorization", "content-length", "te"})
            assert "transfer-encoding" not in headers
            seen = (await client.request("POST", "/open/x", body=b"content")).json()
            assert (seen["method"], seen["body"]) == ("POST", "content")
            refusal = await client.request("GET", "/items")
            assert (refusal.status, refusal.code) == (401, "token-missing")
            refusal = await client.request("GET", "/items", lines(gateway.token(roles=[])))
            assert (refusal.status, refusal.code) == (403, "policy-denied")
            event = await gateway.event(refusal.json()["decision_id"])
            assert event["reasons"] == [{"code": "not-granted", "message": ""}]
            assert (await client.request("GET", "/open/%2e%2e/items")).code == "bad-path"
        if secure:  # the same listener for who does not speak it
            async with http1.connect(gateway.port, context=trusting(authority)) as client:
                assert (await client.request("GET", "/open/x")).status == 200


@live
async def test_streams_are_independent(tmp_path):
    """One of many streams is answered at once though those before it wait."""
    release = asyncio.Event()

    async def script(peer):
        while (request := await peer.request()) is not None:
            if request.target != "/open/fast":
                await release.wait()
            peer.send(ok(request.target.encode()))

    async with running(tmp_path, script) as gateway, http2.connect(gateway.port) as client:
        slow = {f"/open/{n}": client.open(http2.head("GET", f"/open/{n}")) for n in range(20)}
        assert (await client.request("GET", "/open/fast")).body == b"/open/fast"
        assert not any(client.streams[stream].ended for stream in slow.values())
        release.set()
        for target, stream in slow.items():
            assert (await client.finished(stream)).body == target.encode()


@live
async def test_a_body_without_length_is_streamed(tmp_path):
    """The upstream has the first piece before the client sends the second."""
    pieces = []

    async def script(peer):
        if (head := await peer.head()) is None:
            return
        assert head.header("transfer-encoding") == "chunked"
        while size := int(await peer.reader.readline(), 16):
            pieces.append(await peer.reader.readexactly(size))
            await peer.reader.readexactly(2)
        peer.send(ok(b"".join(pieces)))

    async with running(tmp_path, script) as gateway, http2.connect(gateway.port) as client:
        stream = client.open(http2.head("POST", "/open/x"), end=False)
        client.h2.send_data(stream, b"first")
        await client.flush()
        async with asyncio.timeout(10):
            while not pieces:
                await asyncio.sleep(0.01)
        client.h2.send_data(stream, b"last", end_stream=True)
        assert (await client.finished(stream)).body == b"firstlast"


@live
async def test_duplicates_and_smuggled_lines_are_refused(tmp_path):
    async with running(tmp_path) as gateway, http2.connect(gateway.port) as client:
        twice = lines(gateway.token()) * 2
        refusal = await client.request("GET", "/items", twice)
        assert (refusal.status, refusal.code) == (400, "credential-ambiguous")
        for line in (
            ("transfer-encoding", "chunked"),
            ("connection", "x-auth-subject"),
            ("x-note", "a\r\nx-auth-subject: root"),
            ("x-note\r\nx-auth-subject", "root"),
            ("host", "other.example"),
        ):
            refusal = await client.request("GET", "/items", [*lines(gateway.token()), line])
            assert refusal.status == 400, line
        seen = await client.request(
            "GET", "/items", [*lines(gateway.token()), ("x_auth_subject", "root")]
        )
        assert "root" not in str(seen.json())
        assert len(gateway.service.requests) == 1


@live
async def test_statuses_without_a_body(tmp_path):
    script = answers(
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",  # to HEAD
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b'HTTP/1.1 304 Not Modified\r\netag: "1"\r\nconnection: keep-alive\r\n\r\n',
        ok(b"whole"),
    )
    async with running(tmp_path, script) as gateway, http2.connect(gateway.port) as client:
        found = [
            await client.request(method, "/open/x") for method in ("HEAD", "DELETE", "GET", "GET")
        ]
        assert [(each.status, bytes(each.body)) for each in found] == [
            (200, b""),
            (204, b""),
            (304, b""),
            (200, b"whole"),
        ]
        assert all(each.ended and each.reset is None for each in found)
        assert found[0].headers["content-length"] == "5"
        assert "content-length" not in found[1].headers
        assert found[2].headers["etag"] == '"1"'
        assert "connection" not in found[2].headers
        refusal = await client.request("HEAD", "/items")
        assert (refusal.status, refusal.ended, bytes(refusal.body)) == (401, True, b"")


@live
async def test_split_cookies_are_one(tmp_path):
    async with running(tmp_path) as gateway, http2.connect(gateway.port) as client:
        seen = await client.request("GET", "/open/x", [("cookie", "a=1"), ("cookie", "b=2")])
        assert seen.json()["headers"]["cookie"] == "a=1; b=2"


@live
async def test_a_reset_stream_ends_its_upstream_request_only(tmp_path):
    arrived, ended, release = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def script(peer):
        while (request := await peer.request()) is not None:
            if request.target == "/open/stays":
                await release.wait()
                peer.send(ok(b"stayed"))
            else:
                arrived.set()
                await peer.closed()
                ended.set()
                return

    async with running(tmp_path, script) as gateway, http2.connect(gateway.port) as client:
        stays = client.open(http2.head("GET", "/open/stays"))
        leaves = client.open(http2.head("GET", "/open/leaves"))
        await client.flush()
        await arrived.wait()
        client.h2.reset_stream(leaves)
        await client.flush()
        await ended.wait()
        release.set()
        assert (await client.finished(stays)).body == b"stayed"
        events = {event["target"]: event for event in await gateway.events(2)}
        assert events["/open/leaves"]["incomplete"]
        assert events["/open/stays"]["status"] == 200


@live
async def test_a_large_response_waits_for_the_clients_window(tmp_path):
    body = json.dumps(list(range(200_000))).encode()
    async with running(tmp_path, answers(ok(body))) as gateway:
        async with http2.connect(gateway.port) as client:
            assert (await client.request("GET", "/open/x")).body == body
