"""What is taken for a secret wherever it stands: names of fields, and whole tokens in text."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model import Headers

ERASED = "[erased]"

MAX_CACHED_NAME = 64
MIN_PIECE = 6

MAX_PIECES = 64
"""Most pieces of credentials that a text is searched for; with more, all of it is erased."""

_NAME = re.compile(
    # A number at the end is an index: token[0], token.1.
    r"authori[sz]ation|cookie|token(?:-[0-9]+)?$|secret|passw|passphrase|credential|assertion|jwt"
    r"|(?:api|access|auth|private)-?key|session-?id$"
    # Some clients carry their token as a WebSocket subprotocol; these are cloud proxies' tokens.
    r"|^sec-websocket-protocol$|^x-amzn-oidc-data$|^samlresponse$"
)
_PARAMETER = re.compile(r"^(?:code|sig|sid|auth|otp|pin|[a-z0-9-]*signature)$")
_MARKS = re.compile(r"[^a-z0-9]+")
# Up to the last @ of an authority, as browsers read it.
_USERINFO = re.compile(r"//[^/?#\\\s]*@")
_SEPARATOR = re.compile(r"([?&#;])")

# `{"`, `{ "`, `{\n`, `{\r`, `{\t` in base64url: where a JOSE header starts (RFC 7515 §3.1).
_START = r"e(?:yJ|yA|wo|w0|wk)"
_START_TEXT = re.compile(_START)
_START_BYTES = re.compile(rb"e[wy][JAo0k]")  # all that most lines are searched for
_HEADER = re.compile(_START + r"[\w-]{12}", re.ASCII)
_PAYLOAD = re.compile(_START + r"[\w-]{5}", re.ASCII)
_DOT = r"\.|%2[eE]"
_DOTS = re.compile(f"({_DOT})")
# Possessive, and from the start of a word only: linear in what a client sends.
_CHAIN = re.compile(rf"(?<![\w-])[\w-]++(?:(?:{_DOT})[\w-]*+){{2,}}+", re.ASCII)


def normal(name: str) -> str:
    """A name in its one spelling: `X_Api_Key`, `x.api.key` and `x-api-key[]` are `x-api-key`."""
    return _MARKS.sub("-", name.lower()).strip("-")


def is_secret(name: str) -> bool:
    """Whether a header or member of this name is taken to hold a secret, however it is spelt."""
    return _cached(name) if len(name) <= MAX_CACHED_NAME else _is_secret(name)


def is_secret_parameter(name: str) -> bool:
    """Whether a query parameter of this name is taken to hold a secret."""
    return is_secret(name) or _PARAMETER.match(normal(name)) is not None


def scrub(text: str, is_secret_name: Callable[[str], bool]) -> str:
    """A URL or query string without user information and the values of secret parameters.

    `text` itself where it has none.
    """
    if "@" in text:
        text = _USERINFO.sub(f"//{ERASED}@", text)
    if "=" not in text:
        return text
    pieces = _SEPARATOR.split(text)
    found = False
    for index in range(0, len(pieces), 2):
        name, equals, value = pieces[index].partition("=")
        if equals and value and is_secret_name(unquote_plus(name)):
            pieces[index] = f"{name}={ERASED}"
            found = True
    return "".join(pieces) if found else text


def has_token(line: bytes) -> bool:
    """Whether a compact JWS or JWE stands anywhere in a line of UTF-8."""
    if _START_BYTES.search(line) is None:
        return False
    return any(_without_token(chain) != chain[0] for chain in _CHAIN.finditer(line.decode()))


def without_tokens(text: str) -> str:
    """`text` with every compact JWS or JWE replaced."""
    return _CHAIN.sub(_without_token, text) if _START_TEXT.search(text) else text


def without_credentials(
    text: str, headers: Headers, is_secret_name: Callable[[str], bool] = is_secret
) -> str:
    """`text` without any longer piece of a credential that the request's headers hold.

    All of it is erased where those hold more than 64 pieces: the search costs the text's length
    for each.
    """
    pieces: set[str] = set()
    for name, value in headers:
        if is_secret_name(name.decode("latin-1")):
            whole = value.decode("latin-1")
            words = re.split(r"[\s,;]+", whole)
            pieces.update((whole, *words, *(word.partition("=")[2] for word in words)))
    longer = sorted((piece for piece in pieces if len(piece) >= MIN_PIECE), key=len, reverse=True)
    if len(longer) > MAX_PIECES:
        return ERASED
    for piece in longer:
        text = text.replace(piece, ERASED)
    return text


def _without_token(chain: re.Match[str]) -> str:
    """Words joined by dots, up to where a token starts: header.payload.signature, or five parts."""
    pieces = _DOTS.split(chain[0])
    parts = pieces[::2]
    for index, part in enumerate(parts[:-2]):
        header = _HEADER.search(part)
        if header and (_PAYLOAD.match(parts[index + 1]) or len(parts) - index >= 5):
            return "".join(pieces[: 2 * index]) + part[: header.start()] + ERASED
    return chain[0]


def _is_secret(name: str) -> bool:
    return _NAME.search(normal(name)) is not None


_cached = lru_cache(maxsize=1024)(_is_secret)
