"""Identity headers: what the upstream is told of the principal, as visible ASCII."""

from __future__ import annotations

import re
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from gateway import wire
from gateway.errors import Code, ForwardError, Problem
from gateway.jose.claim_path import ABSENT, find
from gateway.rego.values import dumps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gateway.config.model import Config
    from gateway.model import Headers, Principal

    Reader = Callable[[Principal], Any]
    IdentityLines = Callable[[Principal], Headers]

MAX_IDENTITY: Final = 8192
"""Largest value of an identity header, in bytes."""

MEMBERS: Final = ("subject", "issuer", "scopes", "groups", "roles")
"""What `identity.X` may name."""

# The client's credentials and cookies are handled as such; an identity header would mix with them.
NOT_IDENTITY: Final = wire.RESERVED | {b"authorization", b"cookie"}

_VISIBLE: Final = re.compile(rb"[!-$&-~]*+")
_VISIBLE_ITEM: Final = re.compile(rb"[!-$&-+\--~]*+")
_ESCAPED: Final = re.compile(rb"[^!-$&-~]")
_ESCAPED_ITEM: Final = re.compile(rb"[^!-$&-+\--~]")


def check_identity(config: Config) -> Iterator[Problem]:
    """Identity headers that cannot be told from others, or hold nothing that there is."""
    if config.assertion and wire.spelled((config.assertion.header,)) & NOT_IDENTITY:
        yield Problem(
            f"{config.assertion.header} cannot carry the assertion",
            key="assertion.header",
            remedy="HTTP and the gateway use it; take another name",
        )
    sections: list[tuple[str, Mapping[str, str]]] = [("identity_headers", config.identity_headers)]
    for index, route in enumerate(config.routes):
        sections.append((f"routes.{index}.identity_headers", route.identity_headers or {}))
    for key, section in sections:
        taken: dict[bytes, str] = {}
        for name, path in section.items():
            (spelling,) = wire.spelled((name,))
            other = taken.setdefault(spelling, name)
            if spelling in NOT_IDENTITY:
                yield Problem(
                    f"{name} cannot be an identity header",
                    key=f"{key}.{name}",
                    remedy="HTTP and the gateway use it; take another name, such as x-auth-subject",
                )
            elif other != name:
                yield Problem(
                    f"{name} and {other} are one header to many servers", key=f"{key}.{name}"
                )
            if reader(path) is None:
                yield Problem(
                    f"{path!r} names nothing",
                    key=f"{key}.{name}",
                    remedy=f"write identity.{{{','.join(MEMBERS)}}}, claims.PATH or "
                    "token.expires_at",
                )


def reader(path: str) -> Reader | None:
    """What reads `identity.X`, `claims.PATH` or `token.expires_at`; None for anything else."""
    kind, _, rest = path.partition(".")
    if kind == "identity" and rest in MEMBERS:
        return attrgetter(rest)
    if kind == "claims" and rest:
        return lambda principal: find(principal.claims, rest)
    if path == "token.expires_at":
        return lambda principal: principal.expires_at
    return None


def encode(value: Any) -> bytes:
    """A value as visible ASCII: all else and `%` percent-encoded, lists joined with commas.

    In lists a comma inside an item is encoded too. Numbers, booleans and objects are JSON. Empty
    for what is absent, null or empty.
    """
    if value.__class__ is str:
        return _escape(value.encode("utf-8", "surrogatepass"), _VISIBLE, _ESCAPED)
    if value is None or value is ABSENT:
        return b""
    if isinstance(value, list | tuple):
        return b",".join([_escape(_text(item), _VISIBLE_ITEM, _ESCAPED_ITEM) for item in value])
    return _escape(_text(value), _VISIBLE, _ESCAPED)


def identity_lines(headers: Mapping[str, str]) -> IdentityLines:
    """What gives a principal's identity headers, without empty ones.

    It remembers principals, which a token's repeated use shares. It raises ForwardError
    IDENTITY_TOO_LARGE for a value over 8 KiB: without it the upstream would take the request for
    one of somebody with fewer groups, or of nobody.
    """
    readers = [(name.encode(), read) for name, path in headers.items() if (read := reader(path))]

    @lru_cache(maxsize=1024)
    def lines(principal: Principal) -> Headers:
        found = [(name, encode(read(principal))) for name, read in readers]
        for name, value in found:
            if len(value) > MAX_IDENTITY:
                raise ForwardError(Code.IDENTITY_TOO_LARGE, name.decode())
        return tuple(line for line in found if line[1])

    return lines


def _text(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return dumps(value).encode("utf-8", "surrogatepass")


def _escape(raw: bytes, visible: re.Pattern[bytes], escaped: re.Pattern[bytes]) -> bytes:
    if visible.fullmatch(raw):
        return raw
    return escaped.sub(lambda found: b"%%%02X" % ord(found[0]), raw)
