"""Values that only their owner can open: what browsers keep for the gateway, and the reverse."""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_SIZE: Final = 12
SECRET_SIZE: Final = 32


class SealError(ValueError):
    """A sealed value is damaged, or was sealed by another."""


def derive(secret: bytes, purpose: bytes) -> bytes:
    """A key of 32 bytes for one purpose, of a secret that has 256 random bits."""
    return hashlib.blake2b(secret, digest_size=32, person=purpose).digest()


def seal(key: bytes, value: bytes, bound: bytes, nonce: bytes) -> bytes:
    """Encrypt and authenticate (AES-256-GCM); it opens only with the same key and `bound`.

    `nonce` are 12 random bytes.
    """
    return nonce + AESGCM(key).encrypt(nonce, value, bound)


def unseal(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    """The value; SealError."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_SIZE], sealed[NONCE_SIZE:], bound)
    except (InvalidTag, ValueError):
        raise SealError("not sealed here") from None
