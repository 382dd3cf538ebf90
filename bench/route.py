"""Cost of the pure stages 1, 3 (without the policy) and 4 for one request, in µs.

Run: python -m bench.route
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.config.model import Config
from gateway.decide.document import native
from gateway.decide.inquiry import Body, DocumentRules, Inquiry
from gateway.forward import Forwarder
from gateway.model import Decision, Head, Principal, Source, Trail
from gateway.route.source import SourceReader
from gateway.route.table import RouteTable

if TYPE_CHECKING:
    from collections.abc import Callable

CALLS = 2_000
ROUNDS = 15

HEADERS = (
    (b"host", b"api.example"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"accept", b"application/json"),
    (b"accept-language", b"en-GB,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br"),
    (b"referer", b"https://app.example/orders"),
    (b"authorization", b"Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln"),
    (b"content-type", b"application/json"),
    (b"origin", b"https://app.example"),
    (b"connection", b"keep-alive"),
    (b"cookie", b"theme=dark; lang=en"),
    (b"sec-fetch-dest", b"empty"),
    (b"sec-fetch-mode", b"cors"),
    (b"cache-control", b"no-cache"),
    (b"x-correlation-id", b"5f1d7a84"),
)
HEAD = Head(
    id="01JTESTID",
    method="GET",
    scheme="https",
    authority=b"api.example",
    raw_path=b"/service7/orders/42",
    query_string=b"",
    headers=HEADERS,
    http_version="1.1",
    peer="203.0.113.9",
)
ALICE = Principal(
    authenticated=True,
    issuer="corp",
    subject="alice",
    scopes=("orders:read",),
    roles=("reader",),
    claims={"sub": "alice"},
    expires_at=1_790_000_300.0,
)


def config(routes: int) -> Config:
    """A configuration whose routes have two templates each."""
    return Config.model_validate({
        "routes": [
            {
                "id": f"r{number}",
                "paths": [f"/service{number}/orders/{{id}}", f"/service{number}/{{rest:path}}"],
                "upstream": "http://127.0.0.1:9000",
            }
            for number in range(routes)
        ],
        "networks": {"office": ["10.0.0.0/8"]},
    })  # fmt: skip


def timed(steps: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The best µs per call of each step; all steps take turns, so that noise hits them alike."""
    best = dict.fromkeys(steps, float("inf"))
    for _ in range(ROUNDS):
        for name, step in steps.items():
            started = time.perf_counter()
            for _ in range(CALLS):
                step()
            best[name] = min(best[name], (time.perf_counter() - started) / CALLS * 1e6)
    return best


def main() -> None:
    """Print the table."""
    few, many = config(10), config(1_000)
    small, large = RouteTable.build(few.routes), RouteTable.build(many.routes)
    match = small.match(HEAD)
    sources, forwarder = SourceReader.build(few), Forwarder.build(few)
    source: Source = sources.read(HEAD)
    rules, trail = DocumentRules.build(few), Trail(head=HEAD, revision="r")
    allowed = Decision(allow=True)
    inquiry = Inquiry(
        head=HEAD,
        headers=HEADERS,
        match=match,
        principal=ALICE,
        source=source,
        body=Body(size=0),
        now=1_790_000_000.0,
        rules=rules,
    )
    best = timed({
        "source": lambda: sources.read(HEAD),
        "match, 10 routes": lambda: small.match(HEAD),
        "match, 1,000 routes": lambda: large.match(HEAD),
        "document, 15 headers": lambda: native(inquiry),
        "forward, 15 headers": lambda: forwarder.forward(
            HEAD, match, ALICE, allowed, source, trail=trail, cors=None
        ),
    })  # fmt: skip
    for name, cost in best.items():
        print(f"{name:24}{cost:8.2f} µs")
    ratio = best["match, 1,000 routes"] / best["match, 10 routes"]
    print(f"{'1,000 routes / 10':24}{ratio:8.2f}   (goal: at most 1.5)")


if __name__ == "__main__":
    main()
