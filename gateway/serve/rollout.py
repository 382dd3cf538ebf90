"""What operators do to the policies that serve: roll back, pin, unpin; each act is on record."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gateway.errors import Code, ConfigError, GatewayError, Problem
from gateway.record.encode import encode
from gateway.record.event import rfc3339
from gateway.serve.revisions import Pin, check_places
from gateway.snapshot import candidate_of

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gateway.serve.reload import Reloader
    from gateway.serve.revisions import Revision

audit = logging.getLogger("gateway.audit")

MAX_ACTS = 20
STRANGERS = frozenset({Code.ADMIN_TOKEN, Code.ADMIN_LOCAL_ONLY, Code.ACTIONS_OFF})
"""What refuses those of whom nothing is known: they must not push acts out of sight."""
SHORTEST = 4
"""So many characters of a revision name it, where no other one begins so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What somebody asked for, and what came of it: a code where it was refused.

    `before` and `after` are the revisions that served; `at` is in Unix seconds.
    """

    at: float
    action: str
    by: str
    before: str
    after: str
    code: str = ""


class UnfitError(GatewayError):
    """A kept revision that cannot serve with the configuration as it is."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(Code.REVISION_UNFIT, "; ".join(map(str, problems)))
        self.problems = problems


class Rollout:
    """The acts on the policies of one reloader; `acts` are the last ones, oldest first."""

    def __init__(self, reloader: Reloader) -> None:
        self.reloader = reloader
        self.acts: deque[Act] = deque(maxlen=MAX_ACTS)

    async def history(self) -> list[Revision]:
        """The kept revisions, the newest first."""
        return await asyncio.to_thread(self.reloader.store.history)

    async def rollback(self, revision: str | None, by: str) -> None:
        """Serve a kept revision, or the one before, until unpin; GatewayError."""
        await _whole(self._act("rollback", revision, by))

    async def pin(self, revision: str | None, by: str) -> None:
        """Serve a kept revision, or the active one, until unpin; GatewayError."""
        await _whole(self._act("pin", revision, by))

    async def unpin(self, by: str) -> None:
        """Serve what is on disk again; GatewayError."""
        await _whole(self._unpin(by))

    async def _unpin(self, by: str) -> None:
        reloader = self.reloader
        async with reloader.turn:
            before = reloader.snapshot.revision
            try:
                await asyncio.to_thread(reloader.store.unpin)
            except OSError as error:
                self.record("unpin", by, before, Code.INTERNAL_ERROR)
                raise GatewayError(Code.INTERNAL_ERROR, f"the pin: {error.strerror}") from None
            reloader.pinned(None)
        await reloader.reload()
        self.record("unpin", by, before)

    async def _act(self, action: str, named: str | None, by: str) -> None:
        async with self.reloader.turn:
            before = self.reloader.snapshot.revision
            try:
                wanted = await self._wanted(action, named)
                await self._serve(wanted, Pin(revision=wanted, since=time.time(), by=by))
            except GatewayError as error:
                self.record(action, by, before, error.code)
                raise
            except Exception:
                self.record(action, by, before, Code.INTERNAL_ERROR)
                raise
            self.record(action, by, before)
        self.reloader.watcher.touch()  # what the files say by now is told as pending

    async def _wanted(self, action: str, named: str | None) -> str:
        """The revision that is meant, by its name or as much of it as tells it apart."""
        kept = await self.history()
        active = self.reloader.snapshot.revision
        if named is None:
            if action == "pin":
                return active
            came = next((each.kept_at for each in kept if each.revision == active), None)
            found = [each.revision for each in kept if came is not None and each.kept_at < came][:1]
        else:
            found = [each.revision for each in kept if each.revision == named] or [
                each.revision
                for each in kept
                if len(named) >= SHORTEST and each.revision.startswith(named)
            ]
        if len(found) != 1:
            raise GatewayError(Code.REVISION_UNKNOWN, f"{len(found)} kept revisions are meant")
        return found[0]

    async def _serve(self, revision: str, pin: Pin) -> None:
        """Pin a revision, with the configuration as it is."""
        reloader = self.reloader
        began = time.perf_counter()
        try:
            files = await asyncio.to_thread(reloader.store.policy_files, revision)
            if revision == reloader.snapshot.revision:
                await asyncio.to_thread(reloader.store.pin, pin)
                reloader.pinned(pin)
                return
            loaded, text = reloader.candidate.loaded, reloader.candidate.config_text
            check_places(files, loaded)
            candidate = await asyncio.to_thread(candidate_of, loaded, text, files)
            snapshot = await reloader.build(candidate)
            activate = await reloader.prepare(candidate, snapshot)
        except ConfigError as error:
            raise UnfitError(error.problems) from None
        # Pinned before it serves: a process that ends in between begins with it, not without.
        await asyncio.to_thread(reloader.store.pin, pin)
        await reloader.keep(candidate, snapshot, pin)
        reloader.pinned(pin)
        await reloader.serve(candidate, snapshot, activate, time.perf_counter() - began)

    def record(self, action: str, by: str, before: str = "", refused: Code | None = None) -> None:
        """Put an act on record."""
        after = self.reloader.snapshot.revision
        act = Act(
            at=time.time(),
            action=action,
            by=by,
            before=before or after,
            after=after,
            code=refused.text if refused else "",
        )
        if refused not in STRANGERS:
            self.acts.append(act)
        line = encode(as_dict(act)).decode()
        (audit.warning if refused else audit.info)("%s", line)


async def _whole(act: Coroutine[Any, Any, None]) -> None:
    # Who asked may hang up; half an act would leave pin and policies apart.
    await asyncio.shield(asyncio.create_task(act))


def as_dict(act: Act) -> dict[str, str]:
    """An act as JSON."""
    return {**asdict(act), "at": rfc3339(act.at)}
