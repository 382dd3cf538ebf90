"""What a worker can do to its supervisor by what it says."""

import asyncio
import socket

import pytest

from gateway.serve.link import Fetched, Link, Wanted
from gateway.serve.member import Member
from gateway.serve.session import MemoryStore
from gateway.serve.supervisor import Supervisor


class Keys:
    """Key sets that come when they are told to; `asked` are the issuers."""

    def __init__(self):
        self.asked = []
        self.come = asyncio.Event()

    async def newest(self, issuer):
        self.asked.append(issuer)
        await self.come.wait()


class Rules:
    """A supervisor without processes, as far as it fetches keys."""

    _wanted = Supervisor._wanted
    _fetch = Supervisor._fetch
    _spawn = Supervisor._spawn

    def __init__(self):
        self.keys = Keys()
        self.sessions = MemoryStore(10**6)
        self._tasks = set()


def run(scenario):
    async def limited():
        async with asyncio.timeout(20):
            ours, theirs = socket.socketpair()
            rules = Rules()
            link = await Link.over(ours)
            member = Member(
                0,
                link,
                reported=lambda *_: None,
                wanted=rules._wanted,
                sessions=rules.sessions,
            )
            worker = await Link.over(theirs)
            listening = asyncio.create_task(member.listen())
            try:
                await scenario(rules, member, worker)
            finally:
                worker.close()
                await listening

    asyncio.run(limited())


@pytest.fixture(autouse=True)
def no_signals(monkeypatch):
    monkeypatch.setattr(Member, "_signal", lambda _: None)


def test_a_worker_that_asks_again_and_again_has_one_fetch_under_way():
    async def scenario(rules, member, worker):
        for _ in range(1000):
            worker.answer(Wanted(issuer="corp"))
        worker.answer(Wanted(issuer="other"))
        while "other" not in rules.keys.asked:
            await asyncio.sleep(0)
        assert rules.keys.asked == ["corp", "other"]
        rules.keys.come.set()
        assert {(await worker.ordered()).issuer for _ in range(2)} == {"corp", "other"}
        worker.answer(Wanted(issuer="corp"))
        assert await worker.ordered() == Fetched(issuer="corp")

    run(scenario)
