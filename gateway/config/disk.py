"""The files that a Config names: there, readable, and holding what they should."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING

from gateway.config.document import Fault, Key
from gateway.config.secrets import read_secret
from gateway.config.walk import WRITTEN, files, leaves
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.config.model import Config

SECRET_FILES = ("token_file", "secret_file")
OWNER_ONLY = (*SECRET_FILES, "key")


def check(config: Config) -> Iterator[Fault]:
    """Every file that cannot be used."""
    yield from _files(config)
    yield from _certificates(config)


def warn(config: Config) -> Iterator[Fault]:
    """What works, but that an operator should know of."""
    for key, value in leaves(config):
        if value is True and str(key[-1]).startswith("insecure_"):
            yield Fault(key=key, message=f"{key[-1]} is switched on")
    for key, path in files(config):
        if key[-1] in OWNER_ONLY and _mode(path) & 0o077:
            yield Fault(
                key=key,
                message=f"{path} can be read by other users",
                remedy=f"chmod 600 {path.name}",
            )


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0


def _files(config: Config) -> Iterator[Fault]:
    for key, path in files(config):
        if key[:2] == ("policy", "paths"):
            if not _readable(path, os.R_OK):
                yield Fault(key=key, message=f"{path} does not exist or cannot be read")
        elif key == ("admin", "token_file"):
            continue  # read where the token's form is checked
        elif key[-1] in SECRET_FILES:
            yield from _secret(key, path)
        elif not (path.is_file() and _readable(path, os.R_OK)):
            yield Fault(key=key, message=f"{path} is not a file that can be read")
    for key, path in leaves(config.log, ("log",)):
        if key in WRITTEN and path is not None and not _readable(path.parent, os.W_OK | os.X_OK):
            yield Fault(key=key, message=f"{path.parent} is not a folder that can be written to")


def _secret(key: Key, path: Path) -> Iterator[Fault]:
    try:
        read_secret(path)
    except ConfigError as error:
        yield from faults_of(error, key)


def _readable(path: Path, how: int) -> bool:
    try:
        return os.access(path, how)
    except ValueError:  # a NUL in the name
        return False


def _certificates(config: Config) -> Iterator[Fault]:
    for number, listener in enumerate(config.listeners):
        if listener.tls is not None:
            key: Key = ("listeners", number, "tls")
            yield from _pair(key, listener.tls.certificate, listener.tls.key)
    for name, upstream in config.upstreams.items():
        key = ("upstreams", name, "tls")
        tls = upstream.tls
        if tls.certificate is not None and tls.key is not None:
            yield from _pair(key, tls.certificate, tls.key)
        if tls.ca_file is not None and _readable(tls.ca_file, os.R_OK):
            try:
                ssl.create_default_context(cafile=tls.ca_file)
            except OSError as error:
                yield Fault(key=(*key, "ca_file"), message=f"no PEM certificates: {_ssl(error)}")


def _pair(key: Key, certificate: Path, private: Path) -> Iterator[Fault]:
    if not (_readable(certificate, os.R_OK) and _readable(private, os.R_OK)):
        return  # reported as missing
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, private, password=_no_password)
    except (OSError, ValueError) as error:
        yield Fault(
            key=(*key, "certificate"), message=f"certificate and key cannot be used: {_ssl(error)}"
        )


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _ssl(error: Exception) -> str:
    text = str(error)
    return next((words for part, words in SSL_WORDS.items() if part in text), text)


SSL_WORDS = {
    "KEY_VALUES_MISMATCH": "the key belongs to another certificate",
    "PEM lib": "one of them is not PEM",
    "NO_CERTIFICATE_OR_CRL_FOUND": "not PEM",
}


def faults_of(error: ConfigError, key: Key) -> Iterator[Fault]:
    """The problems of a file as faults of the key that names it."""
    for problem in error.problems:
        message = ": ".join(part for part in (problem.file, problem.message) if part)
        yield Fault(key=key, message=message, remedy=problem.remedy)
