"""Counters for Prometheus: plain numbers on the request path, metric families at the scrape.

Written from one thread. Every label is bounded: routes and issuers come from the configuration,
codes from the code, methods from a list, reasons up to a limit.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from prometheus_client import generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

if TYPE_CHECKING:
    from gateway.errors import Code
    from gateway.model import Taken, Trail
    from gateway.record.event import Exchange

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_ROUTE = "none"
OK = "ok"
OTHER = "other"
ANONYMOUS = "anonymous"
MAX_REASONS = 256

BOUNDS = (
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Upper bounds of the histograms, in seconds."""

_REASON = re.compile(r"[A-Za-z0-9_.:/-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyGauges:
    """An issuer's keys at the scrape.

    `age` in seconds; None where none ever arrived, and where they come from a file, whose age
    is no fault.
    """

    keys: int
    age: float | None
    fresh: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressGauges:
    """The connections to one address, and the requests that wait for one.

    `state` is `healthy`, `ejected` or `probing`; `leaving` where the name leads there no more.
    """

    in_use: int
    idle: int = 0
    waiting: int = 0
    state: Literal["healthy", "ejected", "probing", "leaving"] = "healthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetGauges:
    """The addresses of one target, and how often they were ejected since the pool was made.

    `error` tells why its name could not be resolved the last time.
    """

    addresses: Mapping[str, AddressGauges]
    ejections: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamGauges:
    """An upstream's targets by URL, and its retries by reason since the pool was made."""

    targets: Mapping[str, TargetGauges]
    retries: Mapping[str, int] = field(default_factory=dict)
    over_budget: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleGauges:
    """A bundle at the scrape: the revision that its manifest names, and whether it is current.

    `age` is the time since its URL last confirmed it, in seconds; None where it never did, and
    for a bundle on disk.
    """

    revision: str
    age: float | None = None
    fresh: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkCounts:
    """What a log sink did since the start; `queued` is now. All but `errors` are in lines."""

    written: int
    dropped: int
    errors: int
    queued: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitGauges:
    """Where rate limits are counted; `error` is what the last answer failed with, or empty.

    `evicted` keys were forgotten before their time because memory was full.
    """

    storage: str
    error: str = ""
    evicted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionGauges:
    """How the store of sessions does; `error` is what the last answer failed with, or empty.

    `sessions` is None where it cannot tell. `evicted` were ended because memory was full.
    `providers` are the faults of the logins' providers, empty for none, by login.
    """

    storage: str
    sessions: int | None = None
    evicted: int = 0
    error: str = ""
    providers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenGauges:
    """A token endpoint: what its last call failed with, or empty, and the tokens that are kept."""

    error: str = ""
    tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class IntrospectionGauges:
    """How an issuer is asked about tokens: answers at hand, and tokens that wait for one.

    `error` is what the last call failed with, or empty.
    """

    answers: int = 0
    waiting: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationGauges:
    """A source of deny lists: its entries, the seconds since it confirmed them, whether it does.

    The age is None where it never did, and for lists on disk, whose age is no fault.
    """

    entries: int
    age: float | None
    fresh: bool
    stale: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """What is read at the scrape instead of counted; times are Unix seconds.

    `pinned` and `pending` are about the policies that serve, and those on disk that may not.
    `beside` are the revisions of the canary and the shadow, empty for a broken one. `enforced`
    tells of each route whether what its policy refuses is refused.
    """

    version: str
    started: float
    revision: str = ""
    reloaded_at: float | None = None
    reload_ok: bool = True
    bundles: Mapping[str, BundleGauges] = field(default_factory=dict)
    pinned: bool = False
    pending: bool = False
    beside: Mapping[str, str] = field(default_factory=dict)
    shadow_queued: int = 0
    enforced: Mapping[str, bool] = field(default_factory=dict)
    issuers: Mapping[str, KeyGauges] = field(default_factory=dict)
    upstreams: Mapping[str, UpstreamGauges] = field(default_factory=dict)
    sinks: Mapping[str, SinkCounts] = field(default_factory=dict)
    rate_limits: RateLimitGauges = field(default_factory=lambda: RateLimitGauges(storage="memory"))
    sessions: SessionGauges = field(default_factory=lambda: SessionGauges(storage="memory"))
    tokens: Mapping[str, TokenGauges] = field(default_factory=dict)
    introspection: Mapping[str, IntrospectionGauges] = field(default_factory=dict)
    revocation: Mapping[str, RevocationGauges] = field(default_factory=dict)


class Histogram:
    """Observations in the buckets of `BOUNDS`, and their sum."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value, in seconds."""
        self.counts[bisect_left(BOUNDS, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """The cumulative counts by upper bound."""
        made = []
        running = 0
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self.counts, strict=True):
            running += count
            made.append((bound, float(running)))
        return made


class Timings:
    """The histograms of one route."""

    __slots__ = ("plan", "total", "upstream")

    def __init__(self) -> None:
        self.total = Histogram()
        self.plan = Histogram()
        self.upstream = Histogram()


class Metrics:
    """Everything that is counted; `in_flight` is kept by the shell."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.requests: dict[tuple[str, str, str, int], int] = {}
        self.principals: dict[str, int] = {}
        self.reasons: dict[str, int] = {}
        self.unenforced: dict[tuple[str, str], int] = {}
        self.canary: dict[tuple[str, str], int] = {}
        self.shadow: dict[tuple[str, str], int] = {}
        self.shadow_cpu = 0.0
        self.timings: dict[str, Timings] = {}
        self.below: dict[str, int] = {}
        self.charges: dict[tuple[str, str], int] = {}
        self.logins: dict[tuple[str, str], int] = {}
        self.renewals: dict[tuple[str, str], int] = {}
        self.tokens: dict[tuple[str, str], int] = {}
        self.token_calls: dict[tuple[str, str], int] = {}
        self.introspections: dict[tuple[str, str], int] = {}
        self.reloads = {"success": 0, "failure": 0}

    def request(self, trail: Trail, exchange: Exchange, code: Code | None) -> None:
        """Count a request that has ended."""
        route = trail.match.route.id if trail.match else NO_ROUTE
        method = trail.head.method
        key = (
            route,
            method if method in METHODS else OTHER,
            code.text if code else OK,
            exchange.status // 100,
        )
        self.requests[key] = self.requests.get(key, 0) + 1
        timings = self.timings.get(route)
        if timings is None:
            timings = self.timings[route] = Timings()
        timings.total.observe(exchange.duration)
        measured = exchange.timings
        if "plan" in measured:
            timings.plan.observe(measured["plan"])
        if "upstream_first_byte" in measured:
            timings.upstream.observe(measured["upstream_first_byte"])
        if trail.principal:
            issuer = trail.principal.issuer or ANONYMOUS
            self.principals[issuer] = self.principals.get(issuer, 0) + 1
        if trail.canary:
            _add(self.canary, (route, code.text if code else OK))
        if trail.unenforced:
            _add(self.unenforced, (route, trail.unenforced.text))
        for taken in trail.taken:
            self._taken(taken)
        if trail.decision:
            for reason in trail.decision.reasons:
                self.reason(reason.code)

    def refused_below(self, code: Code) -> None:
        """Count what the server refused before there was a request to record."""
        self.below[code.text] = self.below.get(code.text, 0) + 1

    def token_requested(self, endpoint: str, outcome: str) -> None:
        """Count a request that needed a token for its upstream."""
        _add(self.tokens, (endpoint, outcome))

    def token_called(self, endpoint: str, outcome: str) -> None:
        """Count a call to a token endpoint."""
        _add(self.token_calls, (endpoint, outcome))

    def shadowed(self, route: str, outcome: str) -> None:
        """Count what became of a request's shadow decision."""
        _add(self.shadow, (route, outcome))

    def login_ended(self, login: str, outcome: str) -> None:
        """Count what became of a login, or that somebody logged out."""
        _add(self.logins, (login, outcome))

    def renewed(self, login: str, outcome: str) -> None:
        """Count what became of a session's renewal."""
        _add(self.renewals, (login, outcome))

    def introspected(self, issuer: str, outcome: str) -> None:
        """Count what came of asking an issuer about a token."""
        _add(self.introspections, (issuer, outcome))

    def reloaded(self, *, success: bool) -> None:
        """Count a reload."""
        self.reloads["success" if success else "failure"] += 1

    def families(self, gauges: Gauges, now: float) -> Iterator[Metric]:
        """The metric families at a scrape; `now` in Unix seconds."""
        for name, (text, labels, read) in COUNTERS.items():
            counter = CounterMetricFamily(name, text, labels=labels)
            for values, count in read(self, gauges):
                counter.add_metric(values, count)
            yield counter
        for name, (text, pick) in HISTOGRAMS.items():
            histogram = HistogramMetricFamily(name, text, labels=("route",))
            for route, timings in self.timings.items():
                found = pick(timings)
                histogram.add_metric((route,), found.buckets(), found.total)
            yield histogram
        for name, (text, labels, measure) in GAUGES.items():
            gauge = GaugeMetricFamily(name, text, labels=labels)
            for values, number in measure(self, gauges, now):
                gauge.add_metric(values, number)
            yield gauge

    def _taken(self, taken: Taken) -> None:
        for charge in taken.charges if taken.error else ():
            _add(self.charges, (charge.limit, "error"))
        for one in taken.standings:
            _add(self.charges, (one.charge.limit, "allowed" if one.allowed else "refused"))

    def reason(self, reason: str, times: int = 1) -> None:
        """Count a reason code of decisions."""
        if reason not in self.reasons and (
            len(self.reasons) >= MAX_REASONS or not _REASON.fullmatch(reason)
        ):
            reason = OTHER
        self.reasons[reason] = self.reasons.get(reason, 0) + times


def _add(counts: dict[tuple[str, str], int], key: tuple[str, str]) -> None:
    counts[key] = counts.get(key, 0) + 1


def expose(families: Iterable[Metric]) -> bytes:
    """Metric families in Prometheus' text format."""
    return generate_latest(_Families(families))


class _Families:
    def __init__(self, families: Iterable[Metric]) -> None:
        self.families = families

    def collect(self) -> Iterable[Metric]:
        return self.families


Samples = Iterable[tuple[tuple[str, ...], float]]

COUNTERS: Mapping[str, tuple[str, tuple[str, ...], Callable[[Metrics, Gauges], Samples]]] = {
    "gateway_requests": (
        (
            "Requests that ended, by route, method, refusal code (ok: none) and status class "
            "(0: the client left before an answer)."
        ),
        ("route", "method", "code", "status"),
        lambda metrics, _: (
            ((route, method, code, f"{status}xx" if status else "0"), count)
            for (route, method, code, status), count in metrics.requests.items()
        ),
    ),
    "gateway_principals": (
        "Requests whose caller was established, by issuer.",
        ("issuer",),
        lambda metrics, _: _by_name(metrics.principals),
    ),
    "gateway_decision_reasons": (
        "Reason codes of policy decisions; unusual texts and those beyond 256 count as other.",
        ("reason",),
        lambda metrics, _: _by_name(metrics.reasons),
    ),
    "gateway_logins": (
        "Logins by login and outcome: success, logout, or the code of a refusal.",
        ("login", "outcome"),
        lambda metrics, _: metrics.logins.items(),
    ),
    "gateway_session_renewals": (
        "Renewals of sessions: renewed, failed (tried again), or why the session ended.",
        ("login", "outcome"),
        lambda metrics, _: metrics.renewals.items(),
    ),
    "gateway_rate_limit_charges": (
        (
            "Requests charged to a rate limit, by outcome (allowed, refused, error); `policy` is "
            "the limit of policies that give the quota themselves."
        ),
        ("limit", "outcome"),
        lambda metrics, _: metrics.charges.items(),
    ),
    "gateway_upstream_tokens": (
        (
            "Requests that needed a token for their upstream, by outcome (cached, issued, "
            "refused, denied, fault, away)."
        ),
        ("endpoint", "outcome"),
        lambda metrics, _: metrics.tokens.items(),
    ),
    "gateway_token_endpoint_calls": (
        "Calls to a token endpoint, by outcome (issued, refused, denied, fault, away).",
        ("endpoint", "outcome"),
        lambda metrics, _: metrics.token_calls.items(),
    ),
    "gateway_introspections": (
        (
            "Requests that needed an issuer's answer about their token, by what came of it "
            "(active, inactive, cached, error, busy)."
        ),
        ("issuer", "outcome"),
        lambda metrics, _: metrics.introspections.items(),
    ),
    "gateway_unenforced_refusals": (
        "Requests that the policy refused and that passed, as their route only reports.",
        ("route", "code"),
        lambda metrics, _: metrics.unenforced.items(),
    ),
    "gateway_canary_requests": (
        "Requests that the canary decided, by refusal code (ok: none).",
        ("route", "code"),
        lambda metrics, _: metrics.canary.items(),
    ),
    "gateway_shadow_decisions": (
        (
            "Requests for the shadow, by how its decision differs from the enforced one (same, "
            "deny_to_allow, allow_to_deny, other, error, dropped)."
        ),
        ("route", "outcome"),
        lambda metrics, _: metrics.shadow.items(),
    ),
    "gateway_shadow_cpu_seconds": (
        "Processor time that the shadow took.",
        (),
        lambda metrics, _: [((), metrics.shadow_cpu)],
    ),
    "gateway_server_refusals": (
        "Requests that the server refused before the pipeline, by code.",
        ("code",),
        lambda metrics, _: _by_name(metrics.below),
    ),
    "gateway_policy_reloads": (
        "Reloads of configuration and policy, by outcome.",
        ("outcome",),
        lambda metrics, _: _by_name(metrics.reloads),
    ),
    "gateway_upstream_ejections": (
        "How often an address of an upstream's target was left out.",
        ("upstream", "target"),
        lambda _, gauges: (
            ((name, url), target.ejections) for name, url, target in _targets(gauges)
        ),
    ),
    "gateway_upstream_retries": (
        "Requests that were sent once more, by what had happened before.",
        ("upstream", "reason"),
        lambda _, gauges: (
            ((name, reason), count)
            for name, upstream in gauges.upstreams.items()
            for reason, count in upstream.retries.items()
        ),
    ),
    "gateway_upstream_retries_denied": (
        "Requests that were not sent once more, as the budget for that was used up.",
        ("upstream",),
        lambda _, gauges: (
            ((name,), upstream.over_budget) for name, upstream in gauges.upstreams.items()
        ),
    ),
    "gateway_log_lines": (
        "Lines written to a log sink.",
        ("sink",),
        lambda _, gauges: (((name,), sink.written) for name, sink in gauges.sinks.items()),
    ),
    "gateway_log_dropped": (
        "Lines lost because a log sink's queue was full or could not be written out at the end.",
        ("sink",),
        lambda _, gauges: (((name,), sink.dropped) for name, sink in gauges.sinks.items()),
    ),
    "gateway_log_errors": (
        "Failed attempts to write to a log sink.",
        ("sink",),
        lambda _, gauges: (((name,), sink.errors) for name, sink in gauges.sinks.items()),
    ),
}

HISTOGRAMS: Mapping[str, tuple[str, Callable[[Timings], Histogram]]] = {
    "gateway_request_duration_seconds": (
        "Time from a request's head to the end of its answer.",
        lambda timings: timings.total,
    ),
    "gateway_plan_duration_seconds": (
        "Time that routing, identification and the decision took.",
        lambda timings: timings.plan,
    ),
    "gateway_upstream_first_byte_seconds": (
        "Time from the choice of the upstream to the head of its response.",
        lambda timings: timings.upstream,
    ),
}

GAUGES: Mapping[str, tuple[str, tuple[str, ...], Callable[[Metrics, Gauges, float], Samples]]] = {
    "gateway_info": (
        "The gateway's version; always 1.",
        ("version",),
        lambda _, gauges, __: [((gauges.version,), 1)],
    ),
    "gateway_uptime_seconds": (
        "Time since the start.",
        (),
        lambda _, gauges, now: [((), max(0.0, now - gauges.started))],
    ),
    "gateway_requests_in_flight": (
        "Requests that have begun and not ended.",
        (),
        lambda metrics, _, __: [((), metrics.in_flight)],
    ),
    "gateway_policy_info": (
        "The active policy revision; always 1.",
        ("revision",),
        lambda _, gauges, __: [((gauges.revision,), 1)] if gauges.revision else [],
    ),
    "gateway_policy_reload_success": (
        "Whether the last reload took effect (1) or the one before it still serves (0).",
        (),
        lambda _, gauges, __: [((), gauges.reload_ok)],
    ),
    "gateway_policy_reload_timestamp_seconds": (
        "When the active revision took effect.",
        (),
        lambda _, gauges, __: [] if gauges.reloaded_at is None else [((), gauges.reloaded_at)],
    ),
    "gateway_bundle_info": (
        "The revision that a bundle's manifest names; always 1.",
        ("bundle", "revision"),
        lambda _, gauges, __: (
            ((name, bundle.revision), 1) for name, bundle in gauges.bundles.items()
        ),
    ),
    "gateway_bundle_age_seconds": (
        "Time since a bundle's URL last confirmed it; not for bundles on disk.",
        ("bundle",),
        lambda _, gauges, __: (
            ((name,), bundle.age)
            for name, bundle in gauges.bundles.items()
            if bundle.age is not None
        ),
    ),
    "gateway_bundle_refresh_success": (
        "Whether a bundle's URL last gave a good archive, or confirmed the one at hand.",
        ("bundle",),
        lambda _, gauges, __: (((name,), bundle.fresh) for name, bundle in gauges.bundles.items()),
    ),
    "gateway_policy_pinned": (
        "Whether a revision serves whatever the files say (1).",
        (),
        lambda _, gauges, __: [((), gauges.pinned)],
    ),
    "gateway_policy_pending": (
        "Whether other policies wait on disk while a revision is pinned (1).",
        (),
        lambda _, gauges, __: [((), gauges.pending)],
    ),
    "gateway_policy_beside": (
        "The policy set beside the enforced one (canary, shadow): 1, or 0 while it is broken.",
        ("set", "revision"),
        lambda _, gauges, __: (
            ((name, revision), bool(revision)) for name, revision in gauges.beside.items()
        ),
    ),
    "gateway_shadow_queued": (
        "Requests that wait for the shadow.",
        (),
        lambda _, gauges, __: [((), gauges.shadow_queued)],
    ),
    "gateway_route_enforced": (
        "Whether a route enforces its policy (1) or only reports what it would refuse (0).",
        ("route",),
        lambda _, gauges, __: (((name,), is_on) for name, is_on in gauges.enforced.items()),
    ),
    "gateway_jwks_keys": (
        "Usable keys of an issuer.",
        ("issuer",),
        lambda _, gauges, __: (((name,), keys.keys) for name, keys in gauges.issuers.items()),
    ),
    "gateway_jwks_age_seconds": (
        "Time since an issuer's keys were last fetched; not for keys from a file.",
        ("issuer",),
        lambda _, gauges, __: (
            ((name,), keys.age) for name, keys in gauges.issuers.items() if keys.age is not None
        ),
    ),
    "gateway_jwks_refresh_success": (
        "Whether the last refresh of an issuer's keys succeeded.",
        ("issuer",),
        lambda _, gauges, __: (((name,), keys.fresh) for name, keys in gauges.issuers.items()),
    ),
    "gateway_upstream_connections": (
        "Connections to an upstream's target, by state (in_use, idle).",
        ("upstream", "target", "state"),
        lambda _, gauges, __: (
            ((name, url, state), sum(getattr(each, state) for each in target.addresses.values()))
            for name, url, target in _targets(gauges)
            for state in ("in_use", "idle")
        ),
    ),
    "gateway_upstream_waiting": (
        "Requests that wait for a connection to an upstream's target.",
        ("upstream", "target"),
        lambda _, gauges, __: (
            ((name, url), sum(each.waiting for each in target.addresses.values()))
            for name, url, target in _targets(gauges)
        ),
    ),
    "gateway_upstream_addresses": (
        "Addresses of an upstream's target, by state (healthy, ejected, probing).",
        ("upstream", "target", "state"),
        lambda _, gauges, __: (
            ((name, url, state), [each.state for each in target.addresses.values()].count(state))
            for name, url, target in _targets(gauges)
            for state in ("healthy", "ejected", "probing")
        ),
    ),
    "gateway_rate_limit_storage_up": (
        "Whether the storage of rate limits answered the last time.",
        (),
        lambda _, gauges, __: [((), not gauges.rate_limits.error)],
    ),
    "gateway_rate_limit_evicted": (
        "Keys forgotten before their time because memory was full.",
        (),
        lambda _, gauges, __: [((), gauges.rate_limits.evicted)],
    ),
    "gateway_login_provider_up": (
        "Whether the provider of a login could be asked for its metadata the last time.",
        ("login",),
        lambda _, gauges, __: (
            ((name,), not error) for name, error in gauges.sessions.providers.items()
        ),
    ),
    "gateway_sessions": (
        "Sessions in memory; not where they are kept on Redis.",
        (),
        lambda _, gauges, __: (
            [] if gauges.sessions.sessions is None else [((), gauges.sessions.sessions)]
        ),
    ),
    "gateway_session_storage_up": (
        "Whether the storage of sessions answered the last time.",
        (),
        lambda _, gauges, __: [((), not gauges.sessions.error)],
    ),
    "gateway_sessions_evicted": (
        "Sessions ended before their time because memory was full.",
        (),
        lambda _, gauges, __: [((), gauges.sessions.evicted)],
    ),
    "gateway_token_endpoint_up": (
        "Whether a token endpoint answered the last time as it should.",
        ("endpoint",),
        lambda _, gauges, __: (((name,), not each.error) for name, each in gauges.tokens.items()),
    ),
    "gateway_upstream_tokens_kept": (
        "Tokens for upstreams that are kept.",
        ("endpoint",),
        lambda _, gauges, __: (((name,), each.tokens) for name, each in gauges.tokens.items()),
    ),
    "gateway_introspection_up": (
        "Whether an issuer that was asked about a token answered the last time.",
        ("issuer",),
        lambda _, gauges, __: (
            ((name,), not each.error) for name, each in gauges.introspection.items()
        ),
    ),
    "gateway_introspection_waiting": (
        "Tokens that wait for an issuer's answer.",
        ("issuer",),
        lambda _, gauges, __: (
            ((name,), each.waiting) for name, each in gauges.introspection.items()
        ),
    ),
    "gateway_revocation_entries": (
        "Entries of a deny list, by source (file, admin, redis).",
        ("source",),
        lambda _, gauges, __: (((name,), each.entries) for name, each in _denied(gauges)),
    ),
    "gateway_revocation_fresh": (
        "Whether a deny list is as its source has it (1), or an earlier one goes on (0).",
        ("source",),
        lambda _, gauges, __: (((name,), each.fresh) for name, each in _denied(gauges)),
    ),
    "gateway_revocation_age_seconds": (
        "Time since Redis last confirmed its deny list.",
        ("source",),
        lambda _, gauges, __: (
            ((name,), each.age) for name, each in _denied(gauges) if each.age is not None
        ),
    ),
    "gateway_revocation_refusing": (
        "Whether all tokens are refused because a deny list is not known (1).",
        (),
        lambda _, gauges, __: [((), any(each.stale for _, each in _denied(gauges)))],
    ),
    "gateway_log_queued": (
        "Lines that wait for a log sink.",
        ("sink",),
        lambda _, gauges, __: (((name,), sink.queued) for name, sink in gauges.sinks.items()),
    ),
}


def _targets(gauges: Gauges) -> Iterator[tuple[str, str, TargetGauges]]:
    for name, upstream in gauges.upstreams.items():
        for url, target in upstream.targets.items():
            yield name, url, target


def _denied(gauges: Gauges) -> Iterable[tuple[str, RevocationGauges]]:
    return gauges.revocation.items()


def _by_name(counts: Mapping[str, float]) -> Samples:
    return (((name,), count) for name, count in counts.items())
