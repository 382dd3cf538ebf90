"""Tokens that only their issuer can read: it is asked, and its answer judged (RFC 7662)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gateway.errors import Code, IdentityError
from gateway.identify import claims
from gateway.jose import base64url
from gateway.model import Missing, Need

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.config.model import Route
    from gateway.identify.claims import Verified
    from gateway.identify.rule import IssuerRule
    from gateway.model import Facts, Introspected

B64TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 §2.1, RFC 9110 §11.2

SAME = ("iss", "sub", "jti", "client_id", "azp")
"""What a token and the answer about it may not say differently."""


def is_compact(token: bytes) -> bool:
    """Whether a token has the shape of a signed JWT: three parts, the first one an object."""
    parts = token.split(b".", 3)
    if len(parts) != 3:
        return False
    try:
        return base64url.decode(parts[0]).lstrip(b" \t\r\n").startswith(b"{")
    except ValueError:
        return False


def verify_opaque(
    token: bytes, rules: Iterable[IssuerRule], route: Route, facts: Facts, *, max_size: int
) -> Verified:
    """What the one issuer of the route that is asked, of `rules`, says of an opaque token.

    The claims are not judged yet. Raises IdentityError or Missing; no token that could not be one
    makes anyone ask.
    """
    if len(token) > max_size:
        raise IdentityError(Code.TOKEN_TOO_LARGE, f"{len(token)} bytes")
    asked = [rule for rule in rules if not route.issuers or rule.name in route.issuers]
    if len(asked) != 1:
        raise IdentityError(Code.TOKEN_MALFORMED, "no JWT, and no issuer of the route is asked")
    if not B64TOKEN.fullmatch(token):
        raise IdentityError(Code.TOKEN_MALFORMED, "characters that no token has")
    return introspect(token, asked[0], facts)


def introspect(token: bytes, rule: IssuerRule, facts: Facts) -> Verified:
    """What an issuer says of a token: its claims, not judged yet. IdentityError, Missing."""
    answer = _answer(token, rule, facts)
    return claims.read_answer(token, answer.members, rule, answer.revision)


def confirm(token: bytes, verified: Verified, facts: Facts, now: float) -> None:
    """Whether the issuer still stands by a token of its own signature; IdentityError, Missing.

    The claims stay those that it signed; the answer may only say less.
    """
    answer = _answer(token, verified.rule, facts)
    for name in SAME:
        said, signed = answer.members.get(name), verified.claims.get(name)
        if said is not None and signed is not None and not claims.same(said, signed):
            raise IdentityError(Code.TOKEN_INACTIVE, f"the answer has another {name}")
    claims.check_times(answer.members, verified.rule, now)


def _answer(token: bytes, rule: IssuerRule, facts: Facts) -> Introspected:
    answer = facts.introspected
    if answer is None:
        raise Missing(Need(kind="introspection", issuer=rule.name, token=token))
    if answer.members.get("active") is not True:
        raise IdentityError(Code.TOKEN_INACTIVE, rule.name)
    _check_issuer(answer.members, rule)
    return answer


def _check_issuer(members: Mapping[str, Any], rule: IssuerRule) -> None:
    if "iss" in members and members["iss"] != rule.issuer:
        raise IdentityError(Code.ISSUER_UNKNOWN, f"the answer's iss {members['iss']!r}")
