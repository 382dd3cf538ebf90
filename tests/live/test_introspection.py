"""A gateway that asks an issuer about opaque tokens: how often, how long, and what goes wrong."""

import asyncio
import base64
import contextlib
import json
import time
from urllib.parse import parse_qs

from tests.support import http1
from tests.support.gateway import bearer, live, running, until
from tests.support.oidc_provider import SECRET, oidc_provider
from tests.support.upstream import ok, upstream
from tests.support.websocket import connect
from tests.support.websocket_upstream import echo as echo_socket, websocket

ISSUER = "https://idp.example"


def members(**changes):
    now = int(time.time())
    good = {
        "active": True, "iss": ISSUER, "aud": "api", "sub": "alice", "roles": ["reader"],
        "token_type": "Bearer", "iat": now, "exp": now + 600, **changes,
    }  # fmt: skip
    return {name: value for name, value in good.items() if value is not ...}


CUT = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"


class Endpoint:
    """An introspection endpoint: `said` by token, raw bytes as they are; `gate` holds all."""

    def __init__(self, **said):
        self.said = said
        self.gate = asyncio.Event()
        self.gate.set()
        self.server = None
        self.most = self.now = 0

    async def __call__(self, peer):
        while (request := await peer.request()) is not None:
            token = parse_qs(request.body.decode())["token"][0]
            self.now += 1
            self.most = max(self.most, self.now)
            await self.gate.wait()
            self.now -= 1
            answer = self.said.get(token, {"active": False})
            peer.send(answer if isinstance(answer, bytes) else ok(json.dumps(answer).encode()))
            if answer is CUT:
                return  # which closes

    @property
    def asked(self):
        return len(self.server.requests)


@contextlib.asynccontextmanager
async def asking(folder, endpoint, *, script=None, config=None, workers=1, **section):
    """A gateway whose issuer `corp` has no keys and is asked at an endpoint."""
    async with upstream(endpoint) as endpoint.server:
        introspection = {
            "url": f"{endpoint.server.url}/introspect",
            "client": {"id": "gw", "secret": "s3cret"},
            "timeout": "20s",
            **section,
        }
        issuer = {"keys": None, "algorithms": None, "introspection": introspection}
        whole = {"issuers": {"corp": issuer}, **(config or {})}
        options = {"config": whole, "workers": workers}
        async with running(folder, *([script] if script else []), **options) as gateway:
            yield gateway


async def outcome(gateway, token):
    answer = await gateway.ask(token=token)
    return answer.code or answer.status


@live
async def test_an_opaque_token_is_asked_about_once(tmp_path):
    endpoint = Endpoint(good=members(client_id="app"), other=members(aud="other"))
    async with asking(tmp_path, endpoint) as gateway:
        answer = await gateway.ask(token="good")
        assert answer.status == 200
        assert answer.json()["headers"]["x-auth-subject"] == "alice"
        assert "authorization" not in answer.json()["headers"]
        (request,) = endpoint.server.requests
        pair = base64.b64encode(b"gw:s3cret").decode()
        assert (request.method, request.target) == ("POST", "/introspect")
        assert request.header("authorization") == f"Basic {pair}"
        assert request.header("accept") == "application/json"
        form = parse_qs(request.body.decode())
        assert form == {"token": ["good"], "token_type_hint": ["access_token"]}
        for _ in range(3):
            assert await outcome(gateway, "good") == 200
            assert await outcome(gateway, "other") == "audience-mismatch"
            assert await outcome(gateway, "unknown") == "token-inactive"
        assert endpoint.asked == 3
        metrics = await gateway.metrics()
        for name, count in (("active", 2), ("inactive", 1), ("cached", 7)):
            labels = f'{{issuer="corp",outcome="{name}"}}'
            assert f"gateway_introspections_total{labels} {float(count)}" in metrics
        assert 'gateway_introspection_up{issuer="corp"} 1.0' in metrics
        status = (await gateway.ask_admin("/status")).json()
        assert status["introspection"] == {"corp": {"answers": 3, "waiting": 0, "error": None}}
        assert (await gateway.ask_admin("/health/ready")).status == 200
        assert "good" not in json.dumps(await gateway.events())


@live
async def test_requests_that_wait_together_make_one_call(tmp_path):
    endpoint = Endpoint(good=members())
    endpoint.gate.clear()
    async with asking(tmp_path, endpoint, timeout="30s") as gateway:
        waiting = [asyncio.create_task(gateway.ask(token="good")) for _ in range(40)]
        await until(lambda: gateway.gateway.workers.metrics.in_flight == 40)
        async with http1.connect(gateway.port) as client:  # one more, that leaves
            await client.send(http1.request("GET", "/items", bearer("good"), b""))
            await until(lambda: gateway.gateway.workers.metrics.in_flight == 41)
        endpoint.gate.set()
        assert {(await each).status for each in waiting} == {200}
        assert endpoint.asked == 1


