"""CPU time of one small request to an upstream: our pool beside aiohttp, on asyncio and uvloop.

`4 by turns` and `4 by load` spread the requests over four targets.

The upstream is another process; times are those of the client's process only. Run
`python bench/upstream.py [REQUESTS]`.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, cast

import aiohttp
import uvloop
import yarl

from gateway.config.model import Upstream
from gateway.serve.upstream import Pool

if TYPE_CHECKING:
    from multiprocessing.connection import Connection as Pipe

    from gateway.model import Headers

ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
    b"server: sample\r\ncache-control: no-store\r\ncontent-length: 27\r\n\r\n"
    b'{"id": 42, "state": "open"}'
)
HEADERS: Headers = (
    (b"host", b"orders.example"),
    (b"accept", b"application/json"),
    (b"accept-encoding", b"gzip, br"),
    (b"user-agent", b"bench/1"),
    (b"x-request-id", b"01J8ZZZZZZZZZZZZZZZZZZZZZZ"),
    (b"x-auth-subject", b"alice"),
    (b"x-auth-scopes", b"orders:read orders:write"),
    (b"x-forwarded-for", b"192.0.2.7"),
    (b"x-forwarded-proto", b"https"),
)
CONCURRENCY = 16
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")
Client = Callable[[str, int], Awaitable[None]]


class Sample(asyncio.Protocol):
    """Answers each segment, taken for one request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, _data: bytes) -> None:
        self.transport.write(ANSWER)


def serve(pipe: Pipe) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Sample, ADDRESSES[0], 0)
        port = server.sockets[0].getsockname()[1]
        others = [await loop.create_server(Sample, address, port) for address in ADDRESSES[1:]]
        pipe.send(port)
        await asyncio.gather(*(each.serve_forever() for each in (server, *others)))

    uvloop.run(main())


async def ours(url: str, requests: int) -> None:
    await ask(Pool(Upstream(url=url)), requests)


async def ours_balanced(url: str, requests: int, balance: str) -> None:
    targets = [url.replace(ADDRESSES[0], address) for address in ADDRESSES]
    await ask(Pool(Upstream.model_validate({"targets": targets, "balance": balance})), requests)


async def ask(pool: Pool, requests: int) -> None:
    for _ in range(requests):
        response = await pool.request("GET", b"/orders/42?page=2", HEADERS)
        while not response.ended:
            await response.read_chunk()
    await pool.close()


async def with_aiohttp(url: str, requests: int) -> None:
    target = yarl.URL(url + "/orders/42?page=2", encoded=True)
    headers = {name.decode(): value.decode() for name, value in HEADERS}
    async with aiohttp.ClientSession(
        auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        for _ in range(requests):
            async with session.get(target, headers=headers, allow_redirects=False) as response:
                await response.content.readany()


async def bare(url: str, requests: int) -> None:
    """The floor: one write and one read on a transport, without any HTTP."""
    host, port = url.removeprefix("http://").split(":")
    waiter: asyncio.Future[bytes]
    head = b"".join(b"%b: %b\r\n" % pair for pair in HEADERS)

    class Floor(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            waiter.set_result(data)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(Floor, host, int(port))
    for _ in range(requests):
        waiter = loop.create_future()
        transport.write(b"GET /orders/42?page=2 HTTP/1.1\r\n" + head + b"\r\n")
        await waiter
    transport.close()


async def measure(client: Client, url: str, requests: int, width: int) -> tuple[float, float]:
    """Return CPU and elapsed microseconds a request."""
    await client(url, 200)
    cpu, elapsed = time.process_time(), time.perf_counter()
    await asyncio.gather(*(client(url, requests // width) for _ in range(width)))
    count = requests // width * width / 1e6
    return (time.process_time() - cpu) / count, (time.perf_counter() - elapsed) / count


def main() -> None:
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{here.recv()}"
    clients: dict[str, Client] = {
        "bare transport": bare,
        "ours": ours,
        "ours, 4 by turns": partial(ours_balanced, balance="round_robin"),
        "ours, 4 by load": partial(ours_balanced, balance="least_pending"),
        "aiohttp": with_aiohttp,
    }
    runners = {"asyncio": asyncio.run, "uvloop": uvloop.run}
    print(f"{requests} GETs on keep-alive; CPU µs and elapsed µs a request")
    print(f"{'client':20}{'loop':10}{'1 connection':>22}{f'{CONCURRENCY} connections':>22}")
    for name, client in clients.items():
        for loop, run in runners.items():
            cells = [
                "{:10.1f} {:10.1f}".format(*run(partial(measure, client, url, requests, width)()))
                for width in (1, CONCURRENCY)
            ]
            print(f"{name:20}{loop:10}{cells[0]:>22}{cells[1]:>22}")
    server.terminate()


if __name__ == "__main__":
    main()
