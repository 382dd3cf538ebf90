"""Browsers that log in at a provider which a test scripts."""

import asyncio
import base64
import json
import time
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.identify.revoked import Denial, Denied, Key
from gateway.serve.session import StoreError
from gateway.serve.session.provider import MAX_LOGINS
from tests.support.gateway import either_server, live, running  # noqa: F401  a fixture
from tests.support.provider import HTML, OWN, Browser, Provider, config_of, logins
from tests.support.upstream import upstream
from tests.support.websocket import connect
from tests.support.websocket_upstream import echo, websocket


@live
async def test_a_login_from_the_first_page_to_the_logout(tmp_path):
    provider = Provider()
    async with logins(tmp_path, provider) as (gateway, browser):
        first = await browser.ask("/items/1?page=2")
        assert first.status == 303
        place = first.header("location")
        assert place == f"{OWN}/login/web?return_to=/items/1%3Fpage%3D2"
        begun = await browser.ask(place)
        assert begun.status == 303
        asked = parse_qs(urlsplit(begun.header("location")).query)
        assert asked["redirect_uri"] == [f"{browser.origin}{OWN}/callback/web"]
        assert asked["scope"] == ["openid offline_access"]
        assert asked["tenant"] == ["1"]
        done = await browser.answer(provider.authorize(begun.header("location")))
        assert (done.status, done.header("location")) == (303, "/items/1?page=2")
        assert set(browser.cookies) == {"__Host-session-web", "__Host-session~web"}
        shown = await browser.ask("/items/1?page=2")
        assert shown.status == 200
        seen = shown.json()["headers"]
        assert seen["x-auth-subject"] == "alice"
        assert seen["authorization"].startswith("Bearer ey")
        assert "cookie" not in seen
        event = await gateway.event(shown.header("x-decision-id") or seen["x-decision-id"])
        assert len(event["session"]) == 16
        assert browser.session not in json.dumps(event)
        page = await browser.ask(f"{OWN}/logout/web")
        assert page.status == 200
        left = await browser.ask(
            f"{OWN}/logout/web", method="POST", headers=(("origin", browser.origin),)
        )
        assert left.status == 303
        ended = urlsplit(left.header("location"))
        told = {name: value[0] for name, value in parse_qs(ended.query).items()}
        assert ended.path == "/end"
        assert told["post_logout_redirect_uri"] == f"{browser.origin}/"
        assert told["id_token_hint"].startswith("ey")
        assert browser.session is None
        assert (await browser.ask("/items")).status == 303
        metrics = await gateway.metrics()
        assert 'gateway_logins_total{login="web",outcome="success"} 1.0' in metrics
        assert 'gateway_logins_total{login="web",outcome="logout"} 1.0' in metrics


@live
async def test_a_login_begins_a_session_of_its_own(tmp_path):
    """Whoever planted or knew the cookie before the login knows nothing afterwards."""
    provider = Provider()
    async with logins(tmp_path, provider) as (gateway, browser):
        planted = "A" * 43
        browser.cookies["__Host-session-web"] = planted
        assert (await browser.ask("/items")).status == 303
        slower = provider.authorize(await browser.begin())
        await browser.login(provider)
        first = browser.session
        assert first != planted
        # A login that was begun before ends the session of the one that was faster.
        assert (await browser.answer(slower)).status == 303
        assert browser.session != first
        assert (await browser.ask("/items")).status == 200
        status = json.loads((await gateway.ask_admin("/status")).body)["sessions"]
        assert (status["sessions"], status["logins"]) == (1, {"web": {"error": None}})
        other = Browser(gateway)
        other.cookies["__Host-session-web"] = first
        assert (await other.ask("/items")).status == 303


@pytest.mark.parametrize(
    ("kind", "value", "times"),
    [("sub", "alice", {"before": True}), ("sid", "s1", {}), ("sid", "s1", {"before": True})],
)
def test_who_is_denied_is_refused_though_the_session_is_renewed(kind, value, times, tmp_path):
    """The access token has no `sid`, and a new one is issued after the entry was made."""

    @live
    async def scenario():
        provider = Provider()
        provider.lifetime = 2.0
        async with logins(tmp_path, provider) as (gateway, browser):
            await browser.login(provider)
            assert (await browser.ask("/items")).status == 200
            until = {"before": time.time()} if times else {}
            denied = {Key("idp", kind, value): Denial(**until)}
            gateway.runtime.deny(Denied(tables={"admin": denied}))
            deadline = time.monotonic() + 30
            while not provider.refreshes:
                assert time.monotonic() < deadline
                assert (await browser.ask("/items")).code == "token-revoked"
            assert (await browser.ask("/items")).code == "token-revoked"
            # A page that leads straight back would hold such a browser for ever.
            place = provider.authorize(await browser.begin())
            gateway.runtime.deny(Denied())
            assert (await browser.answer(place)).status == 303
            assert (await browser.ask("/items")).status == 200

    scenario()


