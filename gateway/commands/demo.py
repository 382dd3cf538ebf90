"""`gateway demo`: issuer, upstream and gateway in one process, and requests of all kinds."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.bundle.folder import digest, read_files
from gateway.commands.demo_rows import ORDERS, Row, Seen, mint, rows
from gateway.commands.demo_show import Edited, Show
from gateway.commands.interrupt import interrupted
from gateway.commands.options import cannot_listen
from gateway.config.model import Limits, Listener, Upstream
from gateway.errors import ConfigError
from gateway.jose.sign import SigningKey, generate
from gateway.serve.app import Gateway
from gateway.serve.hypercorn import BoundListener, bind, serve
from gateway.serve.loop import run_loop
from gateway.serve.reload import Start, start
from gateway.serve.sample import issuer_app, upstream_app
from gateway.serve.terms import Terms
from gateway.serve.upstream import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

POLICIES = Path(__file__).parent / "policies"
READY_WITHIN = 20.0
LIVE_WITHIN = 20.0

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
networks: {{office: [127.0.0.0/8]}}
routes:
  - {{id: orders, paths: ["/tenants/{{tenant}}/orders", "/tenants/{{tenant}}/orders/{{id}}"],
     upstream: orders, show_reasons: true}}
  - {{id: customer-orders, paths: ["/tenants/{{tenant}}/customers/{{customer}}/orders"],
     upstream: orders, show_reasons: true}}
  - {{id: admin, paths: ["/admin/{{rest:path}}"], upstream: orders, show_reasons: true}}
  - {{id: public, paths: ["/public/{{rest:path}}"], upstream: orders, authentication: anonymous,
     labels: {{access: public}}}}
policy: {{paths: [policies]}}
log: {{decisions: {{sink: file, path: decisions.log}}}}
"""

EDITED, TESTED = "orders.rego", "orders_test.rego"
EDIT = """
# Added by the demo: readers may create orders, too.
allow if {
	same_tenant
	"reader" in input.identity.roles
	input.request.method == "POST"
	input.route.id == "orders"
}
"""
OPPOSED = "test_reader_does_not_order"
BEFORE_EDIT: dict[str, Any] = {
    "name": "before: reader writes",
    "status": 403,
    "code": "policy-denied",
}
AFTER_EDIT: dict[str, Any] = {"name": "after: reader writes", "status": 200, "subject": "alice"}


@click.command()
@click.option("--once", is_flag=True, help="Exit after the requests: 0 if all came out as stated.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="The gateway's port; free by default."
)
@click.option(
    "--policies",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=POLICIES,
    help="A folder of policies to run a copy of; those of the project by default.",
)
@click.option("--format", "shape", type=click.Choice(["pretty", "json"]), default="pretty")
def demo(*, once: bool, port: int, policies: Path, shape: str) -> None:
    """Show the gateway at work, with an issuer and an upstream of its own.

    It works on a copy of the policies, in a temporary folder, and changes nothing else. With
    --format json each request is one line of JSON, and all else goes to standard error.

    Exit codes: 0 all came out as stated, 1 not.

    Example: gateway demo --once
    """
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR, format="%(name)s: %(message)s")
    outcome: list[bool] = []
    with tempfile.TemporaryDirectory(prefix="gateway-demo-") as folder:
        shutil.copytree(policies, Path(folder) / "policies")
        show = Show(json_lines=shape == "json")
        run_loop(_demo(Path(folder), policies.resolve(), port, show, once=once, outcome=outcome))
    if not all(outcome) or not outcome:
        raise click.exceptions.Exit(1)


