"""Requests and configurations for the tests of stages 1, 3 and 4."""

from __future__ import annotations

from typing import Any

from gateway import wire
from gateway.config.model import Config, Route
from gateway.decide.body import read_body
from gateway.decide.inquiry import DocumentRules, Inquiry
from gateway.model import ANONYMOUS, Decision, Facts, Head, Match, Principal, Source, Trail

NOW = 1_790_000_000.0

ALICE = Principal(
    authenticated=True,
    issuer="corp",
    subject="alice",
    scopes=("orders:read", "orders:write"),
    groups=(),
    roles=("reader",),
    claims={"sub": "alice", "roles": ["reader"], "org": {"id": 7}},
    token_header={"alg": "RS256", "kid": "r1"},
    expires_at=1_790_000_300.0,
)


def head(
    target: str | bytes = "/orders/42", *lines: tuple[str | bytes, str | bytes], **changes: Any
) -> Head:
    """A request's head; `lines` are header lines."""
    raw = target if isinstance(target, bytes) else target.encode("latin-1")
    path, _, query = raw.partition(b"?")
    given: dict[str, Any] = {
        "id": "01JTESTID",
        "method": "GET",
        "scheme": "https",
        "authority": b"api.example",
        "raw_path": path,
        "query_string": query,
        "headers": tuple((_bytes(name), _bytes(value)) for name, value in lines),
        "http_version": "1.1",
        "peer": "203.0.113.9",
    }
    return Head(**{**given, **changes})


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")


def route(**changes: Any) -> Route:
    given = {"id": "r", "paths": ["/{rest:path}"], "upstream": "http://127.0.0.1:9000"}
    return Route.model_validate({**given, **changes})


def config(*routes: dict[str, Any], **changes: Any) -> Config:
    """A configuration; each route needs only what differs from one that takes everything."""
    filled = [
        {"id": f"r{index}", "paths": ["/{rest:path}"], "upstream": "http://127.0.0.1:9000", **given}
        for index, given in enumerate(routes or ({},))
    ]
    return Config.model_validate({"routes": filled, **changes})


def match(route_: Route | None = None, **changes: Any) -> Match:
    given: dict[str, Any] = {
        "route": route_ or route(),
        "path": "/orders/42",
        "segments": ("orders", "42"),
        "params": {"id": "42"},
        "host": "api.example",
    }
    return Match(**{**given, **changes})


def source(**changes: Any) -> Source:
    given: dict[str, Any] = {
        "address": "203.0.113.9", "networks": (), "scheme": "https", "trusted": False,
    }  # fmt: skip
    return Source(**{**given, **changes})


def inquiry(
    head_, *, principal=ALICE, body=None, cookie=None, header="authorization", now=NOW, **matched
):
    credentials = {"header": header, **({"cookie": cookie} if cookie else {})}
    made = config(credentials=credentials)
    rules = DocumentRules.build(made, wire.spelled(made.identity_names))
    fields = rules.fields(head_)
    given = match(**matched)
    return Inquiry(
        head=head_,
        fields=fields,
        match=given,
        principal=principal,
        source=source(networks=("office",)),
        body=read_body(head_, fields, Facts(body=body), given, depth=64),
        now=now,
        rules=rules,
    )


def trail(head_: Head) -> Trail:
    return Trail(head=head_, revision="rev")


ALLOWED = Decision(allow=True, result=True)

__all__ = [
    "ALICE", "ALLOWED", "ANONYMOUS", "NOW", "config", "head", "inquiry", "match", "route", "source", "trail",
]  # fmt: skip
