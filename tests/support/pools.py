"""Pools over several targets or names, and what is asked of them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import time
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from gateway.config.model import Upstream
from gateway.errors import GatewayError
from gateway.serve.upstream import Pool
from tests.support.upstream import answers, ok, until, upstream

HEADERS = ((b"host", b"orders.example"),)
FAST = {"failures": 3, "base_time": 60, "max_time": 60, "silence": 0}
NEVER = {"failures": 0}
LOOPS = {"asyncio": None, "uvloop": uvloop.new_event_loop}


def runner(loop: str) -> Callable[[Awaitable[None]], None]:
    """Run a scenario in a loop of its own; nothing of it may be left afterwards."""

    def run(scenario):
        async def main():
            async with asyncio.timeout(20):
                await scenario
                await until(lambda: len(asyncio.all_tasks()) == 1)

        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(main())
        gc.collect()

    return run


@contextlib.asynccontextmanager
async def pool_of(*scripts, **settings):
    """A pool over one target for each script, and these targets; None is one that is not there."""
    async with contextlib.AsyncExitStack() as stack:
        ups, urls = [], []
        for script in scripts:
            up = await stack.enter_async_context(upstream(script)) if script else None
            ups.append(up)
            urls.append(up.url if up else nowhere())
        pool = Pool(Upstream(targets=urls, **settings))
        stack.push_async_callback(pool.close)
        yield ups, pool


def nowhere():
    """The URL of a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


async def get(pool, method="GET", body=None, length=None, target=b"/"):
    response = await pool.request(method, target, HEADERS, body, length=length)
    pieces = b""
    while not response.ended:
        pieces += await response.read_chunk()
    return response.status, pieces


async def refused(code, awaitable):
    with pytest.raises(GatewayError) as raised:
        await awaitable
    assert raised.value.code is code, raised.value
    return raised.value


async def pieces(*items):
    for item in items:
        yield item
        await asyncio.sleep(0)


async def reads_and_closes(peer):
    """Read a request and end without a byte in answer."""
    await peer.request()


async def reads_and_is_silent(peer):
    await peer.request()
    await peer.closed()


def states(pool):
    """The state of each address."""
    shown = pool.gauges().targets.values()
    return [address.state for target in shown for address in target.addresses.values()]


def its_time_is_over(pool):
    """Let the ejection of the first target end."""
    pool._endpoints[0].health.until = time.monotonic()


def retried(pool):
    """How many retries there were, by reason, without those that there were none of."""
    return {reason: count for reason, count in pool.gauges().retries.items() if count}


class Names:
    """Stands for socket.getaddrinfo; `asked` counts, `names` may change."""

    def __init__(self, names):
        self.names = names
        self.asked = 0

    def __call__(self, name, port, type):
        self.asked += 1
        found = self.names.get(name, ())
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, type, 0, "", (address, 0)) for address in found]


@contextlib.asynccontextmanager
async def named(names, *hosts, **settings):
    """A pool for `orders.internal`, and a target on each of these addresses, at one port."""
    async with contextlib.AsyncExitStack() as stack:
        ups, port = [], 0
        for host in hosts:
            script = answers(ok(host.encode()))
            ups.append(await stack.enter_async_context(upstream(script, host=host, port=port)))
            port = int(ups[0].url.rpartition(":")[2])
        pool = Pool(Upstream(url=f"http://orders.internal:{port}", **settings), lookup=names)
        stack.push_async_callback(pool.close)
        yield ups, pool


ONE, TWO = "127.0.0.1", "127.0.0.2"


async def refused_code(awaitable):
    with pytest.raises(GatewayError) as raised:
        await awaitable
    return raised.value.code
