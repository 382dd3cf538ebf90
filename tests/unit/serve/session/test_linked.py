"""The sessions that a supervisor keeps: a worker's side, and what comes of bad workers."""

import asyncio
import contextlib
import socket

import pytest

from gateway.serve.link import Asked, Link, Told
from gateway.serve.member import Member
from gateway.serve.session import MemoryStore, StoreError
from gateway.serve.session import linked
from gateway.serve.session.linked import LinkedStore
from tests.support.stores import ONE, TWO, create, hear


def run(scenario):
    async def limited():
        async with asyncio.timeout(30):
            await scenario()

    asyncio.run(limited())


def test_answers_go_to_who_asked():
    async def scenario():
        asked = []
        store = LinkedStore(asked.append)
        tasks = [asyncio.ensure_future(store.claim(bytes([n]) * 32, 1)) for n in range(5)]
        await asyncio.sleep(0)
        for question in reversed(asked):
            store.told(Told(number=question.number, answer=question.key[0] % 2 == 1))
        assert await asyncio.gather(*tasks) == [False, True, False, True, False]
        store.told(Told(number=0, answer=True))  # once more, to nobody

    run(scenario)


def test_nobody_waits_for_ever():
    async def scenario():
        asked = []
        store = LinkedStore(asked.append, within=0.01)
        with pytest.raises(StoreError, match=r"does not answer within 0\.01 s"):
            await store.get(ONE)
        assert "does not answer" in store.status().error
        store.told(Told(number=asked[0].number, answer=True))  # too late
        task = asyncio.ensure_future(store.delete(ONE))
        await asyncio.sleep(0)
        store.told(Told(number=asked[1].number, answer=False))
        assert await task is False
        assert store.status().error == ""

    run(scenario)


def test_all_fail_at_once_when_the_supervisor_is_gone():
    async def scenario():
        asked = []
        store = LinkedStore(asked.append, within=1000)
        tasks = [asyncio.ensure_future(store.get(ONE)) for _ in range(3)]
        await asyncio.sleep(0)
        store.end("the supervisor is gone")
        for task in (*tasks, store.get(ONE)):
            with pytest.raises(StoreError, match="the supervisor is gone"):
                await task
        assert len(asked) == 3
        assert store.status().error == "the supervisor is gone"

    run(scenario)


def test_those_who_wait_are_bounded(monkeypatch):
    monkeypatch.setattr(linked, "MAX_WAITING", 3)

    async def scenario():
        store = LinkedStore(lambda _: None)
        tasks = [asyncio.ensure_future(store.get(ONE)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(StoreError, match="too many"):
            await store.get(ONE)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not store._waiting

    run(scenario)


class Rules:
    """A supervisor with members that are no processes; their links are those of `join`."""

    def __init__(self):
        self.kept = MemoryStore(10**6)
        self.killed = []
        self._tasks = []

    @contextlib.asynccontextmanager
    async def join(self):
        """The link of a new worker to its member."""
        ours, theirs = [await Link.over(sock) for sock in socket.socketpair()]
        member = Member(
            0, ours, reported=lambda *_: None, wanted=lambda *_: None, sessions=self.kept
        )
        member._signal = lambda: self.killed.append(member)
        listening = asyncio.create_task(member.listen())
        try:
            yield theirs
        finally:
            await theirs.finish()
            await listening


def test_a_worker_that_asks_and_asks_takes_turns_with_others():
    async def scenario():
        rules = Rules()
        async with rules.join() as bad, rules.join() as good:
            store, turns, answered = LinkedStore(good.answer), 0, 0

            async def take_turns():
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            async def read():
                nonlocal answered
                while await bad.ordered() is not None:
                    answered += 1

            await create(rules.kept)
            tasks = [asyncio.create_task(each) for each in (hear(store, good), read())]
            for number in range(5000):
                bad.answer(Asked(number=number, operation="get", key=ONE))
            while answered < 100:
                await asyncio.sleep(0)
            tasks.append(asyncio.create_task(take_turns()))
            before = answered
            assert await store.claim(ONE, 10)
            assert answered - before < 100
            while answered < 5000:
                await asyncio.sleep(0)
            assert turns > 2500
            assert not rules.killed
            tasks.pop().cancel()
        await asyncio.gather(*tasks)

    run(scenario)


def test_a_worker_that_asks_and_does_not_listen_is_not_heard():
    async def scenario():
        rules = Rules()
        await create(rules.kept, value=b"v" * 60000)
        async with rules.join() as bad:
            for number in range(500):
                bad.answer(Asked(number=number, operation="get", key=ONE))
            bad.answer(Asked(number=500, operation="delete", key=ONE))
            for _ in range(2000):
                await asyncio.sleep(0)
            assert await rules.kept.get(ONE)
            for _ in range(501):
                assert await bad.ordered()
            assert await rules.kept.get(ONE) is None

    run(scenario)


def test_a_worker_that_asks_what_makes_no_sense_is_ended():
    async def scenario():
        rules = Rules()
        async with rules.join() as bad:
            bad.send(b'{"kind":"asked","number":1,"operation":"close"}')
            assert await bad.ordered() is None
            assert len(rules.killed) == 1
            assert not (await rules.kept.delete(TWO))

    run(scenario)
