"""The whole gateway on real sockets: what is forwarded, what is refused, and what is recorded."""

import asyncio

from tests.support import http1
from tests.support.gateway import either_server  # noqa: F401  a fixture
from tests.support.gateway import live, running
from tests.support.upstream import answers, ok

HYPERCORN_ONLY = ("test_a_peer_on_a_unix_socket_has_no_address",)


@live
async def test_forwards_with_identity(tmp_path):
    async with running(tmp_path) as gateway:
        spoofed = (("x_auth_subject", "root"), ("X-Auth-Roles", "root"), ("x.auth~issuer", "root"))
        answer = await gateway.ask("/items/%7ea?x=1", gateway.token(), headers=spoofed)
        assert answer.status == 200
        (request,) = gateway.service.requests
        assert (request.method, request.target) == ("GET", "/items/~a?x=1")
        assert request.header("x-auth-subject") == "alice"
        assert request.header("x-auth-roles") == "reader"
        assert request.header("authorization") is None
        assert "root" not in str(request.headers)
        event = await gateway.event(request.header("x-decision-id"))
        assert (event["outcome"], event["status"]) == ("forwarded", 200)
        assert (event["route"], event["subject"]) == ("items", "alice")
        assert event["bundles"]["policy"]["revision"] == gateway.revision
        assert gateway.token() not in str(event)


@live
async def test_a_refusal_is_a_problem_document_with_an_event(tmp_path):
    async with running(tmp_path) as gateway:
        answer = await gateway.ask()
        assert (answer.status, answer.code) == (401, "token-missing")
        assert answer.header("www-authenticate") == "Bearer"
        answer = await gateway.ask(token=gateway.token(exp=1))
        assert (answer.status, answer.code) == (401, "token-expired")
        assert answer.header("www-authenticate") == 'Bearer error="invalid_token"'
        answer = await gateway.ask(token=gateway.token(roles=[]))
        assert (answer.status, answer.code) == (403, "policy-denied")
        event = await gateway.event(answer.json()["decision_id"])
        assert event["reasons"] == [{"code": "not-granted", "message": ""}]
        assert event["bundles"]["policy"]["revision"] == gateway.revision
        assert gateway.service.requests == []


@live
async def test_path_tricks(tmp_path):
    async with running(tmp_path) as gateway:
        for path in (
            "/open/../items",
            "/open/%2e%2e/items",
            "/open/.%2E/items",
            "/open/..%2fitems",
            "/open/..%5citems",
            "/open//items",
            "/open/..;/items",
            "/open/%00",
            "http://api.example/open/../items",
        ):
            answer = await gateway.ask(path)
            assert (answer.status, answer.code) == (400, "bad-path"), path
        assert (await gateway.ask("/nowhere")).code == "route-unknown"
        assert gateway.service.requests == []


@live
async def test_two_credentials_are_one_too_many(tmp_path):
    async with running(tmp_path) as gateway:
        twice = (("authorization", f"Bearer {gateway.token()}"),)
        answer = await gateway.ask("/items", gateway.token(), headers=twice)
        assert (answer.status, answer.code) == (400, "credential-ambiguous")


@live
async def test_statuses_without_a_body_leave_the_connection_in_order(tmp_path):
    script = answers(
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",  # to HEAD
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",  # to HEAD
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b'HTTP/1.1 304 Not Modified\r\netag: "1"\r\n\r\n',
        b"HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n",
        ok(b"whole"),
    )
    async with running(tmp_path, script) as gateway:
        async with http1.connect(gateway.port) as client:
            assert (await client.request("HEAD", "/open/x")).header("content-length") == "5"
            assert (await client.request("HEAD", "/open/x")).status == 200
            empty = await client.request("DELETE", "/open/x")
            assert (empty.status, empty.header("content-length")) == (204, None)
            assert (await client.request("GET", "/open/x")).header("etag") == '"1"'
            assert (await client.request("GET", "/open/x")).status == 205
            assert (await client.request("GET", "/open/x")).body == b"whole"
        assert len(gateway.service.peers) == 1


@live
async def test_a_refusal_of_head_has_no_body(tmp_path):
    async with running(tmp_path) as gateway, http1.connect(gateway.port) as client:
        answer = await client.request("HEAD", "/items")
        assert (answer.status, answer.header("content-length") != "0") == (401, True)
        assert (await client.request("GET", "/open/x")).status == 200


