"""What a verified token says, and whether it may be used here and now (RFC 7519 §4.1)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gateway.errors import Code, IdentityError
from gateway.jose.claim_path import ABSENT, find
from gateway.model import Principal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.config.model import Route
    from gateway.identify.rule import IssuerRule
    from gateway.jose.compact import Compact

LATEST_TIME = 2**53
"""Times from here on are refused: not every reader keeps them exact."""

ID_TOKEN_CLAIMS = ("nonce", "at_hash")
ACCESS_TOKEN_TYPE = "at+jwt"  # noqa: S105  RFC 9068 §2.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A token whose signature is good under the keyring `revision`, parsed once.

    `type` is as in Compact; times are Unix seconds, None where the claim is missing. Where the
    issuer was asked (`answered`), all of it is of an answer with this revision, and `type` is its
    `token_type`.
    """

    rule: IssuerRule
    revision: str
    type: str
    answered: bool
    claims: Mapping[str, Any]
    audience: frozenset[str]
    expires_at: float | None
    not_before: float | None
    issued_at: float | None
    principal: Principal


def read(compact: Compact, claims: Mapping[str, Any], rule: IssuerRule, revision: str) -> Verified:
    """Parse the claims of a token with a good signature; raises claim-invalid."""
    return _read(
        claims,
        rule,
        revision,
        token=compact.token,
        kind=compact.type,
        answered=False,
        header=compact.header,
    )


def read_answer(
    token: bytes, claims: Mapping[str, Any], rule: IssuerRule, revision: str
) -> Verified:
    """Parse what an issuer says of a token that is active; raises claim-invalid."""
    kind = claims.get("token_type", "")
    if not isinstance(kind, str):
        raise IdentityError(Code.CLAIM_INVALID, "token_type is not a string")
    return _read(claims, rule, revision, token=token, kind=kind.lower(), answered=True, header={})


def _read(
    claims: Mapping[str, Any],
    rule: IssuerRule,
    revision: str,
    *,
    token: bytes,
    kind: str,
    answered: bool,
    header: Mapping[str, Any],
) -> Verified:
    expires_at = _time(claims, "exp")
    return Verified(
        rule=rule,
        revision=revision,
        type=kind,
        answered=answered,
        claims=claims,
        audience=frozenset(_strings(claims["aud"], "aud") if "aud" in claims else ()),
        expires_at=expires_at,
        not_before=_time(claims, "nbf"),
        issued_at=_time(claims, "iat"),
        principal=Principal(
            authenticated=True,
            issuer=rule.name,
            subject=_subject(claims, rule.mapping.subject),
            scopes=_scopes(claims, rule.mapping.scopes),
            groups=_mapped(claims, rule.mapping.groups),
            roles=_mapped(claims, rule.mapping.roles),
            claims=claims,
            token_header=header,
            expires_at=expires_at,
            token=token,
        ),
    )


def check(token: Verified, route: Route, now: float) -> None:
    """Whether a token may be used on a route at a time; raises IdentityError.

    Everything that does not need the key, anew for each request.
    """
    for rule in CHECKS:
        rule(token, route, now)


def check_times(claims: Mapping[str, Any], rule: IssuerRule, now: float) -> None:
    """Whether a token is in time by these claims, as far as there are any; raises IdentityError."""
    _check_end(_time(claims, "exp"), rule, now)
    for name in ("nbf", "iat"):
        _check_begin(name, _time(claims, name), rule, now)


def check_issuer(rule: IssuerRule, route: Route) -> None:
    """Whether a route takes tokens of the issuer; raises issuer-unknown."""
    if route.issuers and rule.name not in route.issuers:
        raise IdentityError(Code.ISSUER_UNKNOWN, f"not on this route: {rule.name}")


def check_type(kind: str, types: frozenset[str]) -> None:
    """Whether the issuer's tokens may be of this type (RFC 8725 §3.11)."""
    if kind not in types:
        raise IdentityError(Code.TOKEN_TYPE, f"type {kind!r}")


def _issuer(token: Verified, route: Route, _now: float) -> None:
    check_issuer(token.rule, route)


