"""The gateway's own cookies: their names, and how they leave a request's head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.config.model import Config
    from gateway.model import Head

Cookies = Mapping[bytes, list[bytes]]
"""The values of the gateway's own cookies by name; all that a request has."""

BLANKS: Final = b" \t"
ATTRIBUTES: Final = "; Path=/; Secure; HttpOnly; SameSite=Lax"
NO_COOKIES: Final[Cookies] = MappingProxyType({})


def session_cookie(config: Config, login: str) -> bytes:
    """The name of the cookie that holds a login's session.

    With its prefix, browsers take it only over TLS from the very host, and for no other
    (RFC 6265bis §4.1.3.2).
    """
    return b"__Host-%s-%s" % (config.sessions.cookie.encode(), login.encode())


def flow_prefix(config: Config, login: str) -> bytes:
    """How the names of the cookies begin that hold logins under way; `~` is in no login's name."""
    return b"__Host-%s~%s~" % (config.sessions.cookie.encode(), login.encode())


def separate(head: Head, own: tuple[bytes, ...]) -> tuple[Head, Cookies]:
    """A head without the cookies whose names begin as `own` says, and the values of these.

    A name in another case, or with signs that no header may have, is none of the gateway's, as no
    browser guards it, and nobody else's.
    """
    lines = head.fields.get(b"cookie")
    if lines is None or not any(b"__host-" in line.lower() for line in lines):
        return head, NO_COOKIES
    lowered = tuple(map(bytes.lower, own))
    found: dict[bytes, list[bytes]] = {}
    kept: list[tuple[bytes, bytes]] = []
    gone = False
    for line in head.headers:
        if line[0] != b"cookie":
            kept.append(line)
            continue
        parts = []
        for part in line[1].split(b";"):
            name, _, value = part.strip(BLANKS).partition(b"=")
            name = name.rstrip(BLANKS)
            if not name.lower().startswith(lowered):
                parts.append(part)
                continue
            gone = True
            if name.startswith(own) and name.isascii():
                found.setdefault(name, []).append(value.strip(BLANKS))
        if rest := b";".join(parts).strip(BLANKS + b";"):
            kept.append((b"cookie", rest))
    return (replace(head, headers=tuple(kept)) if gone else head), found


def set_cookie(name: bytes, value: str, max_age: float | None = None) -> tuple[bytes, bytes]:
    """The header line that gives a browser a cookie; without `max_age` until it closes."""
    lasts = "" if max_age is None else f"; Max-Age={int(max_age)}"
    return b"set-cookie", f"{name.decode()}={value}{ATTRIBUTES}{lasts}".encode()


def delete_cookie(name: bytes) -> tuple[bytes, bytes]:
    """The header line that takes it away."""
    return set_cookie(name, "", 0)
