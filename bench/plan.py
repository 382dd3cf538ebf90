"""Cost of `plan()` and of each of its stages for one request, in µs.

Run: python -m bench.plan
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from gateway.config.model import Config
from gateway.forward.token import Issued, Requester
from gateway.identify import Identifier
from gateway.identify.revoked import NOTHING, Denial, Denied, Key, check as check_denied
from gateway.jose.sign import generate, public_jwks, sign
from gateway.limit import Limiter
from gateway.model import Facts, Forward, Head, Introspected, Session, Trail
from gateway.pipeline import plan
from gateway.record.metrics import Metrics
from gateway.route.table import RouteTable
from gateway.serve.oauth_client import Credentials
from gateway.serve.quota import Table
from gateway.serve.session import MemoryStore
from gateway.serve.session.renewal import Renewals
from gateway.serve.session.stores import Stores
from gateway.serve.tokens import TokenSource
from gateway.session.record import Record, Ticket
from gateway.snapshot import Snapshot, build, read

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gateway.model import Principal, TokenRequest
    from gateway.serve.session.provider import Provider

CALLS = 1_000
ROUNDS = 25
NOW = 1_790_000_000.0
NO_FACTS = Facts()

CONFIG = """\
issuers:
  corp: {issuer: "https://idp.example", audience: orders, algorithms: [RS256],
         keys: {jwks_file: jwks.json}}
upstreams: {orders: {url: "http://127.0.0.1:9000"}}
networks: {office: [10.0.0.0/8]}
routes:
  - {id: orders, paths: [/orders, "/orders/{id}"], upstream: orders}
  - {id: customer-orders, paths: ["/customers/{customer}/orders"], upstream: orders}
  - {id: admin, paths: ["/admin/{rest:path}"], upstream: orders}
"""
LOGIN = (
    CONFIG.replace("{id: orders,", "{id: orders, login: web,")
    + "logins: {web: {issuer: corp, client: {id: gateway, authentication: none}}}\n"
)
ROUTE = {"id": "orders", "paths": ["/orders"], "upstream": "http://127.0.0.1:9000"}
LIMITED = {
    "rate_limits": {"limits": {"people": {"requests": 1_000_000}}, "default": ["people"]},
    "routes": [ROUTE],
}
EXCHANGING = {
    "token_endpoints": {
        "corp": {"url": "https://idp.example/token", "client": {"id": "gateway", "secret": "s"}}
    },
    "routes": [
        {
            **ROUTE,
            "upstream_token": {"endpoint": "corp", "audience": "orders", "scopes": ["read"]},
        }
    ],
}
POLICIES = Path(__file__).parent / "policies"

BROWSER = (
    (b"host", b"api.example"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"accept", b"application/json"),
    (b"accept-language", b"en-GB,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br"),
    (b"referer", b"https://app.example/orders"),
    (b"content-type", b"application/json"),
    (b"origin", b"https://app.example"),
    (b"connection", b"keep-alive"),
    (b"cookie", b"theme=dark; lang=en"),
    (b"sec-fetch-dest", b"empty"),
    (b"sec-fetch-mode", b"cors"),
    (b"cache-control", b"no-cache"),
    (b"x-correlation-id", b"5f1d7a84"),
)
"""What a browser sends; a service sends less."""


def sample(folder: Path, config: str = CONFIG) -> tuple[Snapshot, str]:
    """A snapshot of the sample policies, and a token that they allow to read orders."""
    key = generate("RS256")
    (folder / "jwks.json").write_text(json.dumps(public_jwks([key])))
    path = folder / "gateway.yaml"
    path.write_text(f"{config}policy: {{paths: ['{POLICIES}']}}\n")
    claims = {"iss": "https://idp.example", "aud": "orders", "sub": "alice", "roles": ["reader"]}
    token = sign({"typ": "at+jwt"}, {**claims, "iat": int(NOW), "exp": int(NOW) + 3600}, key)
    return build(read(path, {}), now=NOW), token


def request(token: str, path: bytes = b"/orders/42") -> Head:
    """The head of a browser's request."""
    return Head(
        id="01JTESTID",
        method="GET",
        scheme="https",
        authority=b"api.example",
        raw_path=path,
        query_string=b"",
        headers=(*BROWSER, (b"authorization", b"Bearer " + token.encode())),
        http_version="1.1",
        peer="203.0.113.9",
    )


