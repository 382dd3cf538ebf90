"""Tokens that upstreams get from a token endpoint: exchanged, or the gateway's own."""

import asyncio
import base64
import contextlib
import json
import time

import pytest

from gateway.errors import ConfigError
from tests.support import http1
from tests.support.gateway import bearer, live, policy_for, running, until
from tests.support.token_endpoint import EXCHANGE, TokenEndpoint, answer, refusal
from tests.support.upstream import ok, upstream
from tests.support.websocket import connect, handshake
from tests.support.websocket_upstream import echo as echo_socket, websocket

READERS = {"endpoint": "corp", "audience": "orders", "scopes": ["read", "write"]}
OWN = {"endpoint": "corp", "grant": "client_credentials", "scopes": "all"}
CLIENT = {"id": "gateway", "secret": "a secret"}


def section(endpoint, **changes):
    return {"url": f"{endpoint.server.url}/token", "client": CLIENT, **changes}


def routes(**upstream_tokens):
    """Routes of that names, and /open/x without a token."""
    named = [
        {"id": name, "paths": [f"/{name}"], "upstream": "service", "upstream_token": each}
        for name, each in upstream_tokens.items()
    ]
    last = {"id": "open", "paths": ["/open/x"], "upstream": "service"}
    return copied([*named, {**last, "authentication": "anonymous"}])


def copied(value):
    """The same without parts that it shares, which YAML would write as aliases."""
    return json.loads(json.dumps(value))


@contextlib.asynccontextmanager
async def exchanging(folder, endpoint, *, config=None, script=None, policy=None, workers=1, **more):
    """A gateway with a token endpoint, called corp."""
    more = more or {"items": READERS}
    async with upstream(endpoint) as endpoint.server:
        whole = {"token_endpoints": {"corp": section(endpoint)}, "routes": routes(**more)}
        whole = copied(whole | (config or {}))
        given = {} if policy is None else {"policy": policy}
        scripts = () if script is None else (script,)
        async with running(folder, *scripts, config=whole, workers=workers, **given) as gateway:
            yield gateway


def sent(response):
    """The Authorization that the upstream saw; a request has one or none."""
    assert response.status == 200, response.body
    return response.json()["headers"].get("authorization")


async def answers_of(gateway, count=1, path="/items", **claims):
    token = gateway.token(**claims)
    return await asyncio.gather(*[gateway.ask(path, token=token) for _ in range(count)])


@live
async def test_the_clients_token_is_exchanged_once_and_kept(tmp_path):
    endpoint = TokenEndpoint()
    async with exchanging(tmp_path, endpoint) as gateway:
        token = gateway.token()
        for _ in range(3):
            assert sent(await gateway.ask(token=token)) == "Bearer issued-1.orders"
        (form,) = endpoint.calls
        assert form == {
            "grant_type": [EXCHANGE],
            "subject_token": [token],
            "subject_token_type": ["urn:ietf:params:oauth:token-type:access_token"],
            "audience": ["orders"],
            "scope": ["read write"],
        }
        (call,) = endpoint.server.requests
        assert base64.b64decode(call.header("authorization")[6:]) == b"gateway:a+secret"
        event = (await gateway.events(3))[0]
        assert event["metrics"]["timer_upstream_token_ns"] > 0


@live
async def test_no_subject_gets_the_token_of_another(tmp_path):
    endpoint = TokenEndpoint()
    async with exchanging(tmp_path, endpoint) as gateway:
        tokens = [
            gateway.token(),
            gateway.token(sub="bob"),
            gateway.token(roles=["reader", "admin"]),  # the same subject with another token
            gateway.token(),  # signed anew
        ]
        for _ in range(2):
            got = [sent(await gateway.ask(token=each)) for each in tokens]
            assert got == [f"Bearer issued-{number}.orders" for number in (1, 2, 3, 4)]
        assert [form["subject_token"] for form in endpoint.calls] == [[each] for each in tokens]


