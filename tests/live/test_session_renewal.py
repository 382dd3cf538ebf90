"""Sessions that are renewed: once, in time, and for as long as the provider agrees."""

import asyncio
import os
import time
from dataclasses import replace

import pytest

from gateway.serve.session import renewal
from gateway.session.record import Ticket
from tests.support.gateway import live, until
from tests.support.provider import Provider, logins


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(renewal, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(renewal, "LEASE", 1.0)
    monkeypatch.setattr(renewal, "EXTEND", 0.2)


async def kept(browser):
    """What the gateway knows of the browser's session: ticket, version and record."""
    ticket = Ticket.read(browser.session.encode())
    stored = await browser.gateway.runtime.sessions.store.get(ticket.key)
    return ticket, stored.version, ticket.unseal(stored.value)


async def changed(browser, **changes):
    """Change it."""
    ticket, version, record = await kept(browser)
    value = ticket.seal(replace(record, **changes), os.urandom(12))
    store = browser.gateway.runtime.sessions.store
    assert await store.save(ticket.key, value, version=version)


async def expired(browser, provider):
    """Log in, and let the token expire."""
    if browser.session is None:
        await browser.login(provider)
    await changed(browser, expires_at=time.time() - 1)


async def due(browser, provider):
    """Log in, and let the session come near its token's end."""
    if browser.session is None:
        await browser.login(provider)
    await changed(browser, received_at=time.time() - 600, expires_at=time.time() + 30)


async def many(browser, count=100):
    """The statuses of so many requests at once."""
    answers = await asyncio.gather(*[browser.ask("/items") for _ in range(count)])
    return {answer.status for answer in answers}


@live
async def test_requests_at_the_moment_of_expiry_wait_for_one_renewal(tmp_path):
    provider = Provider()
    provider.rotate = True
    async with logins(tmp_path, provider) as (gateway, browser):
        await expired(browser, provider)
        provider.gate.clear()
        asked = asyncio.create_task(many(browser))
        await until(lambda: provider.refreshes)
        await until(lambda: gateway.runtime.recorder.metrics.in_flight == 100)
        provider.gate.set()
        assert await asked == {200}
        assert await many(browser) == {200}
        assert len(provider.refreshes) == 1
        renewed = 'gateway_session_renewals_total{login="web",outcome="renewed"} 1.0'
        assert renewed in await gateway.metrics()


@live
async def test_a_session_is_renewed_before_its_token_expires_and_nobody_waits(tmp_path):
    provider = Provider()
    async with logins(tmp_path, provider) as (_, browser):
        await browser.login(provider)
        assert (await browser.ask("/items")).status == 200
        assert provider.refreshes == []
        await due(browser, provider)
        provider.gate.clear()
        while not provider.refreshes:
            assert (await browser.ask("/items")).status == 200
        first = await browser.ask("/items")
        provider.gate.set()
        deadline = time.monotonic() + 10
        while (now := await browser.ask("/items")).json()["headers"]["authorization"] == (
            first.json()["headers"]["authorization"]
        ):
            assert (now.status, time.monotonic() < deadline) == (200, True)
        assert len(provider.refreshes) == 1


@live
async def test_who_came_first_may_leave(tmp_path):
    provider = Provider()
    async with logins(tmp_path, provider) as (_, browser):
        await expired(browser, provider)
        provider.gate.clear()
        first = asyncio.create_task(browser.ask("/items"))
        await until(lambda: provider.refreshes)
        others = asyncio.create_task(many(browser, 5))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        provider.gate.set()
        assert await others == {200}
        assert len(provider.refreshes) == 1


@live
async def test_a_provider_that_is_slower_than_a_lease_is_asked_once(tmp_path):
    provider = Provider()
    async with logins(tmp_path, provider) as (_, browser):
        await expired(browser, provider)
        provider.gate.clear()
        asked = asyncio.create_task(many(browser, 10))
        await until(lambda: provider.refreshes)
        await asyncio.sleep(2.5 * renewal.LEASE)
        provider.gate.set()
        assert await asked == {200}
        assert len(provider.refreshes) == 1


@live
async def test_a_refresh_token_that_is_given_anew_each_time(tmp_path):
    provider = Provider()
    provider.rotate = True
    async with logins(tmp_path, provider) as (_, browser):
        for _ in range(4):
            await expired(browser, provider)
            assert (await browser.ask("/items")).status == 200
        assert len(set(provider.refreshes)) == 4


@live
async def test_an_answer_that_is_lost_is_asked_for_again(tmp_path):
    provider = Provider()
    provider.rotate, provider.grace = True, 60.0
    async with logins(tmp_path, provider) as (_, browser):
        await expired(browser, provider)
        provider.drop = True
        assert await many(browser, 5) == {503}
        assert len(provider.refreshes) == 1
        provider.drop = False
        deadline = time.monotonic() + 10
        while (await browser.ask("/items")).status != 200:
            assert time.monotonic() < deadline
        assert provider.refreshes == provider.refreshes[:1] * 2


@live
async def test_a_lost_answer_that_is_not_given_again_ends_the_session(tmp_path):
    provider = Provider()
    provider.rotate = True
    async with logins(tmp_path, provider) as (gateway, browser):
        await expired(browser, provider)
        provider.drop = True
        assert (await browser.ask("/items")).status == 503
        provider.drop = False
        deadline = time.monotonic() + 10
        while (answer := await browser.ask("/items")).status == 503:
            assert time.monotonic() < deadline
        assert answer.status == 303
        assert 'outcome="lost"} 1.0' in await gateway.metrics()
        assert gateway.runtime.sessions.store.status().sessions == 0
        assert len(provider.refreshes) == 2


@live
async def test_a_provider_that_is_away_is_asked_less_and_less(tmp_path):
    provider = Provider()
    provider.lifetime = 3.0
    async with logins(tmp_path, provider, sessions={"renew_before": "1h"}) as (_, browser):
        await browser.login(provider)
        provider.status = 500
        asked, deadline = 0, time.monotonic() + 20
        while (answer := await browser.ask("/items")).status == 200:
            asked += 1
            assert time.monotonic() < deadline
        # Served until its token has expired; from then on nobody is let in, nor sent to a login.
        assert (answer.status, answer.header("retry-after")) == (503, "1")
        assert asked > 20
        assert 1 <= len(provider.refreshes) < 8
        provider.status = 200
        while (await browser.ask("/items")).status != 200:
            assert time.monotonic() < deadline


@live
async def test_a_session_that_was_revoked_ends_in_one_login(tmp_path):
    provider = Provider()
    async with logins(tmp_path, provider) as (gateway, browser):
        await expired(browser, provider)
        provider.live.clear()
        assert await many(browser, 20) == {303}
        assert len(provider.refreshes) == 1
        api = (("accept", "application/json"),)
        answer = await browser.ask("/items", headers=api)
        assert (answer.status, answer.code) == (401, "login-required")
        assert len(provider.refreshes) == 1
        await browser.login(provider)
        assert await many(browser, 5) == {200}
        assert 'outcome="refused"} 1.0' in await gateway.metrics()


@live
async def test_a_session_without_a_refresh_token_ends_with_its_token(tmp_path):
    provider = Provider()
    provider.gives_refresh = False
    async with logins(tmp_path, provider) as (gateway, browser):
        await expired(browser, provider)
        assert (await browser.ask("/items")).status == 303
        assert gateway.runtime.sessions.store.status().sessions == 0


@live
async def test_tokens_of_another_subject_end_the_session(tmp_path):
    provider = Provider()
    async with logins(tmp_path, provider) as (gateway, browser):
        await expired(browser, provider)
        provider.subject = "mallory"
        assert (await browser.ask("/items")).status == 303
        assert 'outcome="unfit"} 1.0' in await gateway.metrics()


@live
async def test_sessions_outlive_a_reload(tmp_path):
    provider = Provider()
    async with logins(tmp_path, provider) as (gateway, browser):
        await browser.login(provider)
        await gateway.edit({"log": {"labels": {"a": "b"}}})
        assert (await browser.ask("/items")).status == 200
        await gateway.edit({"logins": {"web": {"client": {"id": "other"}}}})
        assert (await browser.ask("/items")).status == 200


@live
async def test_a_logout_while_it_is_renewed_is_final(tmp_path):
    provider = Provider()
    async with logins(tmp_path, provider) as (gateway, browser):
        await expired(browser, provider)
        provider.gate.clear()
        asked = asyncio.create_task(browser.ask("/items"))
        await until(lambda: provider.refreshes)
        origin = (("origin", browser.origin),)
        left = await browser.ask("/.well-known/gateway/logout/web", method="POST", headers=origin)
        assert left.status == 303
        provider.gate.set()
        assert (await asked).status == 303
        assert gateway.runtime.sessions.store.status().sessions == 0


@live
async def test_the_end_of_the_gateway_waits_for_a_renewal(tmp_path):
    provider = Provider()
    provider.rotate = True
    async with logins(tmp_path, provider) as (gateway, browser):
        await due(browser, provider)
        provider.gate.clear()
        while not provider.refreshes:
            assert (await browser.ask("/items")).status == 200
        service = gateway.runtime.sessions
        (task,) = service.renewals._tasks.values()
        gateway.gateway.stop.set()
        provider.gate.set()
    assert task.result().record.refresh_token != provider.refreshes[0]


@live
async def test_an_id_token_that_is_not_given_anew_is_used_up(tmp_path):
    provider = Provider()
    provider.answer = {"access_token": "opaque"}
    provider.claims = {"at_hash": None, "roles": ["reader"]}
    async with logins(tmp_path, provider, token="id") as (gateway, browser):
        await due(browser, provider)
        provider.answer |= {"id_token": None}
        while not gateway.runtime.metrics.renewals:
            assert (await browser.ask("/items")).status == 200
        _, _, record = await kept(browser)
        # It is renewed no more before it has expired, and ends then.
        assert not record.is_due(record.expires_at - 0.001, 60.0)
        await expired(browser, provider)
        await changed(browser, retry_at=0.0, id_token=provider.expired())
        assert (await browser.ask("/items")).status == 303
        assert len(provider.refreshes) == 2
