"""Finished requests for the tests of the record stage."""

from __future__ import annotations

from typing import Any

from gateway.config.model import Config
from gateway.errors import Code
from gateway.model import Decision, Forward, Head, Match, Principal, Reason, Refuse, Source, Trail
from gateway.record.event import Exchange

CONFIG = Config.model_validate(
    {
        "routes": [
            {"id": dialect, "paths": [f"/{dialect}"], "upstream": "http://u", "dialect": dialect}
            for dialect in ("native", "envoy", "kong", "apisix")
        ]
    }
)
ROUTES = {route.id: route for route in CONFIG.routes}
STARTED = 1_790_000_000.25


def head(**changes: Any) -> Head:
    given = {
        "id": "d-1",
        "method": "GET",
        "scheme": "https",
        "authority": b"api.example",
        "raw_path": b"/orders/42",
        "query_string": b"page=2",
        "headers": ((b"accept", b"*/*"),),
        "http_version": "1.1",
        "peer": "10.0.0.7",
    }
    return Head(**{**given, **changes})


def document(**request: Any) -> dict[str, Any]:
    """A native input document; `request` changes members of its `request`."""
    return {
        "request": {
            "id": "d-1",
            "method": "GET",
            "scheme": "https",
            "host": "api.example",
            "path": "/orders/42",
            "segments": ["orders", "42"],
            "query": {"page": ["2"]},
            "query_string": "page=2",
            "headers": {"accept": "*/*"},
            "cookies": {},
            "body": None,
            "size": 0,
            **request,
        },
        "claims": {"sub": "alice", "email": "alice@corp.example"},
        "identity": {"authenticated": True, "subject": "alice", "issuer": "corp"},
    }


def trail(**changes: Any) -> Trail:
    dialect = changes.pop("dialect", "native")
    given = {
        "head": head(),
        "revision": "r1",
        "source": Source(address="10.0.0.7", networks=("office",), scheme="https", trusted=False),
        "match": Match(
            route=ROUTES[dialect],
            path="/orders/42",
            segments=("orders", "42"),
            params={},
            host="api.example",
        ),
        "principal": Principal(authenticated=True, issuer="corp", subject="alice"),
        "document": document(),
        "decision": Decision(
            allow=True, result={"allow": True}, reasons=(Reason(code="reader", message="may"),)
        ),
    }
    return Trail(**{**given, **changes})


def forward(**changes: Any) -> Forward:
    return Forward(
        upstream=None,  # type: ignore[arg-type]  the record stage does not read it
        method="GET",
        target=b"/orders/42",
        headers=(),
        response_headers=(),
        max_body=0,
        expires_at=None,
        trail=trail(**changes),
    )


def refuse(code: Code, **changes: Any) -> Refuse:
    return Refuse(code=code, status=code.status, headers=(), body=b"", trail=trail(**changes))


def early(code: Code, **changes: Any) -> Refuse:
    """A refusal before there was a route."""
    bare = {"source": None, "match": None, "principal": None, "document": None, "decision": None}
    return refuse(code, **{**bare, **changes})


def exchange(**changes: Any) -> Exchange:
    given = {"started": STARTED, "duration": 0.0125, "status": 200, "bytes_out": 7}
    return Exchange(**{**given, **changes})
