"""Logins at a certified provider that nobody here wrote."""

import asyncio
import json
import os
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

from gateway.session.record import Ticket
from tests.support.certified import Person, certified
from tests.support.chromium import chromium
from tests.support.gateway import live, running
from tests.support.provider import OWN, Browser, config_of

PARAMETERS = {"prompt": "consent"}


@asynccontextmanager
async def gateway_and_provider(folder, **changes):
    async with certified() as provider:
        given = {"parameters": PARAMETERS, "after_logout": "/open/bye", **changes}
        async with running(folder, config=config_of(provider.issuer, **given)) as gateway:
            browser = Browser(gateway)
            await provider.serve(browser.origin)
            following = asyncio.create_task(provider.follow())
            person = Person()
            try:
                yield gateway, provider, browser, person
            finally:
                await person.close()
                following.cancel()


async def log_in(browser, person):
    place = await browser.begin("/items/1?page=2")
    return await browser.answer(await person.logs_in(place, browser.origin))


@live
async def test_a_certified_provider_from_login_to_logout(tmp_path):
    async with gateway_and_provider(tmp_path) as (_, provider, browser, person):
        done = await log_in(browser, person)
        assert (done.status, done.header("location")) == (303, "/items/1?page=2"), done
        shown = await browser.ask("/items/1?page=2")
        assert (shown.status, shown.json()["headers"]["x-auth-subject"]) == (200, "alice")
        # Renewed once, with a refresh token that the provider gives anew each time.
        for _ in range(3):
            store = browser.gateway.runtime.sessions.store
            ticket = Ticket.read(browser.session.encode())
            stored = await store.get(ticket.key)
            record = replace(ticket.unseal(stored.value), expires_at=time.time() - 1)
            value = ticket.seal(record, os.urandom(12))
            assert await store.save(ticket.key, value, version=stored.version)
            answers = await asyncio.gather(*[browser.ask("/items") for _ in range(20)])
            assert {answer.status for answer in answers} == {200}
        assert provider.grants == ["authorization_code", *["refresh_token"] * 3]
        assert provider.errors == []
        origin = (("origin", browser.origin),)
        left = await browser.ask(f"{OWN}/logout/web", method="POST", headers=origin)
        back = await person.logs_out(left.header("location"), browser.origin)
        assert urlsplit(back).path == "/open/bye"
        assert (await browser.ask("/items")).status == 303


@live
async def test_a_certified_provider_ends_the_session_of_who_logs_out_elsewhere(tmp_path):
    async with gateway_and_provider(tmp_path) as (_, provider, browser, person):
        assert (await log_in(browser, person)).status == 303
        assert (await browser.ask("/items")).status == 200
        # The same person, at another service of the same provider.
        await person.logs_out(
            f"{provider.issuer}/session/end", f"{provider.issuer}/session/end/success"
        )
        deadline = time.monotonic() + 30
        while (await browser.ask("/items")).status == 200:
            assert time.monotonic() < deadline


@live
async def test_a_real_browser_logs_in_and_out(tmp_path):
    """The cookies are what Chromium takes, and the policy of the pages lets their forms pass."""
    async with (
        gateway_and_provider(tmp_path) as (gateway, _, browser, _),
        chromium(tmp_path) as page,
    ):
        await page.go(f"{browser.origin}/items/1?page=2")
        await page.until("document.querySelector('[name=login]') !== null")
        await page.run(
            "document.querySelector('[name=login]').value = 'alice';"
            "document.querySelector('[name=password]').value = 'any';"
            "document.querySelector('form').submit()"
        )
        await page.until("document.querySelector('[name=prompt][value=consent]') !== null")
        await page.run("document.querySelector('form').submit()")
        shown = json.loads(await page.shows("x-auth-subject"))
        assert shown["target"] == "/items/1?page=2"
        assert shown["headers"]["x-auth-subject"] == "alice"
        assert "__Host" not in shown["headers"].get("cookie", "")
        cookie = (await page.cookies())["__Host-session-web"]
        assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Lax")
        assert await page.run("document.cookie") == ""
        # A script of the own page may change things, one of another origin may not.
        post = "fetch({}, {{method: 'POST', credentials: 'include', mode: 'no-cors'}})"
        await page.run(
            f"{post.format('location.href')}.then(a => document.title = 'own ' + a.status)"
        )
        assert await page.until("document.title.startsWith('own') && document.title") == "own 200"
        other = browser.origin.replace("localhost", "127.0.0.1")
        await page.go(f"{other}/open/x")
        await page.shows("/open/x")
        target = json.dumps(f"{browser.origin}/items")
        await page.run(f"{post.format(target)}.finally(() => document.title = 'other')")
        await page.until("document.title === 'other'")
        refused = [event for event in await gateway.events() if event["method"] == "POST"]
        assert refused[-1]["code"] in ("csrf-refused", "login-required")
        await page.go(f"{browser.origin}{OWN}/logout/web")
        await page.shows("Log out")
        await page.run("document.querySelector('button').click()")
        await page.until("document.querySelector('button[name=logout][value=yes]') !== null")
        await page.run("document.querySelector('button[name=logout][value=yes]').click()")
        await page.shows("/open/bye")
        assert "__Host-session-web" not in await page.cookies()
        await page.go(f"{browser.origin}/items")
        await page.until("document.querySelector('[name=login]') !== null")
