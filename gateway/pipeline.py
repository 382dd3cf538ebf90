"""Stages 1 to 4 as one pure function from a request's head to what is to be done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from gateway.decide import decide
from gateway.errors import Code, ForwardError, GatewayError
from gateway.model import (
    Answer,
    Decision,
    Facts,
    Forward,
    Head,
    Headers,
    Match,
    Missing,
    Need,
    Outcome,
    Principal,
    Refuse,
    Source,
    Trail,
)
from gateway.route import cors
from gateway.snapshot import Snapshot

NO_FACTS = Facts()

CHALLENGES = {
    # RFC 6750 §3: no error code where no credential was sent.
    Code.TOKEN_MISSING: "Bearer",
    Code.CREDENTIAL_AMBIGUOUS: 'Bearer error="invalid_request"',
    Code.CREDENTIAL_MALFORMED: 'Bearer error="invalid_request"',
}


def plan(head: Head, facts: Facts, snapshot: Snapshot, now: float) -> Outcome:
    """What to do with a request: forward, refuse or answer it, or what is needed first.

    Pure: no I/O and no clock; `now` is in Unix seconds. Never raises.
    """
    source: Source | None = None
    match: Match | None = None
    principal: Principal | None = None
    document: Mapping[str, Any] | None = None
    decision: Decision | None = None
    try:
        source = snapshot.sources.read(head)
        preflight = snapshot.cors.preflight(head)
        if preflight is not None:
            trail = Trail(head=head, revision=snapshot.revision, source=source)
            return Answer(status=204, headers=preflight, body=b"", trail=trail)
        match = snapshot.routes.match(head)
        principal = snapshot.identifier.identify(head, match, facts, snapshot.keyrings, now)
        ...
    except Missing as missing:
        return missing.need
    except GatewayError as error:
        return refuse(error, ...)
