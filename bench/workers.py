"""One worker beside several, how they share connections, and what swaps and kills cost clients.

The gateway runs as `gateway serve --workers N` does, with the sample upstream and the clients on
the same machine. `swaps` changes the policy again and again, and counts requests that fail or
that an older revision decides than what was announced before they were sent; `kills` ends a
worker each second, and counts requests that fail, and how long a place is empty.

Run: python -m bench.workers [ROUNDS] [SECONDS]
     python -m bench.workers swaps [WORKERS] [REVISIONS]
     python -m bench.workers kills [WORKERS] [SECONDS]
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from bench.gateway import CONFIG, HEADERS, POLICIES, wrk
from bench.upstream import serve as serve_upstream
from gateway.bundle.folder import digest, read_files
from gateway.config.model import Upstream
from gateway.errors import Code, ForwardError
from gateway.jose.sign import generate, public_jwks, sign
from gateway.serve.loop import run_loop
from gateway.serve.upstream import Pool

if TYPE_CHECKING:
    from collections.abc import Iterator

CLI = Path(__file__).parents[1] / "cli.py"
CLIENTS = 16
NUMBERED = """package gateway.authz

decision := {{"allow": true, "response_headers": {{"x-number": "{number}"}}}}
"""


class Machine:
    """A running `gateway serve`, and what it says of itself."""

    def __init__(self, folder: Path, workers: int, policies: Path, upstream: str) -> None:
        log = f"{{sink: file, path: {folder}/decisions.log}}"
        text = CONFIG.format(upstream=upstream, policies=policies, log=log)
        text = text.replace("admin: {enabled: false}", 'admin: {address: "127.0.0.1:0"}')
        (folder / "gateway.yaml").write_text(f"{text}reload: {{debounce: 5ms}}\n")
        with (folder / "errors").open("wb") as errors:
            command = [sys.executable, str(CLI), "serve", "--workers", str(workers)]
            self.process = subprocess.Popen(command, cwd=folder, stderr=errors)
        said = ""
        while "policy revision" not in said:
            if self.process.poll() is not None:
                raise SystemExit(said)
            time.sleep(0.05)
            said = (folder / "errors").read_text()
        self.url, self.admin = re.findall(r" on (http://\S+)", said)

    def status(self) -> dict[str, Any]:
        """What /status shows."""
        with urlopen(f"{self.admin}/status") as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def serving(self) -> list[dict[str, Any]]:
        """The workers that take connections."""
        return [each for each in self.status()["workers"] if each["state"] == "serving"]

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()


@contextmanager
def materials() -> Iterator[tuple[Path, str, dict[str, str]]]:
    """A folder with keys, the URL of an upstream, and headers with a token."""
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    upstream = context.Process(target=serve_upstream, args=(there,), daemon=True)
    upstream.start()
    key, now = generate("RS256"), int(time.time())
    claims = {"iss": "https://idp.example", "aud": "orders", "sub": "alice", "roles": ["reader"]}
    token = sign({"typ": "at+jwt"}, {**claims, "iat": now, "exp": now + 3600}, key)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "jwks.json").write_text(json.dumps(public_jwks([key])))
        yield (
            Path(folder),
            f"http://127.0.0.1:{here.recv()}",
            {**HEADERS, "Authorization": f"Bearer {token}"},
        )
    upstream.terminate()


def rates(rounds: int, seconds: float) -> None:
    """Print requests/s with one worker and with one for each CPU."""
    counts = sorted({1, 2, os.cpu_count() or 1})
    with materials() as (folder, upstream, headers):
        found: dict[int, list[float]] = {count: [] for count in counts}
        shares: dict[int, str] = {}
        for _ in range(rounds):
            for count in counts:
                machine = Machine(folder, count, POLICIES, upstream)
                wrk(f"{machine.url}/orders/42", 1, headers)
                before = {each["pid"]: each["requests"] for each in machine.serving()}
                requests, elapsed = wrk(f"{machine.url}/orders/42", seconds, headers)
                found[count].append(requests / elapsed)
                done = [each["requests"] - before[each["pid"]] for each in machine.serving()]
                shares[count] = " ".join(f"{100 * one / sum(done):.0f} %" for one in done)
                machine.close()
    print(f"median of {rounds} rounds of {seconds:g} s, {os.cpu_count()} CPUs for all processes")
    print(f"{'workers':>8}{'requests/s':>12}   share of each worker, last round")
    for count in counts:
        print(f"{count:8}{statistics.median(found[count]):12.0f}   {shares[count]}")


class Clients:
    """Sends requests on kept connections, and notes what is wrong with the answers."""

    def __init__(self, machine: Machine, headers: dict[str, str]) -> None:
        self.pool = Pool(Upstream(url=machine.url))
        self.lines = tuple((name.lower().encode(), text.encode()) for name, text in headers.items())
        self.announced = 0
        self.answered = self.stale = 0
        self.failed: dict[str, int] = {}
        self.over = False

    async def one(self) -> None:
        """One client; POST, for the pool would send a GET again that is lost."""
        while not self.over:
            announced = self.announced
            try:
                response = await self.pool.request("POST", b"/orders/42", self.lines)
                while not response.ended:
                    await response.read_chunk()
            except ForwardError as error:
                self.failed[error.code.text] = self.failed.get(error.code.text, 0) + 1
                if error.code is Code.UPSTREAM_CONNECT:
                    await asyncio.sleep(0.01)
                continue
            number = next((int(text) for name, text in response.headers if name == b"x-number"), -1)
            self.answered += 1
            self.stale += response.status != 200 or number < announced


async def swaps(machine: Machine, folder: Path, headers: dict[str, str], revisions: int) -> None:
    """Change the policy so many times under load."""
    clients = Clients(machine, headers)
    tasks = [asyncio.create_task(clients.one()) for _ in range(CLIENTS)]
    rego, took = folder / "policies" / "authz.rego", []
    for number in range(1, revisions + 1):
        (folder / "new").write_text(NUMBERED.format(number=number))
        (folder / "new").replace(rego)
        began = time.perf_counter()
        expected = digest(read_files((rego.parent,)))[:16]
        while (await asyncio.to_thread(machine.status))["revision"] != expected:  # noqa: ASYNC110  another process
            await asyncio.sleep(0.01)
        clients.announced = number
        took.append(time.perf_counter() - began)
    clients.over = True
    await asyncio.gather(*tasks)
    await clients.pool.close()
    print(f"{revisions} revisions, each announced after {statistics.median(took):.2f} s (median)")
    print(f"{clients.answered} answers, {clients.stale} stale or refused, failed: {clients.failed}")


async def kills(machine: Machine, headers: dict[str, str], seconds: int) -> None:
    """End a worker each second under load."""
    clients = Clients(machine, headers)
    tasks = [asyncio.create_task(clients.one()) for _ in range(CLIENTS)]
    workers, empty = len(machine.serving()), []
    for _ in range(seconds):
        next_one = time.perf_counter() + 1
        victim = random.choice(await asyncio.to_thread(machine.serving))["pid"]
        os.kill(victim, signal.SIGKILL)
        began = time.perf_counter()
        while True:
            pids = {each["pid"] for each in await asyncio.to_thread(machine.serving)} - {victim}
            if len(pids) == workers:
                break
            await asyncio.sleep(0.01)
        empty.append(time.perf_counter() - began)
        await asyncio.sleep(max(0.0, next_one - time.perf_counter()))
    clients.over = True
    await asyncio.gather(*tasks)
    await clients.pool.close()
    print(f"{seconds} workers killed, {CLIENTS} clients: {clients.answered} answers")
    print(f"failed: {clients.failed} (at most {CLIENTS} can be under way at each kill)")
    print(
        f"a place was taken again after {statistics.median(empty):.2f} s, {max(empty):.2f} at most"
    )


def main() -> None:
    """Print what was asked for."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is needed (Debian: apt-get install wrk)")
    what, *numbers = sys.argv[1:] or ["5", "3"]
    if what not in {"swaps", "kills"}:
        rates(int(what), float(numbers[0]) if numbers else 3)
        return
    workers = int(numbers[0]) if numbers else 4
    times = int(numbers[1]) if len(numbers) > 1 else {"swaps": 200, "kills": 30}[what]
    with materials() as (folder, upstream, headers):
        (folder / "policies").mkdir()
        (folder / "policies" / "authz.rego").write_text(NUMBERED.format(number=0))
        machine = Machine(folder, workers, folder / "policies", upstream)
        try:
            run_loop(
                swaps(machine, folder, headers, times)
                if what == "swaps"
                else kills(machine, headers, times)
            )
        finally:
            machine.close()


if __name__ == "__main__":
    main()