@live
async def test_each_audience_has_tokens_of_its_own(tmp_path):
    endpoint = TokenEndpoint()
    more = {"items": READERS, "stock": {**READERS, "audience": "stock"}, "again": READERS}
    async with exchanging(tmp_path, endpoint, **more) as gateway:
        token = gateway.token()
        got = [sent(await gateway.ask(f"/{name}", token=token)) for name in more]
        assert got == [f"Bearer issued-{each}" for each in ("1.orders", "2.stock", "1.orders")]


@live
async def test_the_gateways_own_token_is_for_whoever_asks(tmp_path):
    endpoint = TokenEndpoint()
    async with exchanging(tmp_path, endpoint, items=OWN) as gateway:
        for name in ("alice", "bob"):
            token = gateway.token(sub=name)
            assert sent(await gateway.ask(token=token)) == "Bearer issued-1.none"
        assert endpoint.calls == [{"grant_type": ["client_credentials"], "scope": ["all"]}]


@live
async def test_other_routes_and_anonymous_requests_have_none(tmp_path):
    endpoint = TokenEndpoint()
    async with exchanging(tmp_path, endpoint) as gateway:
        spoofed = (("Authorization", "Bearer forged"),)
        assert sent(await gateway.ask("/open/x", headers=spoofed)) is None
        optional = routes(items=READERS)
        optional[0]["authentication"] = "optional"
        policy = policy_for("reader") + 'decision := {"allow": true} if input.route.id == "items"\n'
        (tmp_path / "policies" / "authz.rego").write_text(policy)
        await gateway.edit({"routes": optional})
        await until(lambda: not gateway.problems)
        deadline = time.monotonic() + 15
        while (response := await gateway.ask()).status != 200:
            assert time.monotonic() < deadline
        assert sent(response) is None
        assert endpoint.calls == []


@live
async def test_who_is_refused_causes_no_call(tmp_path):
    endpoint = TokenEndpoint()
    limits = {"limits": {"people": {"requests": 1, "per": "1h"}}, "default": ["people"]}
    async with exchanging(tmp_path, endpoint, config={"rate_limits": limits}) as gateway:
        assert (await gateway.ask()).status == 401
        assert (await gateway.ask(token=gateway.token(roles=[], sub="mallory"))).status == 403
        assert (await gateway.ask(token=gateway.token(exp=1))).status == 401
        assert endpoint.calls == []
        assert (await gateway.ask(token=gateway.token())).status == 200
        # Another token of the same subject, which would need a call of its own.
        assert (await gateway.ask(token=gateway.token(jti="2"))).status == 429
        assert len(endpoint.calls) == 1


@live
async def test_a_policy_cannot_choose_the_token(tmp_path):
    endpoint = TokenEndpoint()
    policy = """package gateway.authz

decision := {"allow": true, "headers": {input.request.headers["x-name"]: "Basic cm9vdDo="}}
"""
    async with exchanging(tmp_path, endpoint, policy=policy) as gateway:
        for name in ("authorization", "Authorization"):
            headers = (("x-name", name),)
            response = await gateway.ask(token=gateway.token(), headers=headers)
            assert (response.status, response.code) == (500, "decision-shape")
        response = await gateway.ask(token=gateway.token(), headers=(("x-name", "x-other"),))
        assert sent(response) == "Bearer issued-1.orders"
        assert len(endpoint.calls) == 1


@live
async def test_a_web_socket_has_it_too(tmp_path):
    endpoint = TokenEndpoint()
    sockets = []

    async def script(socket):
        sockets.append(socket)
        await echo_socket(socket)

    config = {"routes": [{**routes(items=READERS)[0], "websocket": True}]}
    async with exchanging(tmp_path, endpoint, config=config, script=websocket(script)) as gateway:
        async with connect(gateway.port, "/items", bearer(gateway.token())) as socket:
            await socket.send("a")
            assert await socket.receive() == "a"
        assert sockets[0].headers["authorization"] == "Bearer issued-1.orders"
        endpoint.answer = refusal("invalid_grant")
        async with http1.connect(gateway.port) as client:
            await client.send(handshake("/items", bearer(gateway.token(jti="2"))))
            response = await client.response()
            assert (response.status, response.code) == (401, "exchange-refused")
        assert len(sockets) == 1


