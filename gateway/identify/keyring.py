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


_PUBLISH = "`gateway keys jwks FILE` prints the public key set of a private key"


class KeysError(ValueError):
    """A key document cannot be used at all; what was there before stays.

    The text and `remedy`, which may be empty, name no file: the caller knows which one it was.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


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
        entries = _entries(data)
        if len(entries) > max_keys:
            raise KeysError(f"{len(entries)} keys, more than {max_keys}")
        if any(_publishes_private_key(entry) for entry in entries):
            raise KeysError(
                "the set contains a private key, which everybody could sign with", _PUBLISH
            )
        if not entries:
            raise KeysError("no usable key: the set is empty", _PUBLISH)
        return cls._collect(entries, from_jwk, algorithms, named=True)

    @classmethod
    def from_pem(cls, data: bytes, *, algorithms: Collection[str] = ASYMMETRIC) -> Self:
        """Read PEM public keys and certificates, each named by its thumbprint (RFC 7638).

        Raises KeysError if one is private or none is usable.
        """
        _check_size(data)
        blocks = pem_blocks(data)
        if any("PRIVATE" in label for label, _ in blocks):
            raise KeysError(
                "the file contains a private key, where the public one is enough",
                "`openssl pkey -in FILE -pubout` prints the public key",
            )
        if not blocks:
            is_json = data.lstrip().startswith((b"{", b"["))
            raise KeysError(
                "no PEM block with a public key or a certificate",
                "a JWK Set is named in jwks_file" if is_json else "",
            )
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
        others: set[str] = set()
        for number, source in enumerate(sources):
            try:
                key = read(source)
            except JwkError as error:
                problems.append(f"key {number} left out: {error}")
                continue
            if key.algorithms.isdisjoint(algorithms):
                problems.append(f"key {number} left out: for no accepted algorithm")
                others |= key.algorithms
                continue
            keys[key.id, key.thumbprint, key.algorithms] = key
        if not keys:
            remedy = f"add to the issuer's algorithms one of {', '.join(sorted(others))}"
            raise KeysError("; ".join(["no usable key", *problems[:5]]), remedy if others else "")
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


def _entries(data: bytes) -> list[JsonValue]:
    """The keys of a JWK Set, not looked at; KeysError says what else the document is."""
    try:
        document = loads(data)
    except JsonError as error:
        is_pem = b"-----BEGIN " in data
        remedy = "PEM is named in pem_file" if is_pem else 'a JWK Set is JSON: {"keys": [...]}'
        raise KeysError(f"not a JWK Set: {'PEM' if is_pem else error}", remedy) from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if isinstance(entries, list):
        return entries
    if not isinstance(document, dict) or "kty" not in document:
        raise KeysError("not a JWK Set: no list of keys", 'expected {"keys": [...]}')
    if _publishes_private_key(document):
        raise KeysError("not a JWK Set, but a private key", _PUBLISH)
    if document["kty"] == "oct":
        raise KeysError("not a JWK Set, but a shared secret", "as text it is named in secret_file")
    raise KeysError("not a JWK Set, but a single key", 'put it into {"keys": [...]}')


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
