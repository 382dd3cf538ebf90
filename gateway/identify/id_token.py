"""ID tokens: what a provider says of a login (OpenID Connect Core 1.0 §2, §3.1.3.7)."""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from gateway.config.model import Route
from gateway.errors import Code, IdentityError
from gateway.identify import claims
from gateway.identify.rule import IssuerRule
from gateway.identify.verify import verify

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.model import Config, Login
    from gateway.identify.keyring import Keyring
    from gateway.identify.verify import Limits
    from gateway.model import Facts

TYPES: Final = frozenset(("jwt", ""))
ANYWHERE: Final = Route(id="login", paths=("/",), upstream="none")
"""A route that asks no more of a token than its issuer does."""


def id_token_rule(config: Config, login: Login) -> IssuerRule:
    """The rule of the ID tokens that requests are identified with: they are for the client."""
    rule = IssuerRule.build(login.issuer, config.issuers[login.issuer])
    return replace(
        rule, types=TYPES, accept_id_tokens=True, audience=(login.client.id,), introspects=""
    )


def verify_id_token(
    token: bytes,
    issuer: str,
    rule: IssuerRule,
    *,
    client_id: str,
    nonce: str | None,
    access_token: str,
    code: str = "",
    facts: Facts,
    keyrings: Mapping[str, Keyring],
    limits: Limits,
    now: float,
) -> claims.Verified:
    """Verify the ID token that came with an access token, for a `code` or in a renewal.

    `issuer` is the `iss` of the rule. Without `nonce`, none is asked for. Raises IdentityError, or
    Missing where keys have to be fetched first.
    """
    # What requests need of an access token, nobody promised of this one.
    rule = replace(rule, required=(), forbidden=(), max_lifetime=None, needs_expiry=True)
    verified = verify(
        token, {issuer: rule}, ANYWHERE, facts=facts, keyrings=keyrings, limits=limits
    )
    claims.check(verified, ANYWHERE, now)
    said = verified.claims
    for name in ("sub", "iat"):
        if name not in said:
            raise IdentityError(Code.CLAIM_REQUIRED, name)
    if not isinstance(said["sub"], str) or not 0 < len(said["sub"]) <= 255:
        raise IdentityError(Code.CLAIM_INVALID, "sub")
    if nonce is not None and not _is(said.get("nonce"), nonce):
        raise IdentityError(Code.CLAIM_REQUIRED, "nonce is not that of this login")
    # §3.1.3.7: azp must be there beside several audiences, and the client's where it is there.
    if said.get("azp", client_id if len(verified.audience) == 1 else None) != client_id:
        raise IdentityError(Code.AUDIENCE_MISMATCH, f"azp {said.get('azp')!r}")
    algorithm = str(verified.principal.token_header["alg"])
    for name, text in (("at_hash", access_token), ("c_hash", code)):
        if name in said and text and not _is(said[name], half_hash(text, algorithm)):
            raise IdentityError(Code.CLAIM_INVALID, f"{name} is that of another one")
    return verified


def half_hash(text: str, algorithm: str) -> str:
    """The left half of a hash (OpenID Connect Core 1.0 §3.1.3.6), as at_hash and c_hash hold it."""
    size = algorithm[2:] if algorithm[2:] in ("256", "384", "512") else "512"  # EdDSA: Ed25519's
    digest = hashlib.new(f"sha{size}", text.encode()).digest()
    return urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


def _is(value: Any, expected: str) -> bool:
    return isinstance(value, str) and hmac.compare_digest(value.encode(), expected.encode())
