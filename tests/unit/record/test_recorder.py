from __future__ import annotations

import json

import pytest

from gateway.errors import Code
from gateway.record.mask import Mask
from gateway.record.metrics import Metrics
from gateway.record.recorder import Recorder
from gateway.record.ring import Ring
from tests.support.recording import document, early, exchange, forward


def recorder(**changes):
    given = {"metrics": Metrics(), "ring": Ring(10), "mask": Mask()}
    return Recorder(**{**given, **changes})


def test_event_access_line_ring_and_metrics():
    decisions, lines = [], []
    made = recorder(
        decisions=decisions.append,
        access=lines.append,
        labels={"zone": "a"},
        entrypoints={"native": "gateway/authz/allow"},
        mask=Mask(pointers=(("subject",),)),
    )
    made.record(forward(), exchange())
    event = json.loads(decisions[0])
    assert event["path"] == "gateway/authz/allow"
    assert event["labels"] == {"zone": "a"}
    assert event["erased"] == ["/subject"]
    assert made.ring.get("d-1") == decisions[0]
    assert lines[0].endswith(b" native - d-1")
    assert sum(made.metrics.requests.values()) == 1


def test_refusal_without_a_route():
    decisions = []
    made = recorder(decisions=decisions.append)
    made.record(early(Code.ROUTE_UNKNOWN), exchange(status=404))
    assert json.loads(decisions[0])["code"] == "route-unknown"
    assert list(made.metrics.requests) == [("none", "GET", "route-unknown", 4)]


def test_failure_after_the_plan_counts_under_its_code():
    made = recorder()
    made.record(forward(), exchange(status=502, code=Code.UPSTREAM_CONNECT))
    assert list(made.metrics.requests) == [("native", "GET", "upstream-connect", 5)]


@pytest.mark.parametrize("dialect", ["native", "envoy", "kong", "apisix"])
def test_the_routes_dialect_chooses_the_mask(dialect):
    given = {
        "native": document(headers={"authorization": "s3cret"}),
        "envoy": {"attributes": {"request": {"http": {"headers": {"authorization": "s3cret"}}}}},
        "kong": {"request": {"http": {"headers": {"authorization": "s3cret"}}}},
        "apisix": {"request": {"headers": {"authorization": "s3cret"}}},
    }
    made = recorder()
    made.record(forward(dialect=dialect, document=given[dialect]), exchange())
    assert b"s3cret" not in made.ring.get("d-1")


def test_everything_off_still_counts():
    made = recorder(ring=Ring(0))
    made.record(forward(), exchange())
    assert sum(made.metrics.requests.values()) == 1


def test_access_log_alone():
    lines = []
    recorder(ring=Ring(0), access=lines.append).record(forward(), exchange())
    assert len(lines) == 1