async def _demo(
    folder: Path, policies: Path, port: int, show: Show, *, once: bool, outcome: list[bool]
) -> None:
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
        gateway = _listening(path, await asyncio.to_thread(start, path, os.environ))
        client = Pool(Upstream(url=gateway.edge[0].url))
        running = asyncio.create_task(gateway.run())
        try:
            await until(lambda: not gateway.ready(), READY_WITHIN, "the issuer's keys")
            show.begin(gateway, policies)
            for row in rows(issuer.url, key, stranger):
                seen = await ask(client, row)
                outcome.append(seen.fits(row))
                show.row(row, seen)
            show.rows_done()
            outcome += await edit(folder, client, gateway, issuer.url, key, show)
            show.end(ok=all(outcome))
            if not once:
                show.invite(gateway, issuer.url, key, folder / "policies")
                await interrupted()
        finally:
            gateway.stop.set()
            await client.close()
            await running


def _listening(path: Path, begun: Start) -> Gateway:
    try:
        return Gateway(path, os.environ, begun)
    except ConfigError as error:
        raise cannot_listen(error) from None


@asynccontextmanager
async def serving(listeners: list[BoundListener]) -> AsyncIterator[None]:
    """Serve until the end of the block."""
    stop = asyncio.Event()
    terms = Terms(shutdown=stop, limits=Limits(), counters=lambda _: None)
    task = asyncio.create_task(serve(listeners, terms))
    try:
        yield
    finally:
        stop.set()
        await task


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
    return Seen(status=response.status, code=str(document.get("code", "")))


async def edit(
    folder: Path, client: Pool, gateway: Gateway, issuer: str, key: SigningKey, show: Show
) -> list[bool]:
    """Change a policy file while the gateway serves, and see the decision change."""
    policy, tests = (folder / "policies" / name for name in (EDITED, TESTED))
    if not policy.is_file():
        show.say(f"\nThere is no {EDITED} among the policies, and so no edit to show.")
        return []
    reader = mint(issuer, key, "alice", ["reader"])
    before, after = (
        Row(method="POST", path=ORDERS, token=reader, **expected)
        for expected in (BEFORE_EDIT, AFTER_EDIT)
    )
    skipped = tests.is_file() and OPPOSED in tests.read_text()
    show.editing(EDITED, EDIT, OPPOSED if skipped else "")
    seen = await ask(client, before)
    show.row(before, seen)
    outcome = [seen.fits(before)]
    changes = {policy: policy.read_text() + EDIT}
    if skipped:  # it would refuse the edit, and so it is out of the way first
        changes = {tests: tests.read_text().replace(OPPOSED, f"todo_{OPPOSED}"), **changes}
    edited = await _written(changes, folder, gateway)
    seen = await ask(client, after)
    show.row(after, seen, edited=edited)
    show.edited(edited)
    return [*outcome, edited.before != edited.after, not edited.problems, seen.fits(after)]


async def _written(changes: Mapping[Path, str], folder: Path, gateway: Gateway) -> Edited:
    """Change policies and wait until they are live, or refused."""
    before, reloader = gateway.reloader.status.revision, gateway.reloader
    began = time.perf_counter()
    expected = await asyncio.to_thread(replace_all, changes, folder)

    def settled() -> bool:
        return gateway.reloader.status.revision == expected or bool(reloader.status.problems)

    try:
        await until(settled, LIVE_WITHIN, "the edit")
        problems = tuple(map(str, reloader.status.problems))
    except TimeoutError as error:
        problems = (str(error),)
    return Edited(
        before=before,
        after=gateway.reloader.status.revision,
        seconds=time.perf_counter() - began,
        problems=problems,
    )


def replace_all(changes: Mapping[Path, str], folder: Path) -> str:
    """Replace files below `folder`/policies in this order; gives the revision with all of them.

    The new texts are written beside what the gateway watches, and only renamed into it: it reads
    no half of a file, and the renames follow each other too closely for two reloads, mostly.
    """
    ready = [(folder / f"new-{path.name}", path) for path in changes]
    for new, path in ready:
        new.write_text(changes[path])
    for new, path in ready:
        new.replace(path)
    return digest(read_files((folder / "policies",)))[:16]


async def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for a condition; TimeoutError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {seconds:g} s")
        await asyncio.sleep(0.02)
