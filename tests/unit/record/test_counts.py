"""What is counted in one process and added up in another is the same as if counted there."""

import json

import pytest
from hypothesis import given, strategies as st

from gateway.errors import Code
from gateway.record import counts as record_counts
from gateway.record.counts import add, changes, counts
from gateway.record.metrics import MAX_REASONS, Metrics, expose
from tests.support.recording import early, exchange, head, trail
from tests.unit.record.test_metrics import GIVEN

BINARY = {"duration": 7.5, "timings": {"plan": 0.25, "upstream_first_byte": 0.5}}
"""Numbers whose sums are exact in any order."""

REQUESTS = [
    (trail(), exchange(**BINARY), None),
    (trail(), exchange(status=0, **BINARY), None),
    (early(Code.ROUTE_UNKNOWN, head=head(method="BREW")).trail, exchange(status=404, **BINARY), Code.ROUTE_UNKNOWN),
]  # fmt: skip
EVENTS = st.one_of(
    st.sampled_from(REQUESTS).map(lambda given: lambda metrics: metrics.request(*given)),
    st.sampled_from(list(Code)).map(lambda code: lambda metrics: metrics.refused_below(code)),
    st.sampled_from(["a", "b:c"]).map(lambda text: lambda metrics: metrics.reason(text)),
)


def shown(metrics):
    return sorted(expose(metrics.families(GIVEN, 160.0)).splitlines())


@given(st.lists(st.lists(EVENTS, max_size=6), max_size=6))
def test_reports_add_up(bursts):
    """Of two workers that report in turn, after each of them has counted a few events."""
    whole, alone = Metrics(), Metrics()
    workers, reported = (Metrics(), Metrics()), [{}, {}]
    for number, burst in enumerate(bursts):
        worker = workers[number % 2]
        for event in burst:
            event(worker)
            event(alone)
        now = counts(worker)
        said = json.loads(
            json.dumps([[list(key), count] for key, count in changes(reported[number % 2], now)])
        )
        reported[number % 2] = now
        for key, count in said:
            add(whole, tuple(key), count)
    assert shown(whole) == shown(alone)


def test_reasons_stay_bounded():
    metrics = Metrics()
    for number in range(2 * MAX_REASONS):
        add(metrics, ("reasons", f"r-{number}"), 1)
    assert len(metrics.reasons) == MAX_REASONS + 1
    assert metrics.reasons["other"] == MAX_REASONS


@pytest.mark.parametrize("labels", [("principals",), ("canary", "a"), ("timings",)])
def test_no_other_process_makes_counters_without_end(labels, monkeypatch):
    monkeypatch.setattr(record_counts, "MAX_KEYS", 10)
    metrics = Metrics()
    bucket = ("plan", 1) if labels == ("timings",) else ()
    for number in [*range(20), 0]:
        add(metrics, (*labels, str(number), *bucket), 1)
    found = counts(metrics)
    assert len(found) == 10
    assert found[(*labels, "0", *bucket)] == 2


@pytest.mark.parametrize(
    "key",
    [
        ("unknown", "x"),
        ("in_flight", "x"),
        ("__class__", "x"),
        ("requests",),
        ("requests", "orders"),
        ("requests", "orders", "GET", "ok", "2"),
        ("timings", "orders", "__class__", 1),
        ("timings", "orders", "plan", 99),
        ("timings", "orders", "plan", "half"),
        ("timings", "orders"),
        ("timings", "orders", "plan", -1),
        ("timings", 7, "plan", 1),
        ("principals", 7),
        ("principals", "a", "b"),
        ("below", "a", 2),
        ("canary", 1, 2),
        ("unenforced", "a", "b", "c"),
        ("charges", "a"),
        ("reasons", "a", "b"),
        ("principals", "a" * 5000),
    ],
)
def test_what_is_no_counter_is_refused(key):
    metrics = Metrics()
    with pytest.raises((ValueError, IndexError)):
        add(metrics, key, 1)
    assert counts(metrics) == {}
    assert shown(metrics)


def test_no_counter_goes_back():
    with pytest.raises(ValueError):
        add(Metrics(), ("below", "x"), -1)