@live
async def test_an_open_websocket_ends_with_the_session_that_is_denied(tmp_path):
    provider = Provider()
    async with upstream(provider) as provider.server:
        config = config_of(provider.issuer)
        async with running(tmp_path, websocket(echo), config=config) as gateway:
            browser = Browser(gateway)
            await browser.login(provider)
            cookie = ("cookie", f"__Host-session-web={browser.session}")
            own = (("origin", "http://api.example"), cookie)
            async with connect(gateway.port, "/items", own) as socket:
                await socket.send("a")
                assert await socket.receive() == "a"
                denied = {Key("idp", "sid", "s1"): Denial()}
                gateway.runtime.deny(Denied(tables={"admin": denied}))
                assert await socket.receive() is None
                assert socket.closed == (1008, "token revoked")


@live
async def test_nothing_that_is_kept_opens_a_session(tmp_path):
    provider = Provider()
    async with logins(tmp_path, provider) as (gateway, browser):
        await browser.login(provider)
        ((key, entry),) = gateway.runtime.sessions.store._entries.items()
        kept = key + entry.value + b"".join(entry.tags)
        for secret in (browser.session, *provider.live, "alice"):
            assert secret.encode() not in kept
        thief = Browser(gateway)
        thief.cookies["__Host-session-web"] = base64.urlsafe_b64encode(key).rstrip(b"=").decode()
        assert (await thief.ask("/items")).status == 303


@live
async def test_an_upstream_cannot_give_a_session(tmp_path):
    async def fixing(peer):
        while await peer.request():
            peer.send(
                b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\nset-cookie: __Host-session-web=x; Path=/\r\n"
                b"Set-Cookie:  __HOST-SESSION-web=x\r\nset-cookie: __Host-session~web~1=x\r\n"
                b"content-length: 2\r\n\r\nok"
            )

    provider = Provider()
    async with upstream(provider) as provider.server:
        config = config_of(provider.issuer)
        async with running(tmp_path, fixing, config=config) as gateway:
            answer = await gateway.ask("/open/x")
            assert [v for n, v in answer.headers if n == "set-cookie"] == ["a=b"]


@live
async def test_several_tabs_log_in_at_once(tmp_path):
    provider = Provider()
    async with logins(tmp_path, provider) as (_, browser):
        places = [provider.authorize(await browser.begin(f"/items/{tab}")) for tab in range(3)]
        for tab in (2, 0, 1):
            answer = await browser.answer(places[tab])
            assert (answer.status, answer.header("location")) == (303, f"/items/{tab}")
        late = await browser.ask(f"{OWN}/login/web?return_to=/items/late")
        assert (late.status, late.header("location")) == (303, "/items/late")


@live
async def test_another_site_that_begins_logins_fills_no_cookie_jar(tmp_path):
    provider = Provider()
    async with logins(tmp_path, provider) as (_, browser):
        for length in (1, 1900, 1900, 1900, 1900, *[1] * 30):
            await browser.begin("/" + "a" * length)
            under_way = [
                name + value
                for name, value in browser.cookies.items()
                if name.startswith("__Host-session~web~")
            ]
            assert 0 < sum(map(len, under_way)) <= 8192
        assert len(under_way) > 8
        answer = await browser.answer(provider.authorize(await browser.begin()))
        assert answer.status == 303


@live
async def test_a_cookie_whose_name_no_header_may_have_holds_up_no_login(tmp_path):
    provider = Provider()
    async with logins(tmp_path, provider) as (_, browser):
        strange = ("cookie", "__Host-session~web~\xff=" + "a" * 9000)
        answer = await browser.ask(f"{OWN}/login/web", headers=(*HTML, strange))
        assert answer.status == 303


@live
async def test_the_pages_run_nothing_and_can_be_framed_by_nobody(tmp_path):
    provider = Provider()
    async with logins(tmp_path, provider) as (_, browser):
        page = await browser.ask(f"{OWN}/logout/web")
        refused = await browser.ask(f"{OWN}/callback/web?state=%3Cscript%3E&error=%3Cb%3E")
        for answer in (page, refused):
            policy = answer.header("content-security-policy")
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert answer.header("x-content-type-options") == "nosniff"
            assert answer.header("cache-control") == "no-store"
            assert b"<script" not in answer.body
        assert f"form-action 'self' {provider.issuer}" in page.header("content-security-policy")
        program = await browser.ask(f"{OWN}/callback/web", headers=())
        assert (program.status, program.code) == (400, "login-state")


@live
async def test_id_tokens_identify_where_access_tokens_are_opaque(tmp_path):
    provider = Provider()
    provider.answer = {"access_token": "opaque"}
    provider.claims = {"at_hash": None, "roles": ["reader"]}
    async with logins(tmp_path, provider, token="id") as (_, browser):
        await browser.login(provider)
        seen = (await browser.ask("/items")).json()["headers"]
        assert (seen["x-auth-subject"], seen["authorization"]) == ("alice", "Bearer opaque")
        assert "authorization" not in (await browser.ask("/quiet")).json()["headers"]


