"""A whole gateway on loopback, with a key of its own and an upstream that the test scripts."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
import yaml

from gateway.bundle.folder import digest
from gateway.jose.sign import SigningKey, generate, public_jwks, sign
from gateway.serve.app import Gateway
from gateway.record.ring import Ring
from gateway.serve.reload import start
from gateway.serve.runtime import Runtime
from tests.support import http1
from tests.support.certificates import Authority
from tests.support.upstream import Peer, Running as Service, Script, ok, upstream

CONFIG = """
listeners: [{{address: "127.0.0.1:0"}}]
admin: {{address: "127.0.0.1:0"}}
issuers:
  corp: {{issuer: "https://idp.example", audience: api, algorithms: [ES256], keys: {keys}}}
upstreams:
  service: {{url: "http://127.0.0.1:{port}", first_byte_timeout: 5s}}
policy: {{paths: [policies]}}
log: {{decisions: {{sink: "off"}}}}
limits: {{body: 1KiB, drain_timeout: 200ms}}
reload: {{debounce: 20ms}}
routes:
  - {{id: items, paths: [/items, "/items/{{rest:path}}"], upstream: service, websocket: true}}
  - {{id: open, paths: ["/open/{{rest:path}}"], upstream: service, authentication: anonymous}}
"""

POLICY = """package gateway.authz

default decision := {"allow": false, "reasons": ["not-granted"]}

decision := {"allow": true} if "reader" in input.identity.roles

decision := {"allow": true} if input.route.id == "open"
"""


def policy_for(role: str) -> str:
    """POLICY for another role than reader."""
    return POLICY.replace('"reader"', f'"{role}"')


SERVER = "hypercorn"
"""What the gateways of tests serve with; `either_server` changes it."""

JWKS_FILE = "{jwks_file: jwks.json}"
DEADLINE = 120.0
Config = Mapping[str, Any]
Headers = tuple[tuple[str, str], ...]


def live(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a coroutine function a test on the loop that `gateway serve` runs on.

    Nothing of it may be left afterwards.
    """

    async def scenario(fixtures: dict[str, Any]) -> None:
        async with asyncio.timeout(DEADLINE):
            await test(**fixtures)
        await until(lambda: len(asyncio.all_tasks()) == 1)

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(scenario(fixtures))

    return run


@pytest.fixture(autouse=True, params=["hypercorn", "granian"])
def either_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs each test of a module that imports this with each server.

    The module's HYPERCORN_ONLY names the tests of what docs/servers.md lists as another thing.
    """
    only = getattr(request.module, "HYPERCORN_ONLY", ())
    if request.param == "granian" and request.node.originalname in only:
        pytest.skip("Granian does this otherwise: docs/servers.md")
    monkeypatch.setattr("tests.support.gateway.SERVER", request.param)
    server: str = request.param
    return server


async def echo(peer: Peer) -> None:
    """Answer every request with what came, as JSON."""
    while (request := await peer.request()) is not None:
        seen = {
            "method": request.method,
            "target": request.target,
            "headers": dict(request.headers),
            "body": request.body.decode(),
        }
        peer.send(ok(json.dumps(seen).encode()))


class Running:
    """A gateway that serves, and its upstream; `ask` sends a request to it."""

    def __init__(self, gateway: Gateway, folder: Path, key: SigningKey, service: Service) -> None:
        self.gateway = gateway
        self.folder = folder
        self.key = key
        self.service = service
        self.looks = 0
        watcher = gateway.reloader.watcher
        self._changed, watcher.changed = watcher.changed, self._look

    async def _look(self) -> None:
        await self._changed()
        self.looks += 1

    async def settled(self) -> None:
        """Wait for the look at the files that follows the start; from now on only changes count."""
        await until(lambda: self.looks)

    @property
    def port(self) -> int:
        """The port of the first listener."""
        return port(self.gateway.edge[0].address)

    @property
    def admin_port(self) -> int:
        """The port of the admin listener."""
        return port(self.gateway.admin.address)

    @property
    def revision(self) -> str:
        """The active policy revision."""
        return self.gateway.reloader.snapshot.revision

    @property
    def runtime(self) -> Runtime:
        """What its requests share."""
        return self.gateway.workers.worker.runtime

    @property
    def ring(self) -> Ring:
        """Its recent decisions."""
        return self.gateway.workers.worker.ring

    @property
    def problems(self) -> list[str]:
        """What is wrong with the files, as the last reload found it."""
        return [str(problem) for problem in self.gateway.reloader.status.problems]

    def token(self, key: SigningKey | None = None, **claims: Any) -> str:
        """A token of alice, who is a reader, for ten minutes."""
        return token(key or self.key, **claims)

    async def event(self, decision_id: str) -> dict[str, Any]:
        """The decision event of a request that has ended."""
        await until(lambda: self.ring.get(decision_id))
        return json.loads(self.ring.get(decision_id))

    async def events(self, count: int = 1) -> list[dict[str, Any]]:
        """All decision events, oldest first, once there are `count` of them."""
        await until(lambda: len(self.ring) >= count)
        return [json.loads(line) for line in reversed(self.ring.recent(1000))]

    async def ask(
        self,
        target: str = "/items",
        token: str | None = None,
        method: str = "GET",
        headers: Headers = (),
        body: bytes = b"",
    ) -> http1.Response:
        """The answer to a request on a connection of its own."""
        async with http1.connect(self.port) as client:
            return await client.request(method, target, (*headers, *bearer(token)), body)

    async def ask_admin(
        self,
        target: str,
        token: str | None = None,
        host: str = "127.0.0.1",
        method: str = "GET",
        headers: Headers = (),
        body: bytes = b"",
    ) -> http1.Response:
        """The admin listener's answer."""
        async with http1.connect(self.admin_port) as client:
            lines = (("Host", host), *headers, *bearer(token))
            return await client.request(method, target, lines, body)

    async def admits(self, role: str) -> None:
        """Wait until a bearer of this role is let in, and the files are all right."""
        token = self.token(roles=[role])
        deadline = time.monotonic() + 15
        while (await self.ask(token=token)).status != 200 or self.problems:
            assert time.monotonic() < deadline, f"{role} is not let in: {self.problems}"
            await asyncio.sleep(0.01)

    async def admits_still(self, role: str) -> None:
        """Fail if a bearer of this role is not let in."""
        assert (await self.ask(token=self.token(roles=[role]))).status == 200

    async def metrics(self) -> str:
        """What the admin listener shows."""
        return (await self.ask_admin("/metrics")).body.decode()

    def configure(self, changes: Config) -> None:
        """Change gateway.yaml."""
        path = self.folder / "gateway.yaml"
        path.write_text(configured(path.read_text(), changes))

    async def edit(self, changes: Config) -> None:
        """Change gateway.yaml and wait until it is active."""
        self.configure(changes)
        await self.loaded()

    async def loaded(self) -> None:
        """Wait until gateway.yaml is active as it is now."""
        revision = digest({"": (self.folder / "gateway.yaml").read_bytes()})[:16]
        await until(lambda: self.gateway.reloader.snapshot.config_revision == revision)


