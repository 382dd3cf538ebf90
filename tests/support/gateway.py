"""A whole gateway on loopback, with a key of its own and an upstream that the test scripts."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.config.model import Upstream
from gateway.jose.sign import SigningKey, generate, public_jwks, sign
from gateway.serve.app import Gateway
from gateway.serve.reload import start
from gateway.serve.upstream import Pool

CONFIG = """
listeners: [{{address: "127.0.0.1:0"}}]
admin: {{address: "127.0.0.1:0"}}
issuers:
  corp: {{issuer: "https://idp.example", audience: api, algorithms: [ES256], keys: {keys}}}
upstreams:
  service: {{url: "http://127.0.0.1:{port}", first_byte_timeout: 5s}}
policy: {{paths: [policies]}}
log: {{decisions: {{sink: "off"}}}}
limits: {{body: 1KiB}}
routes:
  - {{id: items, paths: [/items, "/items/{{rest:path}}"], upstream: service, websocket: true}}
  - {{id: open, paths: ["/open/{{rest:path}}"], upstream: service, authentication: anonymous}}
"""

POLICY = """package gateway.authz

default decision := {"allow": false, "reasons": ["not-granted"]}

decision := {"allow": true} if "reader" in input.identity.roles

decision := {"allow": true} if input.route.id == "open"
"""

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers every request with its head."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(head) + head)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


class Running:
    """A gateway that serves; `ask` sends a request to it."""

    def __init__(self, gateway: Gateway, folder: Path, key: SigningKey, client: Pool) -> None:
        self.gateway = gateway
        self.folder = folder
        self.key = key
        self.client = client

    def token(self, key: SigningKey | None = None, **claims) -> str:
        now = int(time.time())
        whole = {"iss": "https://idp.example", "aud": "api", "sub": "alice", "roles": ["reader"]}
        return sign({}, {**whole, "iat": now, "exp": now + 600, **claims}, key or self.key)

    async def ask(self, path="/items", token=None, method="GET", headers=(), body=b""):
        lines = [(b"host", b"api.example"), *headers]
        if token:
            lines.append((b"authorization", b"Bearer " + token.encode()))
        response = await self.client.request(method, path.encode(), tuple(lines), body)
        content = b""
        while not response.ended:
            content += await response.read_chunk()
        return response.status, dict(response.headers), content

    @property
    def port(self) -> int:
        return int(self.gateway.edge[0].address.rpartition(":")[2])


@asynccontextmanager
async def running(
    folder: Path,
    handler: Handler = echo,
    keys: str = "{jwks_file: jwks.json}",
    policy: str = POLICY,
) -> AsyncIterator[Running]:
    """Write the files, start upstream and gateway, and end both."""
    key = generate("ES256")
    (folder / "jwks.json").write_text(json.dumps(public_jwks([key])))
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "policies" / "authz.rego").write_text(policy)
    upstream = await asyncio.start_server(handler, "127.0.0.1", 0)
    port = upstream.sockets[0].getsockname()[1]
    path = folder / "gateway.yaml"
    path.write_text(CONFIG.format(port=port, keys=keys))
    gateway = Gateway(path, os.environ, await asyncio.to_thread(start, path, os.environ))
    client = Pool(Upstream(url=gateway.edge[0].url))
    task = asyncio.create_task(gateway.run())
    try:
        yield Running(gateway, folder, key, client)
    finally:
        gateway.stop.set()
        await client.close()
        await task
        upstream.close()


async def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait for a condition; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.01)
