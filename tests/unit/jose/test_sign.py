import json

import pytest

from gateway.jose.compact import parse
from gateway.jose.jwk import JwkError, from_jwk
from gateway.jose.sign import generate, load, public_jwks, sign
from tests.support.tokens import key

ALL = ["RS256", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519", "HS256", "HS384", "HS512"]


@pytest.mark.parametrize("algorithm", ALL)
def test_private_jwk_round_trip(algorithm):
    before = key(algorithm)
    after = load(json.dumps(before.private_jwk()))
    assert (after.id, after.algorithm) == (before.id, before.algorithm)
    token = parse(sign({"typ": "JWT"}, {"sub": "é"}, after).encode())
    assert token.header == {"alg": algorithm, "kid": "k1", "typ": "JWT"}
    assert token.payload == '{"sub":"é"}'.encode()
    shown = before.private_jwk() if algorithm.startswith("HS") else before.public_jwk()
    verifier = from_jwk({**shown, "key_ops": ["verify"]})
    assert verifier.verify(algorithm, token.signing_input, token.signature)


def test_public_jwks_holds_nothing_private():
    keys = [key(algorithm) for algorithm in ALL if not algorithm.startswith("HS")]
    for jwk in public_jwks(keys)["keys"]:
        assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & jwk.keys()
        assert jwk["key_ops"] == ["verify"]
    with pytest.raises(JwkError):
        key("HS256").public_jwk()


def test_id_is_the_thumbprint_by_default():
    made = generate("ES256")
    assert made.id == from_jwk(made.public_jwk()).thumbprint
    assert made.id != generate("ES256").id


@pytest.mark.parametrize(
    "data",
    [
        "",
        "[]",
        "{}",
        '{"kty":"EC"}',
        json.dumps(key("ES256").public_jwk()),
        json.dumps({**key("ES256").private_jwk(), "alg": "ES384"}),
        json.dumps({**key("ES256").private_jwk(), "alg": "none"}),
        json.dumps({**key("ES256").private_jwk(), "d": "AQAB"}),
        json.dumps({**key("RS256").private_jwk(), "p": "AQAB"}),
        json.dumps({**key("HS256").private_jwk(), "alg": "HS512"}),
    ],
    ids=range(10),
)
def test_load_refuses(data):
    with pytest.raises(JwkError):
        load(data)


def test_unknown_algorithm():
    with pytest.raises(ValueError):
        generate("none")


def test_private_keys_do_not_show():
    for algorithm in ("ES256", "HS256"):
        made = key(algorithm)
        secret = made.private_jwk()["k" if algorithm == "HS256" else "d"]
        assert secret not in repr(made)
