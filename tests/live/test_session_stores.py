"""Stores of sessions that real processes use at once."""

import asyncio
import time

import pytest

from gateway.config.model import Redis
from gateway.serve.session import StoreError
from gateway.serve.session.redis import RedisStore
from tests.support.racing import LASTING, racing
from tests.support.redis import redis_server

KEY = b"k" * 32


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["linked", "redis"])
def raced(request, tmp_path):
    """Runs a test with a race of each kind, and a file."""
    url = ""
    if request.param == "redis":
        server = request.getfixturevalue("server")
        server.flush()
        url = server.url

    def run(test):
        async def scenario():
            async with racing(request.param, url) as race:
                await test(race)

        asyncio.run(scenario())

    return run


@pytest.fixture
def log(tmp_path):
    file = tmp_path / "log"
    file.touch()
    return file


def lines(log):
    """What was written: what, by whom and when."""
    words = [line.split() for line in log.read_text().splitlines()]
    return [(what, int(pid), float(when)) for what, pid, when in words]


def test_no_update_is_lost(raced):
    async def test(race):
        await race.store.create(KEY, b"0", **LASTING)
        await race.run(4, "count", key=KEY, times=200)
        found = await race.store.get(KEY)
        assert (found.value, found.version) == (b"800", 801)

    raced(test)


def test_each_claim_is_granted_to_one(raced):
    async def test(race):
        found = await race.run(4, "claim", keys=300)
        assert sorted(sum(found, [])) == list(range(300))

    raced(test)


def test_a_lease_has_one_owner(raced, log):
    async def test(race):
        await race.store.create(KEY, b"", **LASTING)
        await race.run(4, "lease", key=KEY, log=str(log), times=25, seconds=60)
        said = lines(log)
        assert len(said) == 200
        for taken, dropped in zip(said[::2], said[1::2], strict=True):
            assert (taken[0], dropped[0]) == ("take", "drop")
            assert taken[1] == dropped[1]

    raced(test)


def test_the_lease_of_one_that_was_killed_runs_out(raced, log):
    seconds = 3.0

    async def test(race):
        await race.store.create(KEY, b"", **LASTING)
        holder = await race.start("hold", key=KEY, log=str(log), seconds=seconds)
        taker = await race.start("lease", key=KEY, log=str(log), times=1, seconds=seconds)
        race.begin(holder)
        # It has extended it for longer than one lease lasts, while another tried to take it.
        while not lines(log):
            await asyncio.sleep(0.01)
        race.begin(taker)
        while lines(log)[-1][2] < lines(log)[0][2] + 1.5 * seconds:
            await asyncio.sleep(0.01)
        holder.kill()
        await race.found(taker)
        said = lines(log)
        held = [when for what, pid, when in said if pid == holder.pid]
        (taken,) = [when for what, pid, when in said if what == "take"]
        assert [what for what, *_ in said] == ["hold"] * len(held) + ["take", "drop"]
        assert taken >= held[-1] + seconds - 0.01
        assert (await race.store.get(KEY)).version == 1

    raced(test)


def test_what_was_deleted_never_comes_back(raced):
    async def test(race):
        await race.store.create(KEY, b"", **LASTING)
        processes = await asyncio.gather(*(race.start("change", key=KEY) for _ in range(3)))
        race.begin(*processes)
        while (await race.store.get(KEY)).version < 50:
            await asyncio.sleep(0.01)
        assert await race.store.delete(KEY)
        deleted = time.monotonic()
        for found in await asyncio.gather(*map(race.found, processes)):
            assert any(there for _, there in found)
            assert not any(there for when, there in found if when > deleted)
        assert await race.store.get(KEY) is None

    raced(test)


@pytest.fixture
def redis(server, tmp_path):
    """Runs a test with a store on Redis, and its server."""
    server.flush()

    def run(test, **config):
        async def scenario():
            store = RedisStore(Redis(url=server.url, **config))
            try:
                async with asyncio.timeout(60):
                    await test(store)
            finally:
                await store.close()

        asyncio.run(scenario())

    return run