@asynccontextmanager
async def running(
    folder: Path,
    script: Script = echo,
    *,
    keys: str = JWKS_FILE,
    policy: str = POLICY,
    config: Config | None = None,
    signer: SigningKey | None = None,
    workers: int = 1,
) -> AsyncIterator[Running]:
    """Write the files, start upstream and gateway, and end both; `config` changes CONFIG."""
    key = signer or generate("ES256")
    async with upstream(script) as service:
        path = write(folder, key, service.url, keys=keys, policy=policy, config=config)
        begun = await asyncio.to_thread(start, path, os.environ)
        gateway = Gateway(path, os.environ, begun, workers=workers)
        made = Running(gateway, folder, key, service)
        task = asyncio.create_task(gateway.run())
        try:
            yield made
        finally:
            gateway.stop.set()
            await task


def write(
    folder: Path,
    key: SigningKey,
    url: str,
    *,
    keys: str = JWKS_FILE,
    policy: str = POLICY,
    config: Config | None = None,
) -> Path:
    """Write gateway.yaml and what it names, for an upstream at `url`."""
    (folder / "jwks.json").write_text(json.dumps(public_jwks([key])))
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "policies" / "authz.rego").write_text(policy)
    path = folder / "gateway.yaml"
    text = f"server: {SERVER}\n" + CONFIG.format(port=port(url), keys=keys)
    path.write_text(configured(text, config) if config else text)
    return path


def configured(text: str, changes: Config) -> str:
    """A configuration with changes: mappings are merged, None takes a key away."""
    return yaml.safe_dump(_merged(yaml.safe_load(text), changes), sort_keys=False)


def _merged(before: Any, changes: Any) -> Any:
    if not (isinstance(before, dict) and isinstance(changes, dict)):
        return changes
    whole = before | {name: _merged(before.get(name), new) for name, new in changes.items()}
    return {name: value for name, value in whole.items() if value is not None}


def tls(authority: Authority, folder: Path) -> Config:
    """Issue a certificate for localhost; the configuration of a listener that shows it."""
    for file, name in zip(authority.issue("localhost"), ("tls.crt", "tls.key"), strict=True):
        (folder / name).write_bytes(file.read_bytes())
    files = {"certificate": "tls.crt", "key": "tls.key"}
    return {"listeners": [{"address": "127.0.0.1:0", "tls": files}]}


def token(key: SigningKey, **claims: Any) -> str:
    """A token of alice, who is a reader, for ten minutes."""
    now = int(time.time())
    whole = {"iss": "https://idp.example", "aud": "api", "sub": "alice", "roles": ["reader"]}
    return sign({}, {**whole, "iat": now, "exp": now + 600, **claims}, key)


def bearer(token: str | None) -> Headers:
    """The header line with a token."""
    return (("Authorization", f"Bearer {token}"),) if token else ()


def port(address: str) -> int:
    """The port of an address or a URL."""
    return int(address.rpartition(":")[2])


async def until(condition: Callable[[], Any], seconds: float = 15.0) -> None:
    """Wait for a condition; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.01)
