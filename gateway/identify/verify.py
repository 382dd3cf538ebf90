"""A token's way from bytes to a good signature: everything cheap first, the key last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.errors import Code, IdentityError
from gateway.identify import claims
from gateway.identify.keyring import Keyring
from gateway.identify.opaque import introspect
from gateway.jose.compact import Compact, TokenError, parse
from gateway.jose.strict_json import JsonError, loads
from gateway.model import Facts, Missing, Need

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.model import Route
    from gateway.identify.rule import IssuerRule
    from gateway.jose.jwk import VerificationKey

UNLOADED = Keyring.unloaded()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Largest token and decoded token header, in bytes, and deepest JSON."""

    token: int
    header: int
    depth: int


def verify(
    token: bytes,
    rules: Mapping[str, IssuerRule],
    route: Route,
    *,
    facts: Facts,
    keyrings: Mapping[str, Keyring],
    limits: Limits,
) -> claims.Verified:
    """Verify a token's signature and parse its claims; the claims are not judged yet.

    An issuer without keys is asked instead, and what it says are the claims. `rules` is by `iss`.
    Raises IdentityError or Missing; no token that could not be accepted makes anyone fetch keys.
    """
    compact, payload = _open(token, limits)
    rule = _rule(payload, rules)
    claims.check_issuer(rule, route)
    if not rule.keyed:
        return introspect(token, rule, facts)
    if compact.algorithm not in rule.algorithms:
        raise IdentityError(Code.TOKEN_ALGORITHM, f"alg {compact.algorithm!r}")
    claims.check_type(compact.type, rule.types)
    keyring = facts.keyrings.get(rule.name) or keyrings.get(rule.name) or UNLOADED
    key = _key(
        compact,
        keyring,
        fetchable=rule.remote and rule.name not in facts.keyrings,
        issuer=rule.name,
    )
    if not key.verify(compact.algorithm, compact.signing_input, compact.signature):
        raise IdentityError(Code.SIGNATURE_INVALID, f"kid {compact.key_id!r}")
    return claims.read(compact, payload, rule, keyring.revision)


def _open(token: bytes, limits: Limits) -> tuple[Compact, dict[str, Any]]:
    try:
        compact = parse(
            token, max_size=limits.token, max_header=limits.header, max_depth=limits.depth
        )
        payload = loads(compact.payload, max_depth=limits.depth)
    except TokenError as error:
        raise IdentityError(error.code, str(error)) from None
    except JsonError as error:
        raise IdentityError(Code.TOKEN_MALFORMED, f"claims: {error}") from None
    if not isinstance(payload, dict):
        raise IdentityError(Code.TOKEN_MALFORMED, "claims: not an object")
    return compact, payload


def _rule(payload: Mapping[str, Any], rules: Mapping[str, IssuerRule]) -> IssuerRule:
    issuer = payload.get("iss")
    rule = rules.get(issuer) if isinstance(issuer, str) else None
    if rule is None:
        raise IdentityError(Code.ISSUER_UNKNOWN, f"iss {issuer!r}")
    return rule


def _key(compact: Compact, keyring: Keyring, *, fetchable: bool, issuer: str) -> VerificationKey:
    fits = keyring.select(compact.key_id, compact.algorithm)
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise IdentityError(Code.KEY_UNKNOWN, f"{len(fits)} keys fit kid {compact.key_id!r}")
    if fetchable:
        raise Missing(Need(kind="keys", issuer=issuer))
    if not keyring.loaded:
        raise IdentityError(Code.KEYS_UNAVAILABLE, issuer)
    raise IdentityError(Code.KEY_UNKNOWN, f"kid {compact.key_id!r}")
