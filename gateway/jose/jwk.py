"""Keys fit to verify with: JWK (RFC 7517, 7518 §6, 8037), PEM and X.509 import and hygiene."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurve,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from joserfc.errors import JoseError
from joserfc.jwa import JWS_ALGORITHMS
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from gateway.jose import base64url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.jose.strict_json import JsonValue

RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
# The same signature under its old, polymorphic name and its new one (RFC 9864 §2.2).
ED25519_ALGORITHMS = frozenset({"EdDSA", "Ed25519"})
EC_CURVES: Mapping[str, tuple[EllipticCurve, str]] = {
    "P-256": (SECP256R1(), "ES256"),
    "P-384": (SECP384R1(), "ES384"),
    "P-521": (SECP521R1(), "ES512"),
}
HMAC_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Shortest key of each: the hash's length (RFC 7518 §3.2)."""

RSA_BITS = range(2048, 8193)
"""RFC 7518 §3.3; the upper bound limits the work of one verification."""

PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})

# The moduli of CVE-2017-15361 are powers of 65537 modulo all of these primes; others almost never.
_WEAK_RESIDUES = tuple(
    (prime, frozenset(pow(65537, power, prime) for power in range(prime)))
    for prime in (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)
)

# RFC 8032 §5.1: the field and the curve constant.
_FIELD = 2**255 - 19
_CURVE = -121665 * pow(121666, -1, _FIELD) % _FIELD

_PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_MODELS = {model.name: model for model in JWS_ALGORITHMS if model.name != "none"}

_Native = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey


class JwkError(ValueError):
    """The key must not be used; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationKey:
    """A key and the algorithms that its type, size, curve and own `alg` admit.

    `thumbprint` is that of RFC 7638.
    """

    id: str | None
    algorithms: frozenset[str]
    thumbprint: str = field(repr=False)
    key: Key = field(repr=False)

    def verify(self, algorithm: str, signing_input: bytes, signature: bytes) -> bool:
        """Whether the signature is good; `algorithm` must be one of `algorithms`."""
        if algorithm not in self.algorithms:
            return False
        return _MODELS[algorithm].verify(signing_input, signature, self.key) is True


def from_jwk(jwk: JsonValue) -> VerificationKey:
    """Import one public JWK, or one with a shared secret; raises JwkError."""
    if not isinstance(jwk, dict):
        raise JwkError("not an object")
    _check_purpose(jwk)
    if PRIVATE_MEMBERS & jwk.keys():
        raise JwkError("private members")
    kind = _text(jwk, "kty")
    if kind not in _IMPORTS:
        raise JwkError(f"kty {kind!r} is not supported")
    name = _text(jwk, "kid") if "kid" in jwk else None
    key = _IMPORTS[kind](jwk, name)
    if "alg" not in jwk:
        return key
    alg = _text(jwk, "alg")
    algorithms = key.algorithms & (ED25519_ALGORITHMS if alg in ED25519_ALGORITHMS else {alg})
    if not algorithms:
        raise JwkError(f"alg {alg!r} does not fit the key or is not supported")
    return VerificationKey(id=name, algorithms=algorithms, thumbprint=key.thumbprint, key=key.key)


def from_secret(secret: bytes, name: str | None = None) -> VerificationKey:
    """A shared secret for the HMAC algorithms that its length admits; raises JwkError."""
    algorithms = frozenset(alg for alg, size in HMAC_BYTES.items() if len(secret) >= size)
    if not algorithms:
        raise JwkError(f"the secret is {len(secret)} bytes long; HS256 needs 32 or more")
    if b"-----BEGIN " in secret:
        # The first step of an algorithm confusion: a public key is no secret.
        raise JwkError("a PEM file is not a shared secret")
    try:
        key = OctKey.import_key(secret)
    except (ValueError, JoseError) as error:
        raise JwkError(str(error)) from None
    return VerificationKey(id=name, algorithms=algorithms, thumbprint=key.thumbprint(), key=key)


def pem_blocks(data: bytes) -> tuple[tuple[str, bytes], ...]:
    """The labels and the texts of the PEM blocks in a file (RFC 7468)."""
    return tuple((found[1].decode(), found[0]) for found in _PEM_BLOCK.finditer(data))


def from_pem(label: str, block: bytes) -> VerificationKey:
    """Import a PEM public key or certificate; its id is its thumbprint. Raises JwkError.

    A certificate only carries the key here: that an operator configured it is what counts, and
    neither its dates nor its issuer are looked at.
    """
    try:
        if label == "CERTIFICATE":
            native: object = x509.load_pem_x509_certificate(block).public_key()
        elif label in ("PUBLIC KEY", "RSA PUBLIC KEY"):
            native = load_pem_public_key(block)
        else:
            raise JwkError(f"a {label} is neither a public key nor a certificate")
    except JwkError:
        raise
    except (ValueError, UnsupportedAlgorithm):
        # The library's words for it name its own types, and no place in the file.
        raise JwkError(f"the {label} is damaged, or of a kind that is not supported") from None
    if not isinstance(native, RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey):
        raise JwkError(f"the {label} holds an unsupported type of key")
    key = _from_native(native, None)
    return VerificationKey(
        id=key.thumbprint, algorithms=key.algorithms, thumbprint=key.thumbprint, key=key.key
    )


def _from_native(native: _Native, name: str | None) -> VerificationKey:
    key: Key
    if isinstance(native, RSAPublicKey):
        _check_rsa(native.public_numbers().n, native.public_numbers().e)
        key, algorithms = RSAKey.import_key(native), RSA_ALGORITHMS
    elif isinstance(native, EllipticCurvePublicKey):
        fitting = [alg for curve, alg in EC_CURVES.values() if curve.name == native.curve.name]
        if not fitting:
            raise JwkError(f"curve {native.curve.name} is not supported")
        key, algorithms = ECKey.import_key(native), frozenset(fitting)
    else:
        if not _is_sound_ed25519(native.public_bytes_raw()):
            raise JwkError("not a point of large order on Ed25519")
        key, algorithms = OKPKey.import_key(native), ED25519_ALGORITHMS
    return VerificationKey(id=name, algorithms=algorithms, thumbprint=key.thumbprint(), key=key)


def _rsa(jwk: Mapping[str, JsonValue], name: str | None) -> VerificationKey:
    modulus = int.from_bytes(_octets(jwk, "n"), "big")
    exponent = int.from_bytes(_octets(jwk, "e"), "big")
    _check_rsa(modulus, exponent)
    try:
        native = RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError as error:
        raise JwkError(str(error)) from None
    return _from_native(native, name)


def _check_rsa(modulus: int, exponent: int) -> None:
    if modulus.bit_length() not in RSA_BITS:
        raise JwkError(f"an RSA key of {modulus.bit_length()} bits")
    if exponent < 3 or exponent % 2 == 0 or exponent.bit_length() > 64:
        raise JwkError("the RSA exponent is 1, even or too large")
    if modulus % 2 == 0:
        raise JwkError("the RSA modulus is even")
    if all(modulus % prime in residues for prime, residues in _WEAK_RESIDUES):
        raise JwkError("the RSA key comes from a broken generator (CVE-2017-15361)")


def _ec(jwk: Mapping[str, JsonValue], name: str | None) -> VerificationKey:
    curve_name = _text(jwk, "crv")
    if curve_name not in EC_CURVES:
        raise JwkError(f"crv {curve_name!r} is not supported")
    curve = EC_CURVES[curve_name][0]
    x, y = _octets(jwk, "x"), _octets(jwk, "y")
    if {len(x), len(y)} != {(curve.key_size + 7) // 8}:
        raise JwkError("a coordinate has the wrong length")  # RFC 7518 §6.2.1.2
    numbers = EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve)
    try:
        native = numbers.public_key()
    except ValueError:
        raise JwkError(f"not a point on {curve_name}") from None
    return _from_native(native, name)


def _okp(jwk: Mapping[str, JsonValue], name: str | None) -> VerificationKey:
    curve_name = _text(jwk, "crv")
    if curve_name != "Ed25519":
        raise JwkError(f"crv {curve_name!r} is not supported")
    raw = _octets(jwk, "x")
    if len(raw) != 32:
        raise JwkError("an Ed25519 key has 32 bytes")
    return _from_native(Ed25519PublicKey.from_public_bytes(raw), name)


def _oct(jwk: Mapping[str, JsonValue], name: str | None) -> VerificationKey:
    return from_secret(_octets(jwk, "k"), name)


_IMPORTS: Mapping[str, Callable[[Mapping[str, JsonValue], str | None], VerificationKey]] = {
    "RSA": _rsa,
    "EC": _ec,
    "OKP": _okp,
    "oct": _oct,
}


def _is_sound_ed25519(raw: bytes) -> bool:
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if y >= _FIELD:
        return False
    for _ in range(3):
        # x² from the curve's equation, then the y of the doubled point: order 8 ends at y = 1.
        y2 = y * y % _FIELD
        x2 = (y2 - 1) * pow(_CURVE * y2 + 1, -1, _FIELD) % _FIELD
        if pow(x2, (_FIELD - 1) // 2, _FIELD) not in (0, 1):
            return False
        y = (y2 + x2) * pow(2 + x2 - y2, -1, _FIELD) % _FIELD
    return y != 1


def _check_purpose(jwk: Mapping[str, JsonValue]) -> None:
    """RFC 7517 §4.2 and §4.3: a key for another purpose is not for signatures."""
    if jwk.get("use", "sig") != "sig":
        raise JwkError("use is not sig")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise JwkError("key_ops does not hold verify")
    if not all(isinstance(operation, str) for operation in operations):
        raise JwkError("key_ops is not a list of strings")
    if len({*map(str, operations)}) != len(operations):
        raise JwkError("key_ops holds a value twice")


def _text(jwk: Mapping[str, JsonValue], member: str) -> str:
    value = jwk.get(member)
    if not isinstance(value, str):
        raise JwkError(f"{member} is missing or not a string")
    return value


def _octets(jwk: Mapping[str, JsonValue], member: str) -> bytes:
    try:
        return base64url.decode(_text(jwk, member).encode("ascii"))
    except JwkError:
        raise
    except ValueError:
        raise JwkError(f"{member} is not canonical base64url") from None
