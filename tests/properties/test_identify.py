"""Stage 2 for any request: only its own errors, and caches that change speed alone."""

import json
import re
from dataclasses import asdict
from functools import cache

from hypothesis import given, settings, strategies as st

from gateway.errors import Code, IdentityError
from gateway.identify import Identifier, Keyring
from gateway.identify.discovery import DiscoveryError, parse
from gateway.identify.keyring import KeysError
from gateway.jose import base64url
from gateway.jose.sign import SigningKey, sign, sign_bytes
from gateway.model import ANONYMOUS, Facts, Introspected, Missing, Principal
from tests.support.tokens import (
    AUDIENCE,
    ISSUER,
    NOW,
    claims,
    config,
    head,
    key,
    keyring,
    match,
    token,
)

ROUTES = [
    {"id": "all", "paths": "/a", "upstream": "http://127.0.0.1:9"},
    {"id": "optional", "paths": "/b", "upstream": "http://127.0.0.1:9", "authentication": "optional"},
    {"id": "orders", "paths": "/c", "upstream": "http://127.0.0.1:9", "audience": "orders"},
]  # fmt: skip
RULES = {"required_claims": {"a.b": [1, True]}, "forbidden_claims": ["x"], "max_lifetime": 600}
OTHER = SigningKey(id="k1", algorithm="ES256", key=key("ES256", "k2").key)
RINGS = [
    {},
    {"main": Keyring.unloaded()},
    {"main": keyring(key())},
    {"main": keyring(key(), key("ES256", "k2"))},
    {"main": keyring(OTHER)},
]


@cache
def configured(strict):
    return config(RULES if strict else {}, routes=ROUTES, credentials={"cookie": "session"})


def outcome(identifier, of, request, route, rings, facts, now):
    try:
        return identifier.identify(request, match(of, route), facts, rings, now)
    except IdentityError as error:
        assert error.code.status in (400, 401, 503)
        return error.code
    except Missing as missing:
        return missing.need


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)
TIME = st.integers(int(NOW) - 700, int(NOW) + 700) | st.floats(NOW - 700, NOW + 700) | JSON
CLAIMS = st.fixed_dictionaries(
    {"iss": st.just(ISSUER), "aud": st.sampled_from([AUDIENCE, "orders", [AUDIENCE, "orders"]])},
    optional={
        "exp": TIME,
        "nbf": TIME,
        "iat": TIME,
        "sub": JSON,
        "scope": JSON,
        "roles": JSON,
        "a": st.just({"b": 1}) | JSON,
        "a.b": JSON,
        "x": JSON,
        "nonce": JSON,
    },
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "alg": st.sampled_from(["ES256", "none", "HS256", "RS256"]) | JSON,
        "kid": st.sampled_from(["k1", "k2", "k3"]) | JSON,
        "typ": st.sampled_from(["at+jwt", "JWT", "dpop+jwt"]) | JSON,
        "crit": JSON,
        "jwk": JSON,
    },
)


def dump(value):
    return json.dumps(value).encode()


SIGNED = st.builds(
    lambda header, payload: sign_bytes(
        dump({"alg": "ES256", "kid": "k1", **header}), dump(payload), key()
    ),
    HEADERS,
    CLAIMS | JSON,
).map(str.encode)
GARBAGE = st.lists(st.binary(max_size=40) | st.binary(max_size=40).map(base64url.encode), max_size=5).map(b".".join)  # fmt: skip
HALF_SIGNED = st.builds(
    lambda header, payload: sign_bytes(header, payload, key()).encode(), st.binary(max_size=40), st.binary(max_size=40)
)  # fmt: skip
BEARER = SIGNED | GARBAGE | HALF_SIGNED


@settings(max_examples=150, deadline=None)
@given(BEARER, st.booleans(), st.integers(0, 2), st.sampled_from(RINGS), st.sampled_from(RINGS))
def test_no_token_raises_anything_else(bearer, strict, route, rings, fetched):
    of = configured(strict)
    found = outcome(Identifier.build(of), of, head(bearer=bearer), route, rings, Facts(keyrings=fetched), NOW)  # fmt: skip
    if isinstance(found, Principal):
        ring = fetched.get("main") or rings["main"]
        assert any(each.id == "k1" for each in ring.keys)
        assert ring is not RINGS[4]


GOOD = token().encode()
LINE = st.tuples(
    st.sampled_from([b"authorization", b"cookie", b"host", b"x"]),
    st.binary(max_size=30)
    | st.builds(
        lambda *parts: b"".join(parts),
        st.sampled_from([b"Bearer", b"bearer", b"session", b"session ", b"a=1; session", b"Basic"]),
        st.sampled_from([b" ", b"=", b"  ", b"", b",", b"\t"]),
        st.just(GOOD) | st.binary(max_size=10),
        st.sampled_from([b"", b" ", b"; session=x", b", Bearer x", b"="]),
    ),
)


COOKIE = re.compile(rb"(?:^|;)[ \t]*session[ \t]*=")


