"""What every store of sessions has to do: scenarios that take one, and its clock."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.config.model import Redis
from gateway.serve.link import Asked, Link, Told
from gateway.serve.session import MemoryStore, Store, StoreError
from gateway.serve.session.linked import LinkedStore, answer
from gateway.serve.session.redis import RedisStore
from gateway.serve.session.store import MAX_VALUE

ONE, TWO = b"1" * 32, b"2" * 32
ANN, BOB = b"a" * 16, b"b" * 16


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def passes(self, seconds: float) -> None:
        self.now += seconds


class RedisClock:
    """Seconds that pass for a Redis store, as all times that it has kept are set back."""

    def __init__(self, store: RedisStore) -> None:
        self.server = store.server

    async def passes(self, seconds: float) -> None:
        everything = f"{self.server.config.prefix}*"
        await self.server.client.eval(SET_BACK, 0, everything, round(seconds * 1000))


SET_BACK = """
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
    local kind = redis.call('TYPE', key).ok
    if kind == 'hash' then
        for _, field in ipairs({'ends', 'until'}) do
            if redis.call('HEXISTS', key, field) == 1 then
                redis.call('HINCRBY', key, field, -ARGV[2])
            end
        end
    elseif kind == 'zset' then
        for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
            redis.call('ZINCRBY', key, -ARGV[2], member)
        end
    end
    local left = redis.call('PTTL', key)
    if left >= 0 then
        redis.call('PEXPIRE', key, left - ARGV[2])
    end
end
"""


@asynccontextmanager
async def in_memory(_: str) -> AsyncIterator[tuple[Store, Clock]]:
    """A store for one process."""
    clock = Clock()
    yield MemoryStore(10**6, clock), clock


@asynccontextmanager
async def linked(_: str) -> AsyncIterator[tuple[Store, Clock]]:
    """A store that a supervisor keeps."""
    clock = Clock()
    ours, theirs = [await Link.over(sock) for sock in socket.socketpair()]
    store = LinkedStore(theirs.answer)
    tasks = [
        asyncio.create_task(keep(MemoryStore(10**6, clock), ours)),
        asyncio.create_task(hear(store, theirs)),
    ]
    try:
        yield store, clock
    finally:
        await store.close()
        await theirs.finish()
        await ours.finish()
        await asyncio.gather(*tasks)


async def keep(store: Store, link: Link) -> None:
    """Answer what a worker asks, until it is gone."""
    while (asked := await link.answered()) is not None:
        assert isinstance(asked, Asked)
        link.order(await answer(store, asked))


async def hear(store: LinkedStore, link: Link) -> None:
    """Bring a worker's store what its supervisor answers."""
    while (told := await link.ordered()) is not None:
        assert isinstance(told, Told)
        store.told(told)


@asynccontextmanager
async def on_redis(url: str) -> AsyncIterator[tuple[Store, RedisClock]]:
    """A store on a server that others may use, too."""
    store = RedisStore(Redis(url=url, prefix=f"{os.urandom(4).hex()}:", timeout=10))
    try:
        yield store, RedisClock(store)
    finally:
        await store.close()


KINDS = {"memory": in_memory, "linked": linked, "redis": on_redis}


async def create(store: Store, key=ONE, value=b"v", tags=(), idle=100.0, lifetime=1000.0) -> None:
    await store.create(key, value, tags=tags, idle=idle, lifetime=lifetime)


async def keeps_what_it_is_given(store, clock):
    assert await store.get(ONE) is None
    await create(store, value=bytes(range(256)))
    found = await store.get(ONE)
    assert (found.value, found.version) == (bytes(range(256)), 1)
    assert await store.delete(ONE)
    assert await store.get(ONE) is None
    assert not await store.delete(ONE)


async def saves_only_over_the_version_that_was_read(store, clock):
    await create(store)
    assert await store.save(ONE, b"w", version=1)
    assert not await store.save(ONE, b"x", version=1)
    found = await store.get(ONE)
    assert (found.value, found.version) == (b"w", 2)
    await store.delete(ONE)
    assert not await store.save(ONE, b"y", version=2)
    assert await store.get(ONE) is None


async def lets_one_of_many_savers_win(store, clock):
    await create(store)
    won = await asyncio.gather(*(store.save(ONE, b"%d" % n, version=1) for n in range(20)))
    assert sorted(won) == [False] * 19 + [True]
    assert (await store.get(ONE)).value == b"%d" % won.index(True)


async def ends_what_is_idle(store, clock):
    await create(store, idle=40)
    for _ in range(4):
        await clock.passes(20)
        assert await store.get(ONE)
    await clock.passes(50)
    assert await store.get(ONE) is None
    assert not await store.save(ONE, b"w", version=1)
    assert not await store.acquire(ONE, ANN, 1)


async def ends_what_has_lived_long_enough(store, clock):
    await create(store, idle=100.0, lifetime=50)
    await clock.passes(20)
    assert await store.get(ONE)
    assert await store.save(ONE, b"w", version=1)
    await clock.passes(40)
    assert await store.get(ONE) is None


