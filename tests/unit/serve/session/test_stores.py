"""What every store of sessions guarantees, whoever keeps it."""

import asyncio

import pytest

from tests.support.redis import redis_server
from tests.support.stores import KINDS, SCENARIOS


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
