"""The deny lists of the active configuration, and what operators change in them."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import Code, GatewayError
from gateway.identify.denylist import MAX_ENTRIES, as_dict
from gateway.record.encode import encode
from gateway.record.event import rfc3339
from gateway.serve.revocation.files import KeptList, ListFile
from gateway.serve.revocation.redis import RedisList

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from gateway.config.model import Config
    from gateway.identify.revoked import Change, Denial, Key, Table
    from gateway.serve.revocation.source import Source, SourceStatus

audit = logging.getLogger("gateway.audit")
log = logging.getLogger("gateway.revocation")

FORGET_EVERY: Final = 60.0
"""Seconds between two looks for entries that deny nothing any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The sources of a configuration, and the lists of those that are new."""

    issuers: frozenset[str]
    kept: KeptList
    file: ListFile | None
    redis: RedisList | None
    tables: tuple[tuple[Source, Table], ...]
    named: str
    watch: bool


class RevocationService:
    """The deny lists of one machine; `changed` hears of every change, for all who serve."""

    def __init__(self, path: Path, changed: Callable[[Change], None]) -> None:
        self.path = path
        self.changed = changed
        self.kept: KeptList | None = None
        self.file: ListFile | None = None
        self.redis: RedisList | None = None
        self._named = ""
        self._issuers: frozenset[str] = frozenset()
        self._acting = asyncio.Lock()
        self._closing: list[asyncio.Task[None]] = []
        self._forgetting: asyncio.Task[None] | None = None

    def prepare(self, config: Config, named: str) -> Prepared:
        """The sources for a configuration, those at hand where nothing differs; ConfigError.

        `named` is the digest of the files that it names, with the secrets. Blocking.
        """
        tables: list[tuple[Source, Table]] = []
        state, section = config.policy.state, config.revocation
        assert state is not None
        kept, file, redis = self.kept, self.file, self.redis
        if kept is None:
            kept = KeptList(state / f"{self.path.name}.revoked.jsonl", self.changed)
            tables.append((kept, kept.read()))
        if section.file is None:
            file = None
        elif file is None or (file.path, file.issuers) != (section.file, frozenset(config.issuers)):
            copy = state / f"{self.path.name}.denied.jsonl"
            new = ListFile(section.file, copy, config.issuers, self.changed)
            # A reload that names a broken list is refused; a start can do with the copy.
            tables.append((new, new.first() if self.kept is None else new.read()))
            file = new
        if section.storage == "disk" or config.redis is None:
            redis = None
        elif redis is None or (redis.config, redis.section, self._named) != (
            config.redis,
            section,
            named,
        ):
            redis = RedisList(config.redis, section, self.changed)
        return Prepared(
            issuers=frozenset(config.issuers),
            kept=kept,
            file=file,
            redis=redis,
            tables=tuple(tables),
            named=named,
            watch=config.reload.watch,
        )

    async def activate(self, prepared: Prepared) -> None:
        """Take these lists from now on; no entry that is in both is missing in between."""
        before = (self.file, self.redis)
        self.kept, self.file, self.redis = prepared.kept, prepared.file, prepared.redis
        self._named = prepared.named
        self._issuers = prepared.issuers
        for old, new in zip(before, (self.file, self.redis), strict=True):
            if old is None or old is new:
                continue
            if new is None:
                old.release()
            else:
                new.follow(old)
            old.tell = lambda _: None  # what is under way there counts no more
            self._closing = [task for task in self._closing if not task.done()]
            self._closing.append(asyncio.create_task(old.close()))
        for source, table in prepared.tables:
            source.replace(table)
        self._warn_of_strangers()
        if self.file is not None and self.file is not before[0]:
            await self.file.start(watch=prepared.watch)
        if self.redis is not None and self.redis is not before[1]:
            self.redis.start()
        if self._forgetting is None:
            self._forgetting = asyncio.get_running_loop().create_task(self._forget())

    def _warn_of_strangers(self) -> None:
        """Say whose entries deny nothing: an issuer may have got another name."""
        assert self.kept is not None
        names = {key.issuer for key in self.kept.table} - self._issuers
        if names:
            log.warning(
                "deny list: entries name issuers that are not configured: %s",
                ", ".join(sorted(names)),
            )

    async def _forget(self) -> None:
        while True:
            await asyncio.sleep(FORGET_EVERY)
            for source in self._sources():
                source.forget(time.time())

    def _sources(self) -> Iterator[ListFile | KeptList | RedisList]:
        for source in (self.file, self.kept, self.redis):
            if source is not None:
                yield source

    async def deny(self, key: Key, denial: Denial, by: str) -> None:
        """Refuse tokens from now on; GatewayError."""
        await self._act("revoke", as_dict(key, denial), by, self._deny(key, denial))

    async def allow(self, key: Key, by: str) -> None:
        """Take an entry of the gateway's own, or of Redis, away again; GatewayError."""
        entry = {"issuer": key.issuer, key.kind: key.value}
        await self._act("unrevoke", entry, by, self._allow(key))

    async def _act(
        self, action: str, entry: dict[str, Any], by: str, doing: Coroutine[Any, Any, None]
    ) -> None:
        """Do it whole, though who asked hangs up, and put it on record."""

        async def whole() -> None:
            refused = ""
            try:
                async with self._acting:
                    await doing
            except GatewayError as error:
                refused = error.code.text
                raise
            except Exception:
                refused = Code.INTERNAL_ERROR.text
                raise
            finally:
                line = {"at": rfc3339(time.time()), "action": action, "by": by, "entry": entry}
                told = encode({**line, "code": refused}).decode()
                (audit.warning if refused else audit.info)("%s", told)

        await asyncio.shield(asyncio.create_task(whole()))

    async def _deny(self, key: Key, denial: Denial) -> None:
        if self.redis is not None:
            await self._on_redis(self.redis.add(key, denial))
            return
        assert self.kept is not None
        if len(self.kept.table) >= MAX_ENTRIES and key not in self.kept.table:
            raise GatewayError(Code.REVOCATION_FULL)
        self.kept.put(key, denial)
        await self._keep()

    async def _allow(self, key: Key) -> None:
        assert self.kept is not None
        known = key in self.kept.table
        if known:
            self.kept.drop(key)
            await self._keep()
        if self.redis is not None and key in self.redis.table:
            await self._on_redis(self.redis.remove(key))
        elif not known:
            raise GatewayError(Code.REVOCATION_UNKNOWN)

    async def _keep(self) -> None:
        assert self.kept is not None
        try:
            await asyncio.to_thread(self.kept.keep, dict(self.kept.table))
        except OSError as error:
            self.kept.last_error = f"{self.kept.path}: {error.strerror}"
            raise GatewayError(Code.REVOCATION_NOT_KEPT, self.kept.last_error) from None
        self.kept.last_error = ""
        self.kept.confirmed_at = time.time()

    async def _on_redis(self, doing: Coroutine[Any, Any, None]) -> None:
        try:
            await doing
        except ConnectionError as error:
            raise GatewayError(
                Code.REVOCATION_UNAVAILABLE, str(error), headers=(("retry-after", "1"),)
            ) from None

    def issuers(self) -> frozenset[str]:
        """Whose tokens can be denied."""
        return self._issuers

    def entries(self) -> list[dict[str, Any]]:
        """What is denied, with the source of each entry; the newest of each last."""
        return [
            {"source": source.name, **as_dict(key, denial)}
            for source in self._sources()
            for key, denial in source.table.items()
        ]

    def status(self) -> dict[str, SourceStatus]:
        """How each source does."""
        return {source.name: source.status() for source in self._sources()}

    def missing(self) -> list[str]:
        """What is missing until tokens can be decided on, in words."""
        return [
            f"the deny list of {name} is not known"
            for name, each in self.status().items()
            if each.stale
        ]

    async def close(self) -> None:
        """Follow nothing any more."""
        if self._forgetting is not None:
            self._forgetting.cancel()
            await asyncio.gather(self._forgetting, return_exceptions=True)
        for source in (self.file, self.redis):
            if source is not None:
                await source.close()
        await asyncio.gather(*self._closing, return_exceptions=True)
