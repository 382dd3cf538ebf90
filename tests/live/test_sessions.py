"""Browsers that log in at a provider which a test scripts."""

import json
from urllib.parse import parse_qs, urlsplit


import pytest

from tests.support.gateway import live
from tests.support.logins import LOGIN_CASES, told
from tests.support.provider import OWN, Browser, Provider, logins


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


@pytest.mark.parametrize("case", LOGIN_CASES, ids=str)
def test_what_is_refused(case, tmp_path):
    @live
    async def scenario():
        provider = Provider()
        async with logins(tmp_path, provider, **case.changes) as (gateway, browser):
            answer = await case.act(gateway, provider, browser)
            assert (told(answer), answer.status) == (case.code.text, case.code.status)
            assert answer.header("cache-control") == "no-store"
            assert not [v for n, v in answer.headers if n == "set-cookie" and "session-web" in v]

    scenario()
