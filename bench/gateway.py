"""CPU time and requests/s of the gateway, beside a bare forwarder on the same server and pool.

Each serves in a process of its own, loaded by wrk over keep-alive connections; both forward to
the same sample upstream. Rounds alternate, so that the ratio holds when the machine's speed
drifts. All run on one CPU: to wake a process on another one costs a virtual machine dear, and
the slower server pays it more often, for it lets the others sleep.

Run: python -m bench.gateway [ROUNDS] [SECONDS]
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from bench.forwarder import forwarder
from bench.upstream import serve as serve_upstream
from gateway.config.model import Limits, Listener
from gateway.jose.sign import generate, public_jwks, sign
from gateway.serve.app import Gateway
from gateway.serve.hypercorn import bind, serve
from gateway.serve.loop import settle
from gateway.serve.reload import start
from gateway.serve.terms import Terms

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection as Pipe

POLICIES = Path(__file__).parent / "policies"
CONNECTIONS = 32

CONFIG = """\
listeners: [{{address: "127.0.0.1:0"}}]
admin: {{enabled: false}}
issuers:
  corp: {{issuer: "https://idp.example", audience: orders, algorithms: [RS256],
         keys: {{jwks_file: jwks.json}}}}
upstreams: {{orders: {{url: "{upstream}"}}}}
routes:
  - {{id: orders, paths: [/orders, "/orders/{{id}}"], upstream: orders}}
policy: {{paths: ["{policies}"]}}
log: {{decisions: {log}}}
"""

TRIVIAL = 'package gateway.authz\n\ndecision := {"allow": true}\n'

HEADERS = {
    "Host": "api.example",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "application/json",
    "Accept-Language": "en-GB,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br",
    "Referer": "https://app.example/orders",
    "Cookie": "theme=dark; lang=en",
}


def run_forwarder(pipe: Pipe, upstream: str) -> None:
    """Serve the bare forwarder; each message on the pipe is answered with the CPU seconds."""

    async def main() -> None:
        bound = bind(Listener(address="127.0.0.1:0"), forwarder(upstream))
        asyncio.get_running_loop().add_reader(pipe.fileno(), _answer, pipe)
        pipe.send(bound.url)
        settle()
        await serve(
            [bound], Terms(shutdown=asyncio.Event(), limits=Limits(), counters=lambda _: None)
        )

    uvloop.run(main())


def run_gateway(pipe: Pipe, folder: str) -> None:
    """Serve the gateway in `folder`, and answer as `run_forwarder` does."""
    path = Path(folder, "gateway.yaml")

    async def main() -> None:
        gateway = Gateway(path, os.environ, start(path, os.environ))
        asyncio.get_running_loop().add_reader(pipe.fileno(), _answer, pipe)
        pipe.send(gateway.edge[0].url)
        settle()
        await gateway.run()

    uvloop.run(main())


def _answer(pipe: Pipe) -> None:
    try:
        pipe.recv()
    except EOFError:
        os._exit(0)
    pipe.send(time.process_time())


class Served:
    """A server's process, its URL and its measurements."""

    def __init__(self, target: object, argument: str) -> None:
        self.pipe, there = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=target, args=(there, argument), daemon=True)  # type: ignore[arg-type]
        self.process.start()
        self.url: str = self.pipe.recv()
        self.cpu: list[float] = []
        self.rate: list[float] = []

    def load(self, seconds: float, headers: dict[str, str]) -> None:
        """Load it for a while, and remember CPU µs a request and requests/s."""
        before = self.seconds()
        requests, elapsed = wrk(f"{self.url}/orders/42", seconds, headers)
        self.cpu.append((self.seconds() - before) / requests * 1e6)
        self.rate.append(requests / elapsed)

    def seconds(self) -> float:
        """The CPU seconds that the process has used."""
        self.pipe.send(None)
        return float(self.pipe.recv())


def wrk(url: str, seconds: float, headers: dict[str, str]) -> tuple[int, float]:
    """Load a URL; the number of requests and the seconds they took. Every answer must be 200."""
    lines = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", *lines, url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+) requests in ([\d.]+)s", said)
    if not found or "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"not every request was answered:\n{said}")
    return int(found[1]), float(found[2])


@contextmanager
def served(upstream: str, folder: Path) -> Iterator[tuple[dict[str, Served], dict[str, str]]]:
    """The forwarder, and gateways with more and more work to do; and a token's header."""
    key = generate("RS256")
    now = int(time.time())
    claims = {"iss": "https://idp.example", "aud": "orders", "sub": "alice", "roles": ["reader"]}
    token = sign({"typ": "at+jwt"}, {**claims, "iat": now, "exp": now + 3600}, key)
    (folder / "trivial.rego").write_text(TRIVIAL)
    off = '{sink: "off", ring: 0}'
    gateways = {
        "trivial policy, no log": (folder / "trivial.rego", off),
        "sample policies, no log": (POLICIES, off),
        "sample policies, log": (POLICIES, f"{{sink: file, path: {folder}/decisions.log}}"),
    }
    all_of_them = {"bare forwarder": Served(run_forwarder, upstream)}
    for name, (policies, log) in gateways.items():
        place = folder / name
        place.mkdir()
        (place / "jwks.json").write_text(json.dumps(public_jwks([key])))
        text = CONFIG.format(upstream=upstream, policies=policies, log=log)
        (place / "gateway.yaml").write_text(text)
        all_of_them[name] = Served(run_gateway, str(place))
    yield all_of_them, {"Authorization": f"Bearer {token}"}
    for one in all_of_them.values():
        one.process.terminate()


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 3
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is needed (Debian: apt-get install wrk)")
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    upstream = context.Process(target=serve_upstream, args=(there,), daemon=True)
    upstream.start()
    url = f"http://127.0.0.1:{here.recv()}"
    with tempfile.TemporaryDirectory() as folder, served(url, Path(folder)) as (servers, token):
        headers = HEADERS | token
        for server in servers.values():
            server.load(1, headers)  # warm-up
            server.cpu.clear()
            server.rate.clear()
        for _ in range(rounds):
            for server in servers.values():
                server.load(seconds, headers)
        bare = servers["bare forwarder"]
        print(f"{CONNECTIONS} connections, median of {rounds} rounds of {seconds:g} s")
        print(f"{'':24}{'requests/s':>12}{'CPU µs a request':>20}{'ratio':>8}")
        for name, server in servers.items():
            ratio = statistics.median(a / b for a, b in zip(server.cpu, bare.cpu, strict=True))
            rate, cpu = statistics.median(server.rate), statistics.median(server.cpu)
            print(f"{name:24}{rate:12.0f}{cpu:20.1f}{ratio:8.2f}")
    upstream.terminate()


if __name__ == "__main__":
    main()
