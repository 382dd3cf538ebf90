"""Stage 4: headers out, identity in, the target at the upstream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from gateway import wire
from gateway.errors import Code, ConfigError, ForwardError, Problem
from gateway.forward.assertion import Asserter
from gateway.forward.headers import RouteHeaders, response_headers
from gateway.forward.identity import check_identity, identity_lines
from gateway.forward.target import resolve, target
from gateway.forward.token import Requester
from gateway.model import Forward

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.model import Config, Upstream
    from gateway.model import Decision, Head, Headers, Match, Principal, Session, Source, Trail

__all__ = ["Forwarder", "Target", "response_headers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the requests of one route go; `stripped` segments of the path are left out."""

    upstream: Upstream
    headers: RouteHeaders
    stripped: int
    max_body: int
    asserter: Asserter | None = None
    requester: Requester | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarder:
    """The targets of one configuration, by route id; `leeways` are the issuers', by name."""

    targets: Mapping[str, Target]
    upstreams: frozenset[Upstream]
    leeways: Mapping[str, float]
    credential: bytes
    own_cookies: tuple[bytes, ...]

    @classmethod
    def build(cls, config: Config) -> Self:
        """Prepare all routes; ConfigError for upstreams and identity headers that cannot be."""
        problems = list(check_identity(config))
        general = identity_lines(config.identity_headers)
        targets = {}
        for index, route in enumerate(config.routes):
            try:
                upstream = resolve(config, route)
            except ValueError as error:
                problems.append(Problem(str(error), key=f"routes.{index}.upstream"))
                continue
            targets[route.id] = Target(
                upstream=upstream,
                headers=RouteHeaders.build(config, route, upstream, general),
                stripped=route.strip_prefix.count("/"),
                max_body=config.limits.body if route.max_body is None else route.max_body,
                asserter=Asserter.build(config, route),
                requester=Requester.build(route),
            )
        if problems:
            raise ConfigError(tuple(problems))
        upstreams = frozenset(one.upstream for one in targets.values())
        leeways = {name: issuer.leeway for name, issuer in config.issuers.items()}
        return cls(
            targets=targets,
            upstreams=upstreams,
            leeways=leeways,
            credential=config.credentials.header.encode(),
            own_cookies=tuple(map(bytes.lower, config.own_cookies)),
        )

    def forward(
        self,
        head: Head,
        match: Match,
        principal: Principal,
        decision: Decision,
        source: Source,
        *,
        trail: Trail,
        cors: Headers | None,
        now: float,
        session: Session | None = None,
    ) -> Forward:
        """What to send where; `cors` is None where the gateway does not answer for CORS.

        The token of a `session` passes as a client's own would.

        ForwardError: BODY_TOO_LARGE, BAD_FRAMING, BAD_HEADER, IDENTITY_TOO_LARGE.
        """
        chosen = self.targets[match.route.id]
        _check_size(head, chosen.max_body)
        added: Headers = tuple(
            [(name.encode(), value.encode()) for name, value in decision.response_headers]
        )
        if cors is not None:
            added = tuple(line for line in added if not wire.is_cors(line))
            added = (*added, *wire.beside(added, cors))
        headers = chosen.headers.outbound(head, match, principal, decision, source)
        if session is not None and match.route.forward_token:
            headers = (*headers, (self.credential, b"Bearer " + session.access_token))
        return Forward(
            upstream=chosen.upstream,
            method=head.method,
            target=target(match, head, chosen.stripped),
            headers=headers,
            response_headers=added,
            max_body=chosen.max_body,
            expires_at=self._expiry(principal),
            cors=cors is not None,
            assertion=chosen.asserter.of(principal, trail, now) if chosen.asserter else None,
            own_cookies=self.own_cookies,
            token=chosen.requester.of(principal, session) if chosen.requester else None,
            trail=trail,
        )

    def _expiry(self, principal: Principal) -> float | None:
        """When a request with the same token would be refused."""
        if principal.expires_at is None:
            return None
        return principal.expires_at + self.leeways.get(principal.issuer, 0.0)


def _check_size(head: Head, limit: int) -> None:
    try:
        size = wire.content_length(head.fields)
    except ValueError as error:
        raise ForwardError(Code.BAD_FRAMING, str(error)) from None
    if size is not None and size > limit:
        raise ForwardError(Code.BODY_TOO_LARGE, f"{size} bytes")
