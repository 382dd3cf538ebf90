"""The admin listener: health, status, metrics, recent decisions, effective configuration."""

from __future__ import annotations

import hmac
import ipaddress
import logging
from dataclasses import asdict, dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from prometheus_client import ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from quart import Quart, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from gateway.config.model import is_loopback_host
from gateway.config.walk import BESIDE
from gateway.errors import Code, GatewayError
from gateway.record.encode import encode
from gateway.record.event import rfc3339
from gateway.record.metrics import Gauges, UpstreamGauges, expose
from gateway.serve.actions import Actions
from gateway.serve.edge import with_host
from gateway.serve.revocation.admin import PATH, MalformedEntryError, RevokedTokens
from gateway.serve.rollout import UnfitError, as_dict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.errors import Problem
    from gateway.serve.revisions import Pin
    from gateway.serve.revocation import RevocationService, SourceStatus
    from gateway.serve.rollout import Rollout
    from gateway.serve.workers import Workers, WorkerStatus

log = logging.getLogger("gateway.admin")

JSON = "application/json"
PROBLEM = "application/problem+json"
MAX_ENTRY = 16384
"""Largest body; only an entry of the deny list is read."""
MAX_DECISIONS = 1000
DEFAULT_DECISIONS = 50

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
FORWARDED = ("forwarded", "via", "x-real-ip", "x-forwarded")
"""What the names of the headers begin with that proxies add."""

