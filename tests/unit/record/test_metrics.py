from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.errors import Code
from gateway.model import Decision, Principal, Reason
from gateway.record.metrics import (
    BOUNDS,
    COUNTERS,
    GAUGES,
    HISTOGRAMS,
    MAX_REASONS,
    AddressGauges,
    BundleGauges,
    Gauges,
    KeyGauges,
    Metrics,
    SinkCounts,
    TargetGauges,
    UpstreamGauges,
    expose,
)
from tests.support.recording import early, exchange, forward, head, trail

DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"
GIVEN = Gauges(
    version="1.2",
    started=100.0,
    revision="r1",
    reloaded_at=110.0,
    reload_ok=False,
    bundles={
        "authz": BundleGauges(revision="v7", age=3.0, fresh=False),
        "local": BundleGauges(revision=""),
    },
    issuers={
        "corp": KeyGauges(keys=2, age=5.0, fresh=True),
        "new": KeyGauges(keys=0, age=None, fresh=False),
    },
    upstreams={
        "orders": UpstreamGauges(
            targets={
                "http://a": TargetGauges(
                    addresses={
                        "192.0.2.1:80": AddressGauges(in_use=3, idle=1, waiting=2),
                        "192.0.2.2:80": AddressGauges(in_use=1, state="ejected"),
                    },
                    ejections=4,
                )
            },
            retries={"connect": 5},
            over_budget=6,
        )
    },
    sinks={"stdout": SinkCounts(written=9, dropped=4, errors=1, queued=7)},
)


def samples(metrics, gauges=GIVEN, now=160.0):
    text = expose(metrics.families(gauges, now)).decode()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_requests():
    metrics = Metrics()
    metrics.request(trail(), exchange(), None)
    metrics.request(trail(), exchange(status=204), None)
    metrics.request(trail(), exchange(status=0), None)
    brew = early(Code.ROUTE_UNKNOWN, head=head(method="BREW")).trail
    metrics.request(brew, exchange(status=404), Code.ROUTE_UNKNOWN)
    found = {
        key[1:]: value for key, value in samples(metrics).items() if "requests_total" in key[0]
    }
    labels = ("code", "ok"), ("method", "GET"), ("route", "native")
    assert found == {
        (*labels, ("status", "2xx")): 2,
        (*labels, ("status", "0")): 1,
        (
            ("code", "route-unknown"),
            ("method", "other"),
            ("route", "none"),
            ("status", "4xx"),
        ): 1,
    }


def test_histograms():
    metrics = Metrics()
    for duration in (0.000_1, 0.000_2, 60.0):
        metrics.request(trail(), exchange(duration=duration, timings={"plan": 0.000_05}), None)
    found = samples(metrics)
    route = ("route", "native")

    def bucket(name, bound):
        return found[f"gateway_{name}_bucket", ("le", bound), route]

    assert bucket("request_duration_seconds", "0.0001") == 1
    assert bucket("request_duration_seconds", "0.00025") == 2
    assert bucket("request_duration_seconds", "30.0") == 2
    assert bucket("request_duration_seconds", "+Inf") == 3
    assert found["gateway_request_duration_seconds_count", route] == 3
    assert found["gateway_request_duration_seconds_sum", route] == pytest.approx(60.0003)
    assert bucket("plan_duration_seconds", "0.0001") == 3
    assert found["gateway_upstream_first_byte_seconds_count", route] == 0
    assert sorted(BOUNDS) == list(BOUNDS)


def test_principals():
    metrics = Metrics()
    metrics.request(trail(), exchange(), None)
    metrics.request(trail(principal=Principal(authenticated=False)), exchange(), None)
    metrics.request(trail(principal=None), exchange(), None)
    found = samples(metrics)
    assert found["gateway_principals_total", ("issuer", "corp")] == 1
    assert found["gateway_principals_total", ("issuer", "anonymous")] == 1


def decided(*codes):
    reasons = tuple(Reason(code=code) for code in codes)
    return trail(decision=Decision(allow=False, reasons=reasons, result=None))


def test_reasons_are_bounded():
    metrics = Metrics()
    for number in range(MAX_REASONS + 50):
        metrics.request(decided(f"reason-{number}", "reason-0"), exchange(), None)
    found = {key[1][1]: n for key, n in samples(metrics).items() if "reasons_total" in key[0]}
    assert len(found) == MAX_REASONS + 1
    assert found["other"] == 50
    assert found["reason-0"] == MAX_REASONS + 51


