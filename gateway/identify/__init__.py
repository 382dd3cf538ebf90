"""Stage 2: from a request's credential to a Principal, or a refusal."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from gateway.errors import Code, IdentityError
from gateway.identify import claims, credential
from gateway.identify.cache import SignatureCache
from gateway.identify.id_token import id_token_rule
from gateway.identify.keyring import Keyring, KeysError
from gateway.identify.opaque import confirm, is_compact, verify_opaque
from gateway.identify.rule import IssuerRule, accepted_algorithms
from gateway.identify.verify import Limits, verify
from gateway.model import ANONYMOUS, Facts, Head, Match, Missing, Principal, Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.model import Config, Login, Route
    from gateway.identify.claims import Verified

__all__ = ["Identifier", "Keyring", "KeysError", "accepted_algorithms"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifier:
    """The identity rules of one configuration, and the signatures already found good.

    `rules` is by the issuers' `iss`, `asked` are those of tokens that only their issuer can read.
    `logins` are the identifiers of sessions' tokens, by the login: no other request is identified
    by an ID token, and no other issuer is shown an opaque one. For one thread.
    """

    header: bytes
    cookie: bytes | None
    limits: Limits
    rules: Mapping[str, IssuerRule]
    asked: tuple[IssuerRule, ...]
    cache: SignatureCache
    logins: Mapping[str, Identifier] = field(default_factory=dict)

    @classmethod
    def build(cls, config: Config) -> Self:
        """The identifier of a configuration."""
        made = cls._of_bearers(config)
        return replace(
            made,
            logins={name: _of_login(made, config, login) for name, login in config.logins.items()},
        )

    @classmethod
    def _of_bearers(cls, config: Config) -> Self:
        cookie = config.credentials.cookie
        rules = {
            issuer.issuer: IssuerRule.build(name, issuer) for name, issuer in config.issuers.items()
        }
        return cls(
            header=config.credentials.header.encode(),
            cookie=None if cookie is None else cookie.encode(),
            limits=Limits(
                token=config.limits.token,
                header=config.limits.token_header,
                depth=config.limits.json_depth,
            ),
            rules=rules,
            asked=tuple(rule for rule in rules.values() if rule.introspects),
            cache=SignatureCache(),
        )

    def identify(
        self,
        head: Head,
        match: Match,
        facts: Facts,
        keyrings: Mapping[str, Keyring],
        now: float,
        session: Session | None = None,
    ) -> Principal:
        """Who is asking; `now` is in Unix seconds. The token of a `session` stands for one sent.

        Raises IdentityError, whatever the credential holds, or Missing where the issuer's keys
        have to be fetched first, or the issuer has to be asked.
        """
        route = match.route
        if route.authentication == "anonymous":
            return ANONYMOUS
        token = credential.read(head, self.header, self.cookie)
        if session is not None:
            if token is not None:
                raise IdentityError(Code.CREDENTIAL_AMBIGUOUS, "a session beside a token")
            reader = self.logins.get(session.login, self)
            return reader.principal(session.token, route, facts, keyrings, now)
        if token is None:
            if route.authentication == "optional":
                return ANONYMOUS
            raise IdentityError(Code.LOGIN_REQUIRED if route.login else Code.TOKEN_MISSING)
        return self.principal(token, route, facts, keyrings, now)

    def principal(
        self,
        token: bytes,
        route: Route,
        facts: Facts,
        keyrings: Mapping[str, Keyring],
        now: float,
    ) -> Principal:
        """Whom a token identifies; raises like `identify`."""
        try:
            known = self._known(token, facts, keyrings)
            verified = known or self._verified(token, route, facts, keyrings)
            claims.check(verified, route, now)
            if verified.rule.introspects == "always" and not verified.answered:
                confirm(token, verified, facts, now)
        except Missing:
            raise
        except IdentityError as error:
            if error.code is Code.TOKEN_EXPIRED:
                self.cache.discard(token)
            raise
        except Exception as error:  # noqa: BLE001  what a token brings about is a 401, never a 500
            detail = f"{type(error).__name__}: {error}"
            raise IdentityError(Code.TOKEN_MALFORMED, detail) from None
        if known is None:
            self.cache.put(token, verified)
        return verified.principal

    def _verified(
        self, token: bytes, route: Route, facts: Facts, keyrings: Mapping[str, Keyring]
    ) -> Verified:
        """What a token says, of which nothing is known."""
        if not is_compact(token):
            return verify_opaque(token, self.asked, route, facts, max_size=self.limits.token)
        return verify(token, self.rules, route, facts=facts, keyrings=keyrings, limits=self.limits)

    def _known(
        self, token: bytes, facts: Facts, keyrings: Mapping[str, Keyring]
    ) -> Verified | None:
        """The token, if it was found good under the keys, or the answer, that are valid now."""
        known = self.cache.get(token)
        if known is None:
            return None
        if known.answered:
            answer = facts.introspected
            return known if answer is not None and answer.revision == known.revision else None
        keyring = facts.keyrings.get(known.rule.name) or keyrings.get(known.rule.name)
        return known if keyring is not None and keyring.revision == known.revision else None


def _of_login(made: Identifier, config: Config, login: Login) -> Identifier:
    """The identifier of the tokens of a login's sessions."""
    issuer = config.issuers[login.issuer].issuer
    if login.by_id_token:
        rules = {issuer: id_token_rule(config, login)}
        return replace(made, rules=rules, asked=(), cache=SignatureCache())
    return replace(made, asked=tuple(rule for rule in made.asked if rule.issuer == issuer))
