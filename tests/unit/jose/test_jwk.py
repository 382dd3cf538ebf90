import base64
import math

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.jose.jwk import JwkError, from_jwk, from_pem, from_secret, pem_blocks
from gateway.jose.sign import sign
from tests.support.tokens import key

FIELD = 2**255 - 19
ASYMMETRIC = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]  # fmt: skip


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(value):
    return b64(value.to_bytes(math.ceil(value.bit_length() / 8) or 1, "big"))


def jwk(algorithm="ES256", **changes):
    members = {**key(algorithm).public_jwk(), **changes}
    return {name: value for name, value in members.items() if value is not ...}


def rsa_jwk(modulus, exponent=65537):
    return {"kty": "RSA", "n": number(modulus), "e": number(exponent)}


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_every_algorithm_verifies(algorithm):
    signing_input, _, signature = sign({}, {}, key(algorithm)).encode().rpartition(b".")
    raw = base64.urlsafe_b64decode(signature + b"==")
    found = from_jwk(jwk(algorithm))
    assert found.id == "k1"
    assert found.verify(algorithm, signing_input, raw)
    assert not found.verify(algorithm, signing_input + b"x", raw)
    assert not found.verify(algorithm, signing_input, raw[:-1])
    assert not found.verify(algorithm, signing_input, b"")
    assert not found.verify("none", signing_input, b"")
    assert not found.verify("HS256", signing_input, raw)


