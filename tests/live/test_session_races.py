"""Sessions whose token expires while many ask: at the provider, one renewal is to be seen."""

import asyncio
import base64
import contextlib
import json
import os
import signal
import time
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import pytest

from gateway.serve.session.renewal import LEASE
from tests.support import http1
from tests.support.crowd import CONNECTIONS, crowd
from tests.support.gateway import live, running, until
from tests.support.provider import Browser, Provider, config_of
from tests.support.redis import redis_server
from tests.support.upstream import upstream

CLIENTS = 500
LIFETIME = 3.0


@pytest.fixture(autouse=True)
def patient_clients(monkeypatch):
    """A machine that has other things to do serves them late."""
    monkeypatch.setattr(http1, "DEADLINE", 60.0)


class Home:
    """Where a provider is; it can be killed, and come back."""

    def __init__(self, provider):
        self.provider = provider
        self.port = 0
        self.stack = AsyncExitStack()

    async def start(self):
        serving = upstream(self.provider, port=self.port)
        self.provider.server = await self.stack.enter_async_context(serving)
        self.port = int(self.provider.issuer.rpartition(":")[2])

    async def kill(self):
        await self.stack.aclose()


def is_ready(gateway):
    return not gateway.gateway.ready()


@asynccontextmanager
async def at_home(tmp_path, provider, *, gateways=1, workers=2, more=None, **changes):
    """Gateways, browsers at each of them with one session, and where the provider is."""
    home = Home(provider)
    async with AsyncExitStack() as stack:
        await home.start()
        stack.push_async_callback(home.kill)
        config = config_of(provider.issuer, **changes) | CONNECTIONS
        config |= {"sessions": {"renew_before": 0}, **(more or {})}
        browsers = []
        for number in range(gateways):
            folder = tmp_path / str(number)
            folder.mkdir()
            made = running(folder, config=config, workers=workers)
            gateway = await stack.enter_async_context(made)
            await gateway.settled()
            await until(partial(is_ready, gateway), 60)
            browsers.append(Browser(gateway))
        yield home, browsers


def on_redis(server, timeout="10s"):
    """What has gateways keep sessions on a server."""
    return {
        "sessions": {"renew_before": 0, "storage": "redis"},
        "redis": {"url": server.url, "timeout": timeout},
    }


async def log_in(provider, browsers, lifetime=LIFETIME):
    """Log in with a token that expires soon, as none does afterwards; when that is."""
    provider.lifetime = lifetime
    await browsers[0].login(provider)
    provider.lifetime = 600.0
    for browser in browsers:
        browser.cookies = dict(browsers[0].cookies)
    return time.time() + lifetime


async def moment(when):
    """Wait for a time of the clock."""
    await asyncio.sleep(max(0.0, when - time.time()))


def expiry_of(authorization):
    """When a token expires that the upstream got."""
    payload = authorization.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"]


async def all_well(clients, status=200):
    """Have them ask until all get what they asked for, or another status."""
    deadline = time.monotonic() + 60
    while set(await clients.ask()) != {status}:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def renewals(browser):
    """How often each outcome is counted."""
    name = "gateway_session_renewals_total{"
    lines = [
        line for line in (await browser.gateway.metrics()).splitlines() if line.startswith(name)
    ]
    return {
        line.partition('outcome="')[2].partition('"')[0]: float(line.split()[-1]) for line in lines
    }


@live
async def test_all_who_ask_when_a_token_expires_share_one_renewal(tmp_path):
    provider = Provider()
    async with at_home(tmp_path, provider) as (_, browsers):
        expiry = await log_in(provider, browsers)
        async with crowd(CLIENTS, *browsers) as clients:
            await moment(expiry)
            assert await clients.ask() == {200: CLIENTS}
            assert len(provider.refreshes) == 1
            assert len(clients.tokens()) <= 2
            assert await clients.ask() == {200: CLIENTS}
            assert len(clients.tokens()) == 1
            assert len(provider.refreshes) == 1
        assert await renewals(browsers[0]) == {"renewed": 1.0}


@pytest.mark.parametrize("gateways", [1, 2])
def test_a_provider_that_is_slow_is_asked_once(tmp_path, gateways):
    """It takes longer than a lease lasts: whoever renews the session renews the lease."""

    @live
    async def scenario(more):
        provider = Provider()
        home = at_home(tmp_path, provider, gateways=gateways, more=more)
        async with home as (_, browsers):
            expiry = await log_in(provider, browsers)
            async with crowd(CLIENTS, *browsers) as clients:
                await moment(expiry)
                provider.gate.clear()
                asking = asyncio.create_task(clients.ask())
                await until(lambda: provider.refreshes, 60)
                await asyncio.sleep(LEASE + 1)
                assert not asking.done()
                provider.gate.set()
                assert await asking == {200: CLIENTS}
                assert len(provider.refreshes) == 1

    with redis_server(tmp_path) if gateways > 1 else contextlib.nullcontext() as server:
        scenario(more=on_redis(server) if server else None)


