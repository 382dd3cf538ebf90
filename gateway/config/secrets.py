"""Reads the secrets that a Config names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.errors import ConfigError, Problem
from gateway.files import read_file

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config.model import Admin, Bundle, BundleKey, Config, KeySource, Redis

MAX_SECRET = 65536


def read_secret(path: Path) -> bytes:
    """The contents of a secret's file, less one trailing newline; raises ConfigError."""
    try:
        data = read_file(path, MAX_SECRET)
    except OSError as error:
        raise _fault(path, f"cannot be read: {error.strerror}") from None
    secret = re.sub(rb"\r?\n\Z", b"", data)
    if not secret:
        raise _fault(path, "the file is empty; a secret was expected")
    return secret


def secret_of(keys: KeySource | BundleKey) -> bytes:
    """The shared secret where there is one; raises ConfigError."""
    if keys.secret is not None:
        return keys.secret.get_secret_value().encode()
    assert keys.secret_file is not None
    return read_secret(keys.secret_file)


def admin_token(config: Config) -> str | None:
    """The bearer token of the admin listener, None where it has none; raises ConfigError."""
    return _bearer(config.admin, "the admin token", "admin.token")


def bundle_token(bundle: Bundle) -> str | None:
    """The bearer token for a bundle's URL, None where it has none; raises ConfigError."""
    return _bearer(bundle, "the token")


def _bearer(section: Admin | Bundle, what: str, key: str = "") -> str | None:
    if section.token is not None:
        token = section.token.get_secret_value()
    elif section.token_file is not None:
        token = read_secret(section.token_file).decode("latin-1")
    else:
        return None
    if not re.fullmatch(r"[!-~]+", token):
        where = str(section.token_file or "")
        message = f"{what} cannot be sent in a header; use visible ASCII without blanks"
        raise ConfigError((Problem(message, file=where, key=key),))
    return token


def redis_password(redis: Redis) -> str | None:
    """The password of a Redis server, None where it has none; raises ConfigError."""
    if redis.password is not None:
        return redis.password.get_secret_value()
    return read_secret(redis.password_file).decode() if redis.password_file else None


def _fault(path: Path, message: str) -> ConfigError:
    return ConfigError((Problem(message, file=str(path)),))
