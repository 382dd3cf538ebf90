"""What an issuer's tokens must be like, made from the configuration once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from gateway.config.model import ASYMMETRIC
from gateway.jose.compact import media_type
from gateway.jose.jwk import HMAC_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.model import IdentityMapping, Issuer


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerRule:
    """An issuer's rules in the form that requests are checked with.

    `name` is the configured one, `issuer` its `iss`. `keyed` tells whether it has keys, and
    `introspects` which of its tokens it is asked about, whose `token_type` must be one of
    `token_types`. `audience` is None where any will do. `required` pairs a claim
    path with the accepted values, None for any. Times are in seconds.
    """

    name: str
    issuer: str
    keyed: bool
    introspects: Literal["", "opaque", "always"]
    token_types: frozenset[str]
    algorithms: frozenset[str]
    types: frozenset[str]
    accept_id_tokens: bool
    audience: tuple[str, ...] | None
    required: tuple[tuple[str, tuple[Any, ...] | None], ...]
    forbidden: tuple[str, ...]
    needs_expiry: bool
    max_lifetime: float | None
    leeway: float
    remote: bool
    mapping: IdentityMapping

    @classmethod
    def build(cls, name: str, issuer: Issuer) -> Self:
        """The rule of a configured issuer."""
        return cls(
            name=name,
            issuer=issuer.issuer,
            keyed=issuer.keys is not None,
            introspects=issuer.introspection.tokens if issuer.introspection else "",
            token_types=frozenset(kind.lower() for kind in issuer.introspection.token_types)
            if issuer.introspection
            else frozenset(),
            algorithms=accepted_algorithms(issuer),
            types=frozenset(map(media_type, issuer.types)),
            accept_id_tokens=issuer.accept_id_tokens,
            audience=None if issuer.insecure_any_audience else issuer.audience,
            required=tuple(_required(issuer.required_claims)),
            forbidden=issuer.forbidden_claims,
            needs_expiry=not issuer.insecure_no_expiry,
            max_lifetime=issuer.max_lifetime,
            leeway=issuer.leeway,
            remote=issuer.keys is not None and issuer.keys.remote,
            mapping=issuer.identity,
        )


def accepted_algorithms(issuer: Issuer) -> frozenset[str]:
    """The algorithms of an issuer's tokens; never HMAC and public keys together."""
    if issuer.algorithms and not issuer.insecure_any_algorithm:
        return frozenset(issuer.algorithms)
    symmetric = issuer.keys is not None and issuer.keys.symmetric
    return frozenset(HMAC_BYTES if symmetric else ASYMMETRIC)


def _required(claims: Mapping[str, Any]) -> list[tuple[str, tuple[Any, ...] | None]]:
    return [
        (path, None if value == "*" else tuple(value) if isinstance(value, list) else (value,))
        for path, value in claims.items()
    ]
