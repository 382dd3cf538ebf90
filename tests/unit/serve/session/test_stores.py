"""What every store of sessions guarantees, whoever keeps it."""

import asyncio
import inspect
import re
from pathlib import Path

import pytest

from gateway.config.model import Redis
from gateway.serve.session.redis import RedisStore
from tests.support.redis import redis_server
from tests.support.stores import KINDS, ONE, SCENARIOS, create


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=KINDS)
def opened(request):
    """What opens a store of each kind."""
    url = request.getfixturevalue("server").url if request.param == "redis" else ""
    return lambda: KINDS[request.param](url)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.__name__)
def test_a_store(opened, scenario):
    async def run():
        async with opened() as (store, clock):
            await scenario(store, clock)

    asyncio.run(run())


def test_a_user_with_the_rights_that_the_manual_gives_is_enough(server):
    """Scenarios of time look at all keys, which that user may not."""
    manual = (Path(__file__).parents[4] / "docs/sessions.md").read_text()
    (rights,) = re.findall("^ACL SETUSER (.*)$", manual, re.MULTILINE)

    async def run():
        store = RedisStore(
            Redis(url=server.url, username="gateway", password="PASSWORD", timeout=10)  # noqa: S106
        )
        for scenario in SCENARIOS:
            if "clock.passes" not in inspect.getsource(scenario):
                await scenario(store, None)
                await store.delete(ONE)
        await create(store, tags=(b"t" * 32,))
        assert await store.claim(ONE, 10)
        with pytest.raises(Exception, match="(?i)permission"):
            await store.server.client.get("other")
        await store.close()

    server.flush()
    server.tell("acl", "setuser", *rights.split())
    asyncio.run(run())
