"""The whole gateway and its issuers: keys that come late, change, are bad, or never come."""

import asyncio
import json
import time

import pytest

from gateway.jose.sign import generate, public_jwks
from tests.support import http1, http2
from tests.support.gateway import bearer, live, running, until
from tests.support.issuer import HANG, KEY, Issuer, document, issued, jwks
from tests.support.upstream import ok, upstream
from tests.support.websocket import handshake

NEW = generate("ES256")
STRANGER = generate("ES256")


def keys_of(gateway):
    return gateway.gateway.issuers()["corp"]


async def code(gateway, *keys, **claims):
    """The codes of requests with tokens of these keys, None where they pass."""
    answers = await asyncio.gather(
        *(gateway.ask(token=gateway.token(key, **claims)) for key in keys)
    )
    return [answer.code for answer in answers]


@live
async def test_keys_arrive_late_and_rotate(tmp_path):
    issuer = Issuer(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")
    async with issued(tmp_path, issuer, cooldown="0ms") as gateway:
        answer = await gateway.ask(token=gateway.token())
        assert (answer.status, answer.code) == (503, "keys-unavailable")
        assert gateway.gateway.ready() == ["issuer corp has no keys"]
        issuer.answers["/jwks"] = jwks(KEY)
        await until(lambda: not gateway.gateway.ready())  # by itself
        assert await code(gateway, KEY, NEW) == [None, "key-unknown"]
        issuer.answers["/jwks"] = jwks(KEY, NEW)
        assert await code(gateway, NEW, KEY) == [None, None]
        issuer.answers["/jwks"] = jwks(NEW)
        assert await code(gateway, STRANGER) == ["key-unknown"]  # brings the new set
        assert await code(gateway, NEW, KEY) == [None, "key-unknown"]


@live
async def test_a_key_server_that_hangs_is_waited_for_only_so_long(tmp_path):
    async with issued(tmp_path, Issuer(), timeout="300ms") as gateway:
        answer = await gateway.ask(token=gateway.token())
        assert (answer.status, answer.code) == (503, "keys-unavailable")
        assert "did not answer within 0.3 s" in keys_of(gateway).last_error


@live
async def test_a_key_server_that_hangs_delays_nobody_whose_key_is_known(tmp_path):
    issuer = Issuer(jwks(KEY))
    async with issued(tmp_path, issuer) as gateway:
        await until(lambda: not gateway.gateway.ready())
        issuer.answers["/jwks"] = HANG
        before = issuer.fetches
        unknown = asyncio.create_task(code(gateway, NEW))
        await until(lambda: issuer.fetches > before)
        assert await code(gateway, KEY, KEY, KEY) == [None] * 3
        assert not unknown.done()
        issuer.leave.set()
        assert await unknown == ["key-unknown"]
        assert await code(gateway, KEY) == [None]


def waited_for(gateway):
    """An event that is set once a request waits for keys."""
    keys, waiting = gateway.runtime.keys, asyncio.Event()
    newest = keys.newest

    async def noted(name):
        waiting.set()
        return await newest(name)

    keys.newest = noted
    return waiting


@live
async def test_a_handshake_does_not_wait_for_keys_once_its_client_has_left(tmp_path):
    async with issued(tmp_path, Issuer()) as gateway:
        waiting = waited_for(gateway)
        async with http1.connect(gateway.port) as client:
            await client.send(handshake("/items", bearer(gateway.token())))
            await waiting.wait()
        (event,) = await gateway.events()
        assert (event["status"], event["incomplete"], event["route"]) == (0, True, "items")
        assert "code" not in event


@pytest.mark.parametrize("change", ["removed", "changed"])
@live
async def test_a_reload_lets_go_of_who_waits_for_keys(tmp_path, change, caplog):
    """The fetch ends with the issuer's configuration; the request goes on without its keys."""
    other = {
        "issuer": "https://idp.example", "audience": "api", "algorithms": ["ES256"],
        "keys": {"jwks_url": "http://127.0.0.1:1/jwks"},
    }  # fmt: skip
    issuers = {"removed": {"corp": None, "other": other}, "changed": {"corp": other}}[change]
    async with issued(tmp_path, Issuer()) as gateway:
        await gateway.settled()
        waiting = waited_for(gateway)
        asking = asyncio.create_task(gateway.ask(token=gateway.token()))
        await waiting.wait()
        await gateway.edit({"issuers": issuers})
        answer = await asyncio.wait_for(asking, 5)
        assert (answer.status, answer.code) == (503, "keys-unavailable")
        event = await gateway.event(answer.json()["decision_id"])
        assert event["code"] == "keys-unavailable"
    assert not [record for record in caplog.records if record.exc_info]


@live
async def test_whatever_fails_before_the_plan_is_made_is_refused_and_recorded(tmp_path, caplog):
    async def fails(_name):
        raise OSError("the keys fail on purpose")

    async with issued(tmp_path, Issuer()) as gateway:
        gateway.runtime.keys.newest = fails
        answer = await gateway.ask(token=gateway.token())
        assert (answer.status, answer.code) == (500, "internal-error")
        event = await gateway.event(answer.json()["decision_id"])
        assert (event["code"], event["status"], event["route"]) == ("internal-error", 500, "items")
        assert "on purpose" in event["error"]["message"]
    assert "a request could not be planned" in caplog.text


@live
async def test_the_log_does_not_speak_of_keys_that_never_came(tmp_path, caplog):
    issuer = Issuer(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")
    async with issued(tmp_path, issuer, cooldown="0ms") as gateway:
        await gateway.ask(token=gateway.token())
        assert "answered 503 (there are none yet)" in caplog.text
        assert "kept" not in caplog.text
        issuer.answers["/jwks"] = jwks(KEY)
        assert await code(gateway, KEY) == [None]
        issuer.answers["/jwks"] = b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"
        assert await code(gateway, STRANGER) == ["key-unknown"]
        assert "answered 503 (last good set kept)" in caplog.text


PRIVATE = document({"keys": [KEY.public_jwk(), NEW.private_jwk()]})
REDIRECT = b"HTTP/1.1 302 Found\r\nlocation: %b\r\ncontent-length: 0\r\n\r\n"
USELESS = {
    "html": (ok(b"<html>busy</html>"), "not a JWK Set"),
    "empty": (ok(b""), "not a JWK Set"),
    "status": (b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", "answered 500"),
    "huge": (ok(b'{"keys": [], "pad": "' + b"x" * 600_000 + b'"}'), "more than 524288 bytes"),
    "endless": (b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 600_000, "more than 524288 bytes"),
    "too many": (document({"keys": [{}] * 101}), "101 keys"),
    "deep": (ok(b"[" * 100_000), "not a JWK Set"),
    "no key": (document({"keys": []}), "no usable key"),
    "a private key": (PRIVATE, "contains a private key"),
    "a secret": (document({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}), "no usable key"),
    "compressed": (ok(b"x", b"content-encoding: gzip\r\n"), "encoding"),
    "another host": (REDIRECT % b"http://localhost:1/jwks", "another host"),
    "another scheme": (REDIRECT % b"https://127.0.0.1/jwks", "another host"),
    "a loop": (REDIRECT % b"/jwks", "too often"),
    "cut off": (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", "/jwks"),
}


@live
async def test_a_useless_answer_changes_no_key(tmp_path):
    """It is never accepted where no key has come, and never takes a key away."""
    issuer = Issuer(jwks(KEY))
    async with issued(tmp_path, issuer, cooldown="0ms") as gateway:
        await until(lambda: not gateway.gateway.ready())
        for name, (answer, error) in USELESS.items():
            issuer.answers["/jwks"] = answer
            assert await code(gateway, NEW) == ["key-unknown"], name
            assert error in keys_of(gateway).last_error, name
            assert await code(gateway, KEY) == [None], name
            status = (await gateway.ask_admin("/status")).json()["issuers"]["corp"]
            assert (status["loaded"], status["keys"]) == (True, 1), name


@pytest.mark.parametrize("name", ["html", "a private key", "another host"])
@live
async def test_a_useless_first_answer_is_no_key(tmp_path, name):
    issuer = Issuer(USELESS[name][0])
    async with issued(tmp_path, issuer) as gateway:
        assert await code(gateway, KEY) == ["keys-unavailable"]
        assert gateway.gateway.ready() == ["issuer corp has no keys"]


@live
async def test_good_keys_among_bad_ones_work(tmp_path):
    good = KEY.public_jwk()
    weak = {"kty": "RSA", "kid": "weak", "n": "AQAB" * 20, "e": "AQAB"}
    bad = [{"kty": "EC"}, "a string", weak, {"kty": "unheard-of"}, {**good, "kid": "x", "x": "AA"}]
    issuer = Issuer(document({"keys": [*bad, good]}))
    async with issued(tmp_path, issuer) as gateway:
        await until(lambda: not gateway.gateway.ready())
        assert await code(gateway, KEY) == [None]
        assert len(keys_of(gateway).problems) == len(bad)


DISCOVERY = "/.well-known/openid-configuration"


@live
async def test_discovery_is_believed_only_of_the_issuer_itself(tmp_path):
    issuer = Issuer(jwks(KEY))
    issuer.answers[DISCOVERY] = HANG
    source = f'discovery: "{{url}}{DISCOVERY}"'
    good = {"issuer": "https://idp.example"}
    async with issued(tmp_path, issuer, source=source, cooldown="0ms", timeout="500ms") as gateway:
        for answer, error in (
            (HANG, "did not answer"),
            (ok(b"<html>"), "metadata"),
            (document({"issuer": "https://evil.example", "jwks_uri": f"{issuer.url}/jwks"}), "evil"),
            (document({**good, "issuer": "https://idp.example/"}), "idp.example/"),
            (document(good), "jwks_uri"),
            (document({**good, "jwks_uri": "http://keys.example/jwks"}), "http"),
            (document({**good, "jwks_uri": "https://10.0.0.1/jwks"}), "private"),
            (REDIRECT % b"http://localhost:1/x", "another host"),
        ):  # fmt: skip
            issuer.answers[DISCOVERY] = answer
            assert await code(gateway, KEY) == ["keys-unavailable"], error
            assert error in keys_of(gateway).last_error
        issuer.answers[DISCOVERY] = document({**good, "jwks_uri": f"{issuer.url}/jwks"})
        assert await code(gateway, KEY) == [None]


@live
async def test_a_flood_of_unknown_keys_makes_few_fetches(tmp_path):
    issuer = Issuer(jwks(KEY))
    async with issued(tmp_path, issuer, cooldown="30s") as gateway:
        await until(lambda: not gateway.gateway.ready())
        before = issuer.fetches
        tokens = [gateway.token(generate("ES256")) for _ in range(500)]
        async with http2.connect(gateway.port) as client:
            for start in range(0, 500, 50):
                streams = [
                    client.open(http2.head("GET", "/items", [("authorization", value)]))
                    for token in tokens[start : start + 50]
                    for _, value in bearer(token)
                ]
                codes = {(await client.finished(stream)).code for stream in streams}
                assert codes == {"key-unknown"}
        assert issuer.fetches - before <= 2
        assert await code(gateway, KEY) == [None]


@live
async def test_in_the_cool_down_it_is_401_and_a_fetch_follows(tmp_path):
    issuer = Issuer(jwks(KEY))
    async with issued(tmp_path, issuer, cooldown="2s") as gateway:
        await until(lambda: not gateway.gateway.ready())
        assert await code(gateway, STRANGER) == ["key-unknown"]
        began = time.monotonic()
        issuer.answers["/jwks"] = jwks(KEY, NEW)
        before = issuer.fetches
        assert await code(gateway, NEW, NEW, NEW) == ["key-unknown"] * 3
        assert issuer.fetches == before
        await until(lambda: issuer.fetches > before)  # though nobody asks any more
        assert time.monotonic() - began > 1
        await until(lambda: keys_of(gateway).keys == 2)
        assert await code(gateway, NEW) == [None]
        assert issuer.fetches == before + 1


@live
async def test_tokens_of_one_issuer_are_not_verified_with_anothers_keys(tmp_path):
    (tmp_path / "other.json").write_text(json.dumps(public_jwks([NEW])))
    other = {
        "issuer": "https://other.example", "audience": "api", "algorithms": ["ES256"],
        "keys": {"jwks_file": "other.json"},
    }  # fmt: skip
    config = {"issuers": {"other": other}}
    async with running(tmp_path, signer=KEY, config=config) as gateway:
        assert await code(gateway, KEY) == [None]
        assert await code(gateway, NEW, iss="https://other.example") == [None]
        assert await code(gateway, NEW) == ["key-unknown"]
        assert await code(gateway, KEY, iss="https://other.example") == ["key-unknown"]
        assert await code(gateway, KEY, iss="https://third.example") == ["issuer-unknown"]
