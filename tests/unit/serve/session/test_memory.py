"""Sessions in memory."""

import asyncio

import pytest

from gateway.serve.session import MemoryStore
from gateway.serve.session.memory import CLAIMS, ENTRY
from tests.support.stores import SCENARIOS, Clock, create


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.__name__)
def test_a_store_in_memory(scenario):
    clock = Clock()
    asyncio.run(scenario(MemoryStore(10**6, clock), clock))


def key(number):
    return b"%032d" % number


def test_a_full_store_ends_what_was_unused_longest():
    async def run():
        clock = Clock()
        store = MemoryStore(3 * (ENTRY + 1), clock)
        for number in range(3):
            await create(store, key(number), tags=(b"t" * 32,))
        assert await store.get(key(0))
        await create(store, key(3))
        assert [bool(await store.get(key(number))) for number in range(4)] == [1, 0, 1, 1]
        assert (store.status().sessions, store.status().evicted) == (3, 1)
        await clock.passes(100)
        await create(store, key(4))
        assert (store.status().sessions, store.status().evicted) == (1, 1)
        assert store._tagged == {}

    asyncio.run(run())


def test_claims_are_bounded():
    async def run():
        store = MemoryStore(10**6, Clock())
        for number in range(CLAIMS + 5):
            assert await store.claim(key(number), 60)
        assert len(store._claims) == CLAIMS
        assert not await store.claim(key(CLAIMS + 4), 60)

    asyncio.run(run())
