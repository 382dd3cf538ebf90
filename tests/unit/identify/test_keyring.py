import datetime
import json
import re

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gateway.config.model import ASYMMETRIC
from gateway.identify.keyring import MAX_BYTES, Keyring, KeysError
from gateway.jose.sign import public_jwks
from tests.support.tokens import key, keyring


def jwks(*entries):
    return json.dumps({"keys": list(entries)}).encode()


def entry(algorithm="ES256", name="k1", **changes):
    members = {**key(algorithm, name).public_jwk(), **changes}
    return {member: value for member, value in members.items() if value is not ...}


BAD = [
    {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
    {"kty": "EC", "crv": "P-256"},
    {"kty": "new", "kid": "x"},
    "no object",
    None,
    entry("RS256", use="enc"),
    {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"},
    {"kty": ["RSA"]},
]


@pytest.mark.parametrize("place", [0, len(BAD)])
def test_good_keys_among_bad_ones(place):
    """One malformed, weak or unknown key takes nothing else with it."""
    entries = [*BAD]
    entries[place:place] = [entry("ES256", "good"), entry("RS256", "good too")]
    found = Keyring.from_jwks(jwks(*entries))
    assert [each.id for each in found.keys] == ["good", "good too"]
    assert len(found.problems) == len(BAD)
    assert found.loaded


UNUSABLE = {
    "empty": b"",
    "HTML": b"<html>",
    "a list": b"[]",
    "no keys member": b"{}",
    "keys null": b'{"keys":null}',
    "keys an object": b'{"keys":{}}',
    "no key": b'{"keys":[]}',
    "one key alone": json.dumps(entry()).encode(),
    "only bad ones": jwks(*BAD),
    "duplicate names": jwks(entry())[:-1] + b',"keys":[]}',
    "duplicate names in a key": jwks(entry()).replace(b'"kty"', b'"kid":"x","kty"'),
    "BOM": b"\xef\xbb\xbf" + jwks(entry()),
    "UTF-16": jwks(entry()).decode().encode("utf-16"),
    "101 keys": jwks(*[entry(kid=str(number)) for number in range(101)]),
    "over the size": jwks(entry(extra="x" * MAX_BYTES)),
    "nested deep": jwks(entry(extra=json.loads("[" * 100 + "]" * 100))),
    "private EC": jwks(entry("ES256", "a"), key("ES256").private_jwk()),
    "private RSA": jwks(entry("ES256", "a"), key("RS256").private_jwk()),
    "private OKP": jwks(entry("ES256", "a"), key("EdDSA").private_jwk()),
    "an unused key's p": jwks(entry("ES256", "a"), {"kty": "RSA", "use": "enc", "p": "AQAB"}),
    "k outside oct": jwks(entry("ES256", "a"), entry("RS256", "b", k="AQAB")),
}


@pytest.mark.parametrize("data", UNUSABLE.values(), ids=UNUSABLE)
def test_unusable(data):
    with pytest.raises(KeysError):
        Keyring.from_jwks(data)


def test_hundred_keys():
    assert len(Keyring.from_jwks(jwks(*[entry(kid=str(n)) for n in range(100)])).keys) == 100
    with pytest.raises(KeysError):
        Keyring.from_jwks(jwks(entry("ES256", "a"), entry("ES256", "b")), max_keys=1)


def test_keys_for_no_accepted_algorithm_are_left_out():
    data = jwks(entry("ES256", "a"), entry("RS256", "b"))
    assert [each.id for each in Keyring.from_jwks(data, algorithms=["RS256"]).keys] == ["b"]
    with pytest.raises(KeysError):
        Keyring.from_jwks(data, algorithms=["EdDSA"])


def test_shared_secret_in_a_public_set_never_verifies():
    secret = key("HS256").private_jwk()
    secret["key_ops"] = ["verify"]
    found = Keyring.from_jwks(jwks(entry(), secret))
    assert found.select("k1", "HS256") == ()
    assert len(found.keys) == 1
    assert "HS256" not in ASYMMETRIC


def test_select():
    found = Keyring.from_jwks(
        jwks(
            entry("ES256", "a"),
            entry("ES384", "b"),
            entry("RS256", "c", alg=...),
            entry("PS256", "c", alg="PS256"),
            entry("EdDSA", "d", kid=...),
        )
    )

    def ids(key_id, algorithm):
        return [each.id for each in found.select(key_id, algorithm)]

    assert ids("a", "ES256") == ["a"]
    assert ids("a", "ES384") == []
    assert ids("A", "ES256") == []
    assert ids("", "ES256") == []
    assert ids("unknown", "ES256") == []
    assert ids(None, "ES256") == ["a"]
    assert ids("c", "RS256") == ["c"]
    assert ids("c", "PS256") == ["c", "c"]
    assert ids(None, "EdDSA") == [None]
    assert ids("d", "EdDSA") == []
    assert ids(None, "none") == []


def test_a_key_given_twice_is_one():
    assert len(Keyring.from_jwks(jwks(entry(), entry())).keys) == 1
    assert len(Keyring.from_jwks(jwks(entry(), entry(kid="other"))).keys) == 2


def test_revision_is_of_the_usable_keys():
    one = Keyring.from_jwks(jwks(entry("ES256", "a"), entry("RS256", "b")))
    assert (
        one.revision
        == Keyring.from_jwks(jwks(entry("RS256", "b"), entry("ES256", "a"), *BAD)).revision
    )
    others = [
        jwks(entry("ES256", "a")),
        jwks(entry("ES256", "a"), entry("RS256", "c")),
        jwks(entry("ES256", "a"), entry("RS256", "b", alg="RS512")),
        jwks(entry("ES256", "x", kid="a"), entry("RS256", "b")),
    ]  # fmt: skip
    revisions = {Keyring.from_jwks(data).revision for data in others} | {one.revision}
    assert len(revisions) == 5
    assert "" not in revisions


def test_unloaded():
    found = Keyring.unloaded()
    assert (found.loaded, found.keys, found.revision) == (False, (), "")


def public_pem(algorithm, name="k1"):
    public = key(algorithm, name).key.public_key
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def certificate(algorithm):
    private = key(algorithm).key.private_key
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(
        name, name, private.public_key(), 1, start, start.replace(year=2021)
    )
    return builder.sign(private, SHA256()).public_bytes(Encoding.PEM)


def test_pem():
    found = Keyring.from_pem(public_pem("ES256") + b"\n# note\n" + public_pem("RS256"))
    assert len(found.keys) == 2
    es256 = found.select(None, "ES256")[0]
    # The issuer cannot know the id of a key that has none.
    assert found.select("whatever", "ES256") == (es256,)
    assert found.select(es256.id, "ES256") == (es256,)


def test_pem_with_two_of_a_kind_needs_the_thumbprint():
    found = Keyring.from_pem(public_pem("ES256", "one") + public_pem("ES256", "two"))
    assert len(found.select("whatever", "ES256")) == 2
    assert len(found.select(found.keys[0].id, "ES256")) == 1


def test_pem_of_a_key_and_its_certificate_is_one_key():
    found = Keyring.from_pem(public_pem("ES256") + certificate("ES256"))
    assert len(found.keys) == 1
    assert found.revision == Keyring.from_pem(certificate("ES256")).revision


def test_pem_keeps_good_keys():
    bad = b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
    found = Keyring.from_pem(bad + public_pem("ES256"))
    assert len(found.keys) == 1
    assert "key 0" in found.problems[0]


PRIVATE_PEM = key("ES256").key.private_key.private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
)


@pytest.mark.parametrize(
    "data",
    [b"", b"junk", b"\xff" * 100, PRIVATE_PEM, public_pem("ES256") + PRIVATE_PEM, b"x" * (MAX_BYTES + 1)],
    ids=["empty", "junk", "binary", "private", "public and private", "large"],
)  # fmt: skip
def test_unusable_pem(data):
    with pytest.raises(KeysError):
        Keyring.from_pem(data)


PRIVATE_JWK = key("ES256").private_jwk()


@pytest.mark.parametrize(
    ("data", "message", "remedy"),
    [
        (b"{", "not a JWK Set: Expecting property name", "is JSON: "),
        (public_pem("ES256"), "not a JWK Set: PEM", "named in pem_file"),
        (b"[]", "not a JWK Set: no list of keys", "expected {"),
        (b'{"keys": {}}', "not a JWK Set: no list of keys", "expected {"),
        (b'{"keys": []}', "no usable key: the set is empty", "`gateway keys jwks FILE`"),
        (json.dumps(PRIVATE_JWK).encode(), "but a private key", "`gateway keys jwks FILE`"),
        (json.dumps(entry()).encode(), "but a single key", "put it into {"),
        (b'{"kty": "oct", "k": "AAAA"}', "but a shared secret", "secret_file"),
        (jwks(PRIVATE_JWK), "the set contains a private key", "`gateway keys jwks FILE`"),
        (jwks(entry()), "left out: for no accepted algorithm", "one of ES256"),
        (jwks({"kty": "X"}), "no usable key; key 0 left out: kty 'X'", None),
    ],
)
def test_what_is_wrong_with_a_set_and_what_to_do(data, message, remedy):
    with pytest.raises(KeysError, match=re.escape(message)) as caught:
        Keyring.from_jwks(data, algorithms=["RS256"])
    assert (remedy in caught.value.remedy) if remedy else caught.value.remedy == ""


@pytest.mark.parametrize(
    ("data", "message", "remedy"),
    [
        (PRIVATE_PEM, "the file contains a private key", "`openssl pkey -in FILE -pubout`"),
        (jwks(entry()), "no PEM block", "named in jwks_file"),
        (b"junk", "no PEM block", None),
    ],
)
def test_what_is_wrong_with_a_pem_file_and_what_to_do(data, message, remedy):
    with pytest.raises(KeysError, match=message) as caught:
        Keyring.from_pem(data)
    assert (remedy in caught.value.remedy) if remedy else caught.value.remedy == ""


def test_secret():
    found = Keyring.from_secret("s" * 32)
    assert found.revision == Keyring.from_secret(b"s" * 32).revision
    assert found.revision != Keyring.from_secret(b"t" * 32).revision
    assert found.select("any", "HS256") == found.select(None, "HS256") == found.keys
    assert found.select(None, "HS384") == found.select(None, "RS256") == ()


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "short",
        "s" * 31,
        "-----BEGIN PUBLIC KEY-----" + "s" * 32,
        public_pem("ES256"),
        certificate("RS256"),
    ],
)
def test_unusable_secret(secret):
    with pytest.raises(KeysError):
        Keyring.from_secret(secret)


def test_keyring_of_the_helpers():
    assert keyring(key("ES256")).revision == Keyring.from_jwks(json.dumps(public_jwks([key("ES256")])).encode()).revision  # fmt: skip
