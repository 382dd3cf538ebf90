"""What HTTP text means, where more than one stage must read it the same way."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.model import Fields, Headers

OWN_PREFIX: Final = b"/.well-known/gateway/"
"""Paths that the gateway answers itself, on every host."""

FIELD_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""RFC 9110 §5.1."""

FIELD_VALUE: Final = re.compile(r"(?:[!-~](?:[\t -~]*[!-~])?)?")
"""RFC 9110 §5.5 without obs-text: visible ASCII, blanks only inside."""

NAMES_REMEMBERED: Final = 256
"""Of how many field names what was found out of them is kept; clients choose them."""

SPELLING: Final = bytes(
    byte + 32 if 65 <= byte <= 90 else byte if chr(byte).isalnum() and byte < 128 else 45
    for byte in range(256)
)
"""`name.translate(SPELLING)` is one spelling for all field names that an upstream may confuse.

CGI and its heirs (WSGI, PHP, Rack) turn every byte of a name that is no letter or digit into the
same sign, so `X_User.Id` reaches them as `X-User-Id` does.
"""


def spelled(names: Iterable[str]) -> frozenset[bytes]:
    """Field names in the one spelling that stands for all that an upstream may confuse."""
    return frozenset(name.encode().translate(SPELLING) for name in names)


HOP_BY_HOP: Final = frozenset((
    b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding",
    b"upgrade", b"http2-settings", b"proxy-authenticate", b"proxy-authorization",
    b"proxy-authentication-info",
))  # fmt: skip
"""Fields for the next hop only (RFC 9110 §7.6.1, RFC 9113 §8.2.2)."""

FRAMING: Final = frozenset((b"content-length", b"transfer-encoding", b"expect"))
"""Fields of the message itself, which whoever sends it writes anew."""

HANDSHAKE: Final = frozenset((
    b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-key",
    b"sec-websocket-protocol", b"sec-websocket-version",
))  # fmt: skip
"""Fields of a WebSocket handshake, which is made anew with the upstream (RFC 6455 §11.3)."""

OURS: Final = frozenset((
    b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-request-id",
    b"x-decision-id",
))  # fmt: skip
"""Fields that the gateway sets on every request."""

RESERVED: Final = HOP_BY_HOP | FRAMING | HANDSHAKE | OURS | {b"host"}
"""Fields that neither a policy nor a configured identity header may name."""

_ORDINARY_OPTIONS: Final = frozenset((b"keep-alive", b"close", b"upgrade"))
_BLANKS: Final = b" \t"


def fields(headers: Headers) -> Fields:
    """The values of the lines by name, in order."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name in found:
            found[name].append(value)
        else:
            found[name] = [value]
    return found


def elements(lines: Iterable[bytes]) -> list[bytes]:
    """The elements of a list-valued field over all of its lines (RFC 9110 §5.6.1)."""
    parts = (part.strip(_BLANKS) for line in lines for part in line.split(b","))
    return [part for part in parts if part]


def connection_options(lines: Sequence[bytes]) -> frozenset[bytes]:
    """The spelled names of the fields that the `Connection` lines take away (RFC 9110 §7.6.1).

    The next hop does not get them, so no stage may act on them.
    """
    if not lines or (len(lines) == 1 and lines[0].lower() in _ORDINARY_OPTIONS):
        return frozenset()
    return frozenset(option.translate(SPELLING) for option in elements(lines))


# Proxies tell the address that a client asked for under many names.
_URL: Final = re.compile(
    rb"(?:referr?er|location|destination|link|refresh|redirect|ping-from|ping-to|ur[il]|path|query)$"
)


def holds_url(name: bytes) -> bool:
    """Whether a field of this name is taken to hold a URL, or a path with its query."""
    return _URL.search(name.translate(SPELLING).rstrip(b"-")) is not None


def is_cors(line: tuple[bytes, bytes]) -> bool:
    """Whether a response field answers for cross-origin requests (Fetch standard §3.2)."""
    return line[0].startswith(b"access-control-")


def beside(headers: Headers, added: Headers) -> Headers:
    """`added` without each Vary that says nothing new beside `headers` (RFC 9110 §12.5.5)."""
    said = {element.lower() for element in _vary(headers)}
    if not said:
        return added
    return tuple(
        line
        for line in added
        if line[0] != b"vary" or not said.issuperset(map(bytes.lower, _vary((line,))))
    )


def _vary(headers: Headers) -> list[bytes]:
    return elements(value for name, value in headers if name == b"vary")


_DIGITS: Final = re.compile(rb"[0-9]{1,15}")


def content_length(fields: Fields) -> int | None:
    """The declared size of the content; None where no line declares it.

    ValueError for several lines, and for anything but up to 15 digits (RFC 9110 §8.6).
    """
    lines = fields.get(b"content-length")
    if lines is None:
        return None
    if len(lines) > 1 or not _DIGITS.fullmatch(lines[0]):
        raise ValueError("Content-Length")
    return int(lines[0])


_ENCODED: Final = re.compile(rb"(?:[!-$&-~]|%[0-9A-Fa-f]{2})*+")


def form(data: bytes) -> dict[str, list[str]]:
    """The names and values of `application/x-www-form-urlencoded` text, in order.

    Only `&` separates; `+` is a space; a name without `=` has an empty value. ValueError for
    what is not visible ASCII, a broken escape or invalid UTF-8 (WHATWG URL §5, but strict).
    """
    if not _ENCODED.fullmatch(data):
        raise ValueError("neither visible ASCII nor a percent escape")
    pairs: dict[str, list[str]] = {}
    for piece in data.split(b"&"):
        if piece:
            name, _, value = piece.partition(b"=")
            pairs.setdefault(_decode(name), []).append(_decode(value))
    return pairs


def _decode(text: bytes) -> str:
    if b"%" not in text and b"+" not in text:
        return text.decode("ascii")
    return unquote_to_bytes(text.replace(b"+", b" ")).decode()