def test_nobody_waits_for_a_redis_that_is_away(server, redis):
    async def test(store):
        await store.create(KEY, b"v", **LASTING)
        server.freeze(frozen=True)
        try:
            for attempt in (store.get(KEY), store.save(KEY, b"w", version=1), store.secret()):
                with pytest.raises(StoreError, match="Redis is away: no answer within 0.5 s"):
                    await attempt
            assert "no answer" in store.status().error
        finally:
            server.freeze(frozen=False)
        assert (await until_answered(store)).value == b"v"
        assert store.status().error == ""

    redis(test, timeout=0.5)


def test_a_redis_is_not_away_while_the_process_is_late_itself(redis):
    async def test(store):
        await store.create(KEY, b"v", **LASTING)
        for _ in range(3):
            asking = [asyncio.create_task(store.get(KEY)) for _ in range(100)]
            await asyncio.sleep(0.01)
            time.sleep(0.6)  # noqa: ASYNC251  that is what is tested
            assert {stored.value for stored in await asyncio.gather(*asking)} == {b"v"}

    redis(test, timeout=0.5)


def test_answers_that_come_late_are_nobodys(server, redis):
    keys = [b"%032d" % number for number in range(20)]

    async def ask(store, key):
        found = 0
        while found < 20:
            try:
                stored = await store.get(key)
            except StoreError:
                await asyncio.sleep(0.001)
                continue
            assert stored.value == key
            found += 1

    async def test(store):
        for key in keys:
            await store.create(key, key, **LASTING)
        tasks = [asyncio.create_task(ask(store, key)) for key in keys]
        cancelled = [asyncio.create_task(ask(store, key)) for key in keys]
        for _ in range(5):
            server.freeze(frozen=True)
            await asyncio.sleep(0.15)
            server.freeze(frozen=False)
            cancelled.pop().cancel()
            await asyncio.sleep(0.01)
        for task in cancelled:
            task.cancel()
        await asyncio.gather(*tasks)
        await asyncio.gather(*cancelled, return_exceptions=True)
        for key in keys:
            assert (await until_answered(store, key)).value == key
        assert not store.server.client.connection_pool._in_use_connections

    redis(test, timeout=0.1)


async def until_answered(store, key=KEY):
    while True:
        try:
            return await store.get(key)
        except StoreError:
            await asyncio.sleep(0.01)


def test_what_redis_holds_opens_nothing_and_ends(server, redis):
    async def test(store):
        await store.create(KEY, b"v", tags=(b"t" * 32,), idle=3.0, lifetime=3.0)
        assert await store.claim(KEY, 3.0)
        client = store.server.client
        names = {name.rpartition(b"}:")[2].decode() for name in await client.keys()}
        assert names == {f"{kind}:{name.hex()}" for kind, name in kinds}
        while await client.dbsize():
            await asyncio.sleep(0.05)
        assert await store.delete_tagged(b"t" * 32) == 0

    kinds = (("k", KEY), ("t", b"t" * 32), ("c", KEY))
    redis(test, timeout=10)


def test_all_share_one_secret_until_redis_forgets_it(server, redis):
    async def test(store):
        others = [RedisStore(Redis(url=server.url, timeout=10)) for _ in range(3)]
        found = await asyncio.gather(*(each.secret() for each in (store, *others)))
        assert len(set(found)) == 1
        server.flush()
        again = [await each.secret() for each in (store, *others)]
        assert len(set(again)) == 1
        assert again[0] != found[0]
        for each in others:
            await each.close()

    redis(test, timeout=10)


def test_what_is_not_ours_in_redis_is_an_error(server, redis):
    async def test(store):
        client, name = store.server.client, store._key("k", KEY)
        await client.set(name, b"")
        with pytest.raises(StoreError, match="WRONGTYPE"):
            await store.get(KEY)
        await client.delete(name)
        await until_answered(store)
        await client.hset(name, mapping={"value": "v", "version": "x", "idle": 1, "ends": 1e15})
        with pytest.raises(StoreError, match="ValueError"):
            await store.get(KEY)

    redis(test, timeout=10)


def test_sessions_outlive_those_who_made_them(raced, log):
    async def test(race):
        await race.store.create(KEY, b"v", **LASTING)
        holder = await race.start("hold", key=KEY, log=str(log), seconds=60)
        race.begin(holder)
        while not lines(log):
            await asyncio.sleep(0.01)
        holder.kill()
        await holder.wait()
        assert (await race.store.get(KEY)).value == b"v"
        assert not await race.store.acquire(KEY, b"o" * 16, 1)

    raced(test)
