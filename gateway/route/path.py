"""The one canonical form of a request path; what has two readings is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from gateway.errors import Code, RouteError

ENCODED_SLASH: Final = "%2F"

# RFC 3986 §3.3 pchar without ";", whose parameters some servers drop before they route.
_PLAIN: Final = re.compile(rb"(?=/)(?:/(?!\.{1,2}(?:/|\Z))[-A-Za-z0-9._~!$&'()*+,=:@]++)*+/?+")
_RAW: Final = re.compile(rb"(?=/)(?:[-A-Za-z0-9._~!$&'()*+,=:@/]|%[0-9A-Fa-f]{2})*+")
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_DOTS: Final = re.compile(r"(?:\A|/)\.{1,2}(?:/|\Z)")
# An escaped "%" before the digits of a byte that is refused when it is escaped once.
_TWICE: Final = re.compile(r"%25(?:25)*(?:[01][0-9A-F]|2[EF]|3B|5C|7F)", re.IGNORECASE)
_UNRESERVED: Final = frozenset(
    b"-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)
_REFUSED: Final = frozenset((*range(32), 127, *b";\\"))


@dataclass(frozen=True, slots=True)
class CanonicalPath:
    """A path that router, policy and upstream read alike.

    `text` is ASCII: unreserved escapes decoded, the other ones upper-case (RFC 3986 §6.2.2).
    `segments` are its percent-decoded UTF-8 pieces: none for `/`, an empty last one for a
    trailing slash.
    """

    text: str
    segments: tuple[str, ...]


def canonical_path(raw: bytes, *, encoded_slashes: bool = False) -> CanonicalPath:
    """Canonicalise the path of a request target in origin form.

    RouteError BAD_PATH for another form, bytes that are no visible ASCII, empty segments and
    invalid UTF-8; for dot segments, `;`, backslash and control characters, raw or escaped, and an
    escaped slash; and for an escaped `%` before the digits of a dot, a slash or one of these
    characters (`%252E`, `%25252f`), wherever it stands. `encoded_slashes` lets `%2F` through as
    data of its segment.
    """
    if _PLAIN.fullmatch(raw):
        text = raw.decode("ascii")
        return CanonicalPath(text, tuple(text[1:].split("/")) if text != "/" else ())
    return _canonicalise(raw, encoded_slashes)


def _canonicalise(raw: bytes, encoded_slashes: bool) -> CanonicalPath:
    if not _RAW.fullmatch(raw):
        raise _bad("a byte that no path may hold, a broken escape, or no leading slash")
    text = _ESCAPE.sub(_escape, raw).decode("ascii")
    if "//" in text:
        raise _bad("an empty segment")
    if _DOTS.search(text):
        raise _bad("a dot segment")
    if _TWICE.search(text):
        raise _bad("an escape of an escape")
    if ENCODED_SLASH in text and not encoded_slashes:
        raise _bad("an encoded slash")
    try:
        segments = tuple(unquote_to_bytes(piece).decode() for piece in text[1:].split("/"))
    except UnicodeDecodeError:
        raise _bad("invalid UTF-8") from None
    if encoded_slashes and any(_DOTS.search(segment) for segment in segments):
        raise _bad("a dot segment behind an encoded slash")
    return CanonicalPath(text, segments)


def _escape(found: re.Match[bytes]) -> bytes:
    byte = int(found[1], 16)
    if byte in _UNRESERVED:
        return bytes((byte,))
    if byte in _REFUSED:
        raise _bad("an encoded control, backslash or semicolon")
    return found[0].upper()


def _bad(detail: str) -> RouteError:
    return RouteError(Code.BAD_PATH, detail)
