"""The verification keys of one issuer; never merged with another's (RFC 8725 §3.9)."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import pbkdf2_hmac
from typing import TYPE_CHECKING, Self, TypeVar

from gateway.config.model import ASYMMETRIC
from gateway.jose.jwk import (
    PRIVATE_MEMBERS,
    JwkError,
    VerificationKey,
    from_jwk,
    from_pem,
    from_secret,
    pem_blocks,
)
from gateway.jose.strict_json import JsonError, JsonValue, loads

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

MAX_BYTES = 512 * 1024
"""Largest key document."""

_Source = TypeVar("_Source")


class KeysError(ValueError):
    """A key document cannot be used at all; what was there before stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """Usable keys, and why others were left out.

    `revision` changes with the usable keys and with nothing else. `named` says that a token's
    `kid` must be that of a key; PEM files and secrets have no ids that an issuer could know.
    """

    revision: str = ""
    loaded: bool = False
    named: bool = True
    keys: tuple[VerificationKey, ...] = ()
    problems: tuple[str, ...] = ()

    @classmethod
    def unloaded(cls) -> Self:
        """The keyring of an issuer whose keys have not arrived."""
        return cls()

    @classmethod
    def from_jwks(
        cls, data: bytes, *, max_keys: int = 100, algorithms: Collection[str] = ASYMMETRIC
    ) -> Self:
        """Read a JWK Set (RFC 7517 §5); keys for none of `algorithms` are left out.

        Raises KeysError for what is no set, is too large, publishes a private key or holds no
        usable key.
        """
        _check_size(data)
        try:
            document = loads(data)
        except JsonError as error:
            raise KeysError(f"not a JWK Set: {error}") from None
        entries = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(entries, list):
            raise KeysError("not a JWK Set: no list of keys")
        if len(entries) > max_keys:
            raise KeysError(f"{len(entries)} keys, more than {max_keys}")
        if any(_publishes_private_key(entry) for entry in entries):
            raise KeysError("the set contains a private key")
        return cls._collect(entries, from_jwk, algorithms, named=True)

    @classmethod
    def from_pem(cls, data: bytes, *, algorithms: Collection[str] = ASYMMETRIC) -> Self:
        """Read PEM public keys and certificates, each named by its thumbprint (RFC 7638).

        Raises KeysError if one is private or none is usable.
        """
        _check_size(data)
        blocks = pem_blocks(data)
        if any("PRIVATE" in label for label, _ in blocks):
            raise KeysError("the file contains a private key")
        return cls._collect(blocks, lambda block: from_pem(*block), algorithms, named=False)

    @classmethod
    def from_secret(cls, secret: bytes | str) -> Self:
        """A shared secret for the HMAC algorithms that its length admits; raises KeysError."""
        raw = secret.encode() if isinstance(secret, str) else secret
        try:
            key = from_secret(raw)
        except JwkError as error:
            raise KeysError(str(error)) from None
        return cls(revision=_revision((key,)), loaded=True, named=False, keys=(key,))

    @classmethod
    def _collect(
        cls,
        sources: Iterable[_Source],
        read: Callable[[_Source], VerificationKey],
        algorithms: Collection[str],
        *,
        named: bool,
    ) -> Self:
        # By identity, so that a key given twice does not make a token ambiguous.
        keys: dict[tuple[object, ...], VerificationKey] = {}
        problems: list[str] = []
        for number, source in enumerate(sources):
            try:
                key = read(source)
            except JwkError as error:
                problems.append(f"key {number} left out: {error}")
                continue
            if key.algorithms.isdisjoint(algorithms):
                problems.append(f"key {number} left out: for no accepted algorithm")
                continue
            keys[key.id, key.thumbprint, key.algorithms] = key
        if not keys:
            raise KeysError("; ".join(["no usable key", *problems[:5]]))
        found = tuple(keys.values())
        return cls(
            revision=_revision(found),
            loaded=True,
            named=named,
            keys=found,
            problems=tuple(problems),
        )

    def select(self, key_id: str | None, algorithm: str) -> tuple[VerificationKey, ...]:
        """The keys that a token with this `kid` and `alg` may be verified with."""
        fits = tuple(key for key in self.keys if algorithm in key.algorithms)
        if key_id is None:
            return fits
        exact = tuple(key for key in fits if key.id == key_id)
        return exact if exact or self.named else fits


def _check_size(data: bytes) -> None:
    if len(data) > MAX_BYTES:
        raise KeysError(f"{len(data)} bytes, more than {MAX_BYTES}")


def _publishes_private_key(entry: JsonValue) -> bool:
    if not isinstance(entry, dict):
        return False
    return bool(PRIVATE_MEMBERS & entry.keys()) or ("k" in entry and entry.get("kty") != "oct")


def _revision(keys: tuple[VerificationKey, ...]) -> str:
    contents = sorted(repr((key.id, key.thumbprint, sorted(key.algorithms))) for key in keys)
    # Slow on purpose: operators see revisions, and one must not help to guess a shared secret.
    return pbkdf2_hmac("sha256", "\n".join(contents).encode(), b"keyring", 10_000, 8).hex()
