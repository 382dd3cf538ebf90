"""io.jwt.*: signatures, constraints, and attacks on both."""

import base64
import hashlib
import hmac
import json
from functools import cache

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc.jwk import ECKey, OKPKey, RSAKey

from gateway.rego.errors import BuiltinError
from tests.support.rego_values import Work, call

ALGORITHMS = [
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
]
CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
SECOND = 1_000_000_000


@cache
def private(kind, name="a"):
    if kind in CURVES:
        return ec.generate_private_key(CURVES[kind])
    if kind == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def key_of(algorithm, name="a"):
    return private("RSA" if algorithm[:2] in ("RS", "PS") else algorithm, name)


def jwk(algorithm, name="a", *, public=False, **extra):
    key = key_of(algorithm, name)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    kind = {"R": RSAKey, "P": RSAKey, "E": ECKey}[algorithm[0]] if algorithm != "EdDSA" else OKPKey
    return {**kind.import_key(pem).as_dict(private=not public), **extra}


def pem(algorithm, name="a"):
    return (
        key_of(algorithm, name)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def signed(algorithm, claims, header=None, name="a"):
    head = {"alg": algorithm, "typ": "JWT", **(header or {})}
    return call("io.jwt.encode_sign", head, claims, jwk(algorithm, name))


def part(value):
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def hs256(header, claims, secret):
    body = f"{part(header)}.{part(claims)}"
    mac = hmac.new(secret.encode(), body.encode(), hashlib.sha256).digest()
    return f"{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_sign_and_verify(algorithm):
    token = signed(algorithm, {"sub": "alice"})
    name = f"io.jwt.verify_{algorithm.lower()}"
    jwks = json.dumps({"keys": [jwk(algorithm, "other", public=True), jwk(algorithm, public=True)]})
    for key in (pem(algorithm), jwks):
        assert call(name, token, key)
    assert not call(name, token, pem(algorithm, "other"))
    assert not call(name, token[:-8] + "AAAAAAAA", pem(algorithm))
    header, _, signature = token.split(".")
    assert not call(name, f"{header}.{part({'sub': 'mallory'})}.{signature}", pem(algorithm))
    valid, _, payload = call("io.jwt.decode_verify", token, {"cert": jwks})
    assert valid
    assert payload == {"sub": "alice"}


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "ES384", "EdDSA"])
def test_a_key_of_another_kind_never_verifies(algorithm):
    token = signed(algorithm, {"sub": "alice"})
    for other in ("RS256", "ES256", "ES512", "EdDSA"):
        if other[0] != algorithm[0] and {algorithm, other} != {"PS256", "RS256"}:
            assert not call(f"io.jwt.verify_{algorithm.lower()}", token, pem(other))
            assert not call("io.jwt.decode_verify", token, {"cert": pem(other)})[0]
    secret = json.dumps({"kty": "oct", "k": part("s3cret")})
    assert not call(f"io.jwt.verify_{algorithm.lower()}", token, secret)


@pytest.mark.parametrize("size", [256, 384, 512])
def test_shared_secrets(size):
    key = {"kty": "oct", "k": part("s3cret")}
    token = call("io.jwt.encode_sign", {"alg": f"HS{size}"}, {"a": 1}, key)
    assert call(f"io.jwt.verify_hs{size}", token, "s3cret")
    assert not call(f"io.jwt.verify_hs{size}", token, "other")
    assert call("io.jwt.decode_verify", token, {"secret": "s3cret"})[0]
    assert not call("io.jwt.decode_verify", token, {"secret": "S3cret"})[0]


def test_an_rsa_key_is_no_hmac_secret():
    forged = hs256({"alg": "HS256"}, {"sub": "root"}, pem("RS256"))
    assert call("io.jwt.decode_verify", forged, {"cert": pem("RS256")}) == [False, {}, {}]
    assert not call("io.jwt.verify_rs256", forged, pem("RS256"))


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "None"},
        {},
        {"alg": "RS1"},
        {"alg": "HS256", "crit": ["b64"], "b64": False},
    ],
)
def test_headers_that_never_verify(header):
    token = f"{part(header)}.{part({'sub': 'root'})}."
    assert call("io.jwt.decode_verify", token, {"secret": "x"}) == [False, {}, {}]


def test_the_named_key_alone_is_tried():
    token = signed("ES256", {"a": 1}, {"kid": "two"})
    keys = [jwk("ES256", public=True, kid="one"), jwk("ES256", "other", public=True, kid="two")]
    assert not call("io.jwt.verify_es256", token, json.dumps({"keys": keys}))
    keys[1]["kid"] = "three"
    assert call("io.jwt.verify_es256", token, json.dumps({"keys": keys}))


def test_keys_of_another_or_unknown_algorithm_are_passed_over():
    token = signed("PS256", {"a": 1})
    for algorithm, fits in (("PS256", True), ("RS256", False), ("XX", False)):
        keys = json.dumps({"keys": [jwk("PS256", public=True, alg=algorithm)]})
        assert call("io.jwt.verify_ps256", token, keys) is fits