PROCESS = ProcessCollector(registry=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """The policies on disk while others are pinned: what they would serve as, or their problems."""

    revision: str = ""
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadStatus:
    """The active revision and what became of the last reload; times are Unix seconds.

    `problems` are those of the last failure; empty once a reload succeeded. `last_good` tells
    that the gateway started with the set kept on disk. `pending` is None unless what is on disk
    differs from the pinned policies.
    """

    revision: str
    last_success: float | None
    last_failure: float | None = None
    problems: tuple[Problem, ...] = ()
    restart_required: tuple[str, ...] = ()
    last_good: bool = False
    pin: Pin | None = None
    pending: Pending | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerStatus:
    """An issuer's keys; `fetched_at` in Unix seconds, None where they never arrived."""

    loaded: bool
    keys: int
    revision: str = ""
    fetched_at: float | None = None
    last_error: str = ""
    problems: tuple[str, ...] = ()
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleStatus:
    """A bundle: where it comes from, the revision that its manifest names, its entity tag.

    `remote` tells that it comes from a URL. `checked_at` is when its source last confirmed it, in
    Unix seconds; None where it never did.
    """

    source: str
    revision: str
    remote: bool
    etag: str = ""
    checked_at: float | None = None
    last_error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminState:
    """What the listener shows, read anew for every request.

    `ready` names what is missing until requests can be decided. `token` is the bearer token or
    None; `unix` tells that the listener is a Unix socket, whose file permissions decide who may
    connect. `beside` are the canary and the shadow, by name. `actions` tells whether `rollout`
    takes acts. `config` is the effective configuration with its secrets masked. Of the `workers`
    are metrics, decisions and what the shadow found.
    """

    version: str
    started: float
    clock: Callable[[], float]
    token: Callable[[], str | None]
    ready: Callable[[], Sequence[str]]
    reload: Callable[[], ReloadStatus]
    issuers: Callable[[], Mapping[str, IssuerStatus]]
    gauges: Callable[[], Gauges]
    config: Callable[[], Mapping[str, Any]]
    workers: Workers
    rollout: Rollout
    revocation: RevocationService
    beside: Callable[[], Mapping[str, Any]]
    actions: Callable[[], bool]
    bundles: Callable[[], Mapping[str, BundleStatus]] = dict
    unix: bool = False


class Pages:
    """The endpoints."""

    def __init__(self, state: AdminState) -> None:
        self.state = state

    def views(self) -> dict[str, Callable[..., Awaitable[Response]]]:
        """The views by path; the path is the endpoint's name too."""
        return {
            "/health/live": self.live,
            "/health/ready": self.ready,
            "/status": self.status,
            "/metrics": self.metrics,
            "/decisions": self.decisions,
            "/decisions/<decision_id>": self.decision,
            "/policy/shadow": self.shadow,
            "/config": self.config,
        }

    async def live(self) -> Response:
        """Whether the process serves."""
        return _json({"status": "live"})

    async def ready(self) -> Response:
        """Whether requests can be decided; 503 with what is missing."""
        missing = list(self.state.ready())
        return _json({"ready": not missing, "reasons": missing}, 503 if missing else 200)

    async def status(self) -> Response:
        """Revision, reloads, workers, issuers, bundles, upstreams, logs."""
        await self.state.workers.refresh()
        return _json(status_document(self.state))

    async def metrics(self) -> Response:
        """Prometheus' text format."""
        state = self.state
        await state.workers.refresh()
        families = state.workers.metrics.families(state.gauges(), state.clock())
        text = expose(chain(families, PROCESS.collect()))
        return Response(text, content_type=CONTENT_TYPE_LATEST)

    async def decisions(self) -> Response:
        """The newest decision events, newest first; `limit` is 50 by default, at most 1,000."""
        lines = await self.state.workers.recent(_limit(request.args.getlist("limit")))
        return Response(b'{"decisions":[' + b",".join(lines) + b"]}\n", content_type=JSON)

    async def decision(self, decision_id: str) -> Response:
        """One recent decision event."""
        line = await self.state.workers.find(decision_id)
        if line is None:
            raise GatewayError(Code.DECISION_UNKNOWN)
        return Response(line + b"\n", content_type=JSON)

    async def shadow(self) -> Response:
        """What became of the shadow's decisions; `report` is null without one that works."""
        report = await self.state.workers.shadow()
        return _json({"report": report, "status": self.state.beside().get("shadow")})

    async def config(self) -> Response:
        """The effective configuration, masked."""
        return _json(self.state.config())


OPEN = frozenset({"/health/live", "/health/ready"})


def admin_app(state: AdminState) -> Quart:
    """The admin application.

    Without a token only this machine is answered: a loopback peer that names a loopback Host
    (a page that rebinds its own name to 127.0.0.1 does not) and was not forwarded.
    """
    app = Quart("gateway.admin", static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.config["MAX_CONTENT_LENGTH"] = MAX_ENTRY
    app.url_map.merge_slashes = False
    actions = Actions(state.rollout, state.actions, lambda: policy_document(state.reload()))
    tokens = RevokedTokens(state.revocation)
    views = Pages(state).views() | {"/policy/history": actions.history, PATH: tokens.shown}
    for path, view in views.items():
        app.add_url_rule(path, path, view, methods=["GET"])
    acts = _add_acts(app, actions.acts(), tokens.acts())

    @app.before_request
    async def authorise() -> None:
        if request.endpoint in OPEN:
            return
        try:
            check_access(state.token(), unix=state.unix)
            if request.endpoint in acts:
                actions.check(state.token())
        except GatewayError as error:
            if request.endpoint in acts:
                actions.refused(error)
            raise

    @app.after_request
    async def protect(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response

    @app.errorhandler(Exception)
    async def refuse(error: Exception) -> Response:
        return problem(error)

    # Flask's way to put something in front, which its types do not know.
    app.asgi_app = with_host(app.asgi_app)  # type: ignore[assignment, method-assign, arg-type]
    return app


def _add_acts(
    app: Quart,
    posted: Mapping[str, Callable[..., Awaitable[Response]]],
    on_tokens: Mapping[str, Callable[..., Awaitable[Response]]],
) -> frozenset[str]:
    """Add what changes something, by path and by method; the endpoints' names."""
    for path, view in posted.items():
        app.add_url_rule(path, path, view, methods=["POST"])
    for method, view in on_tokens.items():
        app.add_url_rule(PATH, f"{method} {PATH}", view, methods=[method])
    return frozenset([*posted, *(f"{method} {PATH}" for method in on_tokens)])


def check_access(token: str | None, *, unix: bool) -> None:
    """Let the current request pass, or raise GatewayError."""
    if token is not None:
        if not _bears(request.headers.getlist("authorization"), token):
            challenge = ("www-authenticate", 'Bearer realm="gateway admin"')
            raise GatewayError(Code.ADMIN_TOKEN, headers=(challenge,))
    elif not unix and not _is_local():
        raise GatewayError(Code.ADMIN_LOCAL_ONLY)


def status_document(state: AdminState) -> dict[str, Any]:
    """What /status shows."""
    now = state.clock()
    reload = state.reload()
    gauges = state.gauges()
    missing = list(state.ready())
    return {
        "version": state.version,
        "started": rfc3339(state.started),
        "uptime": round(max(0.0, now - state.started), 3),
        "ready": not missing,
        "reasons": missing,
        **policy_document(reload),
        **{name: state.beside().get(name) for name in BESIDE},
        "last_success": _time(reload.last_success),
        "last_good": reload.last_good,
        "restart_required": list(reload.restart_required),
        "workers": [_worker(worker) for worker in state.workers.status()],
        "actions": [as_dict(act) for act in state.rollout.acts],
        "unenforced": [name for name, is_on in gauges.enforced.items() if not is_on],
        "issuers": {name: _issuer(issuer, now) for name, issuer in state.issuers().items()},
        "rate_limits": {
            "storage": gauges.rate_limits.storage,
            "error": gauges.rate_limits.error or None,
            "evicted": gauges.rate_limits.evicted,
        },
        "sessions": {
            "storage": gauges.sessions.storage,
            "sessions": gauges.sessions.sessions,
            "error": gauges.sessions.error or None,
            "evicted": gauges.sessions.evicted,
            "logins": {
                name: {"error": error or None} for name, error in gauges.sessions.providers.items()
            },
        },
        "token_endpoints": {
            name: {"error": each.error or None, "tokens": each.tokens}
            for name, each in gauges.tokens.items()
        },
        "introspection": {
            name: {"answers": each.answers, "waiting": each.waiting, "error": each.error or None}
            for name, each in gauges.introspection.items()
        },
        "revocation": {name: _source(source) for name, source in state.revocation.status().items()},
        "upstreams": {name: _upstream(each) for name, each in gauges.upstreams.items()},
        "bundles": {name: _bundle(bundle) for name, bundle in state.bundles().items()},
        "log": {
            name: {"written": sink.written, "dropped": sink.dropped, "errors": sink.errors}
            for name, sink in gauges.sinks.items()
        },
    }


def policy_document(reload: ReloadStatus) -> dict[str, Any]:
    """Which policies serve, why, and what is wrong."""
    return {
        "revision": reload.revision,
        "pinned": _pin(reload.pin),
        "pending": _pending(reload.pending),
        "last_error": _failure(reload),
    }


def problem(error: Exception) -> Response:
    """The problem document (RFC 9457) of an exception."""
    headers: dict[str, str] = {}
    more: dict[str, Any] = {}
    match error:
        case GatewayError():
            code = error.code
            headers = dict(error.headers)
            if isinstance(error, UnfitError | MalformedEntryError):
                more = {"problems": problems_as_json(error.problems)}
        case MethodNotAllowed():
            code = Code.METHOD_NOT_ALLOWED
            headers = {"allow": ", ".join(sorted(error.valid_methods or ()))}
        case NotFound():
            code = Code.ROUTE_UNKNOWN
        case HTTPException(code=int() as status) if status < 500:
            code = Code.BAD_FRAMING
        case _:
            log.error("admin request failed", exc_info=error)
            code = Code.INTERNAL_ERROR
    said = {"status": code.status, "code": code.text, "title": code.title}
    made = _json(said | more, code.status)
    made.headers.update({"content-type": PROBLEM, **headers})
    return made


def _bears(values: list[str], token: str) -> bool:
    if len(values) != 1:
        return False
    scheme, _, given = values[0].partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(
        given.encode("utf-8", "surrogateescape"), token.encode()
    )


def _is_local() -> bool:
    peer = request.scope.get("client")
    return (
        peer is not None
        and _is_loopback_address(peer[0])
        and is_loopback_host(_host_name(request.headers.getlist("host")))
        and not any(name.lower().startswith(FORWARDED) for name, _ in request.headers)
    )


def _is_loopback_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _host_name(values: list[str]) -> str:
    """The Host without its port, an IPv6 address without brackets; empty if it is not one Host."""
    if len(values) != 1:
        return ""
    host = values[0].lower()
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        valid = bracket and (not port or (port[0] == ":" and port[1:].isdigit()))
        return name if valid else ""
    name, colon, port = host.partition(":")
    return name if not colon or port.isdigit() else ""


def _limit(values: list[str]) -> int:
    if not values:
        return DEFAULT_DECISIONS
    text = values[0]
    if len(values) > 1 or not text.isascii() or not text.isdigit() or len(text) > 9:
        raise GatewayError(Code.BAD_QUERY, "limit is not a number")
    return min(int(text), MAX_DECISIONS)


def _issuer(issuer: IssuerStatus, now: float) -> dict[str, Any]:
    return {
        "loaded": issuer.loaded,
        "required": issuer.required,
        "keys": issuer.keys,
        "revision": issuer.revision,
        "age": None if issuer.fetched_at is None else round(max(0.0, now - issuer.fetched_at), 3),
        "last_error": issuer.last_error or None,
        "problems": issuer.problems,
    }


def _upstream(upstream: UpstreamGauges) -> dict[str, Any]:
    return {
        "targets": {
            url: {
                "addresses": {
                    address: {name: getattr(found, name) for name in type(found).__slots__}
                    for address, found in target.addresses.items()
                },
                "ejections": target.ejections,
                "last_error": target.error or None,
            }
            for url, target in upstream.targets.items()
        },
        "retries": upstream.retries,
        "retries_over_budget": upstream.over_budget,
    }


def _source(source: SourceStatus) -> dict[str, Any]:
    return {
        "entries": source.entries,
        "confirmed": _time(source.confirmed_at),
        "stale": source.stale,
        "last_error": source.last_error or None,
        "problems": problems_as_json(source.problems),
    }


def _bundle(bundle: BundleStatus) -> dict[str, Any]:
    return {
        "source": bundle.source,
        "revision": bundle.revision,
        "etag": bundle.etag or None,
        "last_success": _time(bundle.checked_at),
        "last_error": bundle.last_error or None,
    }


def _worker(worker: WorkerStatus) -> dict[str, Any]:
    return {**asdict(worker), "started": rfc3339(worker.started)}


def _failure(reload: ReloadStatus) -> dict[str, Any] | None:
    if not reload.problems:
        return None
    return {
        "at": _time(reload.last_failure),
        "problems": problems_as_json(reload.problems),
    }


def _pin(pin: Pin | None) -> dict[str, Any] | None:
    if pin is None:
        return None
    return {"revision": pin.revision, "since": _time(pin.since), "by": pin.by}


def _pending(pending: Pending | None) -> dict[str, Any] | None:
    if pending is None:
        return None
    return {"revision": pending.revision or None, "problems": problems_as_json(pending.problems)}


def problems_as_json(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """Problems as /status has them."""
    return [{name: getattr(found, name) for name in type(found).__slots__} for found in problems]


def _time(at: float | None) -> str | None:
    return None if at is None else rfc3339(at)


def _json(value: Mapping[str, Any], status: int = 200) -> Response:
    return Response(encode(value) + b"\n", status, content_type=JSON)
