"""Compact tokens taken apart (RFC 7515 §7.1), with every check that needs no key."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.errors import Code
from gateway.jose import base64url
from gateway.jose.strict_json import JsonError, JsonValue, loads

REFUSED_PARAMETERS = frozenset({"b64", "crit", "enc", "zip"})
"""Header parameters that change how a token is read, none of which is supported.

`crit` is refused whatever it lists (RFC 7515 §4.1.11). `jku`, `jwk`, `x5u` and `x5c` are legal
and never looked at: keys come from the configured source alone (RFC 8725 §3.10).
"""

TEXT_PARAMETERS = ("alg", "kid", "typ", "cty")


class TokenError(ValueError):
    """The token cannot be taken apart; `code` says why."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Compact:
    """A token and its parts, not verified.

    `type` is the media type of `typ` (RFC 7515 §4.1.9), lower-case, without `application/`,
    empty for none.
    """

    token: bytes = field(repr=False)
    header: dict[str, JsonValue]
    algorithm: str
    key_id: str | None
    type: str
    payload: bytes
    signing_input: bytes
    signature: bytes


def parse(
    token: bytes, *, max_size: int = 8192, max_header: int = 4096, max_depth: int = 64
) -> Compact:
    """Take a compact token apart; sizes in bytes, `max_header` of the decoded header.

    Raises TokenError with token-too-large, token-malformed or token-header-refused.
    """
    if len(token) > max_size:
        raise TokenError(Code.TOKEN_TOO_LARGE, f"{len(token)} bytes")
    parts = token.split(b".", 3)
    if len(parts) != 3:
        raise TokenError(Code.TOKEN_MALFORMED, "not three parts")
    try:
        header_bytes, payload, signature = map(base64url.decode, parts)
    except ValueError as error:
        raise TokenError(Code.TOKEN_MALFORMED, str(error)) from None
    header = _header(header_bytes, max_header, max_depth)
    algorithm, key_id, kind = header["alg"], header.get("kid"), header.get("typ", "")
    assert isinstance(algorithm, str)
    assert key_id is None or isinstance(key_id, str)
    assert isinstance(kind, str)
    return Compact(
        token=token,
        header=header,
        algorithm=algorithm,
        key_id=key_id,
        type=media_type(kind),
        payload=payload,
        signing_input=token[: len(parts[0]) + 1 + len(parts[1])],
        signature=signature,
    )


def media_type(typ: str) -> str:
    """A `typ` in the form in which types are compared (RFC 7515 §4.1.9)."""
    return typ.lower().removeprefix("application/")


def _header(raw: bytes, max_header: int, max_depth: int) -> dict[str, JsonValue]:
    if len(raw) > max_header:
        raise TokenError(Code.TOKEN_TOO_LARGE, f"header of {len(raw)} bytes")
    try:
        header = loads(raw, max_depth=max_depth)
    except JsonError as error:
        raise TokenError(Code.TOKEN_MALFORMED, f"header: {error}") from None
    if not isinstance(header, dict):
        raise TokenError(Code.TOKEN_MALFORMED, "header: not an object")
    refused = REFUSED_PARAMETERS & header.keys()
    if refused:
        raise TokenError(Code.TOKEN_HEADER_REFUSED, ", ".join(sorted(refused)))
    if "alg" not in header:
        raise TokenError(Code.TOKEN_HEADER_REFUSED, "no alg")
    for name in TEXT_PARAMETERS:
        if name in header and not isinstance(header[name], str):
            raise TokenError(Code.TOKEN_HEADER_REFUSED, f"{name} is not a string")
    kind = header.get("typ", "JWT")
    assert isinstance(kind, str)
    if not kind.isascii() or not media_type(kind):
        # An empty type would count as none, and lower() maps some letters beyond ASCII into it.
        raise TokenError(Code.TOKEN_HEADER_REFUSED, "typ is no media type")
    return header
