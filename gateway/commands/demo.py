"""`gateway demo`: issuer, upstream and gateway in one process, and requests of all kinds."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from gateway.config.model import Limits, Listener, Upstream
from gateway.jose.sign import SigningKey, generate, sign
from gateway.serve.app import Gateway, run_loop
from gateway.serve.hypercorn import BoundListener, bind, serve
from gateway.serve.reload import start
from gateway.serve.sample import issuer_app, upstream_app
from gateway.serve.upstream import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

POLICIES = Path(__file__).parent / "policies"
READY_WITHIN = 20.0
LIVE_WITHIN = 10.0

CONFIG = """\
listeners:
  - address: 127.0.0.1:{port}
admin:
  address: 127.0.0.1:{admin_port}
issuers:
  demo:
    issuer: {issuer}
    audience: orders
    algorithms: [ES256]
    keys: {{discovery: true}}
upstreams:
  orders: {{url: "{upstream}"}}
routes:
  - {{id: orders, paths: [/orders, "/orders/{{id}}"], upstream: orders, show_reasons: true}}
  - {{id: customer-orders, paths: ["/customers/{{customer}}/orders"], upstream: orders,
     show_reasons: true}}
  - {{id: admin, paths: ["/admin/{{rest:path}}"], upstream: orders, show_reasons: true}}
  - {{id: public, paths: ["/public/{{rest:path}}"], upstream: orders, authentication: anonymous,
     labels: {{access: public}}}}
policy: {{paths: [policies]}}
log: {{decisions: {{sink: file, path: decisions.log}}}}
"""

EDIT = """
# Added by the demo: readers may create orders, too.
allow if {
	"reader" in input.identity.roles
	input.request.method == "POST"
	input.request.path == "/orders"
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One request and what must come of it; `subject` is what the upstream must see."""

    name: str
    method: str = "GET"
    path: str = "/orders/42"
    token: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    status: int
    code: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What came of a request."""

    status: int
    code: str
    upstream: dict[str, Any] | None = field(default=None)

    def fits(self, row: Row) -> bool:
        """Whether it came out as stated."""
        subject = ""
        if self.upstream is not None:
            subject = self.upstream["headers"].get("x-auth-subject", "")
        spoofed = any(
            value == "root" for value in (self.upstream or {"headers": {}})["headers"].values()
        )
        return (
            (self.status, self.code, subject) == (row.status, row.code, row.subject)
            and not spoofed
            and (self.upstream is None) == (row.status != 200)
        )


@click.command()
@click.option("--once", is_flag=True, help="Exit after the requests: 0 if all came out as stated.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="The gateway's port; free by default."
)
@click.option(
    "--policies",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=POLICIES,
    help="The policies to run with; those of the project by default.",
)
@click.option("--format", "shape", type=click.Choice(["pretty", "json"]), default="pretty")
def demo(*, once: bool, port: int, policies: Path, shape: str) -> None:
    """Show the gateway at work, with an issuer and an upstream of its own.

    Example: gateway demo --once
    """
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR, format="%(name)s: %(message)s")
    outcome: list[bool] = []
    with tempfile.TemporaryDirectory(prefix="gateway-demo-") as folder:
        shutil.copytree(policies, Path(folder) / "policies")
        show = Show(json_lines=shape == "json")
        run_loop(_demo(Path(folder), port, show, once=once, outcome=outcome))
    if not all(outcome) or not outcome:
        raise click.exceptions.Exit(1)


async def _demo(folder: Path, port: int, show: Show, *, once: bool, outcome: list[bool]) -> None:
    key, stranger = generate("ES256"), generate("ES256")
    url = ""
    issuer = bind(Listener(address="127.0.0.1:0"), issuer_app(lambda: url, [key]))
    url = issuer.url
    upstream = bind(Listener(address="127.0.0.1:0"), upstream_app())
    path = folder / "gateway.yaml"
    path.write_text(
        CONFIG.format(port=port, admin_port=0, issuer=issuer.url, upstream=upstream.url)
    )
    async with serving([issuer, upstream]):
        gateway = Gateway(path, os.environ, await asyncio.to_thread(start, path, os.environ))
        client = Pool(Upstream(url=gateway.edge[0].url))
        running = asyncio.create_task(gateway.run())
        try:
            await until(lambda: not gateway.ready(), READY_WITHIN, "the issuer's keys")
            show.begin(gateway)
            for row in rows(issuer.url, key, stranger):
                seen = await ask(client, row)
                outcome.append(seen.fits(row))
                show.row(row, seen, ok=outcome[-1])
            outcome.append(await edit(folder, client, gateway, issuer.url, key, show))
            show.end(ok=all(outcome))
            if not once:
                show.invite(gateway, issuer.url, key, folder)
                await interrupted()
        finally:
            gateway.stop.set()
            await client.close()
            await running


