"""Keys and signatures of JSON Web Tokens (RFC 7515, 7517, 7518, 8037)."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from gateway.rego.builtins import rsa_keys
from gateway.rego.builtins.encoding import base64url_bytes
from gateway.rego.builtins.operands import utf8
from gateway.rego.errors import BuiltinError
from gateway.rego.values import loads

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_KEY_TEXT: Final = 65_536
MAX_KEYS: Final = 100

Material = Any
"""A key object of `cryptography`, or the bytes of a shared secret."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key, with the algorithm and key id that its JWK names, or empty."""

    material: Material
    algorithm: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """How to make and check signatures under one `alg`."""

    verify: Callable[[Material, bytes, bytes], bool]
    sign: Callable[[Material, bytes], bytes]


# --- reading keys


@lru_cache(maxsize=128)
def public_keys(text: str) -> tuple[Key, ...]:
    """Read a PEM certificate or public key, a JWK or a JWK set; BuiltinError otherwise."""
    _check_length(text)
    try:
        if "-----BEGIN" in text:
            return (Key(_from_pem(utf8(text))),)
        return tuple(_jwks(text))
    except _BAD_KEYS as error:
        raise BuiltinError(f"failed to parse a JWK key (set): {_why(error, text)}") from None


@lru_cache(maxsize=128)
def private_key(text: str) -> Key:
    """Read the first key of a JWK or JWK set, for signing."""
    _check_length(text)
    try:
        keys = _jwks(text)
    except _BAD_KEYS as error:
        raise BuiltinError(f"failed to parse a JWK key (set): {_why(error, text)}") from None
    if not keys:
        raise BuiltinError("no keys found in JWK set")
    return keys[0]


_BAD_KEYS: Final = (
    ValueError,
    TypeError,
    KeyError,
    OverflowError,
    AttributeError,
    JoseError,
    UnsupportedAlgorithm,
    Warning,
)


def _why(error: Exception, text: str) -> str:
    """Say what is wrong with a key, without what a library says to programmers."""
    if isinstance(error, KeyError):
        return f"it has no `{str(error.args[0])[:40]}`"
    if error.__class__ is ValueError and "-----BEGIN" not in text:
        return str(error)[:100]
    return "no key of a known kind can be read"


def _check_length(text: str) -> None:
    if len(text) > MAX_KEY_TEXT:
        raise BuiltinError("key too long")


def _from_pem(octets: bytes) -> Material:
    if octets.count(b"-----BEGIN") != 1 or not _PEM_END.search(octets):
        raise BuiltinError("extra data after a PEM certificate block")
    if b"-----BEGIN CERTIFICATE-----" in octets:
        return _sized(x509.load_pem_x509_certificate(octets).public_key())
    if b"-----BEGIN PUBLIC KEY-----" in octets:
        return _sized(load_pem_public_key(octets))
    raise BuiltinError("failed to extract a Key from the PEM certificate")


_PEM_END: Final = re.compile(rb"-----[ \t]*\r?\n?\Z")


def _jwks(text: str) -> list[Key]:
    document = loads(text)
    if document.__class__ is not dict:
        raise ValueError("not a JSON object")
    listed = document.get("keys", [document])
    if listed.__class__ is not list or len(listed) > MAX_KEYS:
        raise ValueError("keys must be an array of at most 100")
    keys = []
    for jwk in listed:
        algorithm = jwk.get("alg", "")
        if algorithm.__class__ is str and algorithm and algorithm not in ALGORITHMS:
            continue
        key_id = jwk.get("kid", "")
        if algorithm.__class__ is not str or key_id.__class__ is not str:
            raise ValueError("alg and kid must be strings")
        keys.append(Key(_material(jwk), algorithm, key_id))
    return keys


def _material(jwk: dict[str, Any]) -> Material:
    """Build what a JWK describes; what has a private part signs, and verifies nothing."""
    kind = jwk["kty"]
    if kind == "oct":
        secret = base64url_bytes(jwk["k"])
        if not secret:
            raise ValueError("empty key")
        return secret
    if kind == "RSA" and "d" in jwk:
        return rsa_keys.from_jwk(jwk)
    importer = _IMPORTERS[kind]
    # Only the members that make the key: use, alg and key_ops are not this module's to judge.
    members = {name: jwk[name] for name in jwk if name in _MEMBERS}
    return _sized(importer.import_key(members).raw_value)


