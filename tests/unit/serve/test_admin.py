from __future__ import annotations

import asyncio
import json
import logging
import socket

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.errors import Problem
from gateway.record.metrics import (
    AddressGauges,
    Gauges,
    Metrics,
    SinkCounts,
    TargetGauges,
    UpstreamGauges,
)
from gateway.record.ring import Ring
from gateway.serve.admin import (
    HEADERS,
    AdminState,
    BundleStatus,
    IssuerStatus,
    ReloadStatus,
    admin_app,
)
from gateway.serve.revocation import SourceStatus
from gateway.serve.rollout import Rollout
from gateway.serve.workers import WorkerStatus
from tests.support.http1 import connect
from tests.support.server import live_on, served, until

LOCAL = {"host": "127.0.0.1:9090"}
PRIVATE = ["/status", "/metrics", "/decisions", "/decisions/d-1", "/config", "/tokens/revoked", "/absent",
           "//status"]  # fmt: skip


def state(**changes):
    ring = Ring(10)
    for number in (1, 2, 3):
        ring.add(f"d-{number}", b'{"decision_id":"d-%d"}' % number)
    gauges = Gauges(
        version="1.2",
        started=100.0,
        upstreams={
            "orders": UpstreamGauges(
                targets={
                    "http://orders": TargetGauges(
                        addresses={"192.0.2.1:80": AddressGauges(in_use=1, state="probing")},
                        ejections=2,
                        error="no such name",
                    )
                },
                retries={"connect": 3},
            )
        },
        sinks={"stdout": SinkCounts(written=9, dropped=4, errors=1, queued=0)},
    )
    given = {
        "version": "1.2",
        "started": 1_790_000_000.0,
        "clock": lambda: 1_790_000_060.0,
        "token": lambda: None,
        "ready": tuple,
        "reload": lambda: ReloadStatus(revision="r1", last_success=1_790_000_001.0),
        "issuers": lambda: {
            "corp": IssuerStatus(loaded=True, keys=2, revision="k1", fetched_at=1_790_000_055.0)
        },
        "bundles": lambda: {
            "authz": BundleStatus(
                source="https://bundles.example/authz.tar.gz",
                revision="v7",
                remote=True,
                etag='"7"',
                checked_at=1_790_000_050.0,
                last_error="answered 500",
            ),
            "local": BundleStatus(source="/b.tar.gz", revision="", remote=False),
        },
        "gauges": lambda: gauges,
        "config": lambda: {"admin": {"token": "**********"}},
        "workers": Workers(ring),
        "rollout": Rollout(None),
        "revocation": Revocation(),
        "beside": dict,
        "actions": lambda: False,
    }
    return AdminState(**{**given, **changes})


class Revocation:
    """Deny lists of which one cannot be read."""

    def status(self):
        return {"file": SourceStatus(entries=3, confirmed_at=1_790_000_030.0, last_error="gone")}

    def issuers(self):
        return frozenset({"corp"})

    def entries(self):
        return [{"source": "file", "issuer": "corp", "jti": "1"}]


class Workers:
    """One that has made some decisions."""

    def __init__(self, ring):
        self.ring = ring
        self.metrics = Metrics()

    async def refresh(self):
        pass

    def status(self):
        return [
            WorkerStatus(
                pid=7,
                state="serving",
                revision="r1",
                config_revision="c1",
                keyrings={"corp": "k1"},
                connections=3,
                requests=9,
                started=1_790_000_000.0,
            )
        ]

    async def recent(self, limit):
        return self.ring.recent(limit)

    async def find(self, decision):
        return self.ring.get(decision)


def ask(given, path, *, method="GET", headers=LOCAL, peer=("127.0.0.1", 5000), body=b""):
    """Status, headers and body of one request to the application."""

    async def run():
        messages = []

        async def receive():
            if not sent:
                sent.append(True)
                return {"type": "http.request", "body": body, "more_body": False}
            await asyncio.Event().wait()

        sent = []

        async def send(message):
            messages.append(message)

        raw_path, _, query = path.partition("?")
        pairs = headers.items() if isinstance(headers, dict) else headers
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": raw_path,
            "raw_path": raw_path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in pairs],
            "client": peer,
            "server": ("127.0.0.1", 9090),
            "extensions": {},
        }
        await asyncio.wait_for(admin_app(given)(scope, receive, send), 10)
        found = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
        text = b"".join(message.get("body", b"") for message in messages[1:])
        return messages[0]["status"], found, text

    return asyncio.run(run())