@live
async def test_a_client_that_leaves_ends_the_upstream_request(tmp_path):
    arrived, ended = asyncio.Event(), asyncio.Event()

    async def silent(peer):
        if await peer.request() is not None:
            arrived.set()
            await peer.closed()
            ended.set()

    async with running(tmp_path, silent) as gateway:
        async with http1.connect(gateway.port) as client:
            await client.send(http1.request("GET", "/open/x"))
            await arrived.wait()
        await ended.wait()
        (event,) = await gateway.events()
        assert (event["status"], event["incomplete"]) == (0, True)


@live
async def test_a_client_that_leaves_within_its_body_ends_the_upstream_request(tmp_path):
    arrived, ended = asyncio.Event(), asyncio.Event()

    async def silent(peer):
        if await peer.head() is not None:
            arrived.set()
            await peer.closed()
            ended.set()

    async with running(tmp_path, silent, config={"limits": {"body": "1MiB"}}) as gateway:
        async with http1.connect(gateway.port) as client:
            lines = (("Content-Length", "100000"),)  # not read before it is passed on
            await client.send(http1.request("POST", "/open/x", lines), b"part")
            await arrived.wait()
        await ended.wait()
        (event,) = await gateway.events()
        assert event["incomplete"]


FORWARDED = (
    ("X-Forwarded-For", "198.51.100.1, 203.0.113.7"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "shop.example"),
    ("X-Request-Id", "given-by-the-proxy"),
    ("X-Real-IP", "198.51.100.1"),
)


@live
async def test_forwarding_headers_of_an_untrusted_peer_are_replaced(tmp_path):
    async with running(tmp_path) as gateway:
        forwarded = (*FORWARDED, ("Forwarded", "for=198.51.100.1"), ("X-Original-URL", "/admin"))
        assert (await gateway.ask("/open/x", headers=forwarded)).status == 200
        (request,) = gateway.service.requests
        assert request.header("x-forwarded-for") == "127.0.0.1"
        assert request.header("x-forwarded-proto") == "http"
        assert request.header("x-forwarded-host") == "api.example"
        assert request.header("x-request-id") == request.header("x-decision-id")
        assert "198.51.100.1" not in str(request.headers)
        assert "/admin" not in str(request.headers)
        (event,) = await gateway.events()
        assert event["requested_by"] == "127.0.0.1"


@live
async def test_forwarding_headers_of_a_trusted_peer_are_honoured(tmp_path):
    networks = {"trusted_proxies": ["127.0.0.0/8"], "networks": {"office": ["203.0.113.0/24"]}}
    async with running(tmp_path, config=networks) as gateway:
        removed = (("Connection", "close, X-Forwarded-For, X-Auth-Subject"),)
        answer = await gateway.ask("/items", gateway.token(), headers=(*FORWARDED, *removed))
        assert answer.status == 200
        (request,) = gateway.service.requests
        # 203.0.113.7 is the right-most address that is no proxy; what it claims is dropped.
        assert request.header("x-forwarded-for") == "203.0.113.7, 127.0.0.1"
        assert request.header("x-forwarded-proto") == "https"
        assert request.header("x-forwarded-host") == "shop.example"
        assert request.header("x-request-id") == "given-by-the-proxy"
        assert request.header("x-auth-subject") == "alice"
        (event,) = await gateway.events()
        assert event["requested_by"] == "203.0.113.7"
        assert event["req_id"] == "given-by-the-proxy"
        assert event["decision_id"] == request.header("x-decision-id") != "given-by-the-proxy"
        source = event["input"]["source"]
        assert (source["address"], source["networks"]) == ("203.0.113.7", ["office"])
        unreadable = (("X-Forwarded-For", "not an address"),)
        assert (await gateway.ask("/open/x", headers=unreadable)).code == "bad-header"


@live
async def test_a_peer_on_a_unix_socket_has_no_address(tmp_path):
    config = {"listeners": [{"address": f"unix:{tmp_path}/s"}], "trusted_proxies": ["0.0.0.0/0"]}
    async with running(tmp_path, config=config) as gateway:
        async with http1.connect(f"{tmp_path}/s") as client:
            claim = (("X-Forwarded-For", "198.51.100.7"),)
            answer = await client.request("GET", "/open/x", claim)
        assert answer.json()["headers"]["x-forwarded-for"] == "unknown"
        (event,) = await gateway.events()
        assert event["input"]["source"] == {"address": "", "networks": []}