NOW = 1_700_000_000
CLAIMS = [
    ({"iss": "me"}, {"iss": "me"}, True),
    ({"iss": "me"}, {"iss": "you"}, False),
    ({}, {"iss": "me"}, False),
    ({"aud": "api"}, {"aud": "api"}, True),
    ({"aud": ["x", "api"]}, {"aud": "api"}, True),
    ({"aud": "api"}, {}, False),
    ({}, {"aud": "api"}, False),
    ({"aud": ["x", 5]}, {"aud": "api"}, False),
    ({"aud": 5}, {"aud": "api"}, False),
    ({"exp": NOW + 1}, {}, True),
    ({"exp": NOW}, {}, False),
    ({"exp": NOW + 0.5}, {}, True),
    ({"nbf": NOW}, {}, True),
    ({"nbf": NOW + 1}, {}, False),
    ({"exp": 10}, {"time": 5 * SECOND}, True),
    ({"exp": 10}, {"time": 11 * SECOND}, False),
    ({}, {"alg": "HS256"}, True),
    ({}, {"alg": "HS512"}, False),
]


@pytest.mark.parametrize(("claims", "constraints", "valid"), CLAIMS)
def test_claims(claims, constraints, valid):
    token = hs256({"alg": "HS256"}, claims, "s")
    state = Work(now_ns=NOW * SECOND)
    result = call("io.jwt.decode_verify", token, {"secret": "s", **constraints}, state=state)
    assert result == ([True, {"alg": "HS256"}, claims] if valid else [False, {}, {}])


@pytest.mark.parametrize(
    "constraints",
    [{}, {"secret": ""}, {"secret": "s", "cert": "x"}, {"secret": 5}, {"secret": "s", "sub": "x"},
     {"secret": "s", "time": -1}, {"secret": "s", "time": "x"}, {"cert": "nonsense"},
     {"cert": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}],
)  # fmt: skip
def test_bad_constraints(constraints):
    with pytest.raises(BuiltinError):
        call("io.jwt.decode_verify", hs256({"alg": "HS256"}, {}, "s"), constraints)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a",
        "a.b",
        "a.b.c.d",
        "e30.e30.!",
        "W10.e30.",
        f"{part({'enc': 'x'})}.e30.",
        f"{part('nope')}.e30.",
    ],
)
def test_what_is_no_token(token):
    with pytest.raises(BuiltinError):
        call("io.jwt.decode", token)


def test_claims_of_the_wrong_type_are_errors():
    for claims in ({"exp": "soon"}, {"nbf": None}):
        with pytest.raises(BuiltinError):
            call("io.jwt.decode_verify", hs256({"alg": "HS256"}, claims, "s"), {"secret": "s"})


def test_nested_tokens():
    inner = hs256({"alg": "HS256"}, {"sub": "x"}, "s")
    outer = hs256({"alg": "HS256", "cty": "JWT"}, inner, "s")
    assert call("io.jwt.decode", outer)[1] == {"sub": "x"}
    assert call("io.jwt.decode_verify", outer, {"secret": "s"})[2] == {"sub": "x"}
    forged = hs256({"alg": "HS256", "cty": "JWT"}, hs256({"alg": "HS256"}, {}, "other"), "s")
    assert call("io.jwt.decode_verify", forged, {"secret": "s"}) == [False, {}, {}]


@pytest.mark.parametrize(
    ("header", "payload", "key"),
    [
        ("{}", "{}", '{"kty": "oct", "k": "YQ"}'),
        ('{"alg": 5}', "{}", '{"kty": "oct", "k": "YQ"}'),
        ('{"alg": "none"}', "{}", '{"kty": "oct", "k": "YQ"}'),
        ('{"alg": "HS256"}', "not json", '{"kty": "oct", "k": "YQ"}'),
        ('{"alg": "HS256"}', "{}", '{"kty": "oct", "k": ""}'),
        ('{"alg": "HS256"}', "{}", '{"keys": []}'),
        ('{"alg": "RS256"}', "{}", '{"kty": "oct", "k": "YQ"}'),
        ('{"alg": "RS256"}', "{}", '{"kty": "RSA", "n": "AQ", "e": "AQ", "d": "AQ"}'),
        ('{"alg": "HS256"}', "{}", "[]"),
    ],
)
def test_what_cannot_be_signed(header, payload, key):
    with pytest.raises(BuiltinError):
        call("io.jwt.encode_sign_raw", header, payload, key)


def test_a_private_key_verifies_nothing():
    token = signed("RS256", {"a": 1})
    assert call("io.jwt.verify_rs256", token, json.dumps(jwk("RS256", public=True))) is True
    assert call("io.jwt.verify_rs256", token, json.dumps(jwk("RS256"))) is False


@pytest.mark.parametrize("changed", ["p", "d", "e", "n"])
def test_an_rsa_key_whose_numbers_do_not_agree_signs_nothing(changed):
    key = jwk("RS256") | {changed: jwk("RS256", "b")[changed] if changed != "e" else "AQAD"}
    with pytest.raises(BuiltinError):
        call("io.jwt.encode_sign", {"alg": "RS256"}, {}, key)


@pytest.mark.parametrize("changed", [{"kid": 5}, {"alg": 5}])
def test_the_names_of_a_key_are_strings(changed):
    with pytest.raises(BuiltinError):
        call("io.jwt.verify_rs256", signed("RS256", {}), json.dumps(jwk("RS256") | changed))


def test_a_shared_secret_verifies_whatever_the_header_is():
    token = hs256({"alg": "HS256"}, {}, "k")
    assert call("io.jwt.verify_hs256", token, "k") is True
    assert call("io.jwt.verify_hs256", "=." + token.split(".", 1)[1], "k") is False