def code_of(answer):
    status, headers, body = answer
    document = json.loads(body)
    assert headers["content-type"] == "application/problem+json"
    assert document["status"] == status
    return status, document["code"]


def test_live():
    status, headers, body = ask(state(), "/health/live")
    assert (status, json.loads(body)) == (200, {"status": "live"})
    assert HEADERS.items() <= headers.items()


@pytest.mark.parametrize(
    ("missing", "status"), [((), 200), (("keys-unavailable: corp", "no policy"), 503)]
)
def test_ready(missing, status):
    answer = ask(state(ready=lambda: missing), "/health/ready")
    assert answer[0] == status
    assert json.loads(answer[2]) == {"ready": not missing, "reasons": list(missing)}


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_health_needs_neither_token_nor_loopback(path):
    given = state(token=lambda: "s3cret")
    assert ask(given, path, headers={"host": "10.1.2.3"}, peer=("10.0.0.1", 1))[0] == 200


def test_status():
    failed = ReloadStatus(
        revision="r1",
        last_success=1_790_000_001.0,
        last_failure=1_790_000_030.0,
        problems=(Problem("unexpected }", file="a.rego", line=3, column=9),),
        restart_required=("listeners.0.address",),
        last_good=True,
    )
    _, headers, body = ask(state(reload=lambda: failed, ready=lambda: ["x"]), "/status")
    assert headers["content-type"] == "application/json"
    assert json.loads(body) == {
        "version": "1.2",
        "started": "2026-09-21T14:13:20.000000Z",
        "uptime": 60.0,
        "ready": False,
        "reasons": ["x"],
        "revision": "r1",
        "last_success": "2026-09-21T14:13:21.000000Z",
        "last_error": {
            "at": "2026-09-21T14:13:50.000000Z",
            "problems": [
                {
                    "file": "a.rego",
                    "line": 3,
                    "column": 9,
                    "key": "",
                    "message": "unexpected }",
                    "remedy": "",
                }
            ],
        },
        "last_good": True,
        "restart_required": ["listeners.0.address"],
        "workers": [
            {
                "pid": 7,
                "state": "serving",
                "revision": "r1",
                "config_revision": "c1",
                "keyrings": {"corp": "k1"},
                "connections": 3,
                "requests": 9,
                "started": "2026-09-21T14:13:20.000000Z",
                "restarts": 0,
            }
        ],
        "rate_limits": {"storage": "memory", "error": None, "evicted": 0},
        "sessions": {
            "storage": "memory",
            "sessions": None,
            "error": None,
            "evicted": 0,
            "logins": {},
        },
        "token_endpoints": {},
        "introspection": {},
        "revocation": {
            "file": {
                "entries": 3,
                "confirmed": "2026-09-21T14:13:50.000000Z",
                "stale": False,
                "last_error": "gone",
                "problems": [],
            }
        },
        "upstreams": {
            "orders": {
                "targets": {
                    "http://orders": {
                        "addresses": {
                            "192.0.2.1:80": {
                                "in_use": 1,
                                "idle": 0,
                                "waiting": 0,
                                "state": "probing",
                            }
                        },
                        "ejections": 2,
                        "last_error": "no such name",
                    }
                },
                "retries": {"connect": 3},
                "retries_over_budget": 0,
            }
        },
        "bundles": {
            "authz": {
                "source": "https://bundles.example/authz.tar.gz",
                "revision": "v7",
                "etag": '"7"',
                "last_success": "2026-09-21T14:14:10.000000Z",
                "last_error": "answered 500",
            },
            "local": {
                "source": "/b.tar.gz",
                "revision": "",
                "etag": None,
                "last_success": None,
                "last_error": None,
            },
        },
        "canary": None,
        "shadow": None,
        "pinned": None,
        "pending": None,
        "actions": [],
        "unenforced": [],
        "issuers": {
            "corp": {
                "loaded": True,
                "required": True,
                "keys": 2,
                "revision": "k1",
                "age": 5.0,
                "last_error": None,
                "problems": [],
            }
        },
        "log": {"stdout": {"written": 9, "dropped": 4, "errors": 1}},
    }


