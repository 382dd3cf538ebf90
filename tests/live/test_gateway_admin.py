"""The whole gateway's admin listener, and what the edge answers itself."""

import json
import logging

from gateway.jose.sign import generate, public_jwks
from tests.support import http1
from tests.support.gateway import live, running, until
from tests.support.upstream import ok, upstream

SECRET = "a-token-for-the-admin-listener-0123456789"
OPEN = ("/health/live", "/health/ready")
CLOSED = ("/status", "/metrics", "/decisions", "/decisions/x", "/config")


@live
async def test_ready_once_the_keys_are_there(tmp_path):
    key, keys = generate("ES256"), None

    async def issuer(peer):
        if await peer.request() is not None:
            missing = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
            peer.send(missing if keys is None else ok(keys))

    async with upstream(issuer) as server:
        source = f'{{jwks_url: "{server.url}/jwks", cooldown: 0ms}}'
        async with running(tmp_path, keys=source, signer=key) as gateway:
            assert (await gateway.ask_admin("/health/live")).json() == {"status": "live"}
            answer = await gateway.ask_admin("/health/ready")
            reasons = ["issuer corp has no keys"]
            assert (answer.status, answer.json()) == (503, {"ready": False, "reasons": reasons})
            answer = await gateway.ask("/.well-known/gateway/ready")
            assert (answer.status, answer.json()) == (503, {"ready": False})
            await until(lambda: server.requests)
            issuer = (await gateway.ask_admin("/status")).json()["issuers"]["corp"]
            assert (issuer["loaded"], issuer["keys"], issuer["age"]) == (False, 0, None)
            assert "404" in issuer["last_error"]
            keys = json.dumps(public_jwks([key])).encode()
            await until(lambda: not gateway.gateway.ready())
            answer = await gateway.ask_admin("/health/ready")
            assert (answer.status, answer.json()) == (200, {"ready": True, "reasons": []})
            assert (await gateway.ask("/.well-known/gateway/ready")).status == 200
            assert (await gateway.ask("/.well-known/gateway/live")).status == 200
            issuer = (await gateway.ask_admin("/status")).json()["issuers"]["corp"]
            assert (issuer["loaded"], issuer["keys"], issuer["last_error"]) == (True, 1, None)
            metrics = await gateway.metrics()
            assert 'gateway_jwks_keys{issuer="corp"} 1.0' in metrics
            assert 'gateway_jwks_age_seconds{issuer="corp"} ' in metrics


@live
async def test_a_host_that_is_none_is_refused_before_any_framework_sees_it(tmp_path, caplog):
    async with running(tmp_path) as gateway:
        for host in ("a" * 64 + ".example", "a" * 300, "a@b", "a:99999", ".."):
            lines = (("Host", host),)
            answer = await gateway.ask("/.well-known/gateway/live", headers=lines)
            assert (answer.status, answer.code) == (400, "bad-host"), host
            answer = await gateway.ask_admin("/health/live", host=host)
            assert (answer.status, answer.code) == (400, "bad-host"), host
    assert not [each for each in caplog.records if each.levelno > logging.INFO]


@live
async def test_clients_do_not_keep_operators_out(tmp_path):
    config = {"limits": {"connections": 2}}
    async with running(tmp_path, config=config) as gateway:
        async with http1.connect(gateway.port) as one, http1.connect(gateway.port) as two:
            for client in (one, two):
                assert (await client.request("GET", "/open/x")).status == 200
            async with http1.connect(gateway.port) as three:
                assert (await three.response()).code == "too-many-connections"
            assert (await gateway.ask_admin("/health/live")).status == 200


@live
async def test_an_issuer_that_is_not_required_does_not_hold_up(tmp_path):
    other = {
        "issuer": "https://other.example", "audience": "api", "algorithms": ["ES256"],
        "keys": {"jwks_url": "http://127.0.0.1:1/jwks"}, "required": False,
    }  # fmt: skip
    async with running(tmp_path, config={"issuers": {"other": other}}) as gateway:
        assert (await gateway.ask_admin("/health/ready")).status == 200
        assert not (await gateway.ask_admin("/status")).json()["issuers"]["other"]["loaded"]