@asynccontextmanager
async def serving(listeners: list[BoundListener]) -> AsyncIterator[None]:
    """Serve until the end of the block."""
    stop = asyncio.Event()
    task = asyncio.create_task(
        serve(listeners, shutdown=stop, limits=Limits(), counters=lambda _: None)
    )
    try:
        yield
    finally:
        stop.set()
        await task


def mint(issuer: str, key: SigningKey, subject: str, roles: list[str], **claims: Any) -> str:
    """A token of the demo's issuer, valid for an hour."""
    now = int(time.time())
    whole = {
        "iss": issuer,
        "aud": "orders",
        "sub": subject,
        "roles": roles,
        "iat": now,
        "exp": now + 3600,
        **claims,
    }
    return sign({"typ": "at+jwt"}, whole, key)


def rows(issuer: str, key: SigningKey, stranger: SigningKey) -> list[Row]:
    """The requests of the demo."""
    reader = mint(issuer, key, "alice", ["reader"])
    writer = mint(issuer, key, "bob", ["writer"])
    admin = mint(issuer, key, "carol", ["admin"])
    now = int(time.time())
    expired = mint(issuer, key, "alice", ["reader"], iat=now - 7200, exp=now - 3600)
    elsewhere = mint(issuer, key, "alice", ["reader"], aud="billing")
    head, payload, signature = reader.split(".")
    flipped = signature[:-4] + ("AAAA" if signature[-4:] != "AAAA" else "BBBB")
    forged = mint(issuer, SigningKey(id=key.id, algorithm="ES256", key=stranger.key), "alice", [])
    spoof = (("X-Auth-Subject", "root"), ("X_Auth_Roles", "root"), ("X-Forwarded-For", "root"))
    return [
        Row(name="reader reads", token=reader, status=200, subject="alice"),
        Row(
            name="reader writes", method="POST", path="/orders", token=reader,
            status=403, code="policy-denied",
        ),
        Row(
            name="writer writes", method="POST", path="/orders", token=writer,
            status=200, subject="bob",
        ),
        Row(name="admin deletes", method="DELETE", token=admin, status=200, subject="carol"),
        Row(
            name="own orders", path="/customers/alice/orders", token=reader,
            status=200, subject="alice",
        ),
        Row(
            name="another's orders", path="/customers/alice/orders", token=writer,
            status=403, code="policy-denied",
        ),
        Row(name="no token", status=401, code="token-missing"),
        Row(name="public, no token", path="/public/status", status=200),
        Row(name="expired token", token=expired, status=401, code="token-expired"),
        Row(name="wrong audience", token=elsewhere, status=401, code="audience-mismatch"),
        Row(
            name="wrong signature", token=f"{head}.{payload}.{flipped}",
            status=401, code="signature-invalid",
        ),
        Row(name="another's key", token=forged, status=401, code="signature-invalid"),
        Row(
            name="spoofed identity", token=reader, headers=spoof, status=200, subject="alice"
        ),
        Row(
            name="path trick", path="/public/..%2fadmin/users", status=400, code="bad-path"
        ),
        Row(name="unknown path", path="/other", token=reader, status=404, code="route-unknown"),
    ]  # fmt: skip


async def ask(client: Pool, row: Row) -> Seen:
    """Send one request to the gateway."""
    headers = [(b"host", b"demo.example"), (b"user-agent", b"gateway-demo")]
    if row.token is not None:
        headers.append((b"authorization", b"Bearer " + row.token.encode()))
    headers += ((name.encode(), value.encode()) for name, value in row.headers)
    response = await client.request(row.method, row.path.encode(), tuple(headers))
    body = b""
    while not response.ended:
        body += await response.read_chunk()
    document = json.loads(body)
    if response.status == 200:
        return Seen(status=200, code="", upstream=document)
    return Seen(status=response.status, code=document["code"])


