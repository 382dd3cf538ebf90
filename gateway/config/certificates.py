"""Certificates and private keys in files: what is wrong with them, in words."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.config.document import Fault, Key
from gateway.files import MAX_NAMED_FILE, read_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.config.model import Config

SOON: Final = timedelta(days=14)
"""So long before a certificate's end operators are warned."""

_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
_PRIVATE: Final = b"PRIVATE KEY-----"
_ANOTHER: Final = "the key belongs to another certificate"
_WORDS: Final = {
    "KEY_VALUES_MISMATCH": _ANOTHER,
    "KEY_TYPE_MISMATCH": _ANOTHER,
    "EE_KEY_TOO_SMALL": "the key is too short: RSA needs 2048 bits",
    "CA_KEY_TOO_SMALL": "the key of its authority is too short: RSA needs 2048 bits",
    "CA_MD_TOO_WEAK": "it was signed with a digest that is too weak, such as SHA-1",
}


def explain(error: Exception) -> str:
    """What OpenSSL found wrong with a certificate and its key."""
    text = str(error).upper().replace(" ", "_")
    return next(
        (words for part, words in _WORDS.items() if part in text),
        "a PEM block in one of the files is damaged",
    )


def check(config: Config) -> Iterator[Fault]:
    """Every certificate or key that cannot be used; files that are missing are not reported."""
    for key, certificate, private in pairs(config):
        yield from _pair(key, certificate, private)
    for name, upstream in config.upstreams.items():
        if upstream.tls.ca_file is not None:
            yield from _roots(("upstreams", name, "tls", "ca_file"), upstream.tls.ca_file)


def warn(config: Config, now: datetime) -> Iterator[Fault]:
    """Every certificate that is not valid at `now`, or not for long any more."""
    for key, path, _ in pairs(config):
        yield from _validity((*key, "certificate"), path, now)


def pairs(config: Config) -> Iterator[tuple[Key, Path, Path]]:
    """The key of each TLS section with a certificate, its certificate, and its private key."""
    for number, listener in enumerate(config.listeners):
        if listener.tls is not None:
            yield ("listeners", number, "tls"), listener.tls.certificate, listener.tls.key
    for name, upstream in config.upstreams.items():
        tls = upstream.tls
        if tls.certificate is not None and tls.key is not None:
            yield ("upstreams", name, "tls"), tls.certificate, tls.key


def _pair(key: Key, certificate: Path, private: Path) -> Iterator[Fault]:
    public, secret = _content(certificate), _content(private)
    if public is None or secret is None:
        return
    found = [
        *_certificate(
            (*key, "certificate"), certificate, public, "this is the private key; name it in key"
        ),
        *_private(key, private, secret),
    ]
    yield from found
    if found:
        return
    try:
        # An encrypted key fails with the empty password, instead of asking the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, private, password="")
    except (OSError, ValueError) as error:
        # OpenSSL keeps a certificate for each type of key, and says of a key of another type only
        # that there is none for it.
        why = explain(error) if _belongs(public, secret) else _ANOTHER
        message = f"certificate and key cannot be used: {why}"
        yield Fault(key=(*key, "certificate"), message=message)


def _belongs(public: bytes, secret: bytes) -> bool:
    """Whether a key is that of a certificate; true where one of them cannot be read."""
    try:
        certificate = x509.load_pem_x509_certificate(public)
        return certificate.public_key() == load_pem_private_key(secret, None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return True


def _certificate(key: Key, path: Path, data: bytes, is_private: str) -> Iterator[Fault]:
    """A file without a certificate; `is_private` is the remedy where it holds a private key."""
    if _CERTIFICATE in data:
        return
    remedy = f"openssl x509 -inform der -in {path.name} -out NEW" if _is_der(data) else ""
    if _PRIVATE in data:
        remedy = is_private
    yield Fault(key=key, message=f"{path} holds no PEM certificate", remedy=remedy)


def _private(key: Key, path: Path, data: bytes) -> Iterator[Fault]:
    if _PRIVATE not in data:
        remedy = f"openssl pkey -inform der -in {path.name} -out NEW" if _is_der(data) else ""
        if _CERTIFICATE in data:
            remedy = "this is the certificate; name it in certificate"
        yield Fault(key=(*key, "key"), message=f"{path} holds no PEM private key", remedy=remedy)
    elif b"ENCRYPTED" in data:
        yield Fault(
            key=(*key, "key"),
            message=f"{path}: the key is encrypted, and nobody is there to give its password",
            remedy=f"openssl pkey -in {path.name} -out NEW",
        )


def _roots(key: Key, path: Path) -> Iterator[Fault]:
    data = _content(path)
    if data is None:
        return
    if found := [*_certificate(key, path, data, "this is a private key")]:
        yield from found
        return
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ValueError):
        yield Fault(key=key, message=f"{path}: a certificate in it is damaged")


def _validity(key: Key, path: Path, now: datetime) -> Iterator[Fault]:
    try:
        chain = x509.load_pem_x509_certificates(_content(path) or b"")
    except ValueError:
        return  # reported as damaged
    for place, each in enumerate(chain):
        name = str(path) if place == 0 else f"{path}: certificate {place + 1} of the chain"
        begin, end = each.not_valid_before_utc, each.not_valid_after_utc
        if now < begin:
            message = f"{name} is not valid before {_day(begin)}"
            yield Fault(key=key, message=message, remedy="check this machine's clock")
        elif now >= end:
            message = f"{name} has expired on {_day(end)}"
            yield Fault(key=key, message=message, remedy="renew it; the new file is taken at once")
        elif end - now < SOON:
            days = (end - now).days
            left = f"in {days} days" if days > 1 else "within two days"
            message = f"{name} expires {left}, on {_day(end)}"
            yield Fault(key=key, message=message, remedy="renew it; the new file is taken at once")


def _day(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _is_der(data: bytes) -> bool:
    return data[:1] == b"\x30"  # a SEQUENCE (X.690 §8.9)


def _content(path: Path) -> bytes | None:
    """What a file holds, None where it is no file that can be read."""
    try:
        return read_file(path, MAX_NAMED_FILE)
    except OSError:
        return None
