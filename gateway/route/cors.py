"""Cross-origin requests that browsers may make (Fetch standard §3.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway import wire
from gateway.errors import Code, ConfigError, Problem, RouteError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.config.model import Config, Cors, Route
    from gateway.model import Head, Headers, Match
    from gateway.route.table import RouteTable

ANY: Final = "*"
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9._:\[\]-]+|null")
_VARY_ORIGIN: Final = ((b"vary", b"origin"),)
_VARY_PREFLIGHT: Final = (
    (b"vary", b"origin, access-control-request-method, access-control-request-headers"),
)
_REFUSED_HEADERS: Final = (("vary", "origin"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """The answer to a preflight: 204 with `headers`, for the route of `match`."""

    match: Match
    headers: Headers


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rules:
    """One `cors` section, ready to use."""

    origins: frozenset[bytes]
    any_origin: bool
    methods: tuple[str, ...]
    headers: frozenset[bytes]
    granted: Headers
    exposed: Headers
    max_age: bytes

    @classmethod
    def of(cls, cors: Cors) -> _Rules:
        return cls(
            origins=frozenset(origin.encode() for origin in cors.origins),
            any_origin=ANY in cors.origins,
            methods=cors.methods,
            headers=frozenset(name.encode() for name in cors.headers),
            granted=((b"access-control-allow-credentials", b"true"),) if cors.credentials else (),
            exposed=(
                ((b"access-control-expose-headers", ", ".join(cors.expose).encode()),)
                if cors.expose
                else ()
            ),
            max_age=b"%d" % cors.max_age,
        )

    def allow_origin(self, origin: bytes) -> Headers:
        """The fields for an allowed origin, whether it asks first or not."""
        allowed = b"*" if self.any_origin else origin
        return ((b"access-control-allow-origin", allowed), *self.granted)

    def allows(self, origin: bytes, method: str, names: list[bytes]) -> bool:
        """Whether a request of this origin, method and header names may be sent."""
        return (
            (self.any_origin or origin in self.origins)
            and (not self.methods or method in self.methods)
            and (b"*" in self.headers or self.headers.issuperset(names))
            and all(wire.FIELD_NAME.fullmatch(name.decode("latin-1")) for name in names)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CorsRules:
    """The `cors` sections of all routes, and that of the whole file."""

    routes: Mapping[str, _Rules]
    default: _Rules | None

    @classmethod
    def build(cls, config: Config) -> CorsRules:
        """Prepare all `cors` sections; ConfigError with every malformed origin."""
        problems = list(_check_origins(config.cors, "cors"))
        for index, route in enumerate(config.routes):
            problems.extend(_check_origins(route.cors, f"routes.{index}.cors"))
        if problems:
            raise ConfigError(tuple(problems))
        sections = {route.id: route.cors or config.cors for route in config.routes}
        return cls(
            routes={name: _Rules.of(cors) for name, cors in sections.items() if cors},
            default=_Rules.of(config.cors) if config.cors else None,
        )

    def preflight(self, head: Head, table: RouteTable) -> Preflight | None:
        """The answer to a CORS preflight, which carries no token; None if it is not ours to answer.

        RouteError as `RouteTable.match` raises for the method asked about, and CORS_REFUSED for
        an origin, method or header that the route's `cors` does not allow.
        """
        if head.method != "OPTIONS" or not self.routes:
            return None
        origin = _single(head, b"origin")
        asked = _single(head, b"access-control-request-method")
        if origin is None or asked is None:
            return None
        method = asked.decode("latin-1")
        match = table.match(head, method=method)
        rules = self.routes.get(match.route.id)
        if rules is None:
            return None
        lines = head.fields.get(b"access-control-request-headers", ())
        wanted = [name.lower() for name in wire.elements(lines)]
        if not rules.allows(origin, method, wanted):
            detail = f"{method} from {origin.decode('latin-1')}"
            raise RouteError(Code.CORS_REFUSED, detail, headers=_REFUSED_HEADERS)
        methods = rules.methods or table.methods(match)
        return Preflight(
            match=match,
            headers=(
                *rules.allow_origin(origin),
                (b"access-control-allow-methods", ", ".join(methods).encode()),
                *([(b"access-control-allow-headers", b", ".join(wanted))] if wanted else []),
                (b"access-control-max-age", rules.max_age),
                *_VARY_PREFLIGHT,
            ),
        )

    def response_headers(self, head: Head, route: Route | None) -> Headers | None:
        """The CORS fields of a response, a refusal's too; None where CORS is not configured.

        Without a route (404) the section of the whole file counts.
        """
        rules = self.default if route is None else self.routes.get(route.id)
        if rules is None:
            return None
        if rules.any_origin:
            return (*rules.allow_origin(b"*"), *rules.exposed)
        origin = _single(head, b"origin")
        if origin is None or origin not in rules.origins:
            return _VARY_ORIGIN
        return (*rules.allow_origin(origin), *rules.exposed, *_VARY_ORIGIN)


def _single(head: Head, name: bytes) -> bytes | None:
    lines = head.fields.get(name, ())
    return lines[0] if len(lines) == 1 else None


def _check_origins(cors: Cors | None, key: str) -> Iterator[Problem]:
    for index, origin in enumerate(cors.origins if cors else ()):
        if origin != ANY and not _ORIGIN.fullmatch(origin):
            yield Problem(
                f"{origin!r} is not an origin as browsers send it",
                key=f"{key}.origins.{index}",
                remedy="write scheme, host and port in lower case: https://app.example",
            )
