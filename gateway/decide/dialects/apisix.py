"""Input and result of APISIX's OPA plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.decide.decision import NONE_MADE, header_lines, read_flag, shape
from gateway.decide.dialects.peers import status
from gateway.decide.inquiry import joined, port_of
from gateway.errors import Code
from gateway.model import Decision
from gateway.rego.values import UNDEFINED, to_json

if TYPE_CHECKING:
    from gateway.decide.inquiry import Document, Inquiry


def document(inquiry: Inquiry) -> Document:
    """The plugin's input with route and consumer; the consumer is the token's subject."""
    head, match, principal = inquiry.head, inquiry.match, inquiry.principal
    port = port_of(inquiry)
    found: Document = {
        "type": "http",
        "request": {
            "scheme": inquiry.source.scheme,
            "method": head.method,
            "host": match.host,
            "port": port,
            "path": match.path,
            "headers": joined(inquiry.fields),
            "query": {
                name: items[0] if len(items) == 1 else items for name, items in match.query.items()
            },
        },
        "var": {
            "server_port": str(port),
            "remote_addr": inquiry.source.address,
            "timestamp": int(inquiry.now),
        },
        "route": {"id": match.route.id, "name": match.route.id, "uris": list(match.route.paths)},
    }
    if principal.authenticated:
        found["consumer"] = {"username": principal.subject}
    return found


def read_decision(value: Any, reserved: frozenset[bytes]) -> Decision:
    """Read `{allow, reason, headers, status_code}`; other keys do not count.

    Headers go upstream when allowed, each in place of the client's, else into the answer. The
    reason is the answer's body: a string as it stands, an object as JSON.
    """
    if value is UNDEFINED:
        return NONE_MADE
    if value.__class__ is not dict:
        raise shape("expected an object with `allow`")
    allow = read_flag(value, "allow")
    headers = header_lines(value.get("headers", {}), "headers", reserved)
    reason = value.get("reason")
    if reason.__class__ not in (str, dict, type(None)):
        raise shape("reason: expected a string or an object")
    return Decision(
        allow=allow,
        code=None if allow else Code.POLICY_DENIED,
        status=status(value, "status_code"),
        headers=headers if allow else (),
        response_headers=() if allow else headers,
        body=to_json(reason),
        has_body=reason is not None,
        text=reason.__class__ is str,
        result=to_json(value),
    )