@settings(max_examples=150, deadline=None)
@given(st.lists(LINE, max_size=4), st.integers(0, 2))
def test_no_headers_raise_anything_else(lines, route):
    of = configured(False)
    found = outcome(Identifier.build(of), of, head(*lines), route, RINGS[2], Facts(), NOW)
    if isinstance(found, Principal) and found is not ANONYMOUS:
        credentials = [
            value
            for name, value in lines
            if name == b"authorization" or (name == b"cookie" and COOKIE.search(value))
        ]
        assert [value.count(GOOD) for value in credentials] == [1]


def plain(found):
    return asdict(found) if isinstance(found, Principal) else found


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.integers(0, 2),
            st.sampled_from(RINGS),
            st.sampled_from([{}, *RINGS]),
            st.floats(NOW - 200, NOW + 800),
        ),
        max_size=12,
    ),
    st.lists(CLAIMS, min_size=4, max_size=4),
    st.booleans(),
)
def test_a_warm_cache_changes_no_answer(requests, payloads, strict):
    of = configured(strict)
    good = [
        sign({}, claims(exp=int(NOW) + 300, a={"b": 1}, aud=[AUDIENCE, "orders"]), key()).encode()
    ] * 2
    tokens = [*good, *(sign_bytes(b'{"alg":"ES256","kid":"k1"}', dump(each), key()).encode() for each in payloads)]  # fmt: skip
    warm = Identifier.build(of)
    for number, route, rings, fetched, now in requests:
        request, facts = head(bearer=tokens[number]), Facts(keyrings=fetched)
        warmed = outcome(warm, of, request, route, rings, facts, now)
        cold = outcome(Identifier.build(of), of, request, route, rings, facts, now)
        assert plain(warmed) == plain(cold)


ANSWERS = st.builds(
    dict, CLAIMS, active=st.booleans() | JSON, token_type=st.sampled_from(["Bearer", "N_A"]) | JSON
)
ASKED = {"url": "https://issuer.example/introspect", "client": {"id": "gateway", "secret": "s"}}


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1), st.integers(0, 4), st.integers(0, 2), st.floats(NOW - 200, NOW + 800)
        ),
        max_size=12,
    ),
    st.lists(ANSWERS, min_size=3, max_size=3),
    st.sampled_from(["opaque", "always"]),
)
def test_what_is_known_of_an_answer_changes_none(requests, answers, tokens):
    of = config({"introspection": {**ASKED, "tokens": tokens}}, routes=ROUTES)
    bearers = [b"2YotnFZF", GOOD]
    good = {"active": True, "token_type": "Bearer", **claims(exp=int(NOW) + 300)}
    said = [None, *(Introspected(members=each, revision=dump(each)) for each in (good, *answers))]
    warm = Identifier.build(of)
    for bearer, answer, route, now in requests:
        request = head(bearer=bearers[bearer])
        facts = Facts(keyrings=RINGS[2], introspected=said[answer])
        warmed = outcome(warm, of, request, route, RINGS[2], facts, now)
        cold = outcome(Identifier.build(of), of, request, route, RINGS[2], facts, now)
        assert plain(warmed) == plain(cold)
        if isinstance(cold, Principal):
            asked = bearer == 0 or tokens == "always"
            assert not asked or said[answer].members["active"] is True


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=60)
    | st.builds(dump, JSON | st.builds(lambda keys: {"keys": keys}, st.lists(JSON)))
)
def test_no_key_set_raises_anything_else(data):
    for read in (Keyring.from_jwks, Keyring.from_pem, Keyring.from_secret):
        try:
            assert read(data).loaded
        except KeysError:
            pass


MEMBER = st.text(alphabet="AQab-_=", max_size=50) | JSON
JWK = st.fixed_dictionaries(
    {"kty": st.sampled_from(["RSA", "EC", "OKP", "oct"])},
    optional={
        name: MEMBER for name in ("n", "e", "x", "y", "k", "d", "kid", "alg", "use", "key_ops")
    }
    | {"crv": st.sampled_from(["P-256", "P-521", "Ed25519", "Ed448"])},
)


@settings(max_examples=150, deadline=None)
@given(st.lists(JWK, max_size=3))
def test_no_key_takes_a_good_one_with_it(entries):
    good = key().public_jwk()
    try:
        found = Keyring.from_jwks(dump({"keys": [*entries, good]}))
    except KeysError as error:
        assert "private" in str(error) or "JWK Set" in str(error)
    else:
        assert any(each.id == "k1" for each in found.keys)


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=40) | JSON.map(dump) | st.fixed_dictionaries({"issuer": st.just(ISSUER), "jwks_uri": JSON | st.text().map("https://".__add__)}).map(dump))  # fmt: skip
def test_no_metadata_raises_anything_else(data):
    try:
        url = parse(data, ISSUER)
    except DiscoveryError:
        return
    assert url.startswith("https://")
    assert url.isprintable()
    assert url.isascii()
