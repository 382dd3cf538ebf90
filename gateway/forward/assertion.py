"""What the gateway asserts to an upstream: who asks, and which decision let them (RFC 7519)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from gateway.errors import Code, ForwardError
from gateway.forward.identity import MAX_IDENTITY
from gateway.jose.claim_path import ABSENT, find
from gateway.model import Assertion
from gateway.rego.values import dumps

if TYPE_CHECKING:
    from gateway.config.model import Config, Route
    from gateway.model import Principal, Trail


@dataclass(frozen=True, slots=True, kw_only=True)
class Asserter:
    """The assertions of one route; `audience` is its upstream's name, or URL."""

    header: bytes
    issuer: str
    audience: str
    lifetime: float
    claims: tuple[str, ...]

    @classmethod
    def build(cls, config: Config, route: Route) -> Self | None:
        """Those of a route; None where it has none."""
        section = config.assertion
        if section is None or not route.assertion:
            return None
        return cls(
            header=section.header.encode(),
            issuer=section.issuer,
            audience=route.upstream,
            lifetime=section.lifetime,
            claims=section.claims,
        )

    def of(self, principal: Principal, trail: Trail, now: float) -> Assertion:
        """What to sign at `now`; ForwardError IDENTITY_TOO_LARGE for claims over 8 KiB.

        Who is anonymous has no `sub`. `jti` is the decision's id.
        """
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": self.audience,
            "iat": int(now),
            "exp": int(now + self.lifetime),
            "jti": trail.head.id,
            "policy_revision": trail.revision,
        }
        if principal.authenticated:
            claims["sub"] = principal.subject
            claims["client_issuer"] = principal.issuer
        for path in self.claims:
            value = find(principal.claims, path)
            if value is not ABSENT:
                claims[path] = value
        text = dumps(claims).encode("utf-8", "replace")
        if len(text) > MAX_IDENTITY:
            raise ForwardError(Code.IDENTITY_TOO_LARGE, self.header.decode())
        return Assertion(header=self.header, claims=text)
