"""Logins under way."""

from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.config.model import Login
from gateway.errors import Code, IdentityError
from gateway.identify.id_token import half_hash
from gateway.session.flow import RANDOM, begin, code_of, resume
from gateway.session.provider import Metadata
from gateway.session.record import Record

RANDOM_BYTES = bytes(range(RANDOM))
SECRET = b"s" * 32
META = Metadata(
    issuer="https://idp.example", authorization="https://idp.example/auth?a=b", token="", end_session="",
    names_itself=False,
)  # fmt: skip


def flow():
    return begin("web", "https://app.example/callback", "/x", RANDOM_BYTES, 1000.0)


def test_the_request_to_the_provider():
    login = Login.model_validate(
        {"issuer": "idp", "client": {"id": "g&w", "authentication": "none"},
         "scopes": ["openid", "email"], "parameters": {"prompt": "login"}}
    )  # fmt: skip
    url = urlsplit(flow().authorization(login, META))
    asked = {name: value[0] for name, value in parse_qs(url.query, strict_parsing=True).items()}
    assert (url.netloc, url.path) == ("idp.example", "/auth")
    assert asked == {
        "a": "b",
        "response_type": "code",
        "client_id": "g&w",
        "redirect_uri": "https://app.example/callback",
        "scope": "openid email",
        "state": flow().state,
        "nonce": flow().nonce,
        # RFC 7636 §4.2, computed by other means.
        "code_challenge": "9F3IKnUj0Ul0zqBQ4wKOi_BqjuhVqdYwNOu0-57MIwU",
        "code_challenge_method": "S256",
        "prompt": "login",
    }
    assert len({flow().state, flow().nonce, flow().verifier}) == 3


def test_only_the_gateway_reads_what_the_browser_keeps():
    kept = flow().sealed(SECRET, RANDOM_BYTES).encode()
    state = flow().state
    assert resume(kept, SECRET, "web", state, now=1001, timeout=600) == flow()
    assert flow().verifier.encode() not in kept
    for cookie, secret, login, given, now in (
        (kept, b"t" * 32, "web", state, 1001),
        (kept, SECRET, "other", state, 1001),
        (kept, SECRET, "web", state[:-1], 1001),
        (kept, SECRET, "web", "ä", 1001),
        (kept, SECRET, "web", state, 1600),
        (kept, SECRET, "web", state, 900),
        (kept[:-1], SECRET, "web", state, 1001),
        (b"", SECRET, "web", state, 1001),
        (b"\xff", SECRET, "web", state, 1001),
        (b"A" * 100, SECRET, "web", state, 1001),
    ):
        with pytest.raises(IdentityError) as caught:
            resume(cookie, secret, login, given, now=now, timeout=600)
        assert caught.value.code is Code.LOGIN_STATE


def test_the_answer_of_a_provider():
    assert code_of({"code": ["c"], "state": ["s"]}, META) == "c"
    assert code_of({"code": ["c"], "iss": ["https://idp.example"]}, META) == "c"
    for answer, code in (
        ({"code": ["c"], "iss": ["https://evil.example"]}, Code.LOGIN_FAILED),
        ({"code": ["c", "d"]}, Code.LOGIN_FAILED),
        ({"code": [""]}, Code.LOGIN_FAILED),
        ({}, Code.LOGIN_FAILED),
        ({"error": ["access_denied"]}, Code.LOGIN_REFUSED),
        ({"error": ["access_denied"], "code": ["c"]}, Code.LOGIN_REFUSED),
    ):
        with pytest.raises(IdentityError) as caught:
            code_of(answer, META)
        assert caught.value.code is code


def test_half_hashes():
    """The examples of OpenID Connect Core 1.0 §A.3, §A.4 and of EdDSA, which Ed25519 hashes with."""
    code = "Qcb0Orv1zh30vL1MPRsbm-diHiMwcLyZvn1arpZv-Jxf_11jnpEX3Tgfvk"
    access = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"
    assert half_hash(code, "RS256") == "LDktKdoQak3Pk0cnXxCltA"
    assert half_hash(access, "RS256") == "77QmUPtjPfzWtF2AnpK9RQ"
    assert half_hash("x", "EdDSA") == half_hash("x", "Ed25519") == half_hash("x", "ES512")


def record(**changes):
    given = {
        "login": "web", "issuer": "i", "subject": "s", "sid": "", "access_token": "a", "id_token": "",
        "refresh_token": "r", "received_at": 1000.0, "expires_at": 1600.0,
    }  # fmt: skip
    return Record(**{**given, **changes})


@pytest.mark.parametrize(
    ("changes", "before", "due"),
    [
        ({}, 60, 1540),
        ({}, 0, 1600),
        ({}, 3600, 1300),
        ({"expires_at": 1010.0}, 60, 1005),
        ({"retry_at": 1580.0}, 60, 1580),
        ({"expires_at": 1001.5}, 60, 1001),
        ({"expires_at": 1000.5}, 60, 1000.5),
        ({"refresh_token": ""}, 60, None),
    ],
)
def test_when_a_session_is_due(changes, before, due):
    made = record(**changes)
    if due is None:
        assert not made.is_due(1e12, before)
    else:
        assert made.is_due(due, before)
        assert not made.is_due(due - 0.001, before)


def test_a_session_without_a_sid_is_found_by_its_subject_only():
    assert len(record().tags) == 1
    assert len({*record(sid="1").tags, *record(sid="2").tags, *record(issuer="j").tags}) == 4
