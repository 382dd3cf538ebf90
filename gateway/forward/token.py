"""A token for the upstream: what a token endpoint is asked, and what of its answer is taken.

RFC 8693 (token exchange) and RFC 6749 §4.4 (client credentials). The token is a value on Forward
and no Need of the plan: a request that is refused, also by a rate limit that is charged only after
the plan, must not make anybody ask for one, and a dry run shows what would be asked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Self

from gateway.errors import Code, ForwardError
from gateway.model import TokenRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.model import Route, UpstreamToken
    from gateway.model import Principal, Session

Fields = tuple[tuple[str, str], ...]

GRANTS: Final = {
    "token_exchange": "urn:ietf:params:oauth:grant-type:token-exchange",
    "client_credentials": "client_credentials",
}
TYPES: Final = {
    name: f"urn:ietf:params:oauth:token-type:{name}" for name in ("access_token", "id_token", "jwt")
}
"""RFC 8693 §3."""

MAX_TOKEN: Final = 8192
MAX_EXPIRES_IN: Final = 366 * 86_400
UNSTATED_LIFETIME: Final = 60.0
"""Seconds that a token without `expires_in` is taken to be good for."""
MARGIN: Final = 0.1
LONGEST_MARGIN: Final = 10.0
"""A token is not sent in the last tenth of its life, or the last seconds: it must arrive."""
RENEWAL: Final = 0.75
"""After this part of the time that a token is used, the next request has it renewed."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 §2.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester:
    """The token requests of one route; `seed` tells them apart from those of others."""

    endpoint: str
    exchange: bool
    fields: Fields
    issued_types: frozenset[str]
    seed: bytes
    of_id_token: bool = False

    @classmethod
    def build(cls, route: Route) -> Self | None:
        """Those of a route; None where the upstream gets no such token."""
        section = route.upstream_token
        if section is None:
            return None
        exchange = section.grant == "token_exchange"
        fields = _fields(section)
        return cls(
            endpoint=section.endpoint,
            exchange=exchange,
            fields=fields,
            issued_types=_issued_types(section) if exchange else frozenset(),
            seed=sha256(repr((section.endpoint, fields)).encode()).digest(),
            of_id_token=section.subject_token_type == "id_token",  # noqa: S105  a kind of token
        )

    def of(self, principal: Principal, session: Session | None = None) -> TokenRequest | None:
        """What to ask for a principal; None for an anonymous one, who has no token to exchange.

        Of a `session` that is its access token, unless an ID token is what the route exchanges.
        ForwardError EXCHANGE_REFUSED for one that is known by anything but a token.
        """
        if not self.exchange:
            return TokenRequest(endpoint=self.endpoint, fields=self.fields, key=self.seed)
        if not principal.authenticated:
            return None
        token = principal.token
        if session is not None and not self.of_id_token:
            token = session.access_token
        if not token:
            raise ForwardError(Code.EXCHANGE_REFUSED, "there is no token at hand")
        # The whole token, not its subject: what it may be exchanged for depends on all it says.
        # No revision of keys is part of it: the token was verified with those of this request.
        whole = sha256(self.seed)
        whole.update(b"%d " % len(principal.issuer) + principal.issuer.encode())
        whole.update(token)
        return TokenRequest(
            endpoint=self.endpoint,
            fields=self.fields,
            issued_types=self.issued_types,
            subject_token=token,
            expires_at=principal.expires_at,
            key=whole.digest(),
        )


def _fields(section: UpstreamToken) -> Fields:
    named = {"audience": section.audience, "resource": section.resource}
    fields = [("grant_type", GRANTS[section.grant])]
    fields += [(name, value) for name, values in named.items() for value in values]
    if section.scopes:
        fields.append(("scope", " ".join(section.scopes)))
    if section.grant == "token_exchange":
        fields.append(("subject_token_type", TYPES[section.subject_token_type]))
        if section.requested_token_type is not None:
            fields.append(("requested_token_type", TYPES[section.requested_token_type]))
    return tuple(fields)


def _issued_types(section: UpstreamToken) -> frozenset[str]:
    """What can stand in a header: an access token, or a JWT."""
    asked = section.requested_token_type
    return frozenset((TYPES[asked],) if asked else (TYPES["access_token"], TYPES["jwt"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A token and how long it is used, in seconds from when it was asked for.

    `renew_after` is None where a new one could not be used any longer.
    """

    header: bytes = field(repr=False)
    used_for: float
    renew_after: float | None


class AnswerError(ValueError):
    """The answer is not one to a token request; the text holds nothing of it."""


def read_answer(
    answer: Mapping[str, Any], request: TokenRequest, *, keep: float, now: float
) -> Issued:
    """The token in a token endpoint's answer (RFC 6749 §5.1, RFC 8693 §2.2.1); AnswerError.

    `keep` is the longest that it is used, `now` when it was asked for, in Unix seconds.
    """
    token, kind = answer.get("access_token"), answer.get("token_type")
    if not isinstance(token, str) or not 0 < len(token) <= MAX_TOKEN or not _TOKEN.fullmatch(token):
        raise AnswerError("access_token is no bearer token")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise AnswerError("token_type is not Bearer")
    issued = answer.get("issued_token_type")
    if request.issued_types and not (isinstance(issued, str) and issued in request.issued_types):
        raise AnswerError("issued_token_type is not what was asked for")
    lifetime = _lifetime(answer)
    used_for = min(lifetime - min(lifetime * MARGIN, LONGEST_MARGIN), keep)
    renewable = True
    if request.expires_at is not None and request.expires_at - now < used_for:
        used_for, renewable = max(request.expires_at - now, 0.0), False
    return Issued(
        header=b"Bearer " + token.encode(),
        used_for=used_for,
        renew_after=used_for * RENEWAL if renewable else None,
    )


def _lifetime(answer: Mapping[str, Any]) -> float:
    if "expires_in" not in answer:
        return UNSTATED_LIFETIME
    seconds = answer["expires_in"]
    if seconds.__class__ is not int or not 0 < seconds <= MAX_EXPIRES_IN:
        raise AnswerError("expires_in is no number of seconds")
    return float(seconds)
