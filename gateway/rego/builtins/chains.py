"""Verification of a certificate chain (RFC 5280 §6), for the shapes that it knows.

A chain with something that is not judged here (name constraints, a critical extension of an
unknown kind) is refused.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

Certificate = x509.Certificate

SERVER: Final = frozenset((ExtendedKeyUsageOID.SERVER_AUTH,))
ANY: Final = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE

_JUDGED: Final = frozenset(
    kind.oid
    for kind in (
        x509.BasicConstraints,
        x509.KeyUsage,
        x509.ExtendedKeyUsage,
        x509.SubjectAlternativeName,
        x509.SubjectKeyIdentifier,
        x509.AuthorityKeyIdentifier,
    )
)


@dataclass(frozen=True, slots=True)
class Demand:
    """What a chain must fit: the time, a DNS name or address if any, one of the usages."""

    now: datetime
    name: str = ""
    usages: frozenset[x509.ObjectIdentifier] = SERVER


def verified_chain(certificates: Sequence[Certificate], demand: Demand) -> list[Certificate] | None:
    """Return the chain from the last certificate to the first, the root; None if there is none.

    Those between may be used as intermediates, each once.
    """
    if len(certificates) < 2:
        return None
    root, *between, leaf = certificates
    try:
        if not _valid(root, demand) or not _valid(leaf, demand) or not _named(leaf, demand.name):
            return None
        return _extend([leaf], root, between, demand)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, Warning):
        return None


def _extend(
    chain: list[Certificate], root: Certificate, between: list[Certificate], demand: Demand
) -> list[Certificate] | None:
    """Append issuers until the root; intermediates that were not used are tried in order."""
    if _issued(chain[-1], root, len(chain) - 1):
        return [*chain, root]
    for index, candidate in enumerate(between):
        if _issued(chain[-1], candidate, len(chain) - 1) and _valid(candidate, demand):
            # An intermediate that fits once is not tried again: the search stays linear.
            rest = between[:index] + between[index + 1 :]
            return _extend([*chain, candidate], root, rest, demand)
    return None


def _issued(certificate: Certificate, issuer: Certificate, below: int) -> bool:
    """Tell whether `issuer` may have and has signed, with `below` intermediates under it."""
    constraints = _value(issuer, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        return False
    if constraints.path_length is not None and constraints.path_length < below:
        return False
    usage = _value(issuer, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _valid(certificate: Certificate, demand: Demand) -> bool:
    if not certificate.not_valid_before_utc <= demand.now <= certificate.not_valid_after_utc:
        return False
    if any(item.critical and item.oid not in _JUDGED for item in certificate.extensions):
        return False
    if _value(certificate, x509.NameConstraints) is not None:
        return False
    usages = _value(certificate, x509.ExtendedKeyUsage)
    return (
        usages is None
        or ANY in demand.usages
        or ANY in usages
        or any(usage in demand.usages for usage in usages)
    )


def _named(leaf: Certificate, name: str) -> bool:
    if not name:
        return True
    names = _value(leaf, x509.SubjectAlternativeName)
    if names is None:
        return False
    try:
        address = ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        patterns = names.get_values_for_type(x509.DNSName)
        return any(_matches(pattern.lower(), name.lower()) for pattern in patterns)
    return address in names.get_values_for_type(x509.IPAddress)


def _matches(pattern: str, name: str) -> bool:
    """Match a DNS name; `*` stands for exactly the first label (RFC 6125 §6.4.3)."""
    name = name.removesuffix(".")
    if not pattern.startswith("*."):
        return pattern == name
    first, dot, rest = name.partition(".")
    return bool(first and dot) and rest == pattern[2:]


def _value(certificate: Certificate, kind: type[Any]) -> Any:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
