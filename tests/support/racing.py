"""Processes that use one store of sessions at once; run as a module, it is one of them.

Its arguments are the kind of store, where that is, the job, and what the job takes, as JSON. It
says that it is ready, begins when it is told to, and writes what it found.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.config.model import Redis
from gateway.serve.link import Link
from gateway.serve.member import Member
from gateway.serve.session import MemoryStore, Store
from gateway.serve.session.linked import LinkedStore
from gateway.serve.session.redis import RedisStore
from tests.support.stores import hear

ROOT = Path(__file__).parents[2]
LASTING = {"tags": (), "idle": 600.0, "lifetime": 600.0}


# The jobs


async def count(store: Store, key: bytes, times: int) -> int:
    """Add one to a number, so many times; how often somebody else was faster."""
    beaten = 0
    while times:
        found = await store.get(key)
        assert found is not None
        if await store.save(key, b"%d" % (int(found.value) + 1), version=found.version):
            times -= 1
        else:
            beaten += 1
    return beaten


async def claim(store: Store, keys: int) -> list[int]:
    """Claim each of so many keys; those that were got."""
    return [number for number in range(keys) if await store.claim(b"%032d" % number, 60.0)]


async def lease(store: Store, key: bytes, log: str, times: int, seconds: float) -> None:
    """Have the lease so many times, and write into a log when it is had and let go."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    while times:
        owner = os.urandom(16)
        if not await store.acquire(key, owner, seconds):
            await asyncio.sleep(0)
            continue
        os.write(file, f"take {os.getpid()} {time.monotonic()}\n".encode())
        before = time.monotonic()
        assert await store.extend(key, owner, seconds)
        os.write(file, f"drop {os.getpid()} {before}\n".encode())
        await store.release(key, owner)
        times -= 1


async def hold(store: Store, key: bytes, log: str, seconds: float) -> None:
    """Have the lease, and extend it for ever."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    owner = os.urandom(16)
    before = time.monotonic()
    assert await store.acquire(key, owner, seconds)
    while True:
        os.write(file, f"hold {os.getpid()} {before}\n".encode())
        await asyncio.sleep(seconds / 10)
        before = time.monotonic()
        assert await store.extend(key, owner, seconds)


async def change(store: Store, key: bytes) -> list[tuple[float, bool]]:
    """Save again and again until it is gone for a while: when it was read, and whether it was."""
    seen: list[tuple[float, bool]] = []
    gone = 0
    while gone < 100:
        before = time.monotonic()
        found = await store.get(key)
        seen.append((before, found is not None))
        if found is None:
            gone += 1
            assert not await store.save(key, b"back", version=len(seen))
        else:
            await store.save(key, b"%d" % len(seen), version=found.version)
    return seen


JOBS = {each.__name__: each for each in (count, claim, lease, hold, change)}


async def race(kind: str, where: str, job: str, arguments: str) -> None:
    """Be one of them."""
    given = json.loads(arguments)
    if "key" in given:
        given["key"] = bytes.fromhex(given["key"])
    async with AsyncExitStack() as stack:
        if kind == "redis":
            store: Store = RedisStore(Redis(url=where, timeout=10))
        else:
            link = await Link.over(socket.socket(fileno=int(where)))
            store = LinkedStore(link.answer, within=30)
            task = asyncio.create_task(hear(store, link))
            stack.push_async_callback(asyncio.wait, (task,))
            stack.push_async_callback(link.finish)
        stack.push_async_callback(store.close)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        found = await JOBS[job](store, **given)
        print(json.dumps(found), flush=True)


# Those who start them


class Race:
    """A store that processes share; `store` is this one's."""

    def __init__(self, kind: str, url: str) -> None:
        self.kind = kind
        self.url = url
        self.store: Store = (
            RedisStore(Redis(url=url, timeout=10)) if kind == "redis" else MemoryStore(10**7)
        )
        self.processes: list[asyncio.subprocess.Process] = []
        self._listening: list[asyncio.Task[None]] = []

    async def start(self, job: str, **arguments: Any) -> asyncio.subprocess.Process:
        """Start a process that does nothing yet."""
        where, inherited = self.url, ()
        if self.kind == "linked":
            ours, theirs = socket.socketpair()
            where, inherited = str(theirs.fileno()), (theirs.fileno(),)
        if "key" in arguments:
            arguments["key"] = arguments["key"].hex()
        command = ("-m", "tests.support.racing", self.kind, where, job, json.dumps(arguments))
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=ROOT, pass_fds=inherited,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self.processes.append(process)
        if self.kind == "linked":
            theirs.close()
            member = Member(
                process.pid, await Link.over(ours),
                reported=lambda *_: None, wanted=lambda *_: None, sessions=self.store,
            )  # fmt: skip
            self._listening.append(asyncio.create_task(member.listen()))
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        return process

    def begin(self, *processes: asyncio.subprocess.Process) -> None:
        """Let them go."""
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"\n")

    async def found(self, process: asyncio.subprocess.Process) -> Any:
        """What one of them has found."""
        assert process.stdout is not None
        line = await process.stdout.readline()
        await process.wait()  # or it is ended, once its link is closed
        assert line, "it failed"
        return json.loads(line)

    async def run(self, number: int, job: str, **arguments: Any) -> list[Any]:
        """What so many of them find that begin together."""
        processes = await asyncio.gather(*(self.start(job, **arguments) for _ in range(number)))
        self.begin(*processes)
        return list(await asyncio.gather(*map(self.found, processes)))


@asynccontextmanager
async def racing(kind: str, url: str) -> AsyncIterator[Race]:
    """A store for processes; those that are left are ended."""
    race = Race(kind, url)
    try:
        async with asyncio.timeout(90):
            yield race
    finally:
        for process in race.processes:
            if process.returncode is None:
                process.kill()
            await process.wait()
        await asyncio.gather(*race._listening)
        await race.store.close()


if __name__ == "__main__":
    asyncio.run(race(*sys.argv[1:]))