@live
async def test_a_provider_that_fails_is_asked_again_once(tmp_path):
    provider = Provider()
    async with at_home(tmp_path, provider) as (_, browsers):
        expiry = await log_in(provider, browsers)
        async with crowd(CLIENTS, *browsers) as clients:
            await moment(expiry)
            provider.failures = 1
            statuses = await clients.ask()
            assert statuses[503] > 0
            assert set(statuses) <= {200, 503}  # some may have asked after the pause
            refused = next(answer for answer in clients.answers if answer.status == 503)
            assert refused.code == "login-unavailable"
            assert int(refused.header("retry-after")) >= 1
            await all_well(clients)
            assert len(provider.refreshes) == 2
        assert await renewals(browsers[0]) == {"failed": 1.0, "renewed": 1.0}


@live
async def test_each_refresh_token_is_used_once(tmp_path):
    """The provider ends the whole session where one comes again."""
    provider = Provider()
    provider.rotate = True
    async with at_home(tmp_path, provider) as (_, browsers):
        expiry = await log_in(provider, browsers)
        async with crowd(CLIENTS, *browsers) as clients:
            for number in range(1, 4):
                provider.lifetime = LIFETIME if number < 3 else 600.0
                await moment(expiry)
                assert await clients.ask() == {200: CLIENTS}
                expiry = max(map(expiry_of, clients.tokens()))
            assert len(provider.refreshes) == len(set(provider.refreshes))
            assert set(provider.live) >= set(provider.refreshes)
            assert await clients.ask() == {200: CLIENTS}


@live
async def test_a_provider_that_was_killed_and_is_back_is_asked_once(tmp_path):
    provider = Provider()
    provider.rotate = True
    async with at_home(tmp_path, provider) as (home, browsers):
        expiry = await log_in(provider, browsers)
        async with crowd(CLIENTS, *browsers) as clients:
            provider.gate.clear()
            await moment(expiry)
            asking = asyncio.create_task(clients.ask())
            await until(lambda: provider.refreshes, 60)
            await home.kill()
            assert set(await asking) == {503}
            assert set(await clients.ask()) == {503}
            assert len(provider.refreshes) == 1
            provider.gate.set()
            await home.start()
            await all_well(clients)
            assert len(provider.refreshes) == 2


@live
async def test_a_provider_that_never_answers_holds_nobody(tmp_path):
    provider = Provider()
    async with at_home(tmp_path, provider, timeout="1s") as (_, browsers):
        expiry = await log_in(provider, browsers)
        async with crowd(100, *browsers) as clients:
            await moment(expiry)
            provider.gate.clear()
            assert await clients.ask() == {503: 100}
            provider.gate.set()


@live
async def test_two_gateways_on_one_redis_renew_a_session_once(tmp_path):
    provider = Provider()
    provider.rotate = True
    with redis_server(tmp_path) as server:
        home = at_home(tmp_path, provider, gateways=2, more=on_redis(server))
        async with home as (_, browsers):
            expiry = await log_in(provider, browsers)
            async with crowd(CLIENTS, *browsers) as clients:
                await moment(expiry)
                assert await clients.ask() == {200: CLIENTS}
                assert len(provider.refreshes) == 1
                assert await clients.ask() == {200: CLIENTS}
                assert len(clients.tokens()) == 1
            found = [await renewals(browser) for browser in browsers]
            assert sorted(map(len, found)) == [0, 1]
            kept = server.dump()
            assert b"{sessions}:k:" in kept
            secrets = [*clients.tokens(), *provider.live, *browsers[0].cookies.values()]
            assert not [secret for secret in secrets if secret.encode() in kept]
            status = json.loads((await browsers[1].gateway.ask_admin("/status")).body)
            assert status["sessions"] == {
                "storage": "redis", "sessions": None, "error": None, "evicted": 0,
                "logins": {"web": {"error": None}},
            }  # fmt: skip


