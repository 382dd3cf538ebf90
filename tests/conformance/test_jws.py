"""Public JWS vectors (Wycheproof, JOSE cookbook): each is accepted or refused as they say."""

import base64
import json
from functools import cache
from pathlib import Path

import pytest

from gateway.identify.keyring import Keyring, KeysError
from gateway.jose.compact import TokenError, parse

VECTORS = Path(__file__).parents[2] / ".." / "shared" / "conformance" / "jose" / "jws-given.jsonl"
pytestmark = pytest.mark.skipif(not VECTORS.exists(), reason="the shared vectors are not here")


def vectors():
    if not VECTORS.exists():
        return []
    return [json.loads(line) for line in VECTORS.read_text().splitlines()]


@cache
def keyring(jwks, algorithms):
    return Keyring.from_jwks(jwks.encode(), algorithms=algorithms)


def payload(vector):
    """What a verified token holds, else None; only the package's own errors count as a refusal."""
    try:
        token = parse(vector["token"].encode())
        ring = keyring(json.dumps(vector["jwks"]), tuple(vector["algs"]))
    except (TokenError, KeysError):
        return None
    if token.algorithm not in vector["algs"]:
        return None
    keys = ring.select(token.key_id, token.algorithm)
    if len(keys) != 1:
        return None
    good = keys[0].verify(token.algorithm, token.signing_input, token.signature)
    return token.payload if good else None


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector["id"])
def test_vector(vector):
    found = payload(vector)
    if vector["expect"] == "reject":
        assert found is None
    elif vector["expect"] == "accept":
        assert found is not None
    if found is not None and vector["payload_b64u"] is not None:
        assert base64.urlsafe_b64encode(found).rstrip(b"=").decode() == vector["payload_b64u"]
