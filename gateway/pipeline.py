"""Stages 1 to 4 as one pure function from a request's head to what is to be done."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from gateway.errors import Code, DecisionError, GatewayError
from gateway.identify.revoked import check as check_denied
from gateway.limit import check_taken, rate_limit_headers
from gateway.model import (
    Answer,
    Decision,
    Facts,
    Forward,
    Head,
    Missing,
    Outcome,
    Refuse,
    Trail,
)
from gateway.record.encode import encode
from gateway.route.pieces import check_pieces
from gateway.route.websocket import check_websocket
from gateway.session.cookies import NO_COOKIES
from gateway.wire import beside, is_cors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.decide import Decider
    from gateway.model import Headers, Match, Taken
    from gateway.record.event import Recorded
    from gateway.snapshot import Snapshot

log = logging.getLogger("gateway.pipeline")

NO_FACTS = Facts()
UNENFORCED = Decision(allow=True)
"""What counts instead of a refusal that is only reported: nothing of it is sent on."""

CHALLENGES = {
    # RFC 6750 §3.1: no error code where no credential was sent.
    Code.TOKEN_MISSING: b"Bearer",
    Code.LOGIN_REQUIRED: b"Bearer",
    Code.CREDENTIAL_AMBIGUOUS: b'Bearer error="invalid_request"',
    Code.CREDENTIAL_MALFORMED: b'Bearer error="invalid_request"',
}
INVALID_TOKEN = b'Bearer error="invalid_token"'

PROBLEM = (b"content-type", b"application/problem+json")
NOT_STORED = (b"cache-control", b"no-store")


def plan(head: Head, facts: Facts, snapshot: Snapshot, now: float) -> Outcome:
    """What to do with a request: forward, refuse or answer it, or what is needed first.

    Pure: no I/O and no clock; `now` is in Unix seconds. Never raises.
    """
    found: dict[str, Any] = {"revision": snapshot.revision, "now": now}
    try:
        source = found["source"] = snapshot.origins.read(head)
        check_pieces(head)
        sessions = snapshot.sessions
        head, cookies = sessions.separate(head) if sessions else (head, NO_COOKIES)
        preflight = snapshot.cors.preflight(head, snapshot.routes)
        if preflight is not None:
            found["match"] = preflight.match
            trail = Trail(head=head, **found)
            return Answer(status=204, headers=preflight.headers, body=b"", trail=trail)
        match = found["match"] = snapshot.routes.match(head)
        check_websocket(head, match.route)
        if facts.admitted is not None:
            found["taken"] = (facts.admitted,)
        snapshot.limiter.admit(head, match, source, facts)
        session = sessions.read(head, match, source, cookies, facts) if sessions else None
        if session is not None:
            found["session"] = session
        principal = snapshot.identifier.identify(
            head, match, facts, snapshot.keyrings, now, session
        )
        check_denied(principal, snapshot.denied, now, session)
        found["principal"] = principal
        document = found["document"] = snapshot.decider.document(
            head, match, principal, source, facts, now
        )
        decider, canary = snapshot.decider, snapshot.canary
        if canary is not None and canary.takes(principal):
            decider, found["revision"], found["canary"] = canary.decider, canary.revision, True
        decision = _decide(decider, document, match, now, found)
        try:
            found["charges"] = snapshot.limiter.charges(head, match, source, principal, decision)
        except DecisionError as error:  # the policy chose a limit that there is not
            decision = _let_pass(error, match, found)
            found["charges"] = snapshot.limiter.charges(head, match, source, principal, decision)
        # Made once, at the end: a copy after each stage cost a quarter of the plan.
        trail = Trail(head=head, **found)
        if not decision.allow:
            return refuse_decision(decision, trail, snapshot)
        cors = snapshot.cors.response_headers(head, match.route)
        return snapshot.forwarder.forward(
            head,
            match,
            principal,
            decision,
            source,
            trail=trail,
            cors=cors,
            now=now,
            session=session,
        )
    except Missing as missing:
        return replace(missing.need, trail=Trail(head=head, **found))
    except GatewayError as error:
        trail = Trail(head=head, **found)
        login = snapshot.sessions.to_login(error, trail) if snapshot.sessions else None
        return login or refuse(error, trail, snapshot)
    except Exception as error:  # a fault of ours refuses, whatever it is
        log.exception("a request could not be planned")
        fault = GatewayError(Code.INTERNAL_ERROR, f"{type(error).__name__}: {error}")
        return refuse(fault, Trail(head=head, **found), snapshot)


def settled(outcome: Recorded, taken: Taken | None, snapshot: Snapshot) -> Recorded:
    """The outcome after its charges, `taken`, or the refusal where they were not; never raises.

    None where it had none. The answer tells how the limits stand.
    """
    trail = outcome.trail
    if taken is not None:
        trail = replace(trail, charges=(), taken=(*trail.taken, taken))
        try:
            check_taken(taken)
        except GatewayError as error:
            return refuse(error, trail, snapshot)
    elif isinstance(outcome, Refuse) and outcome.code is Code.RATE_LIMITED:
        return outcome  # it tells that already
    standings = [standing for each in trail.taken for standing in each.standings]
    shown = rate_limit_headers(standings) if standings else ()
    if isinstance(outcome, Forward):
        return replace(outcome, trail=trail, response_headers=(*outcome.response_headers, *shown))
    return replace(outcome, trail=trail, headers=(*outcome.headers, *shown))


def _decide(
    decider: Decider, document: Mapping[str, Any], match: Match, now: float, found: dict[str, Any]
) -> Decision:
    """The decision that counts, which is an allow where the route only reports the policy's."""
    try:
        decision = found["decision"] = decider.decide(document, match, now)
    except DecisionError as error:
        return _let_pass(error, match, found)
    if decision.allow or match.route.enforcement == "enforce":
        return decision
    found["unenforced"] = decision.code
    return UNENFORCED