def test_status_without_a_failure():
    assert json.loads(ask(state(), "/status")[2])["last_error"] is None


def test_metrics():
    _, headers, body = ask(state(), "/metrics")
    assert headers["content-type"].startswith("text/plain; version=")
    names = {family.name for family in text_string_to_metric_families(body.decode())}
    assert {"gateway_requests", "gateway_info", "process_cpu_seconds"} <= names


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["d-3", "d-2", "d-1"]),
        ("?limit=2", ["d-3", "d-2"]),
        ("?limit=0", []),
        ("?limit=999999999", ["d-3", "d-2", "d-1"]),
    ],
)
def test_decisions(query, found):
    body = json.loads(ask(state(), f"/decisions{query}")[2])
    assert [event["decision_id"] for event in body["decisions"]] == found


@pytest.mark.parametrize("query", ["limit=", "limit=-1", "limit=x", "limit=1&limit=2", "limit=²"])
def test_decisions_refuses_other_limits(query):
    # ² is sent as the browser would.
    assert code_of(ask(state(), f"/decisions?{query.replace('²', '%C2%B2')}")) == (400, "bad-query")


def test_one_decision():
    status, headers, body = ask(state(), "/decisions/d-2")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body) == {"decision_id": "d-2"}
    assert code_of(ask(state(), "/decisions/d-9")) == (404, "decision-unknown")


def test_config():
    assert json.loads(ask(state(), "/config")[2]) == {"admin": {"token": "**********"}}


@pytest.mark.parametrize("path", ["/", "/absent", "/status/", "/health", "/static/x"])
def test_unknown_paths(path):
    assert code_of(ask(state(), path)) == (404, "route-unknown")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ["/health/live", "/status"])
def test_other_methods(method, path):
    answer = ask(state(), path, method=method)
    assert code_of(answer) == (405, "method-not-allowed")
    assert answer[1]["allow"] == "GET, HEAD"


def test_a_body_is_not_read():
    assert ask(state(), "/status", body=b"x" * 10_000)[0] == 200


def test_failure_is_a_problem_and_logged(caplog):
    def fail():
        raise RuntimeError("s3cret detail")

    answer = ask(state(config=fail), "/config")
    assert code_of(answer) == (500, "internal-error")
    assert b"s3cret" not in answer[2]
    assert caplog.records[-1].levelno == logging.ERROR
    caplog.clear()


LOOPBACK = ("127.0.0.1", 1)


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        (("10.0.0.1", 1), LOCAL),
        (("::ffff:10.0.0.1", 1), LOCAL),
        (("127.0.0.1.evil", 1), LOCAL),
        (("", 1), LOCAL),
        (None, LOCAL),
        (LOOPBACK, {"host": "rebound.example:9090"}),
        (LOOPBACK, {"host": "localhost.evil.example"}),
        (LOOPBACK, {"host": "127.0.0.1.evil.example"}),
        (LOOPBACK, {}),
        (LOOPBACK, [("host", "localhost"), ("host", "evil.example")]),
        (LOOPBACK, [("host", "localhost"), ("remote-addr", "127.0.0.1"), ("via", "1.1 proxy")]),
        (LOOPBACK, {**LOCAL, "x-forwarded-for": "127.0.0.1"}),
        (LOOPBACK, {**LOCAL, "forwarded": "for=127.0.0.1"}),
        (LOOPBACK, {**LOCAL, "x-forwarded-proto": "https"}),
        (LOOPBACK, {**LOCAL, "x-forwarded-port": "443"}),
        (LOOPBACK, {**LOCAL, "x-real-ip": "10.0.0.1"}),
        (("10.0.0.1", 1), {**LOCAL, "remote-addr": "127.0.0.1"}),
    ],
)
def test_without_a_token_only_this_machine(peer, headers):
    answer = ask(state(), "/status", peer=peer, headers=headers)
    assert code_of(answer) == (403, "admin-local-only")
    assert HEADERS.items() <= answer[1].items()
    assert not any(name.startswith("access-control") for name in answer[1])


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:9090@evil.example",
        "[::1].evil.example",
        "",
        "a" * 64,
        "\u00e4.example",
        "a.",
        "a:0",
    ],
)
def test_a_host_that_is_none(host):
    for path in ("/status", "/health/live"):
        assert code_of(ask(state(), path, headers={"host": host})) == (400, "bad-host")


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        (("127.0.0.1", 1), "localhost"),
        (("127.8.0.1", 1), "LOCALHOST:9090"),
        (("::1", 1), "[::1]:9090"),
        (("::1", 1), "[::1]"),
        (("::ffff:127.0.0.1", 1), "127.0.0.1"),
    ],
)
def test_this_machine(peer, host):
    assert ask(state(), "/status", peer=peer, headers={"host": host})[0] == 200