_MEMBERS: Final = frozenset(("kty", "n", "e", "crv", "x", "y", "d"))
_IMPORTERS: Final[dict[str, Any]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}


def _sized(material: Material) -> Material:
    if isinstance(material, rsa.RSAPublicKey) and material.key_size > rsa_keys.MAX_RSA_BITS:
        raise ValueError("RSA key too large")
    return material


# --- algorithms


def _hmac(hash_name: str) -> Algorithm:
    def sign(secret: Material, message: bytes) -> bytes:
        if not isinstance(secret, bytes):
            raise BuiltinError("key type does not match the algorithm")
        return hmac.new(secret, message, hash_name).digest()

    def verify(secret: Material, message: bytes, signature: bytes) -> bool:
        return isinstance(secret, bytes) and hmac.compare_digest(
            hmac.new(secret, message, hash_name).digest(), signature
        )

    return Algorithm(verify, sign)


def _rsa(
    algorithm: hashes.HashAlgorithm,
    signing: padding.AsymmetricPadding,
    verifying: padding.AsymmetricPadding,
) -> Algorithm:
    def sign(key: Material, message: bytes) -> bytes:
        if not isinstance(key, rsa.RSAPrivateKey):
            raise BuiltinError("key type does not match the algorithm")
        try:
            return key.sign(message, signing, algorithm)
        except ValueError:
            raise BuiltinError("RSA key too small for the algorithm") from None

    def verify(key: Material, message: bytes, signature: bytes) -> bool:
        if not isinstance(key, rsa.RSAPublicKey):
            return False
        try:
            key.verify(signature, message, verifying, algorithm)
        except (InvalidSignature, ValueError):
            return False
        return True

    return Algorithm(verify, sign)


def _ecdsa(curve: ec.EllipticCurve, algorithm: hashes.HashAlgorithm) -> Algorithm:
    size = (curve.key_size + 7) // 8

    def sign(key: Material, message: bytes) -> bytes:
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != curve.name:
            raise BuiltinError("key type does not match the algorithm")
        r, s = decode_dss_signature(key.sign(message, ec.ECDSA(algorithm)))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    def verify(key: Material, message: bytes, signature: bytes) -> bool:
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != curve.name:
            return False
        if len(signature) != 2 * size:
            return False
        r, s = (int.from_bytes(half, "big") for half in (signature[:size], signature[size:]))
        try:
            key.verify(encode_dss_signature(r, s), message, ec.ECDSA(algorithm))
        except InvalidSignature:
            return False
        return True

    return Algorithm(verify, sign)


def _ed25519_sign(key: Material, message: bytes) -> bytes:
    if not isinstance(key, Ed25519PrivateKey):
        raise BuiltinError("key type does not match the algorithm")
    return key.sign(message)


def _ed25519_verify(key: Material, message: bytes, signature: bytes) -> bool:
    if not isinstance(key, Ed25519PublicKey):
        return False
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _pkcs1(algorithm: hashes.HashAlgorithm) -> Algorithm:
    return _rsa(algorithm, padding.PKCS1v15(), padding.PKCS1v15())


def _pss(algorithm: hashes.HashAlgorithm) -> Algorithm:
    """Sign with a salt as long as the hash (RFC 7518 §3.5); verify with any, as OPA does."""
    mask = padding.MGF1(algorithm)
    return _rsa(
        algorithm,
        padding.PSS(mask, padding.PSS.DIGEST_LENGTH),
        padding.PSS(mask, padding.PSS.AUTO),
    )


_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}
_CURVES: Final[dict[str, ec.EllipticCurve]] = {
    "256": ec.SECP256R1(),
    "384": ec.SECP384R1(),
    "512": ec.SECP521R1(),
}

ALGORITHMS: Final[dict[str, Algorithm]] = {
    **{f"HS{size}": _hmac(f"sha{size}") for size in _HASHES},
    **{f"RS{size}": _pkcs1(made) for size, made in _HASHES.items()},
    **{f"PS{size}": _pss(made) for size, made in _HASHES.items()},
    **{f"ES{size}": _ecdsa(_CURVES[size], made) for size, made in _HASHES.items()},
    "EdDSA": Algorithm(_ed25519_verify, _ed25519_sign),
}
