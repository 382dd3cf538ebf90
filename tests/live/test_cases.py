"""Every case of tests/cases/shell.yaml, against a gateway on loopback."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from gateway.errors import Code
from tests.support import http1, http2
from tests.support.gateway import Running, echo, live, running, until
from tests.support.tables import SHELL, lines, load, merge
from tests.support.upstream import Peer, Running as Service, answers, upstream

CODES = {code.text: code for code in Code}
HTTP2 = {":method": "GET", ":scheme": "http", ":authority": "api.example", ":path": "/open/x"}


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is sent, and what must come back.

    Sent is a well-formed `request` with `headers` and `body`, or the bytes of `send`, or the
    lines of `http2` over those of HTTP2. `config` changes the gateway's. `upstream` says what the
    upstream `greets` with, `sends` to a request, and does `then`. `issues` is the answer of a token
    endpoint, from which the upstream of /items has its tokens then. `held` is a request before,
    which waits at the upstream. `lost` is what the gateway loses: a part of the snapshot, its
    `state` folder, or the connections to its `upstreams` while one waits. `kept` is a policy that
    served long ago. `most` are the entries that its deny list takes.

    Back comes the problem document of `refuse`, or an `answer` to what the upstream has `seen`,
    or nothing but a code that is `counted`.
    """

    name: str
    request: str = ""
    headers: Mapping[str, Any] = field(default_factory=dict)
    body: str = ""
    send: str | None = None
    http2: Mapping[str, Any] | None = None
    listener: str = "edge"
    config: Mapping[str, Any] = field(default_factory=dict)
    upstream: Mapping[str, str] = field(default_factory=dict)
    issues: str = ""
    held: str = ""
    lost: str = ""
    kept: str = ""
    most: int | None = None
    refuse: str = ""
    answer: Mapping[str, Any] | None = None
    counted: str = ""

    def __post_init__(self) -> None:
        outcomes = bool(self.refuse), self.answer is not None, bool(self.counted)
        assert sum(outcomes) == 1, f"{self}: one outcome"

    def __str__(self) -> str:
        return self.name

    async def play(self, peer: Peer) -> None:
        """The upstream."""
        peer.send(self.upstream.get("greets", "").encode("latin-1"))
        if await peer.head() is None:
            return
        peer.send(self.upstream.get("sends", "").encode("latin-1"))
        await peer.drain()
        match self.upstream.get("then", "hang"):
            case "hang":
                await peer.closed()
            case "reset":
                peer.reset()


CASES = [Case(name=name, **fields) for name, fields in load(SHELL)["cases"].items()]


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """A folder that keeps the compiled policy, which is the same for all cases."""
    return {"policy": {"state": str(tmp_path_factory.mktemp("state"))}}


@pytest.mark.parametrize("case", CASES, ids=str)
@live
async def test_case(tmp_path, state, case, monkeypatch):
    if case.most is not None:
        monkeypatch.setattr("gateway.serve.revocation.service.MAX_ENTRIES", case.most)
    script = case.play if case.upstream else echo
    async with contextlib.AsyncExitStack() as stack:
        config = merge(state, case.config)
        if case.issues:
            endpoint = upstream(answers(case.issues.encode("latin-1")))
            config = merge(config, exchanging(await stack.enter_async_context(endpoint)))
        gateway = await stack.enter_async_context(running(tmp_path, script, config=config))
        if case.held:
            other = await stack.enter_async_context(http1.connect(gateway.port))
            await other.send(http1.request(*case.held.split()))
            await until(lambda: gateway.service.requests)
        if case.lost == "state":
            await gateway.settled()
            shutil.rmtree(tmp_path / "lost")
            (tmp_path / "lost").write_text("no folder")
        elif case.lost and case.lost != "upstreams":
            await gateway.settled()
            runtime = gateway.runtime
            runtime.snapshot = replace(runtime.snapshot, **{case.lost: None})
        if case.kept:
            keep(gateway, case.kept)
        await (ask_http2 if case.http2 else ask_http1)(gateway, case)
        if case.listener == "edge" and (code := case.refuse or case.counted):
            await until(lambda: code in counted(gateway))
        if (case.refuse or case.counted) and not case.upstream:
            assert gateway.service.requests == []


def exchanging(endpoint: Service) -> dict[str, Any]:
    """A configuration where tokens are exchanged before they are sent to /items."""
    client = {"id": "gateway", "secret": "a-test"}
    token = {"endpoint": "corp", "audience": "service"}
    route = {"id": "items", "paths": ["/items"], "upstream": "service", "upstream_token": token}
    return {
        "token_endpoints": {"corp": {"url": f"{endpoint.url}/token", "client": client}},
        "routes": [route],
    }


def keep(gateway: Running, policy: str) -> None:
    """Let the gateway have kept a policy, long ago."""
    reloader = gateway.gateway.reloader
    candidate = replace(reloader.candidate, files={"0:other.rego": policy.encode()})
    reloader.store.keep(candidate, "0" * 16, now=1.0)


async def ask_http1(gateway: Running, case: Case) -> None:
    """Send over HTTP/1.1, and compare what comes back."""
    method, _, target = case.request.partition(" ")
    port = gateway.admin_port if case.listener == "admin" else gateway.port
    async with http1.connect(port) as client:
        if case.send is None:
            headers = sent_lines(case.headers, gateway)
            await client.send(http1.request(method, target, headers, case.body.encode()))
        else:
            client.writer.write(case.send.encode("latin-1"))  # the server may close at any byte
        if case.lost == "upstreams":
            await until(lambda: gateway.service.requests)
            await gateway.runtime.close()
        if case.counted:
            await client.ended()
        else:
            check(gateway, case, await client.response())


async def ask_http2(gateway: Running, case: Case) -> None:
    """Send over HTTP/2, and compare what comes back."""
    async with http2.connect(gateway.port) as client:
        sent = sent_lines({**HTTP2, **case.http2}, gateway)
        stream = await client.finished(client.open(sent))
        check(gateway, case, stream)


def sent_lines(headers: Mapping[str, Any], gateway: Running) -> tuple[tuple[str, str], ...]:
    """Header lines, with a good token for `<token>`."""
    return tuple(
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in lines(headers, gateway.token())
    )


def check(gateway: Running, case: Case, response: http1.Response | http2.Stream) -> None:
    """Compare an answer with what the case expects."""
    if case.refuse:
        code = CODES[case.refuse]
        assert (response.status, response.code) == (code.status, code.text)
        return
    expected = dict(case.answer)
    assert (response.status, response.code) == (200, None)
    assert expected.pop("body", response.body.decode()) == response.body.decode()
    assert expected.pop("headers", {}).items() <= dict(response.headers).items()
    seen = dict(expected.pop("seen", {}))
    if seen:
        request = gateway.service.requests[-1]
        assert seen.pop("target", request.target) == request.target
        assert seen.pop("body", request.body.decode()) == request.body.decode()
        assert seen.pop("headers", {}).items() <= dict(request.headers).items()
        assert dict(request.headers).keys().isdisjoint(seen.pop("without", ()))
    assert not expected | seen, "no answer has these"


def counted(gateway: Running) -> set[str]:
    """The codes that the metrics have counted."""
    metrics = gateway.gateway.workers.metrics
    return {code for _, _, code, _ in metrics.requests} | metrics.below.keys()