async def edit(
    folder: Path, client: Pool, gateway: Gateway, issuer: str, key: SigningKey, show: Show
) -> bool:
    """Change a policy file while the gateway serves, and see the decision change."""
    reader = mint(issuer, key, "alice", ["reader"])
    row = Row(
        name="reader writes, after the edit", method="POST", path="/orders", token=reader,
        status=200, subject="alice",
    )  # fmt: skip
    before = gateway.runtime.snapshot.revision
    tests = folder / "policies" / "authz_test.rego"
    if tests.exists():
        # Its test says that readers may not write, and would refuse the edit.
        text = tests.read_text()
        tests.write_text(text.replace("test_reader_does_not_write", "todo_test_reader_writes"))
    policy = folder / "policies" / "authz.rego"
    policy.write_text(policy.read_text() + EDIT)
    began = time.perf_counter()
    changed = True
    try:
        await until(lambda: gateway.runtime.snapshot.revision != before, LIVE_WITHIN, "the edit")
    except TimeoutError:
        changed = False
    seconds = time.perf_counter() - began
    seen = await ask(client, row)
    ok = changed and seen.fits(row)
    show.edited(row, seen, before, gateway.runtime.snapshot.revision, seconds, ok=ok)
    return ok


async def until(condition: Any, seconds: float, what: str) -> None:
    """Wait for a condition; TimeoutError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {seconds:g} s")
        await asyncio.sleep(0.02)


async def interrupted() -> None:
    """Wait for Ctrl-C or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


class Show:
    """Prints the demo: a table for people, or a JSON object a line."""

    def __init__(self, *, json_lines: bool) -> None:
        self.json_lines = json_lines
        self.console = Console(highlight=False)
        self.table = Table(
            "request", "status", "code", "upstream saw", "", box=None, pad_edge=False
        )

    def begin(self, gateway: Gateway) -> None:
        """Say where everything is."""
        if not self.json_lines:
            self.console.print(f"gateway on {gateway.edge[0].url}\n")

    def row(self, row: Row, seen: Seen, *, ok: bool) -> None:
        """Show one request."""
        if self.json_lines:
            self._json(row, seen, ok=ok)
            return
        self.table.add_row(row.name, str(seen.status), seen.code, _saw(seen), _mark(ok))

    def edited(
        self, row: Row, seen: Seen, before: str, after: str, seconds: float, *, ok: bool
    ) -> None:
        """Show the request after the edit, and how long the edit took."""
        self.row(row, seen, ok=ok)
        if not self.json_lines:
            self.console.print(self.table)
            self.console.print(
                f"\npolicies/authz.rego edited: revision {before} → {after} "
                f"live after {seconds * 1000:.0f} ms"
            )

    def end(self, *, ok: bool) -> None:
        """Say how it went."""
        if not self.json_lines:
            self.console.print("every row came out as stated" if ok else "NOT as stated")

    def invite(self, gateway: Gateway, issuer: str, key: SigningKey, folder: Path) -> None:
        """Print curl lines with live tokens, and what to try."""
        url = gateway.edge[0].url
        self.console.print("\nTry it yourself (tokens are valid for an hour):\n")
        for name, roles, arguments in (
            ("alice", ["reader"], f"{url}/orders/42"),
            ("bob", ["writer"], f"-X POST -d '{{}}' {url}/orders"),
            ("carol", ["admin"], f"-X DELETE {url}/orders/42"),
        ):
            token = mint(issuer, key, name, roles)
            print(f"curl -i -H 'Authorization: Bearer {token}' {arguments}\n")  # noqa: T201  unwrapped, to copy
        self.console.print(f"Edit {folder / 'policies'} and see it take effect.")
        if gateway.admin:
            self.console.print(f"Status: {gateway.admin.url}/status   Ctrl-C ends.")

    def _json(self, row: Row, seen: Seen, *, ok: bool) -> None:
        line = {"request": row.name, "method": row.method, "path": row.path, "ok": ok}
        print(json.dumps({**line, "status": seen.status, "code": seen.code, "saw": _saw(seen)}))  # noqa: T201


def _saw(seen: Seen) -> str:
    if seen.upstream is None:
        return "nothing"
    headers = seen.upstream["headers"]
    who = headers.get("x-auth-subject", "anonymous")
    roles = headers.get("x-auth-roles")
    return f"{who} ({roles})" if roles else str(who)


def _mark(ok: bool) -> str:
    return "[green]ok[/]" if ok else "[red]FAILED[/]"