@pytest.mark.parametrize(
    ("algorithm", "changes", "algorithms"),
    [
        ("ES256", {"alg": ...}, {"ES256"}),
        ("ES512", {"alg": ...}, {"ES512"}),
        ("RS256", {"alg": ...}, {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        ("RS256", {"alg": "PS384"}, {"PS384"}),
        ("EdDSA", {}, {"EdDSA", "Ed25519"}),
        ("Ed25519", {}, {"EdDSA", "Ed25519"}),
        ("ES256", {"use": ..., "key_ops": ...}, {"ES256"}),
        ("ES256", {"key_ops": ["sign", "verify"]}, {"ES256"}),
        ("ES256", {"x5c": ["junk"], "x5t": 1, "unknown": {}}, {"ES256"}),
    ],
)
def test_algorithms_of_a_key(algorithm, changes, algorithms):
    assert from_jwk(jwk(algorithm, **changes)).algorithms == algorithms


def refuse_small():
    return (
        rsa.generate_private_key(public_exponent=65537, key_size=1024)
        .public_key()
        .public_numbers()
        .n
    )


def weak_generator_modulus():
    """A modulus of the form that CVE-2017-15361 produces: a power of 65537 modulo small primes."""
    product = math.prod(p for p in range(3, 168) if all(p % q for q in range(2, p)))
    residue, times = pow(65537, 1234, product), 2**2047 // product + 1
    return residue + product * (times + (residue + times + 1) % 2)  # odd, of 2,048 bits


GOOD_MODULUS = int.from_bytes(
    base64.urlsafe_b64decode(key("RS256").public_jwk()["n"] + "=="), "big"
)
SMALL_ORDER = {
    "identity": (1).to_bytes(32, "little"),
    "identity, other sign": (1 | 1 << 255).to_bytes(32, "little"),
    "order 2": (FIELD - 1).to_bytes(32, "little"),
    "order 4": bytes(32),
    "order 4, other sign": (1 << 255).to_bytes(32, "little"),
    "order 8": bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    "order 8, the other": bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    "not canonical": FIELD.to_bytes(32, "little"),
    "not canonical identity": (FIELD + 1).to_bytes(32, "little"),
    "not on the curve": (2).to_bytes(32, "little"),
}  # fmt: skip

REFUSED = {
    "not an object": [],
    "a string": "key",
    "no kty": jwk(kty=...),
    "kty of another type": jwk(kty=1),
    "kty unknown": jwk(kty="XYZ"),
    "kid of another type": jwk(kid=7),
    "kid null": jwk(kid=None),
    "use enc": jwk(use="enc"),
    "use in capitals": jwk(use="SIG"),
    "use null": jwk(use=None),
    "key_ops without verify": jwk(key_ops=["sign"]),
    "key_ops empty": jwk(key_ops=[]),
    "key_ops a string": jwk(key_ops="verify"),
    "key_ops twice": jwk(key_ops=["verify", "verify"]),
    "key_ops with a number": jwk(key_ops=["verify", 1]),
    "key_ops with an object": jwk(key_ops=["verify", {}]),
    "alg of another curve": jwk(alg="ES384"),
    "alg of another type": jwk(alg="HS256"),
    "alg none": jwk(alg="none"),
    "alg for encryption": jwk("RS256", alg="RSA-OAEP"),
    "alg null": jwk(alg=None),
    "private": jwk(d="AQAB"),
    "EC without y": jwk(y=...),
    "EC x of another type": jwk(x=5),
    "EC x padded": jwk(x=jwk()["x"] + "="),
    "EC x too short": jwk(x=b64(b"\1" * 31)),
    "EC x too long": jwk(x=b64(b"\0" + base64.urlsafe_b64decode(jwk()["x"] + "="))),
    "EC not on the curve": jwk(x=b64(b"\1" * 32)),
    "EC zero": jwk(x=b64(bytes(32)), y=b64(bytes(32))),
    "EC wrong curve": jwk(crv="P-384"),
    "EC curve unknown": jwk(crv="secp256k1", alg="ES256K"),
    "EC no curve": jwk(crv=...),
    "RSA 1024": rsa_jwk(refuse_small()),
    "RSA 2047": rsa_jwk(GOOD_MODULUS >> 1 | 1),
    "RSA 16384": rsa_jwk(2**16383 + 1),
    "RSA e = 1": rsa_jwk(GOOD_MODULUS, 1),
    "RSA e = 0": rsa_jwk(GOOD_MODULUS, 0),
    "RSA e even": rsa_jwk(GOOD_MODULUS, 65536),
    "RSA e huge": rsa_jwk(GOOD_MODULUS, 2**2000 + 1),
    "RSA n even": rsa_jwk(GOOD_MODULUS + 1),
    "RSA n weak": rsa_jwk(weak_generator_modulus()),
    "RSA n empty": {"kty": "RSA", "n": "", "e": "AQAB"},
    "RSA n not ASCII": {"kty": "RSA", "n": "é", "e": "AQAB"},
    "OKP X25519": {"kty": "OKP", "crv": "X25519", "x": b64(x25519.X25519PrivateKey.generate().public_key().public_bytes_raw())},
    "OKP Ed448": {"kty": "OKP", "crv": "Ed448", "x": b64(bytes(57))},
    "OKP 31 bytes": jwk("EdDSA", x=b64(b"\5" * 31)),
    "oct empty": {"kty": "oct", "k": ""},
    "oct short": {"kty": "oct", "k": b64(b"s" * 31)},
    "oct short for its alg": {"kty": "oct", "k": b64(b"s" * 32), "alg": "HS512"},
    "oct for RS256": {"kty": "oct", "k": b64(b"s" * 32), "alg": "RS256"},
    **{f"Ed25519 {name}": jwk("EdDSA", x=b64(raw)) for name, raw in SMALL_ORDER.items()},
}  # fmt: skip


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
def test_refused(value):
    with pytest.raises(JwkError):
        from_jwk(value)


def test_a_second_spelling_of_an_ed25519_key_is_refused():
    """y and y + p are the same point for a reader that reduces; some of them have large order."""
    spelled_twice = 0
    for y in range(2, 19):
        try:
            from_jwk({"kty": "OKP", "crv": "Ed25519", "x": b64(y.to_bytes(32, "little"))})
        except JwkError:
            continue
        spelled_twice += 1
        with pytest.raises(JwkError):
            from_jwk({"kty": "OKP", "crv": "Ed25519", "x": b64((y + FIELD).to_bytes(32, "little"))})
    assert spelled_twice


def test_good_ed25519_keys_are_not_refused():
    for _ in range(50):
        raw = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        assert from_jwk({"kty": "OKP", "crv": "Ed25519", "x": b64(raw)}).id is None


@pytest.mark.parametrize(
    ("size", "algorithms"),
    [(32, {"HS256"}), (47, {"HS256"}), (48, {"HS256", "HS384"}), (64, {"HS256", "HS384", "HS512"})],
)
def test_secret(size, algorithms):
    assert from_secret(b"s" * size).algorithms == algorithms


def pem(public):
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_a_public_key_is_no_secret():
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    for encoding in (Encoding.PEM, Encoding.DER):
        with pytest.raises(JwkError):
            from_secret(public.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo))


def test_pem():
    blocks = pem_blocks(b"# note\n" + b"".join(pem(key(alg).key.public_key) for alg in ("ES256", "RS256", "EdDSA")))  # fmt: skip
    found = [from_pem(*block) for block in blocks]
    assert [len(each.algorithms) for each in found] == [1, 6, 2]
    assert all(each.id == each.thumbprint for each in found)


@pytest.mark.parametrize(
    "block",
    [
        b"-----BEGIN PUBLIC KEY-----\njunk\n-----END PUBLIC KEY-----",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
        b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----",
        pem(ec.generate_private_key(ec.SECP256K1()).public_key()),
        pem(x25519.X25519PrivateKey.generate().public_key()),
        pem(rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()),
        pem(ed25519.Ed25519PublicKey.from_public_bytes(SMALL_ORDER["order 8"])),
    ],
)
def test_refused_pem(block):
    ((label, text),) = pem_blocks(block)
    with pytest.raises(JwkError):
        from_pem(label, text)


def test_secrets_do_not_show():
    assert "ssss" not in repr(from_secret(b"s" * 40))
    assert b64(b"s" * 40) not in repr(from_secret(b"s" * 40))