async def ends_all_with_a_tag(store, clock):
    sid, sub = b"s" * 32, b"u" * 32
    await create(store, ONE, tags=(sid, sub))
    await create(store, TWO, tags=(sub,))
    assert await store.delete_tagged(sid) == 1
    assert await store.get(ONE) is None
    assert await store.get(TWO)
    assert await store.delete_tagged(sub) == 1
    assert await store.get(TWO) is None
    assert await store.delete_tagged(sub) == 0


async def counts_none_with_a_tag_that_has_ended(store, clock):
    sub = b"u" * 32
    await create(store, ONE, tags=(sub,), idle=50)
    await create(store, TWO, tags=(sub,), lifetime=50)
    await create(store, b"3" * 32, tags=(sub,))
    await clock.passes(60)
    assert await store.delete_tagged(sub) == 1


async def gives_a_lease_to_one(store, clock):
    assert not await store.acquire(ONE, ANN, 10)  # no such session
    await create(store)
    assert await store.acquire(ONE, ANN, 10)
    assert await store.acquire(ONE, ANN, 10)
    assert not await store.acquire(ONE, BOB, 10)
    await store.release(ONE, BOB)
    assert not await store.acquire(ONE, BOB, 10)
    assert not await store.extend(ONE, BOB, 10)
    await store.release(ONE, ANN)
    assert not await store.extend(ONE, ANN, 10)
    assert await store.acquire(ONE, BOB, 10)
    await store.delete(ONE)
    assert not await store.extend(ONE, BOB, 10)
    won = await asyncio.gather(*(store.acquire(ONE, bytes([n]) * 16, 10) for n in range(20)))
    assert not any(won)
    await create(store)
    won = await asyncio.gather(*(store.acquire(ONE, bytes([n]) * 16, 10) for n in range(20)))
    assert sum(won) == 1


async def lets_a_lease_run_out_unless_it_is_extended(store, clock):
    await create(store)
    assert await store.acquire(ONE, ANN, 40)
    await clock.passes(20)
    assert await store.extend(ONE, ANN, 40)
    await clock.passes(30)
    assert not await store.acquire(ONE, BOB, 1)
    await clock.passes(20)
    assert not await store.extend(ONE, ANN, 1)
    assert await store.acquire(ONE, BOB, 1)


async def lets_all_read_and_end_what_is_leased(store, clock):
    await create(store)
    assert await store.acquire(ONE, ANN, 10)
    assert await store.get(ONE)
    assert await store.save(ONE, b"w", version=1)
    assert not await store.acquire(ONE, BOB, 10)  # a save leaves the lease
    assert await store.delete(ONE)


async def grants_a_claim_once(store, clock):
    await create(store)
    assert await store.claim(ONE, 40)  # apart from the session of that key
    assert not await store.claim(ONE, 40)
    assert await store.claim(TWO, 1000)
    won = await asyncio.gather(*(store.claim(b"3" * 32, 10) for _ in range(20)))
    assert sum(won) == 1
    await clock.passes(50)
    assert await store.claim(ONE, 40)
    assert not await store.claim(TWO, 1000)


async def ends_more_with_a_tag_than_a_batch(store, clock):
    sub = b"u" * 32
    keys = [b"%032d" % number for number in range(250)]
    for key in keys:
        await create(store, key, tags=(sub,))
    assert await store.delete_tagged(sub) == 250
    assert not any([await store.get(key) for key in keys])


async def begins_anew_under_a_key_that_was_used(store, clock):
    one, two = b"s" * 32, b"u" * 32
    await create(store, tags=(one, one))
    assert await store.save(ONE, b"w", version=1)
    assert await store.acquire(ONE, ANN, 10)
    await create(store, value=b"x", tags=(two,))
    found = await store.get(ONE)
    assert (found.value, found.version) == (b"x", 1)
    assert await store.acquire(ONE, BOB, 10)
    assert await store.delete_tagged(one) == 0
    assert await store.delete_tagged(two) == 1
    await create(store, tags=(one,), idle=10)
    await clock.passes(20)
    await create(store, tags=(two,))
    assert await store.delete_tagged(one) == 0
    assert await store.get(ONE)


async def refuses_what_is_too_large(store, clock):
    await create(store, value=b"v" * MAX_VALUE)
    assert await store.save(ONE, b"w" * MAX_VALUE, version=1)
    for attempt in (
        store.save(ONE, b"x" * (MAX_VALUE + 1), version=2),
        create(store, TWO, value=b"x" * (MAX_VALUE + 1)),
    ):
        with pytest.raises(StoreError, match="65537 bytes"):
            await attempt
    assert (await store.get(ONE)).value == b"w" * MAX_VALUE
    assert await store.get(TWO) is None


async def has_one_secret(store, clock):
    found = await store.secret()
    assert len(found) == 32
    assert await store.secret() == found


SCENARIOS = (
    keeps_what_it_is_given,
    saves_only_over_the_version_that_was_read,
    lets_one_of_many_savers_win,
    ends_what_is_idle,
    ends_what_has_lived_long_enough,
    ends_all_with_a_tag,
    counts_none_with_a_tag_that_has_ended,
    gives_a_lease_to_one,
    lets_a_lease_run_out_unless_it_is_extended,
    lets_all_read_and_end_what_is_leased,
    grants_a_claim_once,
    ends_more_with_a_tag_than_a_batch,
    begins_anew_under_a_key_that_was_used,
    refuses_what_is_too_large,
    has_one_secret,
)