@pytest.mark.parametrize("code", ["", "alice may not", "a" * 65, "\ud800", 'x"y', "a\n"])
def test_unusual_reasons_are_not_labels(code):
    metrics = Metrics()
    metrics.request(decided(code), exchange(), None)
    assert samples(metrics)["gateway_decision_reasons_total", ("reason", "other")] == 1


def test_shell_counters():
    metrics = Metrics()
    metrics.refused_below(Code.HEAD_TOO_LARGE)
    metrics.reloaded(success=True)
    metrics.reloaded(success=False)
    metrics.in_flight = 3
    found = samples(metrics)
    assert found["gateway_server_refusals_total", ("code", "head-too-large")] == 1
    assert found["gateway_policy_reloads_total", ("outcome", "success")] == 1
    assert found["gateway_policy_reloads_total", ("outcome", "failure")] == 1
    assert found["gateway_requests_in_flight",] == 3


def test_gauges():
    found = samples(Metrics())
    target = ("target", "http://a"), ("upstream", "orders")
    expected = {
        ("gateway_info", ("version", "1.2")): 1,
        ("gateway_uptime_seconds",): 60,
        ("gateway_policy_info", ("revision", "r1")): 1,
        ("gateway_policy_reload_success",): 0,
        ("gateway_policy_reload_timestamp_seconds",): 110,
        ("gateway_bundle_info", ("bundle", "authz"), ("revision", "v7")): 1,
        ("gateway_bundle_info", ("bundle", "local"), ("revision", "")): 1,
        ("gateway_bundle_age_seconds", ("bundle", "authz")): 3,
        ("gateway_bundle_refresh_success", ("bundle", "authz")): 0,
        ("gateway_bundle_refresh_success", ("bundle", "local")): 1,
        ("gateway_jwks_keys", ("issuer", "corp")): 2,
        ("gateway_jwks_age_seconds", ("issuer", "corp")): 5,
        ("gateway_jwks_refresh_success", ("issuer", "corp")): 1,
        ("gateway_jwks_keys", ("issuer", "new")): 0,
        ("gateway_jwks_refresh_success", ("issuer", "new")): 0,
        ("gateway_upstream_connections", ("state", "in_use"), *target): 4,
        ("gateway_upstream_connections", ("state", "idle"), *target): 1,
        ("gateway_upstream_waiting", *target): 2,
        ("gateway_upstream_addresses", ("state", "healthy"), *target): 1,
        ("gateway_upstream_addresses", ("state", "ejected"), *target): 1,
        ("gateway_upstream_addresses", ("state", "probing"), *target): 0,
        ("gateway_upstream_ejections_total", *target): 4,
        ("gateway_upstream_retries_total", ("reason", "connect"), ("upstream", "orders")): 5,
        ("gateway_upstream_retries_denied_total", ("upstream", "orders")): 6,
        ("gateway_log_lines_total", ("sink", "stdout")): 9,
        ("gateway_log_dropped_total", ("sink", "stdout")): 4,
        ("gateway_log_errors_total", ("sink", "stdout")): 1,
        ("gateway_log_queued", ("sink", "stdout")): 7,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert ("gateway_jwks_age_seconds", ("issuer", "new")) not in found
    assert ("gateway_bundle_age_seconds", ("bundle", "local")) not in found


def test_before_the_first_policy():
    found = samples(Metrics(), Gauges(version="1", started=0.0))
    assert not any("policy_info" in key[0] or "timestamp" in key[0] for key in found)


def test_documentation_lists_every_metric_with_its_labels_and_no_other():
    documented = dict(
        re.findall(r"^\| `(gateway_\w+)` \| [a-z]+ \|([^|]*)\|", DOCS.read_text(), re.M)
    )
    labels = {name: {*re.findall(r"`(\w+)`", text)} for name, text in documented.items()}
    counters = {f"{name}_total": set(row[1]) for name, row in COUNTERS.items()}
    histograms = {name: {"route"} for name in HISTOGRAMS}
    gauges = {name: set(row[1]) for name, row in GAUGES.items()}
    assert labels == {**counters, **histograms, **gauges}


def test_forward_outcomes_count_their_later_failure():
    # The recorder passes the code; here only that a code wins over a 2xx status class.
    metrics = Metrics()
    metrics.request(forward().trail, exchange(status=200), Code.UPSTREAM_RESET)
    keys = [key for key in samples(metrics) if key[0] == "gateway_requests_total"]
    assert ("code", "upstream-reset") in keys[0]
