"""The deny list that several gateways share: a stream, whose entries all of them follow.

Each entry has one field: `deny` or `allow`, with an object as in a deny list's line. What comes
later counts, and what says nothing any more is deleted by whoever reads the whole stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import Problem
from gateway.identify.denylist import MAX_ENTRIES, EntryError, as_dict, read_entry
from gateway.identify.revoked import Change
from gateway.record.encode import encode
from gateway.serve.redis import client
from gateway.serve.revocation.source import Source, SourceStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.config.model import Redis, Revocation
    from gateway.identify.revoked import Denial, Key, Table

log = logging.getLogger("gateway.revocation")

EVERY: Final = 0.2
"""Seconds between two looks for news; each one that is answered confirms the list."""
WITHIN: Final = 2.0
PAGE: Final = 2_000
WHOLE: Final = 300.0
"""Seconds until the whole stream is read anew, for what was deleted in it."""
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 1.0
MOST_TOLD: Final = 20
ALLOW_KEPT: Final = 86_400.0
"""Seconds for which an `allow` stays, so that all who follow hear of it."""
ENDED_KEPT: Final = 3600.0
"""Seconds for which an entry stays after its end: clocks differ."""

Entry = tuple[bytes, list[bytes]]
"""The id of an entry, and its fields' names and values in turn."""