def many_routes(count: int) -> RouteTable:
    """A table of `count` routes with two templates each."""
    routes = [
        {
            "id": f"r{number}",
            "paths": [f"/service{number}/orders/{{id}}", f"/service{number}/{{rest:path}}"],
            "upstream": "http://127.0.0.1:9000",
        }
        for number in range(count)
    ]
    return RouteTable.build(Config.model_validate({"routes": routes}).routes)


def sessions(folder: Path) -> dict[str, Callable[[], object]]:
    """Requests of a browser's session on the same route, and what finds the session."""
    snapshot, token = sample(folder, LOGIN)
    ticket = Ticket(bytes(32))
    cookie = (b"cookie", b"theme=dark; __Host-session-web=" + ticket.cookie.encode())
    browser = tuple(cookie if line[0] == b"cookie" else line for line in BROWSER)
    head = replace(request(token), headers=browser)
    found = Session(login="web", id="s", token=token.encode(), access_token=token.encode())
    facts = Facts(session=found)
    made = plan(head, facts, snapshot, NOW)
    assert isinstance(made, Forward), made
    store = MemoryStore(1024**2)
    record = Record(
        login="web", issuer="", subject="alice", sid="", access_token=token, id_token=token,
        refresh_token="r", expires_at=NOW, received_at=NOW,
    )  # fmt: skip
    value = ticket.seal(record, bytes(12))
    result(store.create(ticket.key, value, tags=(), idle=1e6, lifetime=1e6))
    renewals = Renewals(Stores(store), None, None)  # type: ignore[arg-type]  # reading asks the store alone
    provider = cast("Provider", SimpleNamespace(name="web", issuer=SimpleNamespace(issuer="")))
    bearer = request(token)
    return {
        "logins: a bearer's plan": lambda: plan(bearer, NO_FACTS, snapshot, NOW),
        "logins: a session's plans": lambda: (
            plan(head, NO_FACTS, snapshot, NOW),
            plan(head, facts, snapshot, NOW),
        ),
        "  session, found and opened": lambda: result(
            renewals.read(Ticket.read(ticket.cookie.encode()) or ticket, provider)
        ),
    }


