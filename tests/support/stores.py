"""What every store of sessions has to do: scenarios that take one, and its clock."""

import asyncio

from gateway.serve.session import Store

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


class RealClock:
    """Seconds that pass by themselves."""

    async def passes(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


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
    await create(store, idle=0.4)
    for _ in range(4):
        await clock.passes(0.2)
        assert await store.get(ONE)
    await clock.passes(0.5)
    assert await store.get(ONE) is None
    assert not await store.save(ONE, b"w", version=1)
    assert not await store.acquire(ONE, ANN, 1)


async def ends_what_has_lived_long_enough(store, clock):
    await create(store, idle=100.0, lifetime=0.5)
    await clock.passes(0.2)
    assert await store.get(ONE)
    assert await store.save(ONE, b"w", version=1)
    await clock.passes(0.4)
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
    assert await store.acquire(ONE, ANN, 0.4)
    await clock.passes(0.2)
    assert await store.extend(ONE, ANN, 0.4)
    await clock.passes(0.3)
    assert not await store.acquire(ONE, BOB, 1)
    await clock.passes(0.2)
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
    assert await store.claim(ONE, 0.4)  # apart from the session of that key
    assert not await store.claim(ONE, 0.4)
    assert await store.claim(TWO, 10)
    won = await asyncio.gather(*(store.claim(b"3" * 32, 10) for _ in range(20)))
    assert sum(won) == 1
    await clock.passes(0.5)
    assert await store.claim(ONE, 0.4)
    assert not await store.claim(TWO, 10)


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
    gives_a_lease_to_one,
    lets_a_lease_run_out_unless_it_is_extended,
    lets_all_read_and_end_what_is_leased,
    grants_a_claim_once,
    has_one_secret,
)
