"""Identity headers: what the upstream is told of the principal, as visible ASCII."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from gateway import wire
from gateway.errors import Code, ForwardError, Problem
from gateway.jose import base64url
from gateway.jose.claim_path import ABSENT, find
from gateway.rego.values import dumps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gateway.config.model import Config, IdentityHeader
    from gateway.model import Headers, Principal

    Reader = Callable[[Principal], Any]
    IdentityLines = Callable[[Principal], Headers]

MAX_IDENTITY: Final = 8192
"""Largest value of an identity header, in bytes; of all its lines together."""
MAX_LINES: Final = 100

MEMBERS: Final = ("subject", "issuer", "scopes", "groups", "roles")
"""What `identity.X` may name."""

# The client's credentials and cookies are handled as such; an identity header would mix with them.
NOT_IDENTITY: Final = wire.RESERVED | {b"authorization", b"cookie"}

_VISIBLE: Final = re.compile(rb"[!-$&-~]*+")
_VISIBLE_ITEM: Final = re.compile(rb"[!-$&-+\--~]*+")
_SENDABLE: Final = re.compile(rb"[!-~](?:[ -~]*[!-~])?")
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
    sections = [("identity_headers", config.identity_headers)]
    for index, route in enumerate(config.routes):
        sections.append((f"routes.{index}.identity_headers", route.identity_headers or {}))
    for key, section in sections:
        taken: dict[bytes, str] = {}
        for name, header in section.items():
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
            if reader(header.value) is None:
                yield Problem(
                    f"{header.value!r} names nothing",
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


def identity_lines(headers: Mapping[str, IdentityHeader]) -> IdentityLines:
    """What gives a principal's identity headers, without empty ones.

    It remembers principals, which a token's repeated use shares. It raises ForwardError
    IDENTITY_TOO_LARGE for a header over 8 KiB or of more than 100 lines, IDENTITY_UNSENDABLE for
    what is not to be encoded and cannot be sent as it is: without it the upstream would take the
    request for one of somebody with fewer groups, or of nobody.
    """
    writers = [
        (name.encode(), read, WRITERS[header.encoding, header.lists])
        for name, header in headers.items()
        if (read := reader(header.value))
    ]

    @lru_cache(maxsize=1024)
    def lines(principal: Principal) -> Headers:
        made = []
        for name, read, write in writers:
            try:
                values = write(read(principal))
            except ValueError as error:
                detail = f"{name.decode()}: {error}"
                raise ForwardError(Code.IDENTITY_UNSENDABLE, detail) from None
            if sum(map(len, values)) > MAX_IDENTITY or len(values) > MAX_LINES:
                raise ForwardError(Code.IDENTITY_TOO_LARGE, name.decode())
            made += [(name, value) for value in values if value]
        return tuple(made)

    return lines


def _percent(value: Any) -> list[bytes]:
    return [encode(value)]


def _percent_joined(value: Any) -> list[bytes]:
    return [b",".join(_percent_repeated(value))]


def _percent_repeated(value: Any) -> list[bytes]:
    return [_escape(_text(item), _VISIBLE_ITEM, _ESCAPED_ITEM) for item in _items(value)]


def _plain(value: Any) -> list[bytes]:
    if isinstance(value, list | tuple):
        raise ValueError("a list")  # noqa: TRY004  it is the claim's
    return [_as_it_is(value)] if value not in (None, ABSENT, "") else []


def _plain_joined(value: Any) -> list[bytes]:
    return [b",".join(_plain_repeated(value))]


def _plain_repeated(value: Any) -> list[bytes]:
    items = [_as_it_is(item) for item in _items(value)]
    # Several lines are one list to whoever reads them (RFC 9110 §5.3).
    if any(b"," in item for item in items):
        raise ValueError("an item with a comma")
    return items


def _json(value: Any) -> list[bytes]:
    if value is ABSENT:
        return []
    plain = list(value) if isinstance(value, tuple) else value
    return [base64url.encode(dumps(plain).encode())]


def _items(value: Any) -> list[Any]:
    """The items of a list; one value is a list of one, and what is absent or null of none."""
    if isinstance(value, list | tuple):
        return list(value)
    return [] if value is None or value is ABSENT else [value]


def _as_it_is(value: Any) -> bytes:
    """Text that is a field value already, a number or a boolean; ValueError for all else."""
    if not isinstance(value, str | bool | int | float | Decimal):
        raise ValueError("no text, number or boolean")  # noqa: TRY004  it is the claim's
    text = _text(value)
    if not _SENDABLE.fullmatch(text):
        raise ValueError("not visible ASCII, or a blank at an end")
    return text


WRITERS: Final[Mapping[tuple[str, str | None], Callable[[Any], list[bytes]]]] = {
    ("percent", None): _percent,
    ("percent", "join"): _percent_joined,
    ("percent", "repeat"): _percent_repeated,
    ("plain", None): _plain,
    ("plain", "join"): _plain_joined,
    ("plain", "repeat"): _plain_repeated,
    ("base64url-json", None): _json,
}
"""How a value is written, by `encoding` and `lists`: as header lines, empty ones left out."""


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
