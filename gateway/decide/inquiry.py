"""What is known of a request when the policy is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.config.model import Config
    from gateway.model import Head, Headers, Match, Principal, Source

Document = dict[str, Any]
"""An input document: JSON as plain Python, which nobody changes once it is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRules:
    """What the configuration says of all documents.

    `hidden` are the headers that hold credentials, `cookie` the cookie that does, or empty;
    `json_depth` is the deepest nesting of a body.
    """

    hidden: frozenset[bytes]
    cookie: bytes
    json_depth: int

    @classmethod
    def build(cls, config: Config) -> DocumentRules:
        """Read the rules from a configuration."""
        credentials = config.credentials
        return cls(
            hidden=frozenset(
                {b"authorization", b"proxy-authorization", credentials.header.encode()}
            ),
            cookie=(credentials.cookie or "").encode(),
            json_depth=config.limits.json_depth,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A request body: its declared size (None if unknown), bytes and parsed value.

    `raw` and `value` are None where the route does not show the body to the policy.
    """

    size: int | None
    raw: bytes | None = None
    value: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """All that an input document is made of; `headers` are the end-to-end ones."""

    head: Head
    headers: Headers
    match: Match
    principal: Principal
    source: Source
    body: Body
    now: float
    rules: DocumentRules


def joined(headers: Headers, hidden: frozenset[bytes] = frozenset()) -> dict[str, str]:
    """Headers by name: a repeated one joins with `, `, cookies with `; `.

    Bytes beyond ASCII are read as ISO 8859-1, which keeps different values different.
    """
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        if raw_name not in hidden:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            if name in found:
                value = f"{found[name]}{'; ' if name == 'cookie' else ', '}{value}"
            found[name] = value
    return found


def port_of(inquiry: Inquiry) -> int:
    """The port that the client asked for."""
    digits = inquiry.head.authority.rpartition(b":")[2]
    default = 443 if inquiry.source.scheme == "https" else 80
    return int(digits) if digits.isdigit() and b":" in inquiry.head.authority else default


def exact(number: float) -> float | int:
    """A number as the engine holds it: whole ones are integers."""
    return int(number) if number == int(number) else number
