"""The keys that may sign a bundle, as the configuration names them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gateway.bundle.signature import Trust, TrustedKey
from gateway.config.secrets import secret_of
from gateway.config.values import moment
from gateway.errors import ConfigError, Problem
from gateway.files import MAX_NAMED_FILE, read_file
from gateway.jose.jwk import JwkError, VerificationKey, from_jwk, from_pem, from_secret, pem_blocks
from gateway.jose.strict_json import JsonError, loads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.config.model import BundleKey, Verification

Named = tuple[str, VerificationKey]


def trust_of(verification: Verification | None) -> Trust:
    """Read the keys of a bundle; ConfigError. Without verification nobody is trusted."""
    if verification is None:
        return Trust()
    keys: list[TrustedKey] = []
    for name, source in verification.keys.items():
        for key_id, key in _read(name, source):
            if source.algorithm not in key.algorithms:
                raise _wrong(source, f"key {key_id!r} is not for {source.algorithm}")
            if any(known.id == key_id for known in keys):
                raise _wrong(source, f"there is another key {key_id!r}")
            keys.append(
                TrustedKey(
                    id=key_id,
                    algorithm=source.algorithm,
                    key=key,
                    scope=source.scope,
                    expires=math.inf if source.expires is None else moment(source.expires),
                )
            )
    return Trust(keys=tuple(keys), scope=verification.scope, exclude=verification.exclude)


def _read(name: str, source: BundleKey) -> Iterator[Named]:
    """Yield the ids and the keys of one entry."""
    try:
        if source.pem_file is not None:
            yield name, _pem(read_file(source.pem_file, MAX_NAMED_FILE))
        elif source.jwks_file is not None:
            yield from _jwks(name, read_file(source.jwks_file, MAX_NAMED_FILE))
        else:
            yield name, from_secret(secret_of(source))
    except OSError as error:
        raise _wrong(source, f"cannot be read: {error.strerror}") from None
    except (JwkError, JsonError) as error:
        raise _wrong(source, str(error)) from None


def _pem(data: bytes) -> VerificationKey:
    blocks = pem_blocks(data)
    if len(blocks) != 1:
        raise JwkError(f"{len(blocks)} PEM blocks where one public key is expected")
    if "PRIVATE" in blocks[0][0]:
        raise JwkError("a private key, where the public one is enough (openssl pkey -pubout)")
    return from_pem(*blocks[0])


def _jwks(name: str, data: bytes) -> Iterator[Named]:
    document = loads(data)
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise JwkError('expected a JWK Set: {"keys": [...]}')
    for entry in entries:
        key = from_jwk(entry)
        yield key.id or name, key


def _wrong(source: BundleKey, message: str) -> ConfigError:
    file: Path | None = source.pem_file or source.jwks_file or source.secret_file
    return ConfigError((Problem(message, file=str(file or "verification")),))