@live
async def test_a_flood_of_made_up_tokens(tmp_path):
    endpoint = Endpoint(good=members())
    async with asking(tmp_path, endpoint, concurrency=3, max_pending=5, timeout="30s") as gateway:
        assert await outcome(gateway, "good") == 200
        endpoint.gate.clear()
        flood = [asyncio.create_task(outcome(gateway, f"made-up-{n}")) for n in range(30)]
        metrics = gateway.gateway.workers.metrics
        await until(lambda: metrics.introspections.get(("corp", "busy")) == 22)
        assert await outcome(gateway, "good") == 200  # what is known is not in its way
        endpoint.gate.set()
        answers = [await each for each in flood]
        assert answers.count("introspection-unavailable") == 22
        assert answers.count("token-inactive") == 8
        assert endpoint.most <= 3


@live
async def test_an_address_is_limited_before_anybody_is_asked(tmp_path):
    endpoint = Endpoint()
    limits = {"rate_limits": {"default": ["a"], "limits": {
        "a": {"requests": 2, "per": 600, "key": "address"}}}}  # fmt: skip
    async with asking(tmp_path, endpoint, config=limits) as gateway:
        found = [await outcome(gateway, f"made-up-{n}") for n in range(5)]
        assert found == ["token-inactive"] * 2 + ["rate-limited"] * 3
        assert endpoint.asked == 2


def status_line(status, body=b"{}", *headers):
    lines = [f"HTTP/1.1 {status}".encode(), b"content-length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


GOOD = json.dumps({"active": True}).encode()
NO_ANSWERS = {
    "error": status_line("500 Oops"),
    "busy": status_line("429 Later", b"{}", b"retry-after: 1"),
    "client": status_line("401 Who", b'{"error": "invalid_client"}'),
    "redirect": status_line("302 There", b"", b"location: http://127.0.0.1:1/"),
    "created": status_line("201 Made", GOOD),
    "text": ok(b"active"),
    "list": ok(b"[true]"),
    "twice": ok(b'{"active": false, "active": true}'),
    "text-active": ok(b'{"active": "true"}'),
    "no-active": ok(b"{}"),
    "nan": ok(b'{"active": true, "exp": NaN}'),
    "cut": CUT,
    "long": ok(b'{"active": true, "x": "' + b"x" * 70_000 + b'"}'),
    "zipped": status_line("200 OK", GOOD, b"content-encoding: gzip"),
    "jwt": ok(b"eyJhbGciOiJub25lIn0.e30."),
}


@live
async def test_what_is_no_answer_lets_nobody_in_and_is_not_kept(tmp_path, caplog):
    endpoint = Endpoint(**NO_ANSWERS)
    async with asking(tmp_path, endpoint, timeout="20s") as gateway:
        for token in NO_ANSWERS:
            answer = await gateway.ask(token=token)
            assert (answer.status, answer.code) == (503, "introspection-unavailable"), token
            assert answer.header("retry-after") == "1"
            assert 'gateway_introspection_up{issuer="corp"} 0.0' in await gateway.metrics()
            endpoint.said[token] = members()
            assert await outcome(gateway, token) == 200, token
            assert 'gateway_introspection_up{issuer="corp"} 1.0' in await gateway.metrics()
    assert "s3cret" not in caplog.text
    caplog.clear()


@live
async def test_an_endpoint_that_is_away_or_slow(tmp_path, caplog):
    endpoint = Endpoint(good=members(), late=members())
    async with asking(tmp_path, endpoint, timeout="3s") as gateway:
        assert await outcome(gateway, "good") == 200
        endpoint.gate.clear()
        assert await outcome(gateway, "late") == "introspection-unavailable"
        assert "no answer within" in (await gateway.ask_admin("/status")).json()["introspection"][
            "corp"]["error"]  # fmt: skip
        assert await outcome(gateway, "good") == 200
        endpoint.gate.set()
    caplog.clear()


@live
async def test_answers_are_kept_no_longer_than_said(tmp_path):
    endpoint = Endpoint(good=members())
    async with asking(tmp_path, endpoint, max_age="300ms", max_age_inactive="300ms") as gateway:
        assert await outcome(gateway, "good") == 200
        assert await outcome(gateway, "bad") == "token-inactive"
        endpoint.said = {"bad": members()}
        for token, wanted in (("good", "token-inactive"), ("bad", 200)):
            async with asyncio.timeout(40):
                while await outcome(gateway, token) != wanted:
                    await asyncio.sleep(0.01)


@live
async def test_an_expired_token_is_refused_whatever_is_kept(tmp_path):
    endpoint = Endpoint()
    async with asking(tmp_path, endpoint, max_age="1h") as gateway:
        await gateway.edit({"issuers": {"corp": {"leeway": 0}}})
        endpoint.said["short"] = members(exp=int(time.time()) + 5)
        assert await outcome(gateway, "short") == 200
        async with asyncio.timeout(40):
            while await outcome(gateway, "short") != "token-expired":
                await asyncio.sleep(0.02)


@live
async def test_a_reload_forgets_the_answers_of_a_changed_issuer_only(tmp_path):
    endpoint = Endpoint(good=members())
    async with asking(tmp_path, endpoint) as gateway:
        assert await outcome(gateway, "good") == 200
        await gateway.edit({"log": {"labels": {"a": "b"}}})
        assert await outcome(gateway, "good") == 200
        assert endpoint.asked == 1
        await gateway.edit({"issuers": {"corp": {"introspection": {"client": {"id": "new"}}}}})
        assert await outcome(gateway, "good") == 200
        assert endpoint.asked == 2
        assert base64.b64encode(b"new:s3cret").decode() in endpoint.server.requests[-1].header(
            "authorization"
        )
        endpoint.gate.clear()
        waiting = asyncio.create_task(outcome(gateway, "other"))
        await until(lambda: endpoint.asked == 3)
        await gateway.edit({"issuers": {"corp": {"introspection": None, "insecure_any_audience":
            True, "audience": None, "algorithms": ["ES256"], "keys": {"jwks_file": "jwks.json"}}}})  # fmt: skip
        endpoint.gate.set()
        assert await waiting == "token-inactive"  # with the configuration that it began with
        assert await outcome(gateway, "good") == "token-malformed"


@live
async def test_signed_tokens_too_where_they_are_always_asked_about(tmp_path):
    endpoint = Endpoint()
    async with asking(tmp_path, endpoint) as gateway:
        await gateway.edit({"issuers": {"corp": {"algorithms": ["ES256"],
            "keys": {"jwks_file": "jwks.json"}, "introspection": {
                "tokens": "always", "max_age": "300ms"}}}})  # fmt: skip
        token = gateway.token()
        endpoint.said[token] = {"active": True}
        assert await outcome(gateway, token) == 200
        assert await outcome(gateway, gateway.token(exp=1)) == "token-expired"
        assert endpoint.asked == 1
        del endpoint.said[token]
        async with asyncio.timeout(40):
            while await outcome(gateway, token) != "token-inactive":
                await asyncio.sleep(0.01)


@live
async def test_workers_share_out_the_calls(tmp_path):
    endpoint = Endpoint(good=members())
    async with asking(tmp_path, endpoint, workers=2, concurrency=3) as gateway:
        await until(lambda: gateway.looks, 90)
        async with asyncio.timeout(20):
            while await outcome(gateway, "good") != 200:
                await asyncio.sleep(0.02)
        async with contextlib.AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(http1.connect(gateway.port)) for _ in range(6)
            ]
            for client in clients:
                assert (await client.request("GET", "/items", bearer("good"))).status == 200
        assert endpoint.asked <= 2
        found = (await gateway.ask_admin("/status")).json()["introspection"]["corp"]
        assert found["answers"] == endpoint.asked


