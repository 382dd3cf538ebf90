from dataclasses import replace
from decimal import Decimal

import pytest
from pydantic import ValidationError

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


def written(**headers):
    """What gives those headers; a value is a path, or one with its encoding."""
    section = config(identity_headers=headers).identity_headers
    return identity_lines(section)


def test_absent_claims_make_no_header():
    lines = written(a="claims.none", b="claims.sub.x", c="claims.sub")
    assert lines(ALICE) == ((b"c", b"alice"),)
    assert lines(replace(ALICE, claims={"sub": "bob"})) == ((b"c", b"bob"),)


def test_a_value_over_the_limit_refuses():
    lines = written(a="identity.subject")
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


LIST = ["a", "b c"]
PLAIN, JOINED, REPEATED = (
    {"encoding": "plain", "lists": lists} for lists in (None, "join", "repeat")
)
JSON = {"encoding": "base64url-json"}
REFUSED = Code.IDENTITY_UNSENDABLE


@pytest.mark.parametrize(
    ("claim", "how", "lines"),
    [
        ("a b%c,d", PLAIN, ["a b%c,d"]),
        ("zoë", PLAIN, REFUSED),
        (" a", PLAIN, REFUSED),
        ("a ", PLAIN, REFUSED),
        (" ", PLAIN, REFUSED),
        ("a\tb", PLAIN, REFUSED),
        ("a\r\nx-auth-roles: admin", PLAIN, REFUSED),
        ("a\n", PLAIN, REFUSED),
        ("\0", PLAIN, REFUSED),
        ("\x7f", PLAIN, REFUSED),
        ("", PLAIN, []),
        (None, PLAIN, []),
        (0, PLAIN, ["0"]),
        (False, PLAIN, ["false"]),
        (2**80, PLAIN, [str(2**80)]),
        (1790000300.0, PLAIN, ["1790000300"]),
        (Decimal("0.5000"), PLAIN, ["0.5000"]),
        ({"a": 1}, PLAIN, REFUSED),
        (LIST, PLAIN, REFUSED),
        ([], PLAIN, REFUSED),
        (LIST, JOINED, ["a,b c"]),
        ("a", JOINED, ["a"]),
        ("a,b", JOINED, REFUSED),
        (["a,b"], JOINED, REFUSED),
        (["a", ""], JOINED, REFUSED),
        (["a", None], JOINED, REFUSED),
        (["a", ["b"]], JOINED, REFUSED),
        ([], JOINED, []),
        (None, JOINED, []),
        (LIST, REPEATED, ["a", "b c"]),
        ("a", REPEATED, ["a"]),
        ("a,b", REPEATED, REFUSED),
        (["a", "b,c"], REPEATED, REFUSED),
        ([""], REPEATED, REFUSED),
        (["a\nb"], REPEATED, REFUSED),
        (["x"] * 100, REPEATED, ["x"] * 100),
        (["x"] * 101, REPEATED, Code.IDENTITY_TOO_LARGE),
        (["x" * 4000] * 3, REPEATED, Code.IDENTITY_TOO_LARGE),
        (LIST, {"lists": "join"}, ["a,b%20c"]),
        ("a,b", {"lists": "join"}, ["a%2Cb"]),
        (LIST, {"lists": "repeat"}, ["a", "b%20c"]),
        ("zoë,", {"lists": "repeat"}, ["zo%C3%AB%2C"]),
        (None, {"lists": "join"}, []),
        ("zoë", JSON, ["Inpvw6si"]),
        (None, JSON, ["bnVsbA"]),
        ("", JSON, ["IiI"]),
        ([], JSON, ["W10"]),
        ("x" * 6200, JSON, Code.IDENTITY_TOO_LARGE),
        ("\ud800", JSON, REFUSED),
    ],
)
def test_ways_to_write_a_claim(claim, how, lines):
    how = {name: value for name, value in how.items() if value is not None}
    write = written(**{"x-a": {"value": "claims.c", **how}})
    principal = replace(ALICE, claims={"c": claim})
    if isinstance(lines, list):
        assert write(principal) == tuple((b"x-a", line.encode()) for line in lines)
        assert write(replace(ALICE, claims={})) == ()
        return
    with pytest.raises(ForwardError) as refusal:
        write(principal)
    assert refusal.value.code is lines


def test_lists_of_the_identity():
    write = written(
        **{"x-a": {"value": "identity.scopes", "encoding": "base64url-json"}},
        **{"x-b": {"value": "identity.scopes", "encoding": "plain", "lists": "repeat"}},
    )
    scopes = (b"x-b", b"orders:read"), (b"x-b", b"orders:write")
    assert write(ALICE)[1:] == scopes
    assert write(replace(ALICE, scopes=())) == ((b"x-a", b"W10"),)


def test_a_string_is_a_value_in_percent_encoding():
    short, long, other = (
        config(identity_headers={"x-a": value}).identity_headers
        for value in (
            "claims.c",
            {"value": "claims.c", "encoding": "percent"},
            {"value": "claims.c", "encoding": "plain"},
        )
    )
    assert short == long
    assert short["x-a"].model_dump() == "claims.c"
    assert other["x-a"].model_dump() == {"value": "claims.c", "encoding": "plain", "lists": None}


@pytest.mark.parametrize(
    "value", [7, [], {"from": "claims.c"}, {}, {"value": "claims.c", "encoding": "base64"},
              {"value": "claims.c", "encoding": "base64url-json", "lists": "join"}],
)  # fmt: skip
def test_what_says_no_value(value):
    with pytest.raises(ValidationError):
        config(identity_headers={"x-a": value})
