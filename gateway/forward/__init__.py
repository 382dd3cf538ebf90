"""Stage 4: headers out, identity in, the target at the upstream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from gateway import wire
from gateway.config.model import Upstream
from gateway.errors import Code, ConfigError, ForwardError
from gateway.forward.headers import RouteHeaders, check_identity_names, response_headers
from gateway.model import Forward

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.model import Config, Route
    from gateway.model import Decision, Head, Headers, Match, Principal, Source, Trail

__all__ = ["Forwarder", "response_headers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the requests of one route go."""

    upstream: Upstream
    headers: RouteHeaders
    prefix: str
    max_body: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarder:
    """The targets of one configuration, by route id."""

    targets: Mapping[str, Target]
    upstreams: frozenset[Upstream]

    @classmethod
    def build(cls, config: Config) -> Self:
        """Prepare all routes; ConfigError for identity headers that cannot be sent."""
        problems = tuple(check_identity_names(config))
        if problems:
            raise ConfigError(problems)
        targets = {}
        for route in config.routes:
            upstream = resolve(config, route)
            targets[route.id] = Target(
                upstream=upstream,
                headers=RouteHeaders.build(config, route, upstream),
                prefix=route.strip_prefix,
                max_body=config.limits.body if route.max_body is None else route.max_body,
            )
        upstreams = frozenset(target.upstream for target in targets.values())
        return cls(targets=targets, upstreams=upstreams)

    def forward(  # noqa: PLR0913  what is known of a request by now
        self,
        head: Head,
        match: Match,
        principal: Principal,
        decision: Decision,
        source: Source,
        *,
        trail: Trail,
        cors: Headers | None,
    ) -> Forward:
        """What to send where; ForwardError for a body over the route's limit."""
        target = self.targets[match.route.id]
        length = wire.values(head.headers, b"content-length")
        if length and int(length[0]) > target.max_body:
            raise ForwardError(Code.BODY_TOO_LARGE, f"{int(length[0])} bytes")
        added = ((name.encode(), value.encode()) for name, value in decision.response_headers)
        return Forward(
            upstream=target.upstream,
            method=head.method,
            target=_target(match, head, target.prefix),
            headers=target.headers.outbound(head, match, principal, decision, source),
            response_headers=(*added, *(cors or ())),
            max_body=target.max_body,
            expires_at=principal.expires_at,
            cors=cors is not None,
            trail=trail,
        )


def resolve(config: Config, route: Route) -> Upstream:
    """The upstream that a route names, or whose URL it gives."""
    return config.upstreams.get(route.upstream) or Upstream(url=route.upstream)


def _target(match: Match, head: Head, prefix: str) -> bytes:
    path = match.path.removeprefix(prefix) or "/"
    query = head.query_string
    return path.encode() + b"?" + query if query else path.encode()
