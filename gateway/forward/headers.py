"""Headers out: what the client may not say is removed, what the gateway says is set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

import orjson

from gateway import wire
from gateway.errors import Code, ForwardError, Problem
from gateway.jose.claim_path import ABSENT, find

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.config.model import Config, Route, Upstream
    from gateway.model import Decision, Forward, Head, Headers, Match, Principal, Source

MAX_IDENTITY: Final = 8192
"""Largest value of an identity header, in bytes."""

CLAIMS_OF_PROXIES: Final = frozenset((
    b"forwarded", b"via", b"x-real-ip", b"x-original-url", b"x-rewrite-url", b"x-original-host",
    b"x-host", b"x-http-method", b"x-http-method-override", b"x-method-override", b"x-client-ip",
    b"true-client-ip", b"cf-connecting-ip", b"x-cluster-client-ip",
))  # fmt: skip
"""Fields that upstreams believe of a proxy; they pass only where a trusted proxy sent them."""

FORWARDING: Final = b"x-forwarded-"
NOT_PASSED_BACK: Final = wire.HOP_BY_HOP | {b"transfer-encoding", b"alt-svc"}
"""`Alt-Svc` would lead the client past the gateway."""

_VISIBLE: Final = frozenset(range(0x21, 0x7F)) - {0x25}


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteHeaders:
    """What one route does to headers; all names in spelled form (wire.SPELLING).

    `removed` never pass; `host` is None where the client's passes; `identity` are the identity
    headers and what they hold.
    """

    removed: frozenset[bytes]
    cookie: bytes
    host: bytes | None
    identity: tuple[tuple[bytes, str], ...]

    @classmethod
    def build(cls, config: Config, route: Route, upstream: Upstream) -> Self:
        """Prepare a route."""
        identity = route.identity_headers
        identity = config.identity_headers if identity is None else identity
        credentials = config.credentials
        removed = wire.RESERVED | spelled(identity_names(config))
        if not route.forward_token:
            removed |= spelled({credentials.header, "authorization"})
        hosts = {"pass": None, "upstream": urlsplit(upstream.url).netloc.encode() or b"localhost"}
        return cls(
            removed=removed,
            cookie=b"" if route.forward_token else (credentials.cookie or "").encode(),
            host=hosts[route.host] if route.host in hosts else route.host.encode(),
            identity=tuple((name.encode(), path) for name, path in identity.items()),
        )

    def outbound(
        self, head: Head, match: Match, principal: Principal, decision: Decision, source: Source
    ) -> Headers:
        """The complete request headers, but for framing."""
        removed = self.removed
        dropped = wire.connection_options(head.headers)
        if decision.headers or decision.remove_headers:
            names = {name for name, _ in decision.headers}.union(decision.remove_headers)
            dropped |= spelled(names)
        kept: list[tuple[bytes, bytes]] = [
            (b"host", self.host or head.authority or match.host.encode())
        ]
        for line in head.headers:
            name = line[0].translate(wire.SPELLING)
            if name in removed or name in dropped or name.startswith(FORWARDING):
                continue
            if name in CLAIMS_OF_PROXIES and not source.trusted:
                continue
            if name == b"cookie" and self.cookie:
                line = (line[0], without_cookie(line[1], self.cookie))
                if not line[1]:
                    continue
            kept.append(line)
        peer = head.peer or "unknown"
        chain = f"{source.forwarded_for}, {peer}" if source.forwarded_for else peer
        host = source.forwarded_host.encode() or head.authority or match.host.encode()
        kept += (
            (b"x-forwarded-for", chain.encode()),
            (b"x-forwarded-proto", source.scheme.encode()),
            (b"x-forwarded-host", host),
            (b"x-request-id", (source.request_id or head.id).encode()),
            (b"x-decision-id", head.id.encode()),
        )
        if principal.authenticated:
            kept += self.identify(principal)
        kept += ((name.encode(), value.encode()) for name, value in decision.headers)
        return tuple(kept)

    def identify(self, principal: Principal) -> Iterator[tuple[bytes, bytes]]:
        """The identity headers; ForwardError `identity-too-large` for a value over 8 KiB."""
        for name, path in self.identity:
            value = encode_identity(read_identity(principal, path))
            if len(value) > MAX_IDENTITY:
                raise ForwardError(Code.IDENTITY_TOO_LARGE, name.decode())
            if value:
                yield name, value


def spelled(names: Iterable[str]) -> frozenset[bytes]:
    """Field names in the one spelling that stands for all that an upstream may confuse."""
    return frozenset(name.encode().translate(wire.SPELLING) for name in names)


def identity_names(config: Config) -> set[str]:
    """Every identity header of every route: no client may send any of them anywhere."""
    names = set(config.identity_headers)
    for route in config.routes:
        names.update(route.identity_headers or ())
    return names


def check_identity_names(config: Config) -> Iterator[Problem]:
    """Identity headers that would break the message or what the gateway says elsewhere."""
    sections: list[tuple[str, Mapping[str, str]]] = [("identity_headers", config.identity_headers)]
    for index, route in enumerate(config.routes):
        sections.append((f"routes.{index}.identity_headers", route.identity_headers or {}))
    for key, section in sections:
        for name in section:
            if spelled((name,)) & wire.RESERVED:
                yield Problem(f"{name} cannot be an identity header", key=f"{key}.{name}")


def read_identity(principal: Principal, path: str) -> Any:
    """The value at `identity.X`, `claims.PATH` or `token.expires_at`; None where there is none."""
    kind, _, rest = path.partition(".")
    if kind == "identity":
        return getattr(principal, rest)
    if kind == "claims":
        found = find(principal.claims, rest)
        return None if found is ABSENT else found
    return principal.expires_at


def encode_identity(value: Any) -> bytes:
    """A value as visible ASCII: all else and `%` percent-encoded, lists joined with commas.

    In lists a comma inside an item is encoded too. Numbers and objects are JSON. Empty for what
    is null or empty.
    """
    if value is None:
        return b""
    if isinstance(value, list | tuple):
        return b",".join(_encode(item, keep=_VISIBLE - {0x2C}) for item in value)
    return _encode(value, keep=_VISIBLE)


def _encode(value: Any, keep: frozenset[int]) -> bytes:
    if isinstance(value, str):
        raw = value.encode("utf-8", "surrogatepass")
    elif isinstance(value, float) and value.is_integer():
        raw = b"%d" % value
    else:
        raw = orjson.dumps(value, default=str)
    if keep.issuperset(raw):
        return raw
    return b"".join(b"%c" % byte if byte in keep else b"%%%02X" % byte for byte in raw)


def without_cookie(line: bytes, cookie: bytes) -> bytes:
    """A Cookie field value without one cookie."""
    parts = (part.strip(b" \t") for part in line.split(b";"))
    return b"; ".join(
        part for part in parts if part and part.partition(b"=")[0].rstrip(b" \t") != cookie
    )


def response_headers(headers: Headers, forward: Forward) -> Headers:
    """The upstream's response headers as the client gets them, with the gateway's added.

    Fields of the connection are dropped, and what the gateway sets replaces the upstream's.
    """
    dropped = NOT_PASSED_BACK
    options = wire.connection_options(headers)
    if forward.response_headers:
        dropped = dropped | {name for name, _ in forward.response_headers} - {b"vary"}
    kept = [
        line
        for line in headers
        if line[0] not in dropped
        and not (options and line[0].translate(wire.SPELLING) in options)
        and not (forward.cors and line[0].startswith(b"access-control-"))
    ]
    return (*kept, *forward.response_headers)
