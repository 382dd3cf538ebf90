"""Input and result of Kong's OPA plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.decide.decision import header_lines, read_boolean, read_flag, shape
from gateway.decide.dialects.peers import status
from gateway.decide.inquiry import joined, port_of
from gateway.errors import Code
from gateway.model import Decision
from gateway.rego.values import to_json

if TYPE_CHECKING:
    from gateway.decide.inquiry import Document, Inquiry


def document(inquiry: Inquiry) -> Document:
    """The plugin's input with route and consumer; the consumer is the token's subject."""
    head, match, principal, body = inquiry.head, inquiry.match, inquiry.principal, inquiry.body
    http: dict[str, Any] = {
        "host": match.host,
        "port": str(port_of(inquiry)),
        "tls": {},
        "method": head.method,
        "scheme": inquiry.source.scheme,
        "path": match.path,
        "querystring": {
            name: items[0] if len(items) == 1 else items for name, items in match.query.items()
        },
        "headers": joined(inquiry.fields),
        "uri_captures": {"named": match.params, "unnamed": list(match.params.values())},
    }
    if body.raw is not None:
        http |= {"body": body.raw.decode(), "body_size": len(body.raw), "parsed_body": body.value}
    found: Document = {
        "request": {"http": http},
        "client_ip": inquiry.source.address,
        "route": {"id": match.route.id, "name": match.route.id, "paths": list(match.route.paths)},
    }
    if principal.authenticated:
        found["consumer"] = {"id": principal.subject, "username": principal.subject}
    return found


def read_decision(value: Any, reserved: frozenset[bytes]) -> Decision:
    """Read a boolean or `{allow, status, headers, message}`; other keys do not count.

    Headers go upstream when allowed, else into the answer, whose body is the message.
    """
    plain = read_boolean(value)
    if plain is not None:
        return plain
    allow = read_flag(value, "allow")
    headers = header_lines(value.get("headers", {}), "headers", reserved)
    message = value.get("message", "")
    if message.__class__ not in (str, dict):
        raise shape("message: expected a string or an object")
    return Decision(
        allow=allow,
        code=None if allow else Code.POLICY_DENIED,
        status=status(value, "status"),
        headers=headers if allow else (),
        response_headers=() if allow else headers,
        body=to_json(message) if message.__class__ is dict else {"message": message},
        has_body="message" in value,
        result=to_json(value),
    )
