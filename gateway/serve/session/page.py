"""The answers of the login's pages: bare, never stored, and with nothing in them that runs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

from gateway import wire
from gateway.errors import Code, GatewayError
from gateway.serve.hypercorn.refusal import CONTENT_TYPE, PROBLEMS

if TYPE_CHECKING:
    from gateway.model import Head, Headers
    from gateway.serve.asgi import Receive, Send

ALWAYS: Final = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    # With no-referrer, the Origin of a form would be null.
    (b"referrer-policy", b"same-origin"),
)
POLICY: Final = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"
FORM: Final = b"application/x-www-form-urlencoded"
MAX_FORM: Final = 64 * 1024
HTML: Final = b"text/html; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer, less what every one has."""

    status: int
    headers: Headers = ()
    body: bytes = b""


def page(title: str, body: str, *, status: int = 200, form_action: str = "'none'") -> Reply:
    """A page with a heading; `body` is HTML."""
    text = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><h1>{escape(title)}</h1>{body}</html>\n"
    )
    policy = f"{POLICY}; form-action {form_action}".encode()
    headers = ((b"content-type", HTML), (b"content-security-policy", policy))
    return Reply(status=status, headers=headers, body=text.encode())


def refusal(error: GatewayError, head: Head, *, html: bool = False, retry: str = "") -> Reply:
    """A refusal, as a page for who sees it and a problem document for all others."""
    added = tuple((name.encode(), value.encode()) for name, value in error.headers)
    added = (*added, (b"x-decision-id", head.id.encode()))
    code = error.code
    if not html:
        headers = ((b"content-type", CONTENT_TYPE), *added)
        return Reply(status=code.status, headers=headers, body=PROBLEMS[code])
    again = f'<p><a href="{escape(retry)}">Log in again</a></p>' if retry else ""
    made = page(
        code.title, f"<p>{escape(code.text)} {escape(head.id)}</p>{again}", status=code.status
    )
    return Reply(status=made.status, headers=(*made.headers, *added), body=made.body)


async def read_form(head: Head, receive: Receive, seconds: float) -> dict[str, list[str]]:
    """The form that a request brings; GatewayError for none, too much, or what comes too late."""
    if head.fields.get(b"content-type", [b""])[0].partition(b";")[0].strip().lower() != FORM:
        raise GatewayError(Code.BODY_UNSUPPORTED)
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(seconds):
            while more:
                message = await receive()
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > MAX_FORM:
                    raise GatewayError(Code.BODY_TOO_LARGE)
        return wire.form(bytes(body))
    except TimeoutError:
        raise GatewayError(Code.BODY_TIMEOUT) from None
    except ValueError as error:
        raise GatewayError(Code.BODY_MALFORMED, str(error)) from None


async def send(sender: Send, head: Head, reply: Reply) -> None:
    """Send a reply."""
    headers = [*ALWAYS, *reply.headers, (b"content-length", b"%d" % len(reply.body))]
    await sender({"type": "http.response.start", "status": reply.status, "headers": headers})
    body = b"" if head.method == "HEAD" else reply.body
    await sender({"type": "http.response.body", "body": body, "more_body": False})
