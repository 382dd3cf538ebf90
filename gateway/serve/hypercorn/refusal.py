"""Answers that the server gives by itself, below ASGI."""

from __future__ import annotations

import json
from http import HTTPStatus

from gateway.errors import Code

CONTENT_TYPE = b"application/problem+json"


def problem(code: Code) -> bytes:
    """The problem document of a code (RFC 9457 §3)."""
    document = {"type": "about:blank", "title": code.title, "status": code.status}
    return json.dumps(document | {"code": code.text}).encode()


def _http1(code: Code) -> bytes:
    body = problem(code)
    lines = (
        b"HTTP/1.1 %d %s" % (code.status, HTTPStatus(code.status).phrase.encode()),
        b"content-type: " + CONTENT_TYPE,
        b"content-length: %d" % len(body),
        b"connection: close",
    )
    return b"\r\n".join([*lines, b"", body])


PROBLEMS = {code: problem(code) for code in Code}
"""The body of each refusal."""

HTTP1 = {code: _http1(code) for code in Code}
"""Each refusal as a whole HTTP/1.1 response that closes the connection."""
