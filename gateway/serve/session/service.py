"""Finds, begins, renews and ends the sessions of one process's requests."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeVar

from gateway.errors import Code, GatewayError, IdentityError
from gateway.identify.id_token import ANYWHERE, id_token_rule, verify_id_token
from gateway.identify.logout_token import FRESH, verify_logout_token
from gateway.identify.revoked import check as check_denied
from gateway.model import Facts, Missing, Session
from gateway.serve.session.provider import Provider, unavailable
from gateway.serve.session.renewal import AWAY, Renewals
from gateway.serve.session.store import StoreError
from gateway.serve.session.stores import Stores
from gateway.session.record import Record, Ticket, tag
from gateway.session.seal import NONCE_SIZE, SECRET_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model import Principal
    from gateway.record.metrics import Metrics, SessionGauges
    from gateway.serve.introspect import IntrospectionService
    from gateway.serve.runtime import Keys
    from gateway.serve.session.store import Store
    from gateway.session.provider import Tokens
    from gateway.snapshot import Snapshot

log = logging.getLogger("gateway.sessions")

_Made = TypeVar("_Made")

END_FOR: Final = 30.0
END_PAUSE: Final = 0.5
"""Seconds for which the end of sessions is tried again, and between two attempts."""


class SessionService:
    """The sessions in a store, and the providers of the active configuration by login."""

    def __init__(
        self, memory: Store, keys: Keys, introspection: IntrospectionService, metrics: Metrics
    ) -> None:
        self.stores = Stores(memory)
        self.keys = keys
        self.introspection = introspection
        self.metrics = metrics
        self.providers: dict[str, Provider] = {}
        self.renewals = Renewals(self.stores, self.received, metrics)
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def store(self) -> Store:
        """Where the active configuration keeps them."""
        return self.stores.active

    def prepare(self, snapshot: Snapshot) -> dict[str, Provider]:
        """Those of a snapshot, the ones at hand where nothing differs; ConfigError. Blocking."""
        made = {}
        for name in snapshot.config.logins:
            made[name] = provider = Provider.of(snapshot.config, name)
            known = self.providers.get(name)
            if known is not None and known.fits(provider):
                made[name] = known
        return made

    def activate(self, providers: dict[str, Provider]) -> None:
        """Ask these from now on."""
        for name, provider in self.providers.items():
            if providers.get(name) is not provider:
                provider.close()
        self.providers = providers

    async def find(self, login: str, cookie: bytes, snapshot: Snapshot) -> Session:
        """The session of a cookie, renewed where that is due; without token where there is none.

        GatewayError SESSION_UNAVAILABLE, or LOGIN_UNAVAILABLE where its token has expired and
        cannot be renewed now.
        """
        nothing = Session(login=login)
        provider, ticket = self.providers.get(login), Ticket.read(cookie)
        if provider is None or ticket is None:
            return nothing
        try:
            opened = await self.renewals.read(ticket, provider)
            if opened is None:
                return nothing
            before = snapshot.config.sessions.renew_before
            if opened.record.is_due(time.time(), before):
                renewing = self.renewals.begin(ticket, provider, snapshot)
                if time.time() >= opened.record.expires_at:
                    await asyncio.wait((renewing,))  # it is of no single request
                    if renewing.cancelled():
                        raise unavailable("the gateway ends")
                    opened = renewing.result()
                    if opened is None:
                        return nothing
            record, now = opened.record, time.time()
            if now >= record.expires_at:
                if record.refresh_token:
                    raise unavailable("the session cannot be renewed", record.retry_at - now)
                await self.store.delete(ticket.key)
                return nothing
        except StoreError as error:
            raise _away(error) from None
        return Session(
            login=login,
            id=ticket.id,
            token=record.identifying(by_id_token=provider.login.by_id_token),
            access_token=record.access_token.encode(),
            issuer=provider.login.issuer,
            subject=record.subject,
            sid=record.sid,
            began_at=record.began_at,
        )

    async def identifies(self, session: Session, snapshot: Snapshot) -> bool:
        """Whether requests are taken with a session: its token may be no longer good, or denied.

        GatewayError where that cannot be known now.
        """
        if not session.token:
            return False
        now = time.time()
        try:
            principal = await self._principal(session.login, session.token, snapshot, now)
            check_denied(principal, snapshot.denied, now, session)
        except IdentityError as error:
            if error.code.status == AWAY:
                raise
            return False
        return True

    async def create(self, record: Record, snapshot: Snapshot) -> Ticket:
        """Begin a session; GatewayError SESSION_UNAVAILABLE."""
        sessions = snapshot.config.sessions
        ticket = Ticket(os.urandom(SECRET_SIZE))
        try:
            await self.store.create(
                ticket.key,
                ticket.seal(record, os.urandom(NONCE_SIZE)),
                tags=record.tags,
                idle=sessions.idle,
                lifetime=sessions.lifetime,
            )
        except StoreError as error:
            raise _away(error) from None
        return ticket

    async def end(self, cookie: bytes, provider: Provider) -> Record | None:
        """End the session of a cookie, and tell what it was; GatewayError SESSION_UNAVAILABLE."""
        ticket = Ticket.read(cookie)
        if ticket is None:
            return None
        try:
            opened = await self.renewals.read(ticket, provider)
            await self.store.delete(ticket.key)
        except StoreError as error:
            raise _away(error) from None
        return opened.record if opened else None

    async def end_all(self, token: bytes, provider: Provider, snapshot: Snapshot) -> int:
        """End the sessions that a provider's logout token names; how many there were.

        IdentityError LOGOUT_REFUSED for a token that is not good, or was here before.
        """
        issuer, rule = provider.issuer.issuer, id_token_rule(snapshot.config, provider.login)
        try:
            logout = await self._with_facts(
                lambda facts: verify_logout_token(
                    token,
                    issuer,
                    rule,
                    facts=facts,
                    keyrings=snapshot.keyrings,
                    limits=snapshot.identifier.limits,
                    now=time.time(),
                ),
                snapshot,
            )
        except IdentityError as error:
            if error.code is Code.KEYS_UNAVAILABLE:
                raise
            raise IdentityError(Code.LOGOUT_REFUSED, str(error)) from None
        named = ("sid", logout.sid) if logout.sid else ("sub", logout.subject)
        ending = tag(issuer, *named)
        try:
            if not await self.store.claim(tag(issuer, "jti", logout.jti), 2 * FRESH):
                raise IdentityError(Code.LOGOUT_REFUSED, "it was here before")
            return await self.store.delete_tagged(ending)
        except StoreError as error:
            # The token may be spent, so that the provider's next try would be refused.
            task = asyncio.get_running_loop().create_task(self._end_later(ending))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            raise _away(error) from None

    async def _end_later(self, ending: bytes) -> None:
        """End the sessions with a tag as soon as the store answers."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + END_FOR
        while clock() < deadline:
            await asyncio.sleep(END_PAUSE)
            try:
                await self.store.delete_tagged(ending)
            except StoreError:
                continue
            return
        log.error("sessions that a provider has ended go on: their storage is away")

    async def received(
        self,
        tokens: Tokens,
        provider: Provider,
        snapshot: Snapshot,
        *,
        nonce: str | None = None,
        code: str = "",
        before: Record | None = None,
    ) -> Record:
        """The session that a provider's tokens make, for a `code` or instead of `before`.

        IdentityError where they are not good: without `before` there must be an ID token, and
        requests must be able to identify themselves; with it, an ID token must be of the same
        subject (OpenID Connect Core 1.0 §12.2).
        """
        login, issuer, now = provider.login, provider.issuer.issuer, time.time()
        limits = snapshot.identifier.limits
        if tokens.id_token:
            verified = await self._with_facts(
                lambda facts: verify_id_token(
                    tokens.id_token.encode(),
                    issuer,
                    id_token_rule(snapshot.config, login),
                    client_id=login.client.id,
                    nonce=nonce,
                    access_token=tokens.access_token,
                    code=code,
                    facts=facts,
                    keyrings=snapshot.keyrings,
                    limits=limits,
                    now=now,
                ),
                snapshot,
            )
            subject, sid = verified.claims["sub"], verified.claims.get("sid")
            sid = sid if isinstance(sid, str) else ""
            began_at = verified.issued_at or 0.0
            if before is not None and subject != before.subject:
                raise IdentityError(Code.LOGIN_FAILED, "the ID token is of another subject")
        elif before is None:
            raise IdentityError(Code.LOGIN_FAILED, "there is no ID token")
        else:
            subject, sid, began_at = before.subject, before.sid, before.began_at
        record = Record(
            login=provider.name,
            issuer=issuer,
            subject=subject,
            sid=sid,
            access_token=tokens.access_token,
            id_token=tokens.id_token or (before.id_token if before else ""),
            refresh_token=tokens.refresh_token or (before.refresh_token if before else ""),
            expires_at=0.0,
            received_at=now,
            began_at=before.began_at if before else began_at,
        )
        ends = await self._expiry(record, tokens, provider, snapshot)
        # Without a new ID token nothing is gained by another renewal, until it has expired.
        idle = before is not None and login.by_id_token and not tokens.id_token
        return replace(record, expires_at=ends, retry_at=ends if idle else 0.0)

    async def _expiry(
        self, record: Record, tokens: Tokens, provider: Provider, snapshot: Snapshot
    ) -> float:
        """When requests can be identified with its token no more; IdentityError if never."""
        by_id = provider.login.by_id_token
        token = record.identifying(by_id_token=by_id)
        try:
            principal = await self._principal(provider.name, token, snapshot, record.received_at)
        except IdentityError as error:
            if by_id or error.code.status != HTTPStatus.UNAUTHORIZED:
                raise
            hint = "if the access token is not meant for the gateway, set the login's token: id"
            raise IdentityError(error.code, f"{error.detail} ({hint})") from None
        ends = [record.received_at + snapshot.config.sessions.lifetime]
        if principal.expires_at is not None:
            ends.append(principal.expires_at)
        if tokens.expires_in is not None and not by_id:
            ends.append(record.received_at + tokens.expires_in)
        if min(ends) <= record.received_at:
            raise IdentityError(Code.TOKEN_EXPIRED, "the provider's token has expired")
        return min(ends)

    async def _principal(
        self, login: str, token: bytes, snapshot: Snapshot, now: float
    ) -> Principal:
        """Whom a session's token identifies; GatewayError."""
        identifier = snapshot.identifier.logins.get(login, snapshot.identifier)
        return await self._with_facts(
            lambda facts: identifier.principal(token, ANYWHERE, facts, snapshot.keyrings, now),
            snapshot,
        )

    async def _with_facts(self, attempt: Callable[[Facts], _Made], snapshot: Snapshot) -> _Made:
        """What is made once keys and answers are there that it needs; GatewayError."""
        facts = Facts()
        while True:
            try:
                return attempt(facts)
            except Missing as missing:
                need = missing.need
            name = need.issuer
            if need.kind == "introspection":
                issuer = snapshot.config.issuers[name]
                answer = await self.introspection.ask(name, issuer, need.token)
                facts = replace(facts, introspected=answer)
            else:
                keyring = await self.keys.newest(name)
                facts = replace(facts, keyrings={**facts.keyrings, name: keyring})

    def gauges(self) -> SessionGauges:
        """How storage and providers do."""
        faults = {name: provider.last_error for name, provider in self.providers.items()}
        return replace(self.store.status(), providers=faults)

    async def close(self) -> None:
        """End what is under way, but for renewals, which have a while."""
        for task in self._ending:
            task.cancel()
        await self.renewals.close()
        for provider in self.providers.values():
            provider.close()
        await self.stores.close()


def _away(error: StoreError) -> GatewayError:
    return GatewayError(Code.SESSION_UNAVAILABLE, str(error), headers=(("retry-after", "1"),))