def _let_pass(error: DecisionError, match: Match, found: dict[str, Any]) -> Decision:
    """What counts where the route only reports; raises the error where it does not."""
    if match.route.enforcement == "enforce":
        raise error
    found["unenforced"], found["detail"] = error.code, error.detail
    return UNENFORCED


def refuse(error: GatewayError, trail: Trail, snapshot: Snapshot) -> Refuse:
    """The refusal for an error: a problem document (RFC 9457) with code and decision id."""
    code = error.code
    headers: list[tuple[bytes, bytes]] = [PROBLEM]
    if code.status == 401 or code in CHALLENGES:
        headers.append((b"www-authenticate", CHALLENGES.get(code, INVALID_TOKEN)))
    headers += ((name.encode(), value.encode()) for name, value in error.headers)
    return Refuse(
        code=code,
        status=code.status,
        headers=_completed(headers, trail, snapshot),
        body=orjson.dumps(problem(code, code.status, trail)),
        trail=replace(trail, detail=error.detail),
    )


def refuse_decision(decision: Decision, trail: Trail, snapshot: Snapshot) -> Refuse:
    """The refusal that a policy decided on: its own body, or a problem document."""
    assert decision.code is not None
    status = decision.status if decision.code is Code.POLICY_DENIED else decision.code.status
    headers = [(name.encode(), value.encode()) for name, value in decision.response_headers]
    given = {name for name, _ in headers}
    media_type, body = _refusal_body(decision, status, trail)
    if b"content-type" not in given:
        headers.append((b"content-type", media_type))
    if status == 401 and b"www-authenticate" not in given:
        headers.append((b"www-authenticate", b"Bearer"))  # RFC 9110 §15.5.2
    if decision.has_body and b"x-content-type-options" not in given:
        headers.append((b"x-content-type-options", b"nosniff"))  # it may show what a client sent
    return Refuse(
        code=decision.code,
        status=status,
        headers=_completed(headers, trail, snapshot),
        body=body,
        trail=trail,
    )


def _refusal_body(decision: Decision, status: int, trail: Trail) -> tuple[bytes, bytes]:
    """The media type and the content of a policy's refusal."""
    assert decision.code is not None
    assert trail.match is not None
    if decision.has_body and decision.text:
        return b"text/plain; charset=utf-8", decision.body.encode("utf-8", "replace")
    if decision.has_body:
        return b"application/json", encode(decision.body)
    document = problem(decision.code, status, trail)
    if trail.match.route.show_reasons:
        document["reasons"] = [
            {"code": reason.code, "message": reason.message} for reason in decision.reasons
        ]
    return PROBLEM[1], encode(document)


def problem(code: Code, status: int, trail: Trail) -> dict[str, Any]:
    """The members of a problem document; nothing that the client sent is in it."""
    return {
        "type": "about:blank",
        "title": code.title,
        "status": status,
        "code": code.text,
        "decision_id": trail.head.id,
    }


def _completed(headers: list[tuple[bytes, bytes]], trail: Trail, snapshot: Snapshot) -> Headers:
    route = trail.match.route if trail.match else None
    cors = snapshot.cors.response_headers(trail.head, route)
    decision_id = (b"x-decision-id", trail.head.id.encode())
    # What a policy says beside what the gateway says would be two answers to one question.
    kept = [
        line for line in headers if line[0] != NOT_STORED[0] and (cors is None or not is_cors(line))
    ]
    return (*kept, NOT_STORED, decision_id, *beside(tuple(kept), cors or ()))
