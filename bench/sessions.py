"""What a session costs: its store in this process, with a supervisor, and on Redis.

The supervisor is a process of its own, as is the server of Redis, which must be installed. `get`
is what each request of a browser does, `save` what a renewal does.

Run: python -m bench.sessions [OPERATIONS]
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from gateway.config.model import Redis
from gateway.serve.link import Link, Told
from gateway.serve.member import Member
from gateway.serve.session import MemoryStore
from gateway.serve.session.linked import LinkedStore
from gateway.serve.session.redis import RedisStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from gateway.serve.session import Store

KEY = b"k" * 32
VALUE = bytes(3000)
TOGETHER = 64


def keep(sock: socket.socket) -> None:
    """Be a supervisor, as far as it keeps sessions."""

    async def main() -> None:
        member = Member(
            os.getpid(),
            await Link.over(sock),
            reported=lambda *_: None,
            wanted=lambda *_: None,
            sessions=MemoryStore(10**8),
        )
        await member.listen()

    uvloop.run(main())


@asynccontextmanager
async def in_memory() -> AsyncIterator[Store]:
    """In this process."""
    yield MemoryStore(10**8)


@asynccontextmanager
async def linked() -> AsyncIterator[Store]:
    """In a process of its own."""
    ours, theirs = socket.socketpair()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=keep, args=(theirs,), daemon=True)
    process.start()
    link = await Link.over(ours)
    store = LinkedStore(link.answer, within=60)

    async def hear() -> None:
        while isinstance(told := await link.ordered(), Told):
            store.told(told)

    task = asyncio.create_task(hear())
    yield store
    task.cancel()
    link.close()
    process.terminate()


@contextmanager
def redis_server() -> Iterator[str]:
    """The URL of a server of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "socket")
        command = ("redis-server", "--port", "0", "--unixsocket", str(path), "--save", "")
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while not path.exists():
            time.sleep(0.01)
        yield f"unix:{path}"
        process.terminate()
        process.wait()


@asynccontextmanager
async def on_redis() -> AsyncIterator[Store]:
    """On a server of its own."""
    with redis_server() as url:
        store = RedisStore(Redis(url=url, timeout=10))
        yield store
        await store.close()


async def measure(name: str, store: Store, operations: int) -> None:
    """Print how long operations take, alone and together."""
    await store.create(KEY, VALUE, tags=(), idle=3600, lifetime=3600)
    version = 0

    async def save() -> object:
        nonlocal version
        version += 1
        return await store.save(KEY, VALUE, version=version)

    measured: dict[str, Callable[[], Awaitable[object]]] = {
        "get": lambda: store.get(KEY),
        "save": save,
    }
    for operation, run in measured.items():
        took = []
        for _ in range(operations):
            began = time.perf_counter()
            assert await run()
            took.append(time.perf_counter() - began)

        async def several(run: Callable[[], Awaitable[object]] = run) -> None:
            for _ in range(operations // TOGETHER):
                await run()

        began = time.perf_counter()
        await asyncio.gather(*(several() for _ in range(TOGETHER)))
        rate = operations // TOGETHER * TOGETHER / (time.perf_counter() - began)
        *_, late = statistics.quantiles(took, n=100)
        median = statistics.median(took)
        print(f"{name:12}{operation:6}{median * 1e6:10.0f}{late * 1e6:10.0f}{rate:14.0f}")


async def main() -> None:
    """Print the table."""
    operations = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    stores = {"in process": in_memory, "supervisor": linked, "Redis": on_redis}
    if shutil.which("redis-server") is None:
        print("redis-server is not installed")
        del stores["Redis"]
    print(f"sessions of {len(VALUE)} bytes; one at a time, and {TOGETHER} at once")
    print(f"{'store':12}{'':6}{'median us':>10}{'p99 us':>10}{'operations/s':>14}")
    for name, opened in stores.items():
        async with opened() as store:
            await measure(name, store, operations)


if __name__ == "__main__":
    uvloop.run(main())
