"""Sessions in memory."""

import asyncio

from gateway.serve.session import MemoryStore
from gateway.serve.session.memory import CLAIMS, ENTRY
from tests.support.stores import Clock, create


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


def test_a_session_that_grows_takes_the_room_of_others():
    async def run():
        store = MemoryStore(3 * (ENTRY + 100), Clock())
        for number in range(3):
            await create(store, key(number), value=b"v" * 100)
        assert await store.save(key(2), b"w" * 101, version=1)
        assert [bool(await store.get(key(number))) for number in range(3)] == [0, 1, 1]
        for number in range(100):  # over and over: it takes the room of one
            await create(store, key(2), value=b"v" * 100, tags=(key(number),))
        assert await store.get(key(1))
        assert (store.status().sessions, store.status().evicted) == (2, 1)
        assert len(store._tagged) == 1

    asyncio.run(run())


def test_claims_are_bounded():
    async def run():
        store = MemoryStore(10**6, Clock())
        for number in range(CLAIMS + 5):
            assert await store.claim(key(number), 60)
        assert len(store._claims) == CLAIMS
        assert not await store.claim(key(CLAIMS + 4), 60)

    asyncio.run(run())
