"""The host that a request is for."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from gateway.errors import Code, RouteError

if TYPE_CHECKING:
    from gateway.model import Head

# A name as DNS and its underscored neighbours write it; a trailing dot is refused, as servers
# differ on whether it names the same host.
_LABEL: Final = rb"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_AUTHORITY: Final = re.compile(
    rb"(?:(?P<name>" + _LABEL + rb"(?:\." + _LABEL + rb")*)|\[(?P<v6>[0-9a-f:.]{2,45})\])"
    rb"(?::(?P<port>[1-9][0-9]{0,4}))?"
)
_NUMERIC: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")


def read_host(head: Head) -> str:
    """The request's validated host, lower-case, without port.

    RouteError BAD_HOST if there is none, it is malformed, or a Host line says another thing than
    the authority (RFC 9110 §7.2, RFC 9113 §8.3.1).
    """
    lines = head.fields.get(b"host", [head.authority])
    if lines != [head.authority] and (len(lines) > 1 or lines[0].lower() != head.authority.lower()):
        raise RouteError(Code.BAD_HOST, "Host lines disagree")
    return canonical_host(head.authority)


@lru_cache(maxsize=1024)
def canonical_host(authority: bytes) -> str:
    """The host of `host[:port]`: lower-case name, IPv4 address, or IPv6 address in brackets.

    RouteError BAD_HOST for anything else: userinfo, an empty or impossible port, a zone, an
    address in an abbreviated or octal form.
    """
    found = _AUTHORITY.fullmatch(authority.lower())
    if not found or len(authority) > 260 or int(found["port"] or 1) > 65535:
        raise RouteError(Code.BAD_HOST, "neither name nor address")
    try:
        if found["v6"]:
            return f"[{ipaddress.IPv6Address(found['v6'].decode())}]"
        name = str(found["name"], "ascii")
        # WHATWG URL §3.5: a name that ends in a number is an IPv4 address, or nothing.
        return str(ipaddress.IPv4Address(name)) if _NUMERIC.fullmatch(name) else name
    except ValueError:
        raise RouteError(Code.BAD_HOST, "no such address") from None