@live
async def test_a_websocket_with_an_opaque_token(tmp_path):
    endpoint = Endpoint(good=members())
    async with (
        asking(tmp_path, endpoint, script=websocket(echo_socket)) as gateway,
        connect(gateway.port, "/items", bearer("good")) as socket,
    ):
        await socket.send("hello")
        assert await socket.receive() == "hello"


@live
async def test_a_stop_lets_go_of_those_who_wait(tmp_path, caplog):
    endpoint = Endpoint()
    endpoint.gate.clear()
    async with asking(tmp_path, endpoint, timeout="60s") as gateway:
        waiting = asyncio.create_task(gateway.ask(token="slow"))
        await until(lambda: endpoint.asked)
    with contextlib.suppress(Exception):
        await waiting
    endpoint.gate.set()
    caplog.clear()


@live
async def test_a_provider_that_nobody_here_wrote(tmp_path):
    async with oidc_provider() as provider:
        corp = {
            "issuer": provider.issuer, "audience": "urn:api", "keys": None, "algorithms": None,
            "identity": {"subject": "client_id"},
            "introspection": {
                "url": f"{provider.issuer}/token/introspection", "max_age": "200ms",
                "client": {"id": "gateway", "secret": SECRET}, "timeout": "20s",
            },
        }  # fmt: skip
        policy = 'package gateway.authz\n\nallow if input.identity.subject == "machine"\n'
        config = {"issuers": {"corp": corp}, "admin": {"token": "t", "actions": True}}
        async with running(tmp_path, policy=policy, config=config) as gateway:
            token = await provider.token()
            answer = await gateway.ask(token=token)
            assert answer.status == 200, answer.body
            assert answer.json()["headers"]["x-auth-subject"] == "machine"
            assert await outcome(gateway, token[:-1] + "~") == "token-inactive"
            await provider.revoke(token)
            async with asyncio.timeout(40):
                while await outcome(gateway, token) != "token-inactive":
                    await asyncio.sleep(0.02)
            other = await provider.token()
            assert await outcome(gateway, other) == 200
            body = json.dumps({"issuer": "corp", "sub": "machine"}).encode()
            await gateway.ask_admin("/tokens/revoked", "t", method="POST", body=body)
            assert await outcome(gateway, other) == "token-revoked"
