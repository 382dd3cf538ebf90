"""The one credential of a request (RFC 6750 §2.1, RFC 9110 §11.6.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import Code, IdentityError

if TYPE_CHECKING:
    from gateway.model import Head

BLANKS = b" \t"


def read(head: Head, header: bytes, cookie: bytes | None) -> bytes | None:
    """The bare token in `header` (as `Bearer TOKEN`) or in `cookie`; None if there is neither.

    More than one is credential-ambiguous (400), whatever each of them holds: whoever reads the
    request after us might choose another one. Anything but a bearer token is
    credential-malformed.
    """
    found = head.fields.get(header, ())
    if cookie is not None:
        crumbs = [
            crumb
            for value in head.fields.get(b"cookie", ())
            if cookie in value
            for crumb in _crumbs(value, cookie)
        ]
        if len(found) + len(crumbs) > 1:
            raise IdentityError(Code.CREDENTIAL_AMBIGUOUS, "several places hold a credential")
        if crumbs:
            return _bare(crumbs[0])
    if len(found) > 1:
        raise IdentityError(Code.CREDENTIAL_AMBIGUOUS, f"{len(found)} lines of {header.decode()}")
    return _bearer(found[0]) if found else None


def _bearer(value: bytes) -> bytes:
    if value[:7].lower() != b"bearer ":
        raise IdentityError(Code.CREDENTIAL_MALFORMED, "not the Bearer scheme and one space")
    if b"," in value:
        # A list is what an intermediary makes of several lines (RFC 9110 §5.3).
        raise IdentityError(Code.CREDENTIAL_AMBIGUOUS, "a list of credentials")
    return _bare(value[7:])


def _bare(token: bytes) -> bytes:
    if not token or b" " in token:
        raise IdentityError(Code.CREDENTIAL_MALFORMED, "no token, or a blank in it")
    return token


def _crumbs(line: bytes, cookie: bytes) -> list[bytes]:
    """The values of `cookie` in a Cookie line; empty for a spelling that readers differ on."""
    pairs = [part.strip(BLANKS).partition(b"=") for part in line.split(b";")]
    return [
        value if name == cookie else b""
        for name, _, value in pairs
        if name.rstrip(BLANKS) == cookie
    ]