def result(coroutine: Coroutine[Any, Any, object]) -> object:
    """What a coroutine returns that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise RuntimeError("it waits")


def deny_list(entries: int) -> Denied:
    """A deny list of so many tokens, and one of a few subjects."""
    tokens = {Key("corp", "jti", f"token-{number}"): Denial() for number in range(entries)}
    return Denied(tables={"admin": tokens, "file": {Key("corp", "sub", "mallory"): Denial()}})


def introspected(snapshot: Snapshot) -> Callable[[], object]:
    """The plans of a request with an opaque token, about which there is an answer at hand."""
    client = {"id": "gateway", "secret": "s"}
    issuer = snapshot.config.issuers["corp"].model_dump()
    issuer |= {"keys": None, "algorithms": ()}
    issuer |= {"introspection": {"url": "https://idp.example/introspect", "client": client}}
    config = Config.model_validate({
        **snapshot.config.model_dump(include={"routes", "upstreams"}), "issuers": {"corp": issuer},
    })  # fmt: skip
    asking = replace(snapshot, identifier=Identifier.build(config))
    members = {"active": True, "token_type": "Bearer", "aud": "orders", "sub": "alice"}
    members |= {"roles": ["reader"], "iat": int(NOW), "exp": int(NOW) + 3600}
    facts = Facts(introspected=Introspected(members=members, revision="1"))
    head = request("2YotnFZFEjr1zCsicMWpAA")
    assert isinstance(plan(head, facts, asking, NOW), Forward)

    def both() -> None:
        plan(head, NO_FACTS, asking, NOW)  # which needs the answer
        plan(head, facts, asking, NOW)

    return both


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


class Answering(TokenSource):
    """A token endpoint that gives a token at once."""

    async def _asked(self, request: TokenRequest) -> Issued:
        issued = Issued(header=b"Bearer " + b"x" * 800, used_for=3600.0, renew_after=None)
        self._keep(request, issued, self.clock())
        return issued


def kept_token(principal: Principal) -> tuple[Callable[[], object], Callable[[], object]]:
    """Making the request of a token for the upstream, and finding one that is kept."""
    config = Config.model_validate(EXCHANGING)
    requester, section = Requester.build(config.routes[0]), config.token_endpoints["corp"]
    assert requester
    credentials = Credentials.read(section.client)
    source = Answering("corp", section, credentials, Metrics(), set(), clock=lambda: NOW)
    asked = requester.of(principal)
    assert asked
    asyncio.run(source.header(asked))

    def find() -> None:
        with contextlib.suppress(StopIteration):  # it has waited for nothing
            source.header(asked).send(None)

    return lambda: requester.of(principal), find


def stages(snapshot: Snapshot, head: Head) -> dict[str, Callable[[], object]]:
    """Each stage alone, with what the stages before it give."""
    made = plan(head, NO_FACTS, snapshot, NOW)
    assert isinstance(made, Forward), made
    trail = made.trail
    source, match, principal = trail.source, trail.match, trail.principal
    document, decision = trail.document, trail.decision
    assert source and match and principal and document and decision  # noqa: PT018
    limiter = Limiter.build(Config.model_validate(LIMITED))
    charges = limiter.charges(head, match, source, principal, decision)
    table = Table.create(65536)
    ask, find = kept_token(principal)
    decider, blank = snapshot.decider, Trail(head=head, revision="r")
    denied, asked = deny_list(100_000), introspected(snapshot)
    denying = snapshot.with_denied(denied)
    return {
        "plan, token known": lambda: plan(head, NO_FACTS, snapshot, NOW),
        "plan, 100,000 denied": lambda: plan(head, NO_FACTS, denying, NOW),
        "plan, token introspected": asked,
        "  source": lambda: snapshot.origins.read(head),
        "  route": lambda: snapshot.routes.match(head),
        "  identify, token known": lambda: snapshot.identifier.identify(
            head, match, NO_FACTS, snapshot.keyrings, NOW
        ),
        "  deny lists, none": lambda: check_denied(principal, NOTHING, NOW),
        "  deny lists, 100,000 entries": lambda: check_denied(principal, denied, NOW),
        "  input document": lambda: decider.document(head, match, principal, source, NO_FACTS, NOW),
        "  decide": lambda: decider.decide(document, match, NOW),
        "  rate limit, charge": lambda: limiter.charges(head, match, source, principal, decision),
        "  rate limit, count": lambda: table.take(charges, NOW),
        "  upstream token, request": ask,
        "  upstream token, kept": find,
        "  forward": lambda: snapshot.forwarder.forward(
            head, match, principal, decision, source, trail=blank, cors=None, now=NOW
        ),
    }


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        snapshot, token = sample(Path(folder))
        with_logins = sessions(Path(folder))
    head = request(token)
    small, large = many_routes(10), many_routes(1_000)
    deep = request(token, b"/service7/orders/42")

    def unknown() -> object:
        snapshot.identifier.cache.discard(token.encode())
        return plan(head, NO_FACTS, snapshot, NOW)

    best = timed({
        **stages(snapshot, head),
        **with_logins,
        "plan, token new (RS256)": unknown,
        "route among 10": lambda: small.match(deep),
        "route among 1,000": lambda: large.match(deep),
    })  # fmt: skip
    print(f"{'µs a request with 15 headers':40}")
    for name, cost in best.items():
        print(f"{name:32}{cost:8.2f}")
    ratio = best["route among 1,000"] / best["route among 10"]
    print(f"\n1,000 routes / 10 routes        {ratio:8.2f}   (goal: at most 1.5)")
    known = best["  identify, token known"]
    print(f"a known token                   {known:8.2f}   (goal: at most 5)")


if __name__ == "__main__":
    main()