@live
async def test_the_log_says_what_to_do_about_opaque_access_tokens(tmp_path, caplog):
    provider = Provider()
    provider.answer = {"access_token": "opaque"}
    provider.claims = {"at_hash": None}
    async with logins(tmp_path, provider) as (_, browser):
        caplog.set_level("INFO", "gateway.sessions")
        refused = await browser.answer(provider.authorize(await browser.begin()))
        assert refused.status == 502
    (line,) = [each for each in caplog.messages if "login-failed" in each]
    assert "token-malformed" in line
    assert "set the login's token: id" in line


@live
async def test_a_logout_without_a_provider_or_a_session(tmp_path):
    provider = Provider()
    provider.metadata = {"end_session_endpoint": "http://localhost:1/end"}
    async with logins(tmp_path, provider, after_logout="/open/bye") as (_, browser):
        origin = (("origin", browser.origin),)
        answer = await browser.ask(f"{OWN}/logout/web", method="POST", headers=origin)
        assert (answer.status, answer.header("location")) == (303, "/open/bye")


@live
async def test_https_behind_a_trusted_proxy(tmp_path):
    provider = Provider()
    more = {"trusted_proxies": ["127.0.0.0/8"]}
    async with logins(tmp_path, provider, more=more) as (gateway, _):
        browser = Browser(gateway, host="inside.example")
        proxied = (*HTML, ("x-forwarded-proto", "https"), ("x-forwarded-host", "app.example"))
        begun = await browser.ask(f"{OWN}/login/web?return_to=/items", headers=proxied)
        (back,) = parse_qs(urlsplit(begun.header("location")).query)["redirect_uri"]
        assert back == f"https://app.example{OWN}/callback/web"
        place = urlsplit(provider.authorize(begun.header("location")))
        done = await browser.ask(f"{place.path}?{place.query}", headers=proxied)
        assert (done.status, done.header("location")) == (303, "/items")
        origin = (("origin", "https://app.example"), *proxied)
        assert (await browser.ask("/items", method="POST", headers=origin)).status == 200


@live
async def test_a_login_on_two_workers(tmp_path):
    provider = Provider()
    async with logins(tmp_path, provider, workers=2) as (gateway, browser):
        await browser.login(provider)
        answers = await asyncio.gather(*[browser.ask("/items") for _ in range(20)])
        assert {answer.status for answer in answers} == {200}
        status = json.loads((await gateway.ask_admin("/status")).body)
        assert status["sessions"]["sessions"] == 1


@live
async def test_a_provider_ends_the_sessions_of_who_logs_out_elsewhere(tmp_path):
    provider = Provider()
    async with logins(tmp_path, provider) as (gateway, browser):
        other, third = Browser(gateway), Browser(gateway)
        await browser.login(provider)
        provider.claims = {"sid": "s2"}
        await other.login(provider)
        provider.subject = "bob"
        await third.login(provider)
        provider.subject = "alice"
        answer = await browser.told_to_log_out(provider.logout_token())
        assert (answer.status, answer.header("cache-control")) == (200, "no-store")
        assert [(await each.ask("/items")).status for each in (browser, other)] == [303, 200]
        # Without a session of the provider's, all of the subject.
        assert (await browser.told_to_log_out(provider.logout_token(sid=None))).status == 200
        assert [(await each.ask("/items")).status for each in (other, third)] == [303, 200]


@live
@pytest.mark.parametrize("operation", ["claim", "delete_tagged"])
async def test_a_logout_elsewhere_is_done_once_the_storage_answers(
    tmp_path, monkeypatch, operation
):
    async def fails(*_):
        raise StoreError("away")

    provider = Provider()
    async with logins(tmp_path, provider) as (gateway, browser):
        await browser.login(provider)
        with monkeypatch.context() as away:
            away.setattr(gateway.runtime.sessions.store, operation, fails)
            assert (await browser.told_to_log_out(provider.logout_token())).status == 503
        deadline = time.monotonic() + 20
        while (await browser.ask("/items")).status == 200:
            assert time.monotonic() < deadline
        assert (await browser.ask("/items")).status == 303


@live
async def test_a_flood_of_logins_makes_a_few_calls_at_once(tmp_path):
    provider = Provider()
    async with logins(tmp_path, provider) as (gateway, _):
        browsers = [Browser(gateway) for _ in range(MAX_LOGINS + 1)]
        places = [provider.authorize(await browser.begin()) for browser in browsers]
        provider.gate.clear()
        answers = [
            asyncio.create_task(browser.answer(place))
            for browser, place in zip(browsers, places, strict=True)
        ]
        done, waiting = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
        (refused,) = [answer.result() for answer in done]
        assert refused.status == 503
        assert refused.header("retry-after") == "1"
        provider.gate.set()
        assert {(await answer).status for answer in waiting} == {303}
