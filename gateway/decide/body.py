"""The request body as the policy sees it: JSON or a form, read in one way."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from gateway import wire
from gateway.decide.inquiry import Body
from gateway.errors import Code, DecisionError
from gateway.jose.strict_json import loads
from gateway.model import Missing, Need

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.model import Facts, Fields, Head, Match

_JSON: Final = re.compile(rb"(?:application|text)/json|[a-z0-9.-]+/[a-z0-9.+-]+\+json")
_UTF8: Final = re.compile(rb'\s*charset\s*=\s*"?utf-?8"?\s*')
_SHOWN: Final = 100
"""How much of a header a detail repeats."""
_FORM: Final = b"application/x-www-form-urlencoded"


def read_body(head: Head, fields: Fields, facts: Facts, match: Match, *, depth: int) -> Body:
    """The body's declared size, and its value where the route shows it to the policy.

    Missing when the body is needed and has not been brought. DecisionError: BODY_TOO_LARGE over
    the route's limit; BODY_UNSUPPORTED for a Content-Encoding, or content that is neither JSON
    nor a form in UTF-8, which the policy could not read though the upstream might;
    BODY_MALFORMED; BAD_FRAMING.
    """
    size = _declared_size(head)
    limit = match.route.body
    if limit is None or head.websocket:
        return Body(size=size)
    if (size or 0) > limit.max:
        raise DecisionError(Code.BODY_TOO_LARGE, f"{size} bytes")
    if size == 0:
        return Body(size=size, raw=b"")
    if facts.body is None:
        raise Missing(Need(kind="body", max_bytes=limit.max))
    if len(facts.body) > limit.max:
        raise DecisionError(Code.BODY_TOO_LARGE, f"{len(facts.body)} bytes")
    if not facts.body:
        return Body(size=size, raw=b"")
    parse = _parser(fields)
    try:
        return Body(size=size, raw=facts.body, value=parse(facts.body, depth))
    except ValueError as error:
        raise DecisionError(Code.BODY_MALFORMED, str(error)) from None


def _declared_size(head: Head) -> int | None:
    chunked = b"transfer-encoding" in head.fields
    try:
        size = wire.content_length(head.fields)
    except ValueError as error:
        raise DecisionError(Code.BAD_FRAMING, str(error)) from None
    if size is None:
        # RFC 9112 §6.3: an HTTP/1 request without either field has no body.
        return None if chunked or not head.http_version.startswith("1") else 0
    if chunked:
        raise DecisionError(Code.BAD_FRAMING, "Content-Length beside Transfer-Encoding")
    return size


def _parser(fields: Fields) -> Callable[[bytes, int], Any]:
    encodings = wire.elements(fields.get(b"content-encoding", ()))
    if any(encoding.lower() != b"identity" for encoding in encodings):
        raise DecisionError(Code.BODY_UNSUPPORTED, "Content-Encoding")
    types = fields.get(b"content-type", ())
    if len(types) > 1:
        raise DecisionError(Code.BODY_MALFORMED, "several Content-Type lines")
    media_type, *parameters = (types[0] if types else b"").lower().split(b";")
    if all(_UTF8.fullmatch(text) for text in parameters if b"charset" in text):
        if _JSON.fullmatch(media_type.strip()):
            return _json
        if media_type.strip() == _FORM:
            return _form
    shown = types[0].decode("latin-1")[:_SHOWN] if types else "missing"
    raise DecisionError(Code.BODY_UNSUPPORTED, f"Content-Type {shown}")


def _json(raw: bytes, depth: int) -> Any:
    return loads(raw, max_depth=depth)


def _form(raw: bytes, _: int) -> Mapping[str, list[str]]:
    return wire.form(raw)
