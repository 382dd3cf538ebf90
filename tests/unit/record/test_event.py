from __future__ import annotations

import pytest

from gateway.errors import Code
from gateway.model import Answer, Decision, Principal, Reason, Source
from gateway.record.encode import encode
from gateway.record.event import MAX_DETAIL, build, rfc3339
from gateway.record.text import escape
from tests.support.recording import document, early, exchange, forward, head, refuse, trail


def event_of(outcome, **changes):
    return build(
        outcome, exchange(**changes), labels={"zone": "a"}, entrypoint="gateway/authz/decision"
    )


def test_forwarded():
    given = document()
    event = event_of(
        forward(document=given), timings={"plan": 0.000_05, "upstream_first_byte": 0.01}
    )
    assert event["input"] is given
    del event["input"]
    assert event == {
        "type": "openpolicyagent.org/decision_logs",
        "decision_id": "d-1",
        "timestamp": "2026-09-21T14:13:20.250000Z",
        "labels": {"zone": "a"},
        "bundles": {"policy": {"revision": "r1"}},
        "path": "gateway/authz/decision",
        "requested_by": "10.0.0.7",
        "method": "GET",
        "target": "/orders/42",
        "route": "native",
        "status": 200,
        "outcome": "forwarded",
        "subject": "alice",
        "issuer": "corp",
        "result": {"allow": True},
        "reasons": [{"code": "reader", "message": "may"}],
        "bytes_in": 0,
        "bytes_out": 7,
        "metrics": {
            "timer_server_handler_ns": 12_500_000,
            "timer_plan_ns": 50_000,
            "timer_upstream_first_byte_ns": 10_000_000,
        },
    }


def test_denied_by_policy_is_no_error():
    decision = Decision(
        allow=False,
        code=Code.POLICY_DENIED,
        result={"allow": False},
        reasons=(Reason(code="role-missing"),),
    )
    event = event_of(refuse(Code.POLICY_DENIED, decision=decision), status=403)
    assert (event["outcome"], event["code"], event["result"]) == (
        "refused",
        "policy-denied",
        {"allow": False},
    )
    assert "error" not in event


def test_undecided_has_error_and_no_result():
    event = event_of(refuse(Code.UNDEFINED, decision=None, detail="no rule was true"), status=403)
    assert event["error"] == {"code": "undefined", "message": "no rule was true"}
    assert event["path"] == "gateway/authz/decision"
    assert "result" not in event


def test_refused_before_a_route():
    outcome = early(
        Code.BAD_PATH,
        head=head(raw_path=b'/a\xff"\\\x1b[2J/..', query_string=b"x=\n"),
        detail="dot segment",
    )
    event = event_of(outcome, status=400)
    assert event["partial"] is True
    assert event["target"] == r'/a\xff"\\\x1b[2J/..'
    assert event["input"] == {
        "request": {
            "id": "d-1",
            "method": "GET",
            "scheme": "https",
            "host": "api.example",
            "path": event["target"],
            "query_string": r"x=\x0a",
        },
        "source": {"address": "10.0.0.7", "networks": ()},
    }
    assert {"path", "result", "route", "subject"}.isdisjoint(event)


def test_refused_with_a_route_and_a_principal():
    event = event_of(refuse(Code.BODY_TOO_LARGE, document=None, decision=None), status=413)
    assert event["partial"] is True
    assert event["input"]["route"] == {"id": "native"}
    assert event["input"]["identity"]["subject"] == "alice"
    assert event["input"]["source"]["networks"] == ("office",)


def test_upstream_failure_after_the_plan():
    event = event_of(forward(), status=502, code=Code.UPSTREAM_RESET, detail="closed by peer")
    assert event["outcome"] == "failed"
    assert event["code"] == "upstream-reset"
    assert event["error"]["message"] == "closed by peer"
    assert event["result"] == {"allow": True}