class RedisList(Source):
    """The list on one Redis server; ConfigError where the client is not installed.

    `answered_at` is the loop's time of its last answer.
    """

    def __init__(self, config: Redis, section: Revocation, tell: Callable[[Change], None]) -> None:
        super().__init__("redis", tell)
        self.config = config
        self.section = section
        self.stream = f"{config.prefix}revoked"
        self.last_error = ""
        self.stale = False
        self.problems: tuple[Problem, ...] = ()
        # No request waits for it, unlike for the limits.
        self._client, self._errors = client(config.model_copy(update={"timeout": WITHIN}))
        # As it comes: what the library makes of it has lost fields of one name.
        self._client.set_response_callback("XRANGE", lambda answer, **_: answer)
        self._last = b"0-0"
        self._written = 0
        self._whole_at = 0.0
        self.answered_at = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._over = asyncio.Event()

    def start(self) -> None:
        """Follow the stream from now on; until it is known, nobody is let in if so configured."""
        self._judge("" if self.answered_at > float("-inf") else "it has not been read yet")
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def add(self, key: Key, denial: Denial) -> None:
        """Deny, on all gateways; raises ConnectionError."""
        await self._write("deny", as_dict(key, denial))
        self.put(key, denial)

    async def remove(self, key: Key) -> None:
        """Let in again, on all gateways; raises ConnectionError."""
        await self._write("allow", {"issuer": key.issuer, key.kind: key.value})
        self.drop(key)

    async def _write(self, field: str, entry: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(WITHIN):
                await self._client.xadd(self.stream, {field: encode(entry)})
        except (OSError, self._errors) as error:
            raise ConnectionError(_told(error)) from None
        self._written += 1

    async def _follow(self) -> None:
        failures = 0
        while not self._over.is_set():
            try:
                await self._read()
            except (OSError, ValueError, self._errors) as error:
                failures += 1
                self._failed(_told(error))
                await self._pause(min(FIRST_PAUSE * 2 ** min(failures, 8), LONGEST_PAUSE))
            except Exception as error:  # a fault of ours must not end the following
                log.exception("deny list: Redis could not be read")
                self._failed(_told(error))
                await self._pause(LONGEST_PAUSE)
            else:
                failures = 0
                if self.last_error:
                    log.info("deny list: Redis is back")
                self.last_error = ""
                self.confirmed_at = time.time()
                self.answered_at = asyncio.get_running_loop().time()
                self._judge("")
                await self._pause(EVERY)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()

    async def _read(self) -> None:
        """What is new, or all of it where that is due."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._whole_at:
            await self._read_all()
            self._whole_at = loop.time() + WHOLE
            return
        while rows := await self._rows(self._last):
            self._take(rows)

    async def _time(self) -> float:
        """What the server takes for now: what is deleted must have ended on all machines."""
        async with asyncio.timeout(WITHIN):
            seconds, _ = await self._client.time()
        return float(seconds)

    async def _rows(self, after: bytes) -> list[Entry]:
        async with asyncio.timeout(WITHIN):
            rows: list[Entry] = await self._client.xrange(self.stream, min=b"(" + after, count=PAGE)
        return rows

    def _take(self, rows: Iterable[Entry]) -> None:
        """Take news in their order."""
        for number, fields in rows:
            if (entry := self._parsed(number, fields)) is not None:
                key, denial = entry
                if denial is None:
                    self.drop(key)
                elif len(self.table) < MAX_ENTRIES or key in self.table:
                    self.put(key, denial)
                else:
                    raise ValueError(f"more than {MAX_ENTRIES} entries")
            self._last = number

    async def _read_all(self) -> None:
        """Read the whole stream, and delete what says nothing any more."""
        table: Table = {}
        says: dict[Key, bytes] = {}
        gone: list[bytes] = []
        last = b"0-0"
        now, at = time.time(), await self._time()
        self.problems = ()
        while True:
            written = self._written
            rows = await self._rows(last)
            if not rows and written == self._written:
                break  # else an entry of this gateway's own may stand behind what was read
            for number, fields in rows:
                last = number
                if (entry := self._parsed(number, fields)) is None:
                    continue
                key, denial = entry
                if key in says:
                    gone.append(says.pop(key))
                table.pop(key, None)
                if denial is not None and now < denial.until:
                    table[key], says[key] = denial, number
                elif _is_over(number, denial, at):
                    gone.append(number)
            if len(table) > MAX_ENTRIES:
                raise ValueError(f"more than {MAX_ENTRIES} entries")
        self._last = last
        self.replace(table)
        for start in range(0, len(gone), PAGE):
            await self._client.xdel(self.stream, *gone[start : start + PAGE])

    def _parsed(self, number: bytes, fields: list[bytes]) -> tuple[Key, Denial | None] | None:
        """What an entry says; None for one that makes no sense, which other programs may write."""
        try:
            if len(fields) != 2 or fields[0] not in (b"deny", b"allow"):
                raise EntryError("expected one field, deny or allow")
            key, denial = read_entry(fields[1], None)
        except EntryError as error:
            problem = Problem(str(error), file=f"{self.stream} {number.decode()}")
            log.warning("deny list: left out: %s", problem)
            self.problems = (*self.problems, problem)[-MOST_TOLD:]
            return None
        return key, denial if fields[0] == b"deny" else None

    def _failed(self, reason: str) -> None:
        if not self.last_error:
            log.warning("deny list: Redis is away: %s (what was known goes on)", reason)
        self.last_error = reason
        since = asyncio.get_running_loop().time() - self.answered_at
        if since >= self.section.stale_after:
            self._judge(f"Redis is away: {reason}")

    def _judge(self, reason: str) -> None:
        """Tell whether the list may lack entries, if that refuses tokens."""
        stale = bool(reason) and self.section.on_error == "refuse"
        if stale != self.stale:
            self.stale = stale
            self.tell(Change(source=self.name, unsure=reason if stale else ""))

    def follow(self, before: Source) -> None:
        """See Source."""
        super().follow(before)
        if isinstance(before, RedisList):
            self.stale, self.answered_at = before.stale, before.answered_at

    def release(self) -> None:
        """See Source."""
        super().release()
        self._judge("")

    def status(self) -> SourceStatus:
        """How it does."""
        return SourceStatus(
            entries=len(self.table),
            confirmed_at=self.confirmed_at,
            last_error=self.last_error,
            problems=self.problems,
            stale=self.stale,
        )

    async def close(self) -> None:
        """Follow the stream no more; what is under way ends first, so that nothing is left open."""
        self._over.set()
        if self._task is not None:
            await asyncio.wait((self._task,))
        await self._client.aclose()
        await self._client.connection_pool.disconnect()


def _is_over(number: bytes, denial: Denial | None, at: float) -> bool:
    """Whether an entry of the stream says nothing any more, to anybody."""
    if denial is not None:
        return denial.until + ENDED_KEPT < at
    return float(number.partition(b"-")[0]) / 1000 + ALLOW_KEPT < at


def _told(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"{type(error).__name__}: {error}"[:200]
