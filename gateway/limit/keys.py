"""Whom a rate limit counts: the address, the subject, a claim, a header."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from gateway.jose.claim_path import ABSENT, find
from gateway.rego.values import dumps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.model import Head, Match, Principal, Quota, Source

DIGEST_SIZE: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a key may be made of; `principal` is None before identification."""

    head: Head
    match: Match
    source: Source
    principal: Principal | None = None


def seed(limit: str, quota: Quota) -> blake2b:
    """What all keys of a limit begin with; another quota begins to count anew."""
    counted = f"{quota.requests} {quota.per} {quota.burst} {quota.algorithm}"
    return _with(blake2b(digest_size=DIGEST_SIZE), (limit, counted))


def digest(begun: blake2b, parts: Iterable[str]) -> bytes:
    """The key of a limit's count, from its seed."""
    return _with(begun.copy(), parts).digest()


def _with(made: blake2b, parts: Iterable[str]) -> blake2b:
    for part in parts:
        text = part.encode("utf-8", "surrogatepass")
        made.update(b"%d:" % len(text))  # no two lists of parts read alike
        made.update(text)
    return made


def needs_principal(part: str) -> bool:
    """Whether a part of a key is known only after identification."""
    return part in ("subject", "issuer") or part.startswith("claims.")


def reader(part: str, ipv6_prefix: int) -> Callable[[Asked], str]:
    """What reads a part of a key (config.forms.RATE_KEYS, `claims.PATH`) from a request."""
    kind, _, rest = part.partition(".")
    if kind == "claims" and rest:
        return lambda asked: _claim(asked, rest)
    if kind == "headers" and rest:
        name = rest.lower().encode()
        return lambda asked: b"\0".join(asked.head.fields.get(name, ())).decode("latin-1")
    if part == "address":
        return lambda asked: network(asked.source.address, ipv6_prefix)
    return PARTS[part]


def _claim(asked: Asked, path: str) -> str:
    """A claim as JSON; all who do not have it share one count."""
    value: Any = find(asked.principal.claims, path) if asked.principal else ABSENT
    return "" if value is ABSENT else dumps(value)


@lru_cache(maxsize=1024)
def network(address: str, ipv6_prefix: int) -> str:
    """An address, of IPv6 the network: whoever has one address there has them all."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, ipv6_prefix), strict=False))


def _subject(principal: Principal) -> str:
    """Issuers may give the same name to different people."""
    return f"{principal.issuer}\0{principal.subject}"


PARTS: Final[dict[str, Callable[[Asked], str]]] = {
    "subject": lambda asked: _subject(asked.principal) if asked.principal else "",
    "issuer": lambda asked: asked.principal.issuer if asked.principal else "",
    "host": lambda asked: asked.match.host,
    "route": lambda asked: asked.match.route.id,
    "method": lambda asked: asked.head.method,
}
