"""Renewal: each session at one place at a time, however many requests and gateways wait for it."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from gateway.errors import GatewayError
from gateway.serve.oauth_client import EndpointError
from gateway.serve.session.store import OWNER_SIZE, StoreError
from gateway.session.provider import ProviderError
from gateway.session.seal import NONCE_SIZE, SealError

if TYPE_CHECKING:
    from gateway.record.metrics import Metrics
    from gateway.serve.session.provider import Provider
    from gateway.serve.session.stores import Stores
    from gateway.session.provider import Tokens
    from gateway.session.record import Record, Ticket
    from gateway.snapshot import Snapshot

log = logging.getLogger("gateway.sessions")

LEASE: Final = 5.0
"""Seconds after which another takes over from who has died; who lives renews the lease."""
EXTEND: Final = 1.5
POLL: Final = 0.05
"""Seconds between two looks at a session that somebody else renews."""
FIRST_PAUSE: Final = 1.0
"""Seconds until the next attempt after a failure; each one doubles it."""
LONGEST_PAUSE: Final = 60.0
SAVE_FOR: Final = 30.0
"""Seconds for which it is tried to keep what the provider gave: the token before may be spent."""
AWAY: Final = 503
"""Status of the refusals that say nothing against a token."""
LAST_CALL: Final = 5.0
"""Seconds that renewals have at the end of the process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A session out of the store."""

    record: Record
    version: int


class Received(Protocol):
    """Who makes a session of a provider's tokens; GatewayError where they are not good."""

    async def __call__(
        self, tokens: Tokens, provider: Provider, snapshot: Snapshot, *, before: Record | None
    ) -> Record:
        """The session instead of `before`."""


class Renewals:
    """The renewals of one process; they belong to no request, and go on when it leaves."""

    def __init__(self, stores: Stores, received: Received, metrics: Metrics) -> None:
        self.stores = stores
        self.received = received
        self.metrics = metrics
        self._tasks: dict[bytes, asyncio.Task[Opened | None]] = {}

    async def read(self, ticket: Ticket, provider: Provider) -> Opened | None:
        """The session of a ticket; None where it is not there, or another login's. StoreError.

        Or another provider's, that had the login's name before a reload: this one may not see its
        tokens.
        """
        stored = await self.stores.active.get(ticket.key)
        if stored is None:
            return None
        try:
            record = ticket.unseal(stored.value)
        except SealError:
            return None
        if (record.login, record.issuer) != (provider.name, provider.issuer.issuer):
            return None
        return Opened(record=record, version=stored.version)

    def begin(
        self, ticket: Ticket, provider: Provider, snapshot: Snapshot
    ) -> asyncio.Task[Opened | None]:
        """Renew a session that is due, unless that is under way here.

        The task has the session as it is afterwards, be it not renewed; None where it has ended.
        """
        task = self._tasks.get(ticket.key)
        if task is None:
            renewal = _Renewal(self, ticket, provider, snapshot)
            task = self._tasks[ticket.key] = asyncio.create_task(renewal.run())
            task.add_done_callback(lambda done: self._ended(ticket, done))
        return task

    def _ended(self, ticket: Ticket, task: asyncio.Task[Opened | None]) -> None:
        del self._tasks[ticket.key]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("session %s could not be renewed: %s", ticket.id, error)

    async def close(self) -> None:
        """Let renewals end: what a provider gives for a token it may give only once."""
        tasks = set(self._tasks.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=LAST_CALL)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