@live
async def test_a_redis_that_is_away_refuses_and_is_shown(tmp_path):
    provider = Provider()
    with redis_server(tmp_path) as server:
        home = at_home(tmp_path, provider, more=on_redis(server, timeout="500ms"))
        async with home as (_, browsers):
            await log_in(provider, browsers, 600.0)
            gateway = browsers[0].gateway
            async with crowd(20, *browsers) as clients:
                await all_well(clients)
                server.freeze(frozen=True)
                assert await clients.ask() == {503: 20}
                assert {answer.code for answer in clients.answers} == {"session-unavailable"}
                status = json.loads((await gateway.ask_admin("/status")).body)
                assert "no answer" in status["sessions"]["error"]
                assert "gateway_session_storage_up 0.0" in await gateway.metrics()
                server.freeze(frozen=False)
                await all_well(clients)
                assert "gateway_session_storage_up 1.0" in await gateway.metrics()
                server.kill()
                assert await clients.ask() == {503: 20}
                server.start()
                await all_well(clients, 401)  # it has forgotten them
            await browsers[0].login(provider)
            async with crowd(1, *browsers) as clients:
                assert await clients.ask() == {200: 1}


async def workers(browser):
    """The process ids of the workers that serve, those with most connections first."""
    status = json.loads((await browser.gateway.ask_admin("/status")).body)
    found = [each for each in status["workers"] if each["state"] == "serving"]
    found.sort(key=lambda each: -each["connections"])
    return [each["pid"] for each in found]


@pytest.mark.parametrize(("grace", "status"), [(60.0, 200), (0.0, 401)])
def test_another_worker_renews_for_one_that_was_killed(tmp_path, grace, status):
    """What the provider gave the dead one is lost: whether it gives again is the provider's."""

    @live
    async def scenario():
        provider = Provider()
        provider.rotate, provider.grace = True, grace
        async with at_home(tmp_path, provider) as (_, browsers):
            expiry = await log_in(provider, browsers)
            await moment(expiry)
            provider.gate.clear()
            async with crowd(1, *browsers) as first:
                asking = asyncio.create_task(first.ask())
                await until(lambda: provider.refreshes, 60)
                renewing, *_ = await workers(browsers[0])
                async with crowd(50, *browsers) as clients:
                    waiting = asyncio.create_task(clients.ask())
                    os.kill(renewing, signal.SIGKILL)
                    provider.gate.set()
                    with pytest.raises(asyncio.IncompleteReadError):
                        await asking
                    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                        await waiting  # some were at the one that died
                async with crowd(50, *browsers) as clients:
                    assert await clients.ask() == {status: 50}
                    assert await clients.ask() == {status: 50}
                assert provider.refreshes == [provider.refreshes[0]] * 2

    scenario()


@live
async def test_sessions_outlive_workers_and_reloads(tmp_path):
    provider = Provider()
    async with at_home(tmp_path, provider) as (_, browsers):
        await log_in(provider, browsers, 600.0)
        gateway = browsers[0].gateway
        before = await workers(browsers[0])
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        while set(await workers(browsers[0])) & set(before) or not await workers(browsers[0]):
            await asyncio.sleep(0.05)
        await gateway.edit({"log": {"labels": {"a": "b"}}})
        async with crowd(4, *browsers) as clients:
            assert await clients.ask() == {200: 4}
        status = json.loads((await gateway.ask_admin("/status")).body)
        assert status["sessions"] == {
            "storage": "memory", "sessions": 1, "error": None, "evicted": 0,
            "logins": {"web": {"error": None}},
        }  # fmt: skip
        assert "gateway_sessions 1.0" in await gateway.metrics()
        assert provider.refreshes == []


@live
async def test_a_reload_can_keep_them_elsewhere(tmp_path):
    provider = Provider()
    with redis_server(tmp_path) as server:
        async with at_home(tmp_path, provider, workers=1) as (_, browsers):
            await log_in(provider, browsers, 600.0)
            (browser,) = browsers
            assert (await browser.ask("/items")).status == 200
            await browser.gateway.edit(on_redis(server))
            assert (await browser.ask("/items")).status == 303
            await browser.login(provider)
            await browser.gateway.edit({"redis": {"timeout": "9s"}})  # the same server
            assert (await browser.ask("/items")).status == 200
            await browser.gateway.edit({"log": {"labels": {"a": "b"}}})
            assert (await browser.ask("/items")).status == 200
            status = json.loads((await browser.gateway.ask_admin("/status")).body)
            assert status["sessions"]["storage"] == "redis"
            await browser.gateway.edit({"sessions": {"storage": "memory"}, "redis": None})
            assert (await browser.ask("/items")).status == 303
