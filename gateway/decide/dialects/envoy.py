"""Input and result of OPA's Envoy plugin (CheckRequest v3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.decide.decision import header_lines, header_names, read_boolean, read_flag, shape
from gateway.decide.dialects.peers import status
from gateway.decide.document import rfc3339
from gateway.decide.inquiry import joined
from gateway.errors import Code
from gateway.model import Decision
from gateway.rego.values import to_json

if TYPE_CHECKING:
    from gateway.decide.inquiry import Document, Inquiry


def document(inquiry: Inquiry) -> Document:
    """The plugin's input; claims stand in `filterMetadata` under the issuer's configured name.

    `destination` is empty and `parsed_path` keeps an encoded slash inside its segment, where the
    plugin would split it.
    """
    head, match, principal, body = inquiry.head, inquiry.match, inquiry.principal, inquiry.body
    path = match.path
    if head.query_string:
        path += "?" + head.query_string.decode("latin-1")
    authority = head.authority.decode("latin-1")
    http: dict[str, Any] = {
        "id": head.id,
        "method": head.method,
        "headers": {
            ":authority": authority, ":method": head.method, ":path": path,
            **joined(inquiry.fields),
        },
        "host": authority,
        "path": path,
        "scheme": inquiry.source.scheme,
        "protocol": f"HTTP/{head.http_version}",
        "size": -1 if body.size is None else body.size,
    }  # fmt: skip
    if body.raw:
        http["body"] = body.raw.decode()
    metadata = {principal.issuer: principal.claims} if principal.authenticated else {}
    return {
        "attributes": {
            "source": {"address": {"socketAddress": {"address": inquiry.source.address}}},
            "destination": {},
            "request": {"time": rfc3339(int(inquiry.now)), "http": http},
            "metadataContext": {"filterMetadata": {"envoy.filters.http.jwt_authn": metadata}},
        },
        "parsed_path": list(match.segments) or [""],
        "parsed_query": match.query,
        "parsed_body": body.value,
        "truncated_body": False,
        "version": {"ext_authz": "v3", "encoding": "protojson"},
    }


def read_decision(value: Any, reserved: frozenset[bytes]) -> Decision:
    """Read a boolean or the plugin's result object; keys that it does not know do not count.

    `query_parameters_to_remove` and `_set` are refused unless empty: the upstream gets the query
    that the policy saw.
    """
    plain = read_boolean(value)
    if plain is not None:
        return plain
    allowed = read_flag(value, "allowed")
    for key in ("query_parameters_to_remove", "query_parameters_to_set"):
        if value.get(key):
            raise shape(f"{key}: the query is passed as it came")
    for key, kind in (("dynamic_metadata", dict), ("body", str)):
        if key in value and value[key].__class__ is not kind:
            raise shape(f"{key} must be {kind.__name__}")
    headers = _headers(value, "headers", reserved)
    added = _headers(value, "response_headers_to_add", reserved)
    return Decision(
        allow=allowed,
        code=None if allowed else Code.POLICY_DENIED,
        status=status(value, "http_status"),
        headers=headers if allowed else (),
        remove_headers=header_names(
            value.get("request_headers_to_remove", []), "request_headers_to_remove", reserved
        ),
        response_headers=added if allowed else headers,
        body=value.get("body"),
        has_body="body" in value,
        text=True,
        result=to_json(value),
    )


def _headers(value: Any, key: str, reserved: frozenset[bytes]) -> tuple[tuple[str, str], ...]:
    given = value.get(key, {})
    objects = given if given.__class__ is list else [given]
    return tuple(pair for item in objects for pair in header_lines(item, key, reserved))
