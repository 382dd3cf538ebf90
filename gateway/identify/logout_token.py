"""Logout tokens: a provider ends sessions (OpenID Connect Back-Channel Logout 1.0 §2.4, §2.6)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from gateway.errors import Code, IdentityError
from gateway.identify import claims
from gateway.identify.id_token import ANYWHERE
from gateway.identify.verify import verify

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.identify.keyring import Keyring
    from gateway.identify.rule import IssuerRule
    from gateway.identify.verify import Limits
    from gateway.model import Facts

TYPES: Final = frozenset(("logout+jwt", "jwt", ""))
EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
FRESH: Final = 300.0
"""Seconds after which a logout token is too old, whatever it says."""
MAX_TEXT: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Logout:
    """What is to end: the sessions of a provider's session `sid`, or all of a subject.

    One of the two may be empty. `jti` names the token.
    """

    subject: str
    sid: str
    jti: str


def verify_logout_token(
    token: bytes,
    issuer: str,
    rule: IssuerRule,
    *,
    facts: Facts,
    keyrings: Mapping[str, Keyring],
    limits: Limits,
    now: float,
) -> Logout:
    """Verify a logout token for the client of a login, whose ID tokens have the `rule`.

    Raises IdentityError, or Missing where keys have to be fetched first.
    """
    rule = replace(
        rule, types=TYPES, required=(), forbidden=(), max_lifetime=None, needs_expiry=False
    )
    verified = verify(
        token, {issuer: rule}, ANYWHERE, facts=facts, keyrings=keyrings, limits=limits
    )
    claims.check(verified, ANYWHERE, now)
    said = verified.claims
    events = said.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        raise IdentityError(Code.CLAIM_REQUIRED, "events")
    # An ID token is none, and this is no ID token.
    if "nonce" in said:
        raise IdentityError(Code.CLAIM_FORBIDDEN, "nonce")
    if verified.issued_at is None:
        raise IdentityError(Code.CLAIM_REQUIRED, "iat")
    if now >= verified.issued_at + FRESH + rule.leeway:
        raise IdentityError(Code.TOKEN_EXPIRED, f"iat {verified.issued_at}, now {now}")
    found = {name: said.get(name, "") for name in ("sub", "sid", "jti")}
    if not all(isinstance(value, str) and len(value) <= MAX_TEXT for value in found.values()):
        raise IdentityError(Code.CLAIM_INVALID, "sub, sid or jti")
    if not found["jti"] or not (found["sub"] or found["sid"]):
        raise IdentityError(Code.CLAIM_REQUIRED, "jti, and sub or sid")
    return Logout(subject=found["sub"], sid=found["sid"], jti=found["jti"])