def _type(token: Verified, _route: Route, _now: float) -> None:
    rule, claims = token.rule, token.claims
    check_type(token.type, rule.token_types if token.answered else rule.types)
    if token.type == ACCESS_TOKEN_TYPE or rule.accept_id_tokens:
        return
    for name in ID_TOKEN_CLAIMS:
        if name in claims:
            raise IdentityError(Code.TOKEN_TYPE, f"an ID token, for its {name}")


def _expiry(token: Verified, _route: Route, now: float) -> None:
    if token.expires_at is None and token.rule.needs_expiry:
        raise IdentityError(Code.CLAIM_REQUIRED, "exp")
    _check_end(token.expires_at, token.rule, now)


def _start(token: Verified, _route: Route, now: float) -> None:
    _check_begin("nbf", token.not_before, token.rule, now)
    _check_begin("iat", token.issued_at, token.rule, now)


def _check_end(at: float | None, rule: IssuerRule, now: float) -> None:
    if at is not None and now >= at + rule.leeway:
        raise IdentityError(Code.TOKEN_EXPIRED, f"exp {at}, now {now}")


def _check_begin(name: str, at: float | None, rule: IssuerRule, now: float) -> None:
    if at is not None and at > now + rule.leeway:
        raise IdentityError(Code.TOKEN_NOT_YET_VALID, f"{name} {at}, now {now}")


def _lifetime(token: Verified, _route: Route, _now: float) -> None:
    longest = token.rule.max_lifetime
    if longest is None:
        return
    if token.issued_at is None:
        raise IdentityError(Code.CLAIM_REQUIRED, "iat, for max_lifetime")
    if token.expires_at is None or token.expires_at - token.issued_at > longest:
        raise IdentityError(Code.TOKEN_LIFETIME, f"{token.issued_at} to {token.expires_at}")


def _audience(token: Verified, route: Route, _now: float) -> None:
    accepted = route.audience or token.rule.audience
    if accepted is not None and token.audience.isdisjoint(accepted):
        raise IdentityError(Code.AUDIENCE_MISMATCH, f"aud {sorted(token.audience)}")


def _required(token: Verified, _route: Route, _now: float) -> None:
    for path, accepted in token.rule.required:
        value = find(token.claims, path)
        if value is ABSENT or value is None:
            raise IdentityError(Code.CLAIM_REQUIRED, path)
        if accepted is not None and not _among(value, accepted):
            raise IdentityError(Code.CLAIM_REQUIRED, f"{path} has another value")


def _forbidden(token: Verified, _route: Route, _now: float) -> None:
    for path in token.rule.forbidden:
        if find(token.claims, path) is not ABSENT:
            raise IdentityError(Code.CLAIM_FORBIDDEN, path)


CHECKS: tuple[Callable[[Verified, Route, float], None], ...] = (
    _issuer,
    _type,
    _expiry,
    _start,
    _lifetime,
    _audience,
    _required,
    _forbidden,
)


def _among(value: Any, accepted: tuple[Any, ...]) -> bool:
    for other in accepted:  # noqa: SIM110  on every request: any() costs three times as much
        if same(value, other):
            return True
    return False


def same(one: Any, other: Any) -> bool:
    """JSON equality: unlike in Python, true is not 1, at any depth."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return bool(one == other)


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519 §2); an int stays one."""
    if name not in claims:
        return None
    value = claims[name]
    if type(value) not in (int, float, Decimal) or not 0 <= value < LATEST_TIME:
        raise IdentityError(Code.CLAIM_INVALID, f"{name} is no time")
    return float(value) if isinstance(value, Decimal) else value


def _subject(claims: Mapping[str, Any], path: str) -> str:
    value = find(claims, path)
    if value is ABSENT or value is None:
        return ""
    if not isinstance(value, str):
        raise IdentityError(Code.CLAIM_INVALID, f"{path} is not a string")
    return value


def _mapped(claims: Mapping[str, Any], path: str) -> tuple[str, ...]:
    # Issuers write "none" as null too.
    value = find(claims, path)
    return () if value is ABSENT or value is None else _strings(value, path)


def _strings(value: Any, path: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise IdentityError(Code.CLAIM_INVALID, f"{path} is neither a string nor a list of strings")


def _scopes(claims: Mapping[str, Any], path: str) -> tuple[str, ...]:
    # Split at spaces only (RFC 6749 §3.3); str.split() knows other blanks too.
    return tuple(scope for value in _mapped(claims, path) for scope in value.split(" ") if scope)
