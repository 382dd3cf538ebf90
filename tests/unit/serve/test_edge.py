from __future__ import annotations

import asyncio
import json

import pytest

from gateway.serve.edge import OWN_PREFIX, own_app


def ask(path, *, ready=(), method="GET", headers=((b"host", b"a"),), kind="http"):
    """Status, headers and body of one request."""
    sent = []

    async def receive():
        return {"type": f"{kind}.connect"}

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "raw_path": path, "headers": list(headers)}
    if kind == "http":
        scope["method"] = method
    asyncio.run(own_app(lambda: ready)(scope, receive, send))
    start, body = sent
    assert [one["type"].startswith(kind) for one in sent] == [True, True]
    return start["status"], dict(start["headers"]), body["body"]


@pytest.mark.parametrize(
    ("name", "missing", "status", "body"),
    [
        (b"live", (), 200, {"status": "live"}),
        (b"live", ("keys",), 200, {"status": "live"}),
        (b"ready", (), 200, {"ready": True}),
        (b"ready", ("keys",), 503, {"ready": False}),
    ],
)
def test_answers(name, missing, status, body):
    found = ask(OWN_PREFIX + name, ready=missing)
    assert (found[0], json.loads(found[2])) == (status, body)
    assert found[1][b"content-length"] == b"%d" % len(found[2])
    status_of_head, headers, nothing = ask(OWN_PREFIX + name, ready=missing, method="HEAD")
    assert (status_of_head, headers, nothing) == (status, found[1], b"")


HOSTS = [b"a" * 64 + b".example", b"", b"\xe4.example", b"a@b", b"a.", b"a:0", b"[::1"]


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"path": OWN_PREFIX}, 404, "route-unknown"),
        ({"path": OWN_PREFIX + b"live/"}, 404, "route-unknown"),
        ({"path": OWN_PREFIX + b"%6cive"}, 404, "route-unknown"),
        ({"path": OWN_PREFIX + b"live", "method": "POST"}, 405, "method-not-allowed"),
        ({"path": OWN_PREFIX + b"live", "kind": "websocket"}, 400, "upgrade-refused"),
        *(({"path": OWN_PREFIX + b"live", "headers": ((b"host", host),)}, 400, "bad-host") for host in HOSTS),
    ],
)  # fmt: skip
def test_refusals(request_, status, code):
    found = ask(**request_)
    assert (found[0], json.loads(found[2])["code"]) == (status, code)
    assert (b"allow" in found[1]) is (status == 405)


def test_http_1_0_needs_no_host():
    assert ask(OWN_PREFIX + b"live", headers=())[0] == 200
