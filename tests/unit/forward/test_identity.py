from dataclasses import replace
from decimal import Decimal

import pytest

from gateway.errors import Code, ConfigError, ForwardError
from gateway.forward import Forwarder
from gateway.forward.identity import MAX_IDENTITY, encode, identity_lines, reader
from tests.support.stages import ALICE, config


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("alice", "alice"),
        ("", ""),
        (None, ""),
        ((), ""),
        ([], ""),
        ("a b%c,d", "a%20b%25c,d"),
        ("a%41", "a%2541"),
        (["a%41"], "a%2541"),
        ("a\r\nx-admin: 1\0", "a%0D%0Ax-admin:%201%00"),
        (" a ", "%20a%20"),
        ("caf\u00e9 \U0001f600", "caf%C3%A9%20%F0%9F%98%80"),
        ("\ud800", "%ED%A0%80"),
        ("\x7f", "%7F"),
        (["a", "b,c", "d e", "f%"], "a,b%2Cc,d%20e,f%25"),
        (("x",), "x"),
        (True, "true"),
        (7, "7"),
        (2**80, str(2**80)),
        (1790000300.0, "1790000300"),
        (1.5, "1.5"),
        (Decimal("0.1234567890123456789012"), "0.1234567890123456789012"),
        ({"b": [1], "a": "x y"}, '{"a":"x%20y","b":[1]}'),
        ([["a", "b"], {"c": 1}, None, 2], '["a"%2C"b"],{"c":1},null,2'),
    ],
)
def test_encoding(value, text):
    assert encode(value).decode() == text


@pytest.mark.parametrize("value", ["a,b", "a%2Cb", "%", "%25", " ", "é", "%C3%A9"])
def test_no_two_values_look_alike(value):
    others = [v for v in ("a,b", "a%2Cb", "%", "%25", " ", "é", "%C3%A9") if v != value]
    assert encode([value]) not in [encode([other]) for other in others]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("identity.subject", "alice"),
        ("identity.scopes", ("orders:read", "orders:write")),
        ("claims.sub", "alice"),
        ("claims.org.id", 7),
        ("claims.https://x.example/role", "admin"),
        ("token.expires_at", 1_790_000_300.0),
    ],
)
def test_paths(path, value):
    principal = replace(ALICE, claims={**ALICE.claims, "https://x.example/role": "admin"})
    assert reader(path)(principal) == value


def test_absent_claims_make_no_header():
    lines = identity_lines({"a": "claims.none", "b": "claims.sub.x", "c": "claims.sub"})
    assert lines(ALICE) == ((b"c", b"alice"),)
    assert lines(replace(ALICE, claims={"sub": "bob"})) == ((b"c", b"bob"),)


def test_a_value_over_the_limit_refuses():
    lines = identity_lines({"a": "identity.subject"})
    fits = replace(ALICE, subject="x" * MAX_IDENTITY)
    assert len(dict(lines(fits))[b"a"]) == MAX_IDENTITY
    for subject in ("x" * (MAX_IDENTITY + 1), "é" * (MAX_IDENTITY // 6 + 1)):
        with pytest.raises(ForwardError) as refusal:
            lines(replace(ALICE, subject=subject))
        assert refusal.value.code is Code.IDENTITY_TOO_LARGE


@pytest.mark.parametrize(
    "name",
    ["host", "connection", "content-length", "te", "upgrade", "x-forwarded-for", "x_forwarded_for",
     "x-request-id", "x-decision-id", "authorization", "cookie", "proxy-authorization", "expect"],
)  # fmt: skip
def test_names_that_cannot_be_identity_headers(name):
    with pytest.raises(ConfigError) as caught:
        Forwarder.build(config({}, {"identity_headers": {name: "claims.x"}, "hosts": ["x"]}))
    assert [p.key for p in caught.value.problems] == [f"routes.1.identity_headers.{name}"]


def test_two_spellings_of_one_identity_header():
    with pytest.raises(ConfigError) as caught:
        Forwarder.build(config(identity_headers={"x-a": "claims.x", "x_a": "claims.y"}))
    assert [p.key for p in caught.value.problems] == ["identity_headers.x_a"]


@pytest.mark.parametrize(
    "path", ["", "identity", "identity.claims", "identity.__class__", "claims.", "x.y"]
)
def test_paths_that_name_nothing(path):
    with pytest.raises(ConfigError) as caught:
        Forwarder.build(config(identity_headers={"x-a": path}))
    assert [p.key for p in caught.value.problems] == ["identity_headers.x-a"]
