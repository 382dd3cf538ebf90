"""Key pairs and signed tokens, for the command line, the demo and the tests."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from joserfc.errors import JoseError
from joserfc.jwa import JWS_ALGORITHMS
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from gateway.jose import base64url
from gateway.jose.jwk import PRIVATE_MEMBERS, JwkError, from_jwk, from_pem
from gateway.jose.strict_json import loads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_GENERATORS: Mapping[str, Callable[[], Key]] = {
    **dict.fromkeys(
        ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
        lambda: RSAKey.generate_key(2048),
    ),
    "ES256": lambda: ECKey.generate_key("P-256"),
    "ES384": lambda: ECKey.generate_key("P-384"),
    "ES512": lambda: ECKey.generate_key("P-521"),
    "EdDSA": lambda: OKPKey.generate_key("Ed25519"),
    "Ed25519": lambda: OKPKey.generate_key("Ed25519"),
    "HS256": lambda: OctKey.generate_key(256),
    "HS384": lambda: OctKey.generate_key(384),
    "HS512": lambda: OctKey.generate_key(512),
}
_KEY_CLASSES: Mapping[str, type[RSAKey | ECKey | OKPKey | OctKey]] = {
    "RSA": RSAKey,
    "EC": ECKey,
    "OKP": OKPKey,
    "oct": OctKey,
}
_MODELS = {model.name: model for model in JWS_ALGORITHMS}


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A private key (or shared secret), its id and the one algorithm that it signs with."""

    id: str
    algorithm: str
    key: Key = field(repr=False)

    def private_jwk(self) -> dict[str, Any]:
        """The key as a JWK with its private members; whoever holds it can sign."""
        return {**self.key.as_dict(private=True), **self._labels("sign")}

    def public_jwk(self) -> dict[str, Any]:
        """The key as a public JWK; JwkError for a shared secret, which has none."""
        if isinstance(self.key, OctKey):
            raise JwkError("a shared secret has no public key")
        return {**self.key.as_dict(private=False), **self._labels("verify")}

    def _labels(self, operation: str) -> dict[str, Any]:
        return {"kid": self.id, "alg": self.algorithm, "use": "sig", "key_ops": [operation]}


def generate(algorithm: str, *, key_id: str | None = None) -> SigningKey:
    """A new key for an algorithm; its id is its thumbprint (RFC 7638) unless given.

    RSA keys have 2048 bits. Raises ValueError for an algorithm that is not supported.
    """
    if algorithm not in _GENERATORS:
        raise ValueError(f"{algorithm!r} is not one of {', '.join(_GENERATORS)}")
    key = _GENERATORS[algorithm]()
    return SigningKey(id=key_id or key.thumbprint(), algorithm=algorithm, key=key)


def load(data: bytes | str) -> SigningKey:
    """Read a private JWK with `alg`, as `SigningKey.private_jwk` gives it; raises JwkError."""
    try:
        jwk = loads(data)
    except ValueError as error:
        raise JwkError(f"not a JWK: {error}") from None
    if not isinstance(jwk, dict) or not isinstance(jwk.get("alg"), str):
        raise JwkError("not a JWK with alg")
    algorithm = str(jwk["alg"])
    members: dict[str, Any] = {name: jwk[name] for name in jwk if name != "key_ops"}
    public = from_jwk({name: members[name] for name in members.keys() - PRIVATE_MEMBERS})
    try:
        key = _KEY_CLASSES[members["kty"]].import_key(members)
    except (ValueError, JoseError) as error:
        raise JwkError(str(error)) from None
    if not key.is_private or key.thumbprint() != public.thumbprint:
        raise JwkError("not a private key")
    return SigningKey(id=public.id or public.thumbprint, algorithm=algorithm, key=key)


def load_pem(data: bytes, algorithm: str) -> SigningKey:
    """Read a PEM private key for an algorithm that it fits; it has no id. Raises JwkError."""
    try:
        native = load_pem_private_key(data, None)
    except TypeError:
        raise JwkError("the private key is encrypted") from None
    except (ValueError, UnsupportedAlgorithm):
        raise JwkError("not a PEM private key of a kind that is supported") from None
    encoding = Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    public = from_pem("PUBLIC KEY", native.public_key().public_bytes(*encoding))
    if algorithm not in public.algorithms:
        raise JwkError(f"the key is for {', '.join(sorted(public.algorithms))}, not {algorithm}")
    kind = str(public.key.as_dict(private=False)["kty"])
    return SigningKey(id="", algorithm=algorithm, key=_KEY_CLASSES[kind].import_key(data))


def sign(header: Mapping[str, Any], claims: Mapping[str, Any], key: SigningKey) -> str:
    """A compact token; `alg` and `kid` are the key's unless `header` has them."""
    full = {"alg": key.algorithm, "kid": key.id, **header}
    return sign_bytes(_dump(full), _dump(claims), key)


def sign_bytes(header: bytes, payload: bytes, key: SigningKey) -> str:
    """A compact token of exactly this header and payload, signed with the key's algorithm."""
    signing_input = base64url.encode(header) + b"." + base64url.encode(payload)
    signature = _MODELS[key.algorithm].sign(signing_input, key.key)
    return (signing_input + b"." + base64url.encode(signature)).decode()


def public_jwks(keys: Iterable[SigningKey]) -> dict[str, Any]:
    """The JWK Set (RFC 7517 §5) that verifies what `keys` sign."""
    return {"keys": [key.public_jwk() for key in keys]}


def _dump(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
