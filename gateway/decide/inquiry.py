"""What is known of a request when the policy is asked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from gateway import wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config.model import Config
    from gateway.model import Fields, Head, Match, Principal, Source

Document = dict[str, Any]
"""An input document: JSON as plain Python, which nobody changes once it is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRules:
    """What the configuration says of all documents.

    `hidden` are the headers that hold credentials, `cookie` the cookie that does, or empty;
    `json_depth` is the deepest nesting of a body. `is_identity` tells whether a header could be
    taken for one of the gateway's identity headers.
    """

    hidden: frozenset[bytes]
    cookie: bytes
    json_depth: int
    is_identity: Callable[[bytes], bool]

    @classmethod
    def build(cls, config: Config, identity: frozenset[bytes]) -> DocumentRules:
        """Read the rules from a configuration; `identity` are spelled (wire.SPELLING) names."""

        @lru_cache(maxsize=wire.NAMES_REMEMBERED)
        def is_identity(name: bytes) -> bool:
            return name.translate(wire.SPELLING) in identity

        credentials = config.credentials
        return cls(
            hidden=frozenset(
                {b"authorization", b"proxy-authorization", credentials.header.encode()}
            ),
            cookie=(credentials.cookie or "").encode(),
            json_depth=config.limits.json_depth,
            is_identity=is_identity,
        )

    def fields(self, head: Head) -> Fields:
        """The fields that a policy may know of.

        Neither those that the next hop does not get, nor what a client sent under the name of an
        identity header: no policy can take it for the gateway's word.
        """
        fields = head.fields
        gone = list(filter(self.is_identity, fields))
        options = wire.connection_options(fields.get(b"connection", ()))
        if options:
            gone += [name for name in fields if name.translate(wire.SPELLING) in options]
        return {name: fields[name] for name in fields if name not in gone} if gone else fields


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
    """All that an input document is made of; `fields` are those of `DocumentRules.fields`."""

    head: Head
    fields: Fields
    match: Match
    principal: Principal
    source: Source
    body: Body
    now: float
    rules: DocumentRules


def joined(fields: Fields, hidden: frozenset[bytes] = frozenset()) -> dict[str, str]:
    """Headers by name: a repeated one joins with `, `, cookies with `; `.

    Bytes beyond ASCII are read as ISO 8859-1, which keeps different values different.
    """
    return {
        name.decode("latin-1"): (
            lines[0] if len(lines) == 1 else (b"; " if name == b"cookie" else b", ").join(lines)
        ).decode("latin-1")
        for name, lines in fields.items()
        if name not in hidden
    }


def port_of(inquiry: Inquiry) -> int:
    """The port that the client asked for."""
    digits = inquiry.head.authority.rpartition(b":")[2]
    default = 443 if inquiry.source.scheme == "https" else 80
    return int(digits) if digits.isdigit() and b":" in inquiry.head.authority else default


def exact(number: float) -> float | int:
    """A number as the engine holds it: whole ones are integers."""
    return int(number) if number == int(number) else number