@live
async def test_any_number_of_requests_wait_for_one_call(tmp_path):
    endpoint = TokenEndpoint()
    endpoint.go_on.clear()
    async with exchanging(tmp_path, endpoint) as gateway:
        waiting = asyncio.create_task(answers_of(gateway, 100))
        await until(lambda: gateway.gateway.workers.metrics.in_flight == 100)
        # Who leaves does not take the token from the others.
        leaver = asyncio.create_task(gateway.ask(token=gateway.token()))
        await until(lambda: len(endpoint.calls) == 2)
        leaver.cancel()
        endpoint.go_on.set()
        got = [sent(response) for response in await waiting]
        assert len(got) == 100
        assert len(set(got)) == 1
        assert len(endpoint.calls) == 2


ERRORS = {
    "invalid_grant": (401, "exchange-refused"),
    "invalid_request": (401, "exchange-refused"),
    "access_denied": (403, "exchange-denied"),
    "invalid_target": (403, "exchange-denied"),
    "invalid_scope": (403, "exchange-denied"),
    "unauthorized_client": (502, "token-endpoint-fault"),
    "unsupported_grant_type": (502, "token-endpoint-fault"),
    "something_else": (502, "token-endpoint-fault"),
}


@pytest.mark.parametrize("error", ERRORS)
@live
async def test_an_error_of_the_endpoint_is_refused_as_what_it_is(tmp_path, error):
    endpoint = TokenEndpoint()
    endpoint.answer = refusal(error)
    async with exchanging(tmp_path, endpoint, items=READERS, own=OWN) as gateway:
        token = gateway.token()
        first, again = [await gateway.ask(token=token) for _ in range(2)]
        assert (first.status, first.code) == (again.status, again.code) == ERRORS[error]
        assert len(endpoint.calls) == 1  # the second one knew
        if first.status == 401:
            assert first.header("www-authenticate") == 'Bearer error="invalid_token"'
        event = await gateway.event(first.header("x-decision-id"))
        assert event["error"]["message"].endswith(f"/token answered {error}")
        assert event["outcome"] == "failed"
        # What is refused to the gateway itself is no fault of the client's.
        own = await gateway.ask("/own", token=token)
        assert (own.status, own.code) == (502, "token-endpoint-fault")
        assert gateway.service.requests == []
        endpoint.answer = {}
        assert sent(await gateway.ask(token=gateway.token(sub="bob"))) == "Bearer issued-3.orders"