def test_answered():
    outcome = Answer(status=204, headers=(), body=b"", trail=trail(document=None, decision=None))
    event = event_of(outcome, status=204)
    assert event["outcome"] == "answered"
    assert "code" not in event


def test_the_address_that_answered():
    assert event_of(forward(), upstream="192.0.2.7:80")["upstream"] == "192.0.2.7:80"
    assert "upstream" not in event_of(forward())


def test_anonymous_has_no_subject():
    event = event_of(forward(principal=Principal(authenticated=False)))
    assert {"subject", "issuer"}.isdisjoint(event)


def test_incomplete_answer_and_inbound_request_id():
    source = Source(
        address="192.0.2.1", networks=(), scheme="https", trusted=True, request_id="req-9"
    )
    event = event_of(forward(source=source), status=0, complete=False)
    assert (event["incomplete"], event["status"], event["req_id"], event["requested_by"]) == (
        True,
        0,
        "req-9",
        "192.0.2.1",
    )


@pytest.mark.parametrize(
    "name", [b"authorization", b"cookie", b"x-api-key", b"proxy-authorization"]
)
def test_detail_never_repeats_a_credential(name):
    headers = ((name, b"Bearer s3cret-value"),)
    event = event_of(
        early(
            Code.TOKEN_MALFORMED,
            head=head(headers=headers),
            detail="cannot read 's3cret-value' in Bearer s3cret-value",
        )
    )
    assert "s3cret-value" not in event["error"]["message"]
    assert "cannot read" in event["error"]["message"]


def test_detail_is_escaped_and_bounded():
    event = event_of(early(Code.BAD_HEADER, detail="a\r\nb\x9b\u202e" + "x" * 5000))
    message = event["error"]["message"]
    assert message.startswith(r"a\x0d\x0ab\x9b\u202exxx")
    assert len(message) < MAX_DETAIL + 100


def test_detail_reads_as_it_was_written():
    detail = 'expected "a" or \'b\', got "C:\\\\x" for Zoë'
    event = event_of(early(Code.BAD_HEADER, detail=detail))
    assert event["error"]["message"] == detail
    assert rb"expected \"a\" or" in encode(event)


def test_a_credential_that_ends_beyond_the_cut_leaves_no_beginning():
    secrets = [f"{number:02}" + "s3cret" * 200 for number in range(8)]
    headers = tuple((b"x-token", secret.encode()) for secret in secrets)
    outcome = early(Code.BAD_HEADER, head=head(headers=headers), detail=" ".join(secrets))
    assert event_of(outcome)["error"]["message"] == " ".join(["[erased]"] * 8)


def test_many_credentials_erase_the_whole_detail():
    cookie = "; ".join(f"c{number}=value-{number}" for number in range(2000)).encode()
    outcome = early(Code.BAD_HEADER, head=head(headers=((b"cookie", cookie),)), detail="x" * 99)
    assert event_of(outcome)["error"]["message"] == "[erased]"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain text/42?x=%20", "plain text/42?x=%20"),
        ('"', '"'),
        ("\\x41", r"\\x41"),
        (b"\x00\x7f\xff", r"\x00\x7f\xff"),
        ("é€\U0001f600", r"\xe9\u20ac\u1f600"),
        ("\ud800", r"\ud800"),
        ("", ""),
    ],
)
def test_escape(text, escaped):
    assert escape(text) == escaped


@pytest.mark.parametrize(
    ("now", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000000Z"),
        (1_790_000_000.999_999_9, "2026-09-21T14:13:21.000000Z"),
        (1_790_000_000.000_001, "2026-09-21T14:13:20.000001Z"),
    ],
)
def test_rfc3339(now, text):
    assert rfc3339(now) == text


def test_the_bundles_of_the_policy():
    outcome = forward()
    made = build(outcome, exchange(), labels={}, bundles={"authz": "v7", "acl": ""})
    assert made["bundles"] == {
        "policy": {"revision": "r1"},
        "authz": {"revision": "v7"},
        "acl": {"revision": ""},
    }
