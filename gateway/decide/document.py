"""The native input document (docs/policies.md)."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from gateway.decide.inquiry import exact, joined

if TYPE_CHECKING:
    from gateway.decide.inquiry import Document, Inquiry
    from gateway.model import Principal

ANONYMOUS: Final[Document] = {
    "authenticated": False, "subject": "", "issuer": "", "scopes": [], "groups": [], "roles": [],
}  # fmt: skip


def native(inquiry: Inquiry) -> Document:
    """Build the document that a policy sees as `input`.

    Credentials are not in it: the headers and the cookie that hold them are left out.
    """
    head, match, principal, source = (
        inquiry.head, inquiry.match, inquiry.principal, inquiry.source,
    )  # fmt: skip
    headers = joined(inquiry.fields, inquiry.rules.hidden)
    pairs = _cookie_pairs(headers, inquiry.rules.cookie.decode()) if "cookie" in headers else []
    expires_at = principal.expires_at
    return {
        "request": {
            "id": head.id,
            "method": head.method,
            "scheme": source.scheme,
            "host": match.host,
            "path": match.path,
            "segments": list(match.segments),
            "query": match.query,
            "query_string": head.query_string.decode("latin-1"),
            "headers": headers,
            "cookies": _once(pairs),
            "body": inquiry.body.value,
            "size": inquiry.body.size,
        },
        "claims": principal.claims,
        "identity": _identity(principal) if principal.authenticated else ANONYMOUS,
        "token": {
            "header": principal.token_header,
            "expires_at": None if expires_at is None else exact(expires_at),
        },
        "route": {"id": match.route.id, "params": match.params, "labels": match.route.labels},
        "source": {"address": source.address, "networks": list(source.networks)},
        "time": {"unix": exact(inquiry.now), "rfc3339": rfc3339(int(inquiry.now))},
    }


@lru_cache(maxsize=8)
def rfc3339(seconds: int) -> str:
    """The UTC time of Unix `seconds`, as `2026-01-31T12:00:00Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _identity(principal: Principal) -> Document:
    return {
        "authenticated": True,
        "subject": principal.subject,
        "issuer": principal.issuer,
        "scopes": list(principal.scopes),
        "groups": list(principal.groups),
        "roles": list(principal.roles),
    }


def _cookie_pairs(headers: dict[str, str], credential: str) -> list[tuple[str, str]]:
    """The cookies (RFC 6265 §4.2.1) without the credential, which leaves the header as well."""
    parts = [part.strip(" \t") for part in headers["cookie"].split(";")]
    pairs = [
        (name.rstrip(), value.lstrip()) for name, _, value in (p.partition("=") for p in parts)
    ]
    if credential and any(name == credential for name, _ in pairs):
        kept = [part for part, (name, _) in zip(parts, pairs, strict=True) if name != credential]
        headers["cookie"] = "; ".join(kept)
        pairs = [pair for pair in pairs if pair[0] != credential]
        if not pairs:
            del headers["cookie"]
    return pairs


def _once(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """The cookies whose name comes once: of two with one name, servers disagree which counts."""
    found = {name: value for name, value in pairs if name}
    if len(found) == len(pairs):
        return found
    times = Counter(name for name, _ in pairs)
    return {name: value for name, value in found.items() if times[name] == 1}