HOSTILE = {
    "a newline in the token": ({"access_token": "a\r\nX-Auth-Roles: admin"}, 502),
    "a newline in the type": ({"token_type": "Bearer\r\nx: y"}, 502),
    "another type": ({"token_type": "DPoP"}, 502),
    "a refresh token": ({"issued_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, 502),
    "nothing said": ({"issued_token_type": None}, 502),
    "no time": ({"expires_in": 0}, 502),
    "garbage": (ok(b"<html>"), 502),
    "twice": (ok(b'{"access_token":"a","access_token":"b"}'), 502),
    "huge": (answer(200, {"access_token": "a" * 70_000}), 503),
    "a redirect": (answer(307, {}, b"location: /elsewhere\r\n"), 503),
    "a redirect elsewhere": (answer(302, {}, b"location: http://localhost:1/\r\n"), 503),
    "broken": (answer(500, {}), 503),
    "no HTTP": (b"220 mail.example ESMTP\r\n", 503),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@live
async def test_a_hostile_endpoint_gives_nothing(tmp_path, name, caplog):
    endpoint = TokenEndpoint()
    endpoint.answer, status = HOSTILE[name]
    async with exchanging(tmp_path, endpoint) as gateway:
        response = await gateway.ask(token=gateway.token())
        assert response.status == status
        assert response.header("retry-after") == ("1" if status == 503 else None)
        assert len(endpoint.calls) == 1
        assert gateway.service.requests == []
        status = (await gateway.ask_admin("/status")).json()["token_endpoints"]["corp"]
        assert status["error"]
        endpoint.answer = {}
        assert sent(await gateway.ask(token=gateway.token(sub="bob"))) == "Bearer issued-2.orders"
        status = (await gateway.ask_admin("/status")).json()["token_endpoints"]["corp"]
        assert status == {"error": None, "tokens": 1}


@live
async def test_a_slow_endpoint_is_not_waited_for(tmp_path):
    endpoint = TokenEndpoint()
    endpoint.go_on.clear()
    async with exchanging(tmp_path, endpoint) as gateway:
        await gateway.edit({"token_endpoints": {"corp": section(endpoint, timeout="100ms")}})
        response = await gateway.ask(token=gateway.token())
        assert (response.status, response.code) == (503, "token-endpoint-away")


@live
async def test_an_endpoint_that_is_away_is_left_alone_and_found_again(tmp_path):
    endpoint = TokenEndpoint()
    async with exchanging(tmp_path, endpoint) as gateway:
        kept = gateway.token()
        assert sent(await gateway.ask(token=kept)) == "Bearer issued-1.orders"
        endpoint.answer = answer(503, {})
        for number in range(20):
            response = await gateway.ask(token=gateway.token(sub=f"s{number}"))
            assert (response.status, response.code) == (503, "token-endpoint-away")
            assert int(response.header("retry-after")) >= 1
        assert len(endpoint.calls) < 10
        assert sent(await gateway.ask(token=kept)) == "Bearer issued-1.orders"
        assert 'gateway_token_endpoint_up{endpoint="corp"} 0.0' in await gateway.metrics()
        endpoint.answer = {}
        deadline = time.monotonic() + 30
        while (await gateway.ask(token=gateway.token(sub="late"))).status != 200:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        assert 'gateway_token_endpoint_up{endpoint="corp"} 1.0' in await gateway.metrics()


@live
async def test_an_endpoint_says_itself_how_long_to_leave_it_alone(tmp_path):
    endpoint = TokenEndpoint()
    endpoint.answer = answer(429, {}, b"retry-after: 20\r\n")
    async with exchanging(tmp_path, endpoint) as gateway:
        first = await gateway.ask(token=gateway.token())
        assert (first.status, first.header("retry-after")) == (503, "20")
        second = await gateway.ask(token=gateway.token(sub="bob"))
        assert second.status == 503
        assert 1 <= int(second.header("retry-after")) <= 20
        assert len(endpoint.calls) == 1


@live
async def test_a_reload_drops_the_tokens_of_a_changed_client_only(tmp_path):
    endpoint = TokenEndpoint()
    async with exchanging(tmp_path, endpoint) as gateway:
        token = gateway.token()
        assert sent(await gateway.ask(token=token)) == "Bearer issued-1.orders"
        await gateway.edit({"log": {"labels": {"a": "b"}}})
        assert sent(await gateway.ask(token=token)) == "Bearer issued-1.orders"
        await gateway.edit({"token_endpoints": {"corp": {"client": {"id": "other"}}}})
        assert sent(await gateway.ask(token=token)) == "Bearer issued-2.orders"
        (tmp_path / "secret").write_text("one")
        client = {"client": {"secret": None, "secret_file": "secret"}}
        await gateway.edit({"token_endpoints": {"corp": client}})
        assert sent(await gateway.ask(token=token)) == "Bearer issued-3.orders"
        (tmp_path / "secret").write_text("two")
        deadline = time.monotonic() + 15
        while (got := sent(await gateway.ask(token=token))) == "Bearer issued-3.orders":
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        assert got == "Bearer issued-4.orders"
        call = endpoint.server.requests[-1]
        assert base64.b64decode(call.header("authorization")[6:]) == b"other:two"


@live
async def test_a_request_goes_on_with_the_endpoint_that_it_began_with(tmp_path):
    endpoint = TokenEndpoint()
    endpoint.go_on.clear()
    async with exchanging(tmp_path, endpoint) as gateway:
        waiting = asyncio.create_task(gateway.ask(token=gateway.token()))
        await until(lambda: endpoint.calls)
        await gateway.edit({"token_endpoints": None, "routes": routes()})
        endpoint.go_on.set()
        assert sent(await waiting) == "Bearer issued-1.orders"


@live
async def test_workers_keep_their_own_and_are_counted_as_one(tmp_path):
    endpoint = TokenEndpoint()
    async with exchanging(tmp_path, endpoint, workers=2) as gateway:
        members = gateway.gateway.workers.members
        await until(lambda: sum(member.active for member in members) == 3, seconds=60)
        responses = await answers_of(gateway, 20)
        assert {response.status for response in responses} == {200}
        assert 1 <= len(endpoint.calls) <= 2
        status = (await gateway.ask_admin("/status")).json()["token_endpoints"]
        assert status == {"corp": {"error": None, "tokens": len(endpoint.calls)}}
        metrics = await gateway.metrics()
        calls = 'gateway_token_endpoint_calls_total{endpoint="corp",outcome="issued"}'
        assert f"{calls} {len(endpoint.calls)}.0" in metrics
        found = [line for line in metrics.splitlines() if "gateway_upstream_tokens_total{" in line]
        assert sum(float(line.split()[1]) for line in found) == 20


@live
async def test_no_token_is_written_anywhere(tmp_path, caplog):
    caplog.set_level("DEBUG")
    endpoint = TokenEndpoint()
    log = tmp_path / "decisions.log"
    config = {"log": {"decisions": {"sink": "file", "path": str(log)}}}
    async with exchanging(tmp_path, endpoint, config=config) as gateway:
        tokens = [gateway.token()]
        issued = sent(await gateway.ask(token=tokens[0])).partition(" ")[2]
        for error in ("invalid_grant", "server_error"):
            tokens.append(gateway.token(jti=error))
            endpoint.answer = answer(400, {"error": error, "error_description": tokens[-1]})
            assert (await gateway.ask(token=tokens[-1])).status >= 400
        tokens.append(gateway.token(jti="x"))
        endpoint.answer = answer(400, {"error": tokens[-1]})
        assert (await gateway.ask(token=tokens[-1])).status == 502
        endpoint.answer = {"access_token": f"{issued} {tokens[0]}"}
        assert (await gateway.ask(token=gateway.token(jti="y"))).status == 502
        await gateway.events(5)
        pages = [(await gateway.ask_admin(page)).body.decode() for page in SHOWN]
    written = log.read_text() + caplog.text + "".join(pages)
    assert '"exchange-refused"' in written
    for secret in (
        *tokens,
        *(each.split(".")[2] for each in tokens),
        issued,
        "a secret",
        "a+secret",
    ):
        assert secret not in written


SHOWN = ("/status", "/metrics", "/config", "/decisions")


@live
async def test_a_key_that_cannot_be_used_keeps_the_gateway_from_starting(tmp_path):
    (tmp_path / "key.pem").write_text("no key")
    endpoint = TokenEndpoint()
    client = {"id": "gw", "authentication": "private_key_jwt", "key_file": "key.pem"}
    async with upstream(endpoint) as endpoint.server:
        config = {"token_endpoints": {"corp": section(endpoint, client=client)}}
        with pytest.raises(ConfigError, match=r"token_endpoints\.corp\.client\.key_file.*PEM"):
            async with running(tmp_path, config=config):
                pass


def problems(folder, **changes):
    config = {"token_endpoints": {"corp": {"url": "http://127.0.0.1:1/token", "client": CLIENT}}}
    route = {**routes(items=READERS)[0], **changes}

    @live
    async def scenario():
        async with running(folder, config={**config, "routes": [route]}):
            pass

    with pytest.raises(ConfigError) as caught:
        scenario()
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"forward_token": True}, "forward_token: the upstream gets one token"),
        ({"authentication": "anonymous"}, "an anonymous route has no token to exchange"),
        ({"upstream_token": {**READERS, "endpoint": "cor"}}, "did you mean 'corp'?"),
        ({"upstream_token": {"endpoint": "corp"}}, "nothing says whom the token is for"),
        ({"upstream_token": {**OWN, "subject_token_type": "jwt"}}, "exchanges no token"),
    ],
)
def test_what_makes_no_sense_is_refused_at_load(tmp_path, changes, told):
    assert told in problems(tmp_path, **changes)


def test_the_assertion_cannot_take_the_place_of_the_token(tmp_path):
    @live
    async def scenario():
        config = {"assertion": {"header": "Authorization"}}
        async with running(tmp_path, config=config):
            pass

    with pytest.raises(ConfigError, match="authorization cannot carry the assertion"):
        scenario()