def test_unix_socket_is_this_machine():
    given = state(unix=True)
    assert ask(given, "/status", peer=None, headers={"host": "anything"})[0] == 200
    assert ask(state(), "/status", peer=None)[0] == 403


@pytest.mark.parametrize(
    "values",
    [
        [],
        [""],
        ["Bearer"],
        ["Bearer "],
        ["Bearer s3cre"],
        ["Bearer s3crett"],
        ["Bearer  s3cret"],
        ["Bearer s3cret "],
        ["Basic s3cret"],
        ["s3cret"],
        ["Bearer s3cret", "Bearer s3cret"],
        ["Bearer s3cret, Bearer s3cret"],
        ["Bearer \xff"],
    ],
)
def test_with_a_token_nothing_else_counts(values):
    headers = [("host", "127.0.0.1"), *(("authorization", value) for value in values)]
    answer = ask(state(token=lambda: "s3cret", unix=True), "/status", headers=headers)
    assert code_of(answer) == (401, "admin-token")
    assert answer[1]["www-authenticate"] == 'Bearer realm="gateway admin"'


@pytest.mark.parametrize("path", PRIVATE)
def test_everything_but_health_is_protected(path):
    assert ask(state(), path, peer=("10.0.0.1", 1))[0] == 403
    assert ask(state(token=lambda: "s3cret"), path)[0] == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_token_from_anywhere(scheme):
    headers = {"host": "gateway.internal", "authorization": f"{scheme} s3cret"}
    given = state(token=lambda: "s3cret")
    assert ask(given, "/status", headers=headers, peer=("10.0.0.1", 1))[0] == 200


def test_token_is_read_for_each_request():
    tokens = ["old"]
    given = state(token=lambda: tokens[-1])
    headers = {**LOCAL, "authorization": "Bearer new"}
    assert ask(given, "/status", headers=headers)[0] == 401
    tokens.append("new")
    assert ask(given, "/status", headers=headers)[0] == 200


async def listening(server):
    await until(
        lambda: all(
            opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            for opened in server.listener.sockets
        )
    )


@live_on("hypercorn")
async def test_over_tcp():
    """The real server tells the peer and the Host as the application expects them."""
    async with served(admin_app(state())) as server:
        await listening(server)
        async with connect(server.port) as client:
            answer = await client.request(target="/status", headers=(("host", "localhost"),))
            assert answer.status == 200
            head = await client.request("HEAD", "/metrics", headers=(("host", "localhost"),))
            assert head.status == 200
            health = await client.request(target="/health/live")
            assert health.json() == {"status": "live"}
            assert (await client.request(target="/status")).code == "admin-local-only"


@live_on("hypercorn")
async def test_over_a_unix_socket(tmp_path):
    path = f"{tmp_path}/admin"
    async with served(admin_app(state(unix=True)), address=f"unix:{path}") as server:
        await listening(server)
        async with connect(path) as client:
            assert (await client.request(target="/status")).status == 200
