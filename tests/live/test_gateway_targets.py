"""The whole gateway before services in processes of their own, which are killed and come back."""

import asyncio
import contextlib
import json
from collections import Counter

import pytest

from tests.support import http1
from tests.support.gateway import live, running, until
from tests.support.service import services

CLIENTS = 6
EJECTION = {"failures": 3, "base_time": "100ms", "max_time": "100ms", "silence": 0}


def targets(found, **settings):
    """The configuration of an upstream with these services as its targets."""
    urls = [service.url for service in found]
    service = {"url": None, "targets": urls, "ejection": EJECTION, **settings}
    return {"upstreams": {"service": service}, "limits": {"body": "1MiB"}}


async def upstream_status(gateway):
    answer = await gateway.ask_admin("/status")
    return json.loads(answer.body)["upstreams"]["service"]


async def state(gateway, service):
    """Whether the service takes part, as the status tells it."""
    (address,) = (await upstream_status(gateway))["targets"][service.url]["addresses"].values()
    return address["state"]


async def becomes(gateway, service, wanted):
    async with asyncio.timeout(15):
        while await state(gateway, service) != wanted:
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def load(gateway, method):
    """Requests by some clients until the end; the statuses by target, `METHOD /open/NUMBER`."""
    found, over = {}, asyncio.Event()

    async def client(number):
        async with http1.connect(gateway.port) as client:
            count = 0
            while not over.is_set():
                target = f"/open/{number}-{count}"
                answer = await client.request(method, target, (), b"x" if method == "POST" else b"")
                found[f"{method} {target}"] = answer.status
                count += 1

    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(client(number))
        try:
            yield found
        finally:
            over.set()


async def more(found, count=50):
    """Wait for so many more answers."""
    before = len(found)
    await until(lambda: len(found) >= before + count)


@pytest.mark.parametrize("balance", ["round_robin", "least_pending"])
@live
async def test_a_target_that_dies_costs_nobody_a_safe_request(tmp_path, balance):
    async with services(tmp_path, 2) as (one, other):
        config = targets((one, other), balance=balance)
        async with running(tmp_path, config=config) as gateway, load(gateway, "GET") as found:
            for _ in range(3):
                await more(found)
                await one.kill()
                await becomes(gateway, one, "ejected")
                await more(found)
                await one.start()
                await becomes(gateway, one, "healthy")
                seen = len(one.seen)
                await until(lambda: len(one.seen) > seen + 10)
            assert set(found.values()) == {200}
            shown = await upstream_status(gateway)
            assert shown["targets"][one.url]["ejections"] >= 3
            assert shown["targets"][other.url]["ejections"] == 0
            assert shown["retries"]["connect"] >= 3
            assert shown["retries_over_budget"] == 0
            text = await gateway.metrics()
            labels = f'target="{other.url}",upstream="service"'
            assert f"gateway_upstream_ejections_total{{{labels}}} 0.0" in text


@live
async def test_what_may_have_been_sent_is_never_sent_twice(tmp_path):
    """What the services saw tells: whatever happens to them, no POST reaches them twice."""
    async with services(tmp_path, 2) as (one, other):
        config = targets((one, other))
        async with running(tmp_path, config=config) as gateway, load(gateway, "POST") as found:
            for _ in range(4):
                await more(found)
                await one.kill()
                await becomes(gateway, one, "ejected")
                await more(found)
                await one.start()
                await becomes(gateway, one, "healthy")
        seen = Counter(one.seen + other.seen)
        assert set(seen.values()) == {1}
        assert len(one.seen) > 20
        assert {target for target, status in found.items() if status == 200} <= set(seen)
        assert set(found.values()) <= {200, 502}
        # Only what was under way when the service was killed.
        assert list(found.values()).count(502) <= 4 * CLIENTS


@live
async def test_a_target_that_a_reload_adds_gets_requests(tmp_path):
    async with services(tmp_path, 2) as (one, other):
        async with running(tmp_path, config=targets([one])) as gateway:
            async with load(gateway, "GET") as found:
                await more(found)
                await gateway.edit(targets((one, other)))
                await until(lambda: len(other.seen) > 10)
                await gateway.edit(targets([other]))
                await more(found)
                last = len(one.seen)
                await more(found)
                assert len(one.seen) == last
            assert set(found.values()) == {200}


@live
async def test_the_decision_event_names_who_answered(tmp_path):
    async with services(tmp_path, 2) as found:
        async with running(tmp_path, config=targets(found)) as gateway:
            for _ in range(2):
                await gateway.ask("/open/x")
            for service in found:
                await service.kill()
            assert (await gateway.ask("/open/x")).status == 502
            *well, failed = await gateway.events(3)
            addresses = [service.url.removeprefix("http://") for service in found]
            assert sorted(event["upstream"] for event in well) == sorted(addresses)
            assert "upstream" not in failed
            assert any(address in failed["error"]["message"] for address in addresses)
