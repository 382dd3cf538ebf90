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

_NAME = re.compile(
    r"authori[sz]ation|cookie|token$|secret|passw|passphrase|credential|assertion|jwt"
    r"|(?:api|access|auth|private)-?key|session-?id$"
    # Some clients carry their token as a WebSocket subprotocol; these are cloud proxies' tokens.
    r"|^sec-websocket-protocol$|^x-amzn-oidc-data$|^samlresponse$"
)
_PARAMETER = re.compile(r"^(?:code|sig|sid|auth|otp|pin|[a-z-]*signature)$")
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


def is_secret(name: str) -> bool:
    """Whether a header or member of this name is taken to hold a secret."""
    return _cached(name) if len(name) <= MAX_CACHED_NAME else _is_secret(name)


def is_secret_parameter(name: str) -> bool:
    """Whether a query parameter of this name is taken to hold a secret."""
    return is_secret(name) or _PARAMETER.fullmatch(name.lower().replace("_", "-")) is not None


def scrub(text: str, is_secret_name: Callable[[str], bool]) -> str:
    """A URL or query string without the values of secret parameters; `text` itself if none."""
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
    """`text` without any longer piece of a credential that the request's headers hold."""
    pieces: set[str] = set()
    for name, value in headers:
        if is_secret_name(name.decode("latin-1")):
            whole = value.decode("latin-1")
            words = re.split(r"[\s,;]+", whole)
            pieces.update((whole, *words, *(word.partition("=")[2] for word in words)))
    for piece in sorted(pieces, key=len, reverse=True):
        if len(piece) >= MIN_PIECE:
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
    return _NAME.search(name.lower().replace("_", "-")) is not None


_cached = lru_cache(maxsize=1024)(_is_secret)
