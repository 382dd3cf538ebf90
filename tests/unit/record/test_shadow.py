"""Events and report of a shadow's differences."""

import json

import pytest

from gateway.decide.compare import Verdict
from gateway.errors import Code
from gateway.model import Decision, Reason
from gateway.record import shadow as module
from gateway.record.mask import MAX_LINE, Mask
from gateway.record.shadow import EXAMPLES, TYPE, Judged, Report, line_of
from tests.support.recording import head, trail


def verdict(*, allow=True, **changes):
    code = None if allow else Code.POLICY_DENIED
    return Verdict(decision=Decision(allow=allow, code=code, **changes), code=code)


def judged(shadow=None, difference="allow_to_deny", enforced=None, **changes):
    enforced = enforced or verdict(result={"allow": True})
    late = verdict(allow=False, result={"allow": False}, reasons=(Reason(code="late"),))
    shadow = shadow or late
    return Judged(
        trail=trail(now=1_790_000_000.25, **changes),
        enforced=enforced,
        shadow=shadow,
        difference=difference,
        revision="s1",
        told=(enforced.told(reasons=True), shadow.told(reasons=True)),
    )


def event_of(given, mask=Mask()):
    line = line_of(
        given, labels={"zone": "a"}, entrypoint="a/allow", shadow_entrypoint="b/allow", mask=mask
    )
    assert len(line) <= MAX_LINE
    return json.loads(line)


def test_an_event_has_both_decisions():
    assert event_of(judged()) == {
        "type": TYPE,
        "decision_id": "d-1",
        "timestamp": "2026-09-21T14:13:20.250000Z",
        "labels": {"zone": "a"},
        "bundles": {"policy": {"revision": "r1"}, "shadow": {"revision": "s1"}},
        "requested_by": "10.0.0.7",
        "method": "GET",
        "target": "/orders/42",
        "route": "native",
        "difference": "allow_to_deny",
        "path": "a/allow",
        "result": {"allow": True},
        "shadow": {
            "path": "b/allow",
            "code": "policy-denied",
            "result": {"allow": False},
            "reasons": [{"code": "late", "message": ""}],
        },
        "subject": "alice",
        "issuer": "corp",
    }


def test_both_decisions_are_masked_alike():
    secret = {"allow": True, "headers": {"x-api-key": "s3cret"}, "note": "mine"}
    given = judged(verdict(result=secret), "other", verdict(result=secret))
    event = event_of(given, Mask(pointers=(("result", "note"), ("subject",))))
    assert event["result"] == event["shadow"]["result"] == {"allow": True, "headers": {}}
    assert "subject" not in event
    assert "/subject" in event["erased"]


def test_a_failure_tells_no_credential():
    lines = ((b"authorization", b"Bearer s3cret-of-alice"),)
    failed = Verdict(decision=None, code=Code.EVAL_ERROR, detail="not a number: s3cret-of-alice")
    event = event_of(judged(failed, "error", head=head(headers=lines)))
    assert event["shadow"]["code"] == event["shadow"]["error"]["code"] == "eval-error"
    assert "s3cret" not in json.dumps(event)


def test_a_long_event_is_cut():
    long = verdict(result={"allow": True, "body": "x" * MAX_LINE})
    event = event_of(judged(long, "other"))
    assert "shadow" not in event
    assert event["difference"] == "other"


def test_the_report_counts_kinds_and_keeps_the_newest_examples():
    report = Report("r1", "s1", 1_790_000_000.0)
    for number in range(EXAMPLES + 2):
        report.add(judged(head=head(id=f"d-{number}")))
    report.add(judged(difference="same"))
    report.count("native", "dropped")
    told = report.as_dict()
    assert told["counts"] == [
        {"route": "native", "outcome": "allow_to_deny", "count": EXAMPLES + 2},
        {"route": "native", "outcome": "dropped", "count": 1},
        {"route": "native", "outcome": "same", "count": 1},
    ]
    assert told["differences"] == [
        {
            "route": "native",
            "outcome": "allow_to_deny",
            "enforced": "allow",
            "shadow": "policy-denied: late",
            "count": EXAMPLES + 2,
            "examples": [f"d-{number}" for number in range(2, EXAMPLES + 2)],
        }
    ]


def test_the_report_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "MAX_KINDS", 3)
    report = Report("r1", "s1", 0.0)
    for number in range(10):
        report.add(judged(verdict(allow=False, reasons=(Reason(code=f"c{number}" * 200),))))
    told = report.as_dict()["differences"]
    assert [each["count"] for each in told] == [7, 1, 1, 1]
    assert told[0]["enforced"] is None
    assert max(len(each["shadow"] or "") for each in told) <= module.MAX_TOLD