class _Renewal:
    """One renewal."""

    def __init__(
        self, renewals: Renewals, ticket: Ticket, provider: Provider, snapshot: Snapshot
    ) -> None:
        self.renewals = renewals
        self.store = renewals.stores.active
        self.ticket = ticket
        self.provider = provider
        self.snapshot = snapshot
        self.owner = os.urandom(OWNER_SIZE)

    async def run(self) -> Opened | None:
        """Renew it, or wait until somebody else has."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self.provider.login.timeout + 2 * LEASE
        while not await self.store.acquire(self.ticket.key, self.owner, LEASE):
            opened = await self._read()
            if opened is None or not self._is_due(opened) or clock() >= deadline:
                return opened
            await asyncio.sleep(POLL)
        keeping = asyncio.create_task(self._keep_lease())
        try:
            opened = await self._read()
            return await self._renew(opened) if opened and self._is_due(opened) else opened
        finally:
            keeping.cancel()
            await self._release()

    async def _read(self) -> Opened | None:
        return await self.renewals.read(self.ticket, self.provider)

    def _is_due(self, opened: Opened) -> bool:
        return opened.record.is_due(time.time(), self.snapshot.config.sessions.renew_before)

    async def _keep_lease(self) -> None:
        while True:
            await asyncio.sleep(EXTEND)
            try:
                if not await self.store.extend(self.ticket.key, self.owner, LEASE):
                    return
            except StoreError as error:
                log.warning("session %s: its lease may be lost: %s", self.ticket.id, error)

    async def _release(self) -> None:
        try:
            await self.store.release(self.ticket.key, self.owner)
        except StoreError as error:
            log.warning("session %s: its lease has to run out: %s", self.ticket.id, error)

    async def _renew(self, opened: Opened) -> Opened | None:
        before = opened.record
        # Written before the call: whoever finds it later knows that an answer may be lost, and
        # that the provider may have seen this refresh token.
        intent = replace(before, attempt_at=time.time())
        begun = await self._save(opened, intent)
        if begun is None or begun.record is not intent:
            return begun
        form = {"grant_type": "refresh_token", "refresh_token": before.refresh_token}
        try:
            tokens = await self.provider.tokens(form)
        except EndpointError as error:
            if error.error != "invalid_grant":
                return await self._failed(begun, error, error.retry_after)
            return await self._refused("lost" if before.attempt_at else "refused", before, error)
        except (ProviderError, GatewayError) as error:
            return await self._failed(begun, error)
        try:
            after = await self.renewals.received(
                tokens, self.provider, self.snapshot, before=before
            )
        except GatewayError as error:
            if error.code.status != AWAY:
                return await self._refused("unfit", before, error)
            log.warning("session %s: its new tokens cannot be verified yet", self.ticket.id)
            after = _unverified(before, tokens, time.time())
        self._count("renewed")
        return await self._save_for_sure(begun, after)

    async def _failed(self, opened: Opened, error: Exception, pause: float = 0.0) -> Opened | None:
        """Note a failure; the token is served with until it expires."""
        record, now = opened.record, time.time()
        usual = min(FIRST_PAUSE * 2 ** min(record.failures, 8), LONGEST_PAUSE)
        log.warning("session %s is not renewed: %s", self.ticket.id, error)
        self._count("failed")
        return await self._save(
            opened,
            replace(
                record,
                failures=record.failures + 1,
                retry_at=now + min(max(pause, usual), LONGEST_PAUSE),
            ),
        )

    async def _refused(self, outcome: str, before: Record, error: Exception) -> Opened | None:
        """End a session that cannot be renewed, unless somebody else has renewed it meanwhile."""
        opened = await self._read()
        if opened is not None and opened.record.refresh_token != before.refresh_token:
            return opened
        log.info("session %s ends: %s", self.ticket.id, error)
        self._count(outcome)
        await self.store.delete(self.ticket.key)
        return None

    async def _save(self, opened: Opened, record: Record) -> Opened | None:
        """The session as saved, or as somebody else has made it meanwhile."""
        value = self.ticket.seal(record, os.urandom(NONCE_SIZE))
        if await self.store.save(self.ticket.key, value, version=opened.version):
            return Opened(record=record, version=opened.version + 1)
        return await self._read()

    async def _save_for_sure(self, opened: Opened, record: Record) -> Opened | None:
        """Like `_save`, while the store is away too: it is the only copy of the refresh token.

        What somebody else noted of the token before, whose lease it thought it was, gives way.
        """
        clock = asyncio.get_running_loop().time
        deadline, pause, before = clock() + SAVE_FOR, POLL, opened.record.refresh_token
        while True:
            try:
                saved = await self._save(opened, record)
            except StoreError as error:
                if clock() >= deadline:
                    raise
                log.warning("session %s: what renews it is not kept yet: %s", self.ticket.id, error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, 1.0)
                continue
            if saved is None or saved.record is record or saved.record.refresh_token != before:
                return saved
            opened = saved

    def _count(self, outcome: str) -> None:
        self.renewals.metrics.renewed(self.provider.name, outcome)


def _unverified(before: Record, tokens: Tokens, now: float) -> Record:
    """A session with new tokens that nobody could verify; requests verify them all the same."""
    return replace(
        before,
        access_token=tokens.access_token,
        refresh_token=tokens.refresh_token or before.refresh_token,
        retry_at=now + FIRST_PAUSE,
    )
