"""Whether a request that brings a cookie comes from the gateway's own pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.errors import Code, IdentityError

if TYPE_CHECKING:
    from gateway.model import Head, Source

SAFE: Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
"""Methods that change nothing (RFC 9110 §9.2.1)."""
OWN_SITES: Final = (b"same-origin", b"none")
"""What `Sec-Fetch-Site` says of requests of the own origin, and of those that a person began."""


def own_origin(head: Head, source: Source) -> bytes:
    """The origin of the gateway as the request's sender knows it."""
    host = source.forwarded_host.encode() or head.authority
    return source.scheme.encode() + b"://" + _without_port(host.lower(), source.scheme)


def check_origin(
    head: Head, source: Source, allowed: frozenset[bytes] = frozenset(), header: bytes | None = None
) -> None:
    """Refuse what another site may have made a browser send (IdentityError CSRF_REFUSED).

    Methods that change something, and WebSocket handshakes, must name the own origin or one of
    `allowed` in `Origin`; without that `Sec-Fetch-Site` must tell that it is the own one. Who sends
    neither is no browser of late, and passes with `header`, which no page can send to another
    site unasked.
    """
    if head.method in SAFE and not head.websocket:
        return
    origins = head.fields.get(b"origin")
    sites = head.fields.get(b"sec-fetch-site")
    if origins is not None:
        origin = origins[0] if len(origins) == 1 else b""
        if origin in allowed:
            return
        if origin != own_origin(head, source):
            raise _refused(f"origin {b', '.join(origins).decode('latin-1')}")
    if sites is not None:
        if len(sites) > 1 or sites[0] not in OWN_SITES:
            raise _refused(f"Sec-Fetch-Site {b', '.join(sites).decode('latin-1')}")
    elif origins is None and (header is None or header not in head.fields):
        raise _refused("neither Origin nor Sec-Fetch-Site")


def _without_port(host: bytes, scheme: str) -> bytes:
    """A host as an origin has it: browsers leave the usual port out."""
    return host.removesuffix(b":443" if scheme == "https" else b":80")


def _refused(detail: str) -> IdentityError:
    return IdentityError(Code.CSRF_REFUSED, detail)