@live
async def test_without_a_token_only_this_machine_is_answered(tmp_path):
    async with running(tmp_path) as gateway:
        for path in (*OPEN, *CLOSED):
            expected = 404 if path == "/decisions/x" else 200
            assert (await gateway.ask_admin(path)).status == expected, path
            assert (await gateway.ask_admin(path, host="localhost:9")).status == expected
            rebound = await gateway.ask_admin(path, host="evil.example")
            assert rebound.status == (200 if path in OPEN else 403), path
        async with http1.connect(gateway.admin_port) as client:
            lines = (("Host", "localhost"), ("X-Forwarded-For", "127.0.0.1"))
            answer = await client.request("GET", "/status", lines)
            assert (answer.status, answer.code) == (403, "admin-local-only")
            answer = await client.request("POST", "/status", lines[:1])
            assert (answer.status, answer.header("allow")) == (405, "GET, HEAD")
        for path in CLOSED:  # the edge shows none of it
            assert (await gateway.ask(path)).code == "route-unknown"


@live
async def test_a_token_is_asked_for_and_never_shown(tmp_path):
    (tmp_path / "token").write_text(SECRET + "\n")
    (tmp_path / "token").chmod(0o600)
    admin = {"admin": {"token_file": "token"}}
    async with running(tmp_path, config=admin) as gateway:
        for path in CLOSED:
            for token in (None, SECRET[:-1], SECRET + "x", gateway.token()):
                answer = await gateway.ask_admin(path, token)
                assert (answer.status, answer.code) == (401, "admin-token"), path
                assert answer.header("www-authenticate").startswith("Bearer")
            assert (await gateway.ask_admin(path, SECRET)).status in {200, 404}
            assert (await gateway.ask_admin(path, SECRET, host="any.example")).status != 401
        for path in OPEN:
            assert (await gateway.ask_admin(path)).status == 200
        (tmp_path / "token").write_text(SECRET[::-1] + "\n")  # it changes like other secrets
        await until(lambda: gateway.looks > 1)
        assert (await gateway.ask_admin("/status", SECRET)).status == 401
        assert (await gateway.ask_admin("/status", SECRET[::-1])).status == 200


@live
async def test_the_configuration_is_shown_without_its_secrets(tmp_path):
    hmac = {
        "issuer": "https://hmac.example", "audience": "api", "algorithms": ["HS256"],
        "keys": {"secret": "a secret of more than thirty-two bytes"},
    }  # fmt: skip
    config = {"admin": {"token": SECRET}, "issuers": {"hmac": hmac}}
    async with running(tmp_path, config=config) as gateway:
        answer = await gateway.ask_admin("/config", SECRET)
        shown = answer.json()
        assert shown["issuers"]["hmac"]["keys"]["secret"] == "**********"
        assert shown["admin"]["token"] == "**********"
        assert shown["limits"]["body"] == 1024
        assert shown["limits"]["url"] == 8192  # defaults are filled in
        assert SECRET.encode() not in answer.body
        assert b"thirty-two" not in answer.body


@live
async def test_decisions_and_metrics_tell_what_happened(tmp_path):
    async with running(tmp_path) as gateway:
        token = gateway.token()
        cookie = (("Cookie", "session=s3cret"),)
        assert (await gateway.ask(token=token, headers=cookie)).status == 200
        refusal = await gateway.ask(token=gateway.token(roles=[]))
        assert (await gateway.ask()).status == 401
        await gateway.events(3)
        found = (await gateway.ask_admin("/decisions")).json()["decisions"]
        assert [event["status"] for event in found] == [401, 403, 200]  # newest first
        assert len((await gateway.ask_admin("/decisions?limit=2")).json()["decisions"]) == 2
        assert (await gateway.ask_admin("/decisions?limit=x")).code == "bad-query"
        decision_id = refusal.json()["decision_id"]
        answer = await gateway.ask_admin(f"/decisions/{decision_id}")
        event = answer.json()
        assert (event["decision_id"], event["code"]) == (decision_id, "policy-denied")
        assert event["input"]["claims"]["sub"] == "alice"
        assert event["bundles"]["policy"]["revision"] == gateway.revision
        unknown = await gateway.ask_admin("/decisions/01ARZ3NDEKTSV4RRFFQ69G5FAV")
        assert (unknown.status, unknown.code) == (404, "decision-unknown")
        assert token.split(".")[2] not in str(found)
        assert "s3cret" not in str(found)
        metrics = await gateway.metrics()
        counted = 'gateway_requests_total{code="%s",method="GET",route="items",status="%s"} 1.0'
        for labels in (("ok", "2xx"), ("policy-denied", "4xx"), ("token-missing", "4xx")):
            assert counted % labels in metrics
        assert f'gateway_policy_info{{revision="{gateway.revision}"}} 1.0' in metrics
        assert 'gateway_decision_reasons_total{reason="not-granted"} 1.0' in metrics
        assert 'gateway_jwks_refresh_success{issuer="corp"} 1.0' in metrics
        assert "gateway_jwks_age_seconds{" not in metrics  # a file may grow old
