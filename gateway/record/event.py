"""The decision event of one request: OPA's field names, and ours beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from gateway.config.model import POLICY_BUNDLE
from gateway.errors import Code
from gateway.model import Answer, Forward, Refuse
from gateway.record.secrets import is_secret, without_credentials
from gateway.record.text import escape, readable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.config.model import Route
    from gateway.model import Decision, Head, Principal, Taken, Trail

Event = dict[str, Any]
Recorded = Forward | Refuse | Answer

TYPE = "openpolicyagent.org/decision_logs"
"""What OPA marks the lines of its console log with, so that the same collectors take them."""

SHOWN_KEY = 16
"""Digits of a digest in a log: enough to find what belongs together."""

MAX_DETAIL = 1024
"""Most characters of an error's text, before escapes."""

_NO_BUNDLES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """How a planned request went, as the shell measured it.

    `started` is in Unix seconds, `duration` and `timings` in seconds; of the timings `plan` and
    `upstream_first_byte` are metrics too. `upstream_token` is the wait for that. `status` is 0
    where the client left before an answer. `code` and `detail` name a failure after the plan.
    `complete` tells whether the whole answer went out; `upstream` is the address that answered.
    """

    started: float
    duration: float
    status: int
    bytes_in: int = 0
    bytes_out: int = 0
    timings: Mapping[str, float] = field(default_factory=dict)
    code: Code | None = None
    detail: str = ""
    complete: bool = True
    upstream: str = ""


def code_of(outcome: Recorded, exchange: Exchange) -> Code | None:
    """The code that the request ended with; None where nothing was refused and nothing failed."""
    return exchange.code or (outcome.code if isinstance(outcome, Refuse) else None)


def build(
    outcome: Recorded,
    exchange: Exchange,
    *,
    labels: Mapping[str, str],
    bundles: Mapping[str, str] = _NO_BUNDLES,
    entrypoint: str = "",
    is_secret_name: Callable[[str], bool] = is_secret,
) -> Event:
    """The event of a request, before anything is erased; it shares the trail's document.

    `bundles` are the revisions of the bundles that the policy is made of, by name. A request that
    was refused before the policy was asked has no `path` (the entrypoint) and no
    `result`; its `input` holds what was known by then, and `partial` is true.
    """
    trail = outcome.trail
    head, decision, principal = trail.head, trail.decision, trail.principal
    code = code_of(outcome, exchange)
    event: Event = {
        "type": TYPE,
        "decision_id": head.id,
        "timestamp": rfc3339(exchange.started),
        "labels": labels,
        "bundles": {
            POLICY_BUNDLE: {"revision": trail.revision},
            **{name: {"revision": revision} for name, revision in bundles.items()},
        },
        "requested_by": trail.source.address if trail.source else head.peer,
        "method": head.method,
        "target": trail.match.path if trail.match else escape(head.raw_path),
        "status": exchange.status,
        "outcome": _outcome(outcome, exchange),
        "bytes_in": exchange.bytes_in,
        "bytes_out": exchange.bytes_out,
        "metrics": _timers(exchange),
    }
    if trail.source and trail.source.request_id:
        event["req_id"] = trail.source.request_id
    if trail.match:
        event["route"] = trail.match.route.id
        event |= _rollout(trail, trail.match.route)
    if principal and principal.authenticated:
        event["subject"] = principal.subject
        event["issuer"] = principal.issuer
    if trail.session:
        event["session"] = trail.session.id
    if code:
        event["code"] = code.text
    failure = code or trail.unenforced
    if exchange.detail or failure not in (None, Code.POLICY_DENIED):
        detail = exchange.detail or trail.detail
        event["error"] = error_of(failure, detail, trail.head, is_secret_name)
    if decision:
        event |= _decided(decision)
    _add_known(event, trail, exchange)
    if trail.document is None:
        event["partial"] = True
        event["input"] = _known(trail)
    else:
        event["path"] = entrypoint
        event["input"] = trail.document
    return event


def _add_known(event: Event, trail: Trail, exchange: Exchange) -> None:
    if trail.taken:
        event["rate_limits"] = _rate_limits(trail.taken)
    if exchange.upstream:
        event["upstream"] = exchange.upstream
    if not exchange.complete:
        event["incomplete"] = True


def _decided(decision: Decision) -> Event:
    made: Event = {"result": decision.result}
    if decision.reasons:
        made["reasons"] = reasons_of(decision)
    return made


def _rate_limits(taken: tuple[Taken, ...]) -> list[dict[str, Any]]:
    """How each limit stood; whom it counts is a digest."""
    return [
        {
            "limit": one.charge.limit,
            "key": one.charge.key.hex()[:SHOWN_KEY],
            "allowed": one.allowed,
            "remaining": one.remaining,
        }
        for each in taken
        for one in each.standings
    ]


def reasons_of(decision: Decision) -> list[dict[str, str]]:
    """The reasons of a decision as events have them."""
    return [{"code": reason.code, "message": reason.message} for reason in decision.reasons]


def rfc3339(now: float) -> str:
    """Unix seconds as a UTC time with microseconds (RFC 3339 §5.6)."""
    second, micro = divmod(round(now * 1e6), 1_000_000)
    return f"{_second(second)}.{micro:06d}Z"


@lru_cache(maxsize=8)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _outcome(outcome: Recorded, exchange: Exchange) -> str:
    if isinstance(outcome, Forward):
        return "failed" if exchange.code else "forwarded"
    return "refused" if isinstance(outcome, Refuse) else "answered"


def _rollout(trail: Trail, route: Route) -> Event:
    """Whether the canary decided, and what a route that only reports let pass."""
    found: Event = {"canary": True} if trail.canary else {}
    if route.enforcement == "report" and trail.document is not None:
        found["enforced"] = False
    code, decision = trail.unenforced, trail.decision
    if code is not None:
        status = decision.status if decision and code is Code.POLICY_DENIED else code.status
        found["would"] = {"code": code.text, "status": status}
    return found


def error_of(
    code: Code | None, detail: str, head: Head, is_secret_name: Callable[[str], bool]
) -> dict[str, str]:
    """An error as events have it, without the credentials that the request carried."""
    detail = detail or (code.title if code else "")
    # Cut only afterwards: a cut through a credential would leave a piece that is not found.
    detail = without_credentials(detail, head.headers, is_secret_name)[:MAX_DETAIL]
    return {"code": code.text if code else "", "message": readable(detail)}


def _timers(exchange: Exchange) -> dict[str, int]:
    timers = {"timer_server_handler_ns": round(exchange.duration * 1e9)}
    for name, seconds in exchange.timings.items():
        timers[f"timer_{name}_ns"] = round(seconds * 1e9)
    return timers


def _known(trail: Trail) -> dict[str, Any]:
    head, source, match = trail.head, trail.source, trail.match
    known: dict[str, Any] = {
        "request": {
            "id": head.id,
            "method": head.method,
            "scheme": source.scheme if source else head.scheme,
            "host": match.host if match else escape(head.authority),
            "path": match.path if match else escape(head.raw_path),
            "query_string": escape(head.query_string),
        },
        "source": {
            "address": source.address if source else head.peer,
            "networks": source.networks if source else (),
        },
    }
    if match:
        known["route"] = {"id": match.route.id}
    if trail.principal:
        known["identity"] = _identity(trail.principal)
    return known


def _identity(principal: Principal) -> dict[str, Any]:
    return {
        "authenticated": principal.authenticated,
        "subject": principal.subject,
        "issuer": principal.issuer,
    }
