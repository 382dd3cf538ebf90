"""Candidate → build → swap, whenever a file changes; what served is kept on disk."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.config import load as config_load
from gateway.config.model import public_url
from gateway.errors import ConfigError, Problem
from gateway.rego.children import Children
from gateway.serve.admin import BundleStatus, Pending, ReloadStatus
from gateway.serve.bundles import BundleService, remote_bundles
from gateway.serve.revisions import Store, check_places
from gateway.serve.watch import Watcher
from gateway.snapshot import (
    Candidate,
    Snapshot,
    build,
    candidate_of,
    is_current,
    read,
    read_config,
    read_policies,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.config.load import Loaded
    from gateway.config.model import Config
    from gateway.serve.revisions import Pin

log = logging.getLogger("gateway.reload")

Activate = Callable[[], Awaitable[None]]
PLANS = "plans"
FIRST_PATIENCE = 5.0
"""Seconds until what was refused is tried again though no file changed; it doubles."""
LONGEST_PATIENCE = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What the gateway starts with.

    `pin` names its policies where they are not those on disk. `problems` are those of the
    candidate that the last good set, which served at `kept_at` (Unix seconds), replaces.
    """

    snapshot: Snapshot
    candidate: Candidate
    pin: Pin | None = None
    problems: tuple[Problem, ...] = ()
    kept_at: float = 0.0


def start(path: Path, environ: Mapping[str, str]) -> Start:
    """What is on disk, with the pinned policies where some are, or the last good set if broken.

    Blocking; raises ConfigError.
    """
    pin: Pin | None = None

    def pinned(loaded: Loaded) -> Mapping[str, bytes] | None:
        nonlocal pin
        store = Store.of(loaded)
        pin = store.pinned()
        return pinned_files(store, pin, loaded)

    try:
        candidate = read(path, environ, now=time.time(), instead=pinned)
        snapshot = build(candidate, now=time.time(), cache=_plans(candidate))
    except ConfigError as error:
        return _start_with_last_good(path, environ, error)
    except OSError as error:
        broken = ConfigError((Problem(str(error)),))
        return _start_with_last_good(path, environ, broken)
    return Start(snapshot=snapshot, candidate=candidate, pin=pin)


def pinned_files(store: Store, pin: Pin | None, loaded: Loaded) -> Mapping[str, bytes] | None:
    """The files of the pinned policies, None without a pin; ConfigError."""
    if pin is None:
        return None
    try:
        return _fitting(store.policy_files(pin.revision), loaded)
    except ConfigError as error:
        message = f"the pinned revision cannot be used: {error.problems[0]}"
        remedy = f"remove {store.pin_file} to serve what is on disk"
        raise ConfigError((Problem(message, remedy=remedy),)) from None


def _start_with_last_good(path: Path, environ: Mapping[str, str], broken: ConfigError) -> Start:
    state = path.absolute().parent / config_load.STATE_FOLDER
    # Of a broken configuration, the default folder is the only one that can be known.
    with contextlib.suppress(ConfigError, OSError):
        state = config_load.load(path, environ).config.policy.state or state
    store = Store(state, path)
    try:
        candidate, kept_at = store.last_good(environ)
        pin = store.pinned()
        files = pinned_files(store, pin, candidate.loaded)
        if files is not None:
            candidate = candidate_of(candidate.loaded, candidate.config_text, files)
        snapshot = build(candidate, now=time.time(), cache=_plans(candidate))
    except FileNotFoundError:
        raise broken from None
    except (OSError, ConfigError) as error:
        log.warning("the last good set cannot be used: %s", error)
        raise broken from None
    return Start(
        snapshot=snapshot, candidate=candidate, pin=pin, problems=broken.problems, kept_at=kept_at
    )


def _plans(candidate: Candidate) -> Path:
    return Store.of(candidate.loaded).state / PLANS


class Reloader:
    """Replaces the active snapshot when the files of its candidate change.

    `prepare` raises ConfigError for what only the shell can know, and returns what activates the
    snapshot. While `pin` is set, its policy files serve with everything else
    as it is on disk; the policies on disk are built and reported only. Who changes what serves
    holds `turn`. `looked` is called after each look at the files, whatever came of it.
    """

    def __init__(
        self,
        path: Path,
        environ: Mapping[str, str],
        begun: Start,
        *,
        prepare: Callable[[Candidate, Snapshot], Awaitable[Activate]],
        reported: Callable[[bool], None],
        looked: Callable[[], None],
    ) -> None:
        self.path = path
        self.environ = environ
        self.snapshot = begun.snapshot
        self.prepare = prepare
        self.reported = reported
        self.looked = looked
        self.begun = begun
        self.candidate = begun.candidate
        self.pin = begun.pin
        self.store = Store.of(begun.candidate.loaded)
        self.turn = asyncio.Lock()
        self.waiting = ""
        self.seen = "" if begun.problems else begun.candidate.digest
        self.first = begun.snapshot.config
        self.warnings = begun.candidate.loaded.warnings
        self.status = ReloadStatus(
            revision=begun.snapshot.revision,
            last_success=begun.kept_at or time.time(),
            last_failure=time.time() if begun.problems else None,
            problems=begun.problems,
            last_good=bool(begun.problems),
            pin=begun.pin,
        )
        self.children = Children()
        self.warming: asyncio.Task[None] | None = None
        self.forced = False
        self.patience = FIRST_PATIENCE
        self.retry_at = float("inf")
        reload = self.first.reload
        self.watcher = Watcher(self.reload, debounce=reload.debounce, rescan=reload.rescan)
        self.bundles = BundleService(self.watcher.touch)

    async def start(self) -> None:
        """Keep what the gateway begins with, and begin to watch."""
        for warning in self.warnings:
            log.warning("%s", warning)
        self._tell_faults()
        if self.pin is not None:
            log.warning("pinned: revision %s serves whatever the files say", self.pin.revision)
        if not self.begun.problems:
            await self.keep(self.candidate, self.snapshot, self.pin)
        await self.watch(self.snapshot.config)
        self.warming = asyncio.create_task(asyncio.to_thread(self.children.start_ahead))
        self.watcher.start()
        await self.bundles.take_up(self.snapshot.config.policy)
        self.watcher.touch()  # what changed since the files were read

    async def watch(self, config: Config) -> None:
        """Watch the files of a configuration."""
        if self.first.reload.watch:
            await self.watcher.watch(config_load.watched_files(config, self.path))

    def force(self) -> None:
        """Build anew, even if no file changed, and ask for bundles at once."""
        self.forced = True
        self.bundles.ask()
        self.watcher.touch()

    def bundle_statuses(self) -> dict[str, BundleStatus]:
        """The bundles of the active configuration: what serves, and how the fetching goes."""
        policy, revisions = self.snapshot.config.policy, self.snapshot.bundles
        found = {
            name: BundleStatus(
                source=str(bundle.file),
                remote=False,
                revision=revisions[name],
                checked_at=self.status.last_success,
            )
            for name, bundle in policy.bundles.items()
        }
        for path, name, bundle in remote_bundles(policy):
            remote = self.bundles.remote.get(path)
            found[name] = BundleStatus(
                source=public_url(bundle.url or ""),
                remote=True,
                revision=revisions[name],
                etag=remote.etag if remote else "",
                checked_at=remote.checked_at if remote else None,
                last_error=remote.last_error if remote else "",
            )
        return found

    async def reload(self) -> None:
        """Read the files and, if they differ from what was seen, try to activate them."""
        async with self.turn:
            forced, self.forced = self.forced, False
            try:
                await self._reload(forced=forced)
                if self.pin is not None:
                    await self._look_ahead(forced=forced)
            finally:
                self.looked()

    async def _reload(self, *, forced: bool) -> None:
        seen = "unreadable"
        try:
            await self.watch(self.snapshot.config)
            pinned = self.candidate.files if self.pin else None
            candidate = await self.read(lambda loaded: _fitting(pinned, loaded))
            seen = candidate.digest
            if seen != self.seen or forced or asyncio.get_running_loop().time() >= self.retry_at:
                await self.replace(candidate)
        except ConfigError as error:
            self.failed(error.problems, seen)
        except Exception as error:
            log.exception("reload failed")
            self.failed((Problem(f"the gateway failed: {error!r}"),), seen)

    async def read(
        self, instead: Callable[[Loaded], Mapping[str, bytes] | None] | None = None
    ) -> Candidate:
        """What is on disk, with the bundles that it names, but for the policies `instead`."""
        loaded, text = await asyncio.to_thread(read_config, self.path, self.environ)
        await self.bundles.ensure(loaded.config.policy)
        return await asyncio.to_thread(read_policies, loaded, text, time.time(), instead)

    async def _look_ahead(self, *, forced: bool) -> None:
        """Build what is on disk beside the pin, and report it."""
        pending: Pending | None = None
        seen = "unreadable"
        try:
            candidate = await self.read()
            seen = candidate.digest
            if seen == self.waiting and not forced:
                return
            if candidate.files != self.candidate.files:
                snapshot = await self.build(candidate)
                pending = Pending(revision=snapshot.revision)
        except ConfigError as error:
            pending = Pending(problems=error.problems)
        self.waiting = seen
        if pending is not None and pending != self.status.pending:
            shown = "; ".join(map(str, pending.problems)) or f"revision {pending.revision}"
            log.warning("pinned at %s; on disk waits: %s", self.snapshot.revision, shown)
        self.status = replace(self.status, pending=pending)

    async def replace(self, candidate: Candidate) -> None:
        """Build, check, keep and activate; ConfigError."""
        began = time.perf_counter()
        snapshot = await self.build(candidate)
        activate = await self.prepared(candidate, snapshot)
        # Building reads keys and certificates itself; they may have changed since the candidate.
        if activate is None or not await asyncio.to_thread(is_current, candidate):
            self.watcher.touch()
            return
        await self.keep(candidate, snapshot, self.pin)
        await self.serve(candidate, snapshot, activate, time.perf_counter() - began)

    async def prepared(self, candidate: Candidate, snapshot: Snapshot) -> Activate | None:
        """What `prepare` gives; None where it fails for files that have changed meanwhile."""
        try:
            return await self.prepare(candidate, snapshot)
        except ConfigError:
            if await asyncio.to_thread(is_current, candidate):
                raise
            return None

    async def build(self, candidate: Candidate) -> Snapshot:
        """Build a snapshot with what the active one has ready; ConfigError."""
        return await asyncio.to_thread(
            build,
            candidate,
            now=time.time(),
            previous=self.snapshot,
            cache=_plans(candidate),
            children=self.children,
        )

    async def keep(self, candidate: Candidate, snapshot: Snapshot, pin: Pin | None) -> None:
        """Keep what is about to serve: what has served can be started with again.

        Pinned policies came from disk before.
        """
        await asyncio.to_thread(
            self.store.keep,
            candidate,
            snapshot.revision,
            now=time.time(),
            fresh=pin is None,
            bundles=snapshot.bundles,
        )

    async def serve(
        self, candidate: Candidate, snapshot: Snapshot, activate: Activate, seconds: float
    ) -> None:
        """Activate a snapshot that took so long to build."""
        await activate()
        self.seen = candidate.digest
        self.candidate = candidate
        before, self.snapshot = self.snapshot, snapshot
        self.succeeded(before, candidate.loaded, seconds)
        await self.bundles.keep(snapshot.config.policy)
        await self.watch(snapshot.config)

    def pinned(self, pin: Pin | None) -> None:
        """From now on the active policies are pinned, or no longer."""
        self.pin, self.waiting = pin, ""
        self.status = replace(self.status, pin=pin, pending=None)

    async def close(self) -> None:
        """Stop watching."""
        try:
            await self.bundles.close()
            await self.watcher.close()
        finally:
            if self.warming is not None:
                await asyncio.wait((self.warming,))
            await asyncio.to_thread(self.children.close)

    def succeeded(self, before: Snapshot, loaded: Loaded, seconds: float) -> None:
        """Say so everywhere."""
        restart = config_load.restart_required(self.first, loaded.config)
        revision = self.snapshot.revision
        self.status = ReloadStatus(
            revision=revision,
            last_success=time.time(),
            last_failure=self.status.last_failure,
            restart_required=restart,
            pin=self.pin,
            pending=self.status.pending if self.pin else None,
        )
        self.patience, self.retry_at = FIRST_PATIENCE, float("inf")
        self.reported(True)
        changed = ", ".join(changes(before, self.snapshot)) or "nothing changed"
        shown = revisions(self.snapshot)
        log.info("reloaded: policy revision %s in %.0f ms (%s)", shown, seconds * 1000, changed)
        for warning in loaded.warnings:
            if warning not in self.warnings or warning.key.endswith(".enforcement"):
                log.warning("%s", warning)
        self.warnings = loaded.warnings
        self._tell_faults()
        if restart:
            log.warning("restart-required: only the next start changes %s", ", ".join(restart))

    def _tell_faults(self) -> None:
        """Say which policy sets beside the enforced one do not decide, and why."""
        for name, problems in self.snapshot.faults.items():
            shown = "; ".join(map(str, problems))
            log.error("the %s is broken, and decides nothing: %s", name, shown)

    def failed(self, problems: tuple[Problem, ...], seen: str) -> None:
        """Say so everywhere, once for each broken state of the files; try again by and by."""
        # At the start, `seen` is unknown and the problems have been told.
        new = problems != self.status.problems or bool(self.seen and seen != self.seen)
        self.patience = FIRST_PATIENCE if new else min(self.patience * 2, LONGEST_PATIENCE)
        self.retry_at = asyncio.get_running_loop().time() + self.patience
        self.seen = seen
        self.status = replace(self.status, last_failure=time.time(), problems=problems)
        if new:
            self.reported(False)
            shown = "; ".join(str(problem) for problem in problems)
            log.error("reload refused, revision %s goes on: %s", self.snapshot.revision, shown)


def _fitting(files: Mapping[str, bytes] | None, loaded: Loaded) -> Mapping[str, bytes] | None:
    if files is not None:
        check_places(files, loaded)
    return files


def revisions(snapshot: Snapshot) -> str:
    """The revision of a snapshot, and those of its bundles, for people."""
    bundles = ", ".join(f"{name} {revision!r}" for name, revision in snapshot.bundles.items())
    return f"{snapshot.revision} of {bundles}" if bundles else snapshot.revision


def changes(before: Snapshot, after: Snapshot) -> list[str]:
    """What of a snapshot changed, for people."""
    compared: dict[str, Callable[[Snapshot], object]] = {
        "configuration": lambda snapshot: snapshot.config_revision,
        "policies": lambda snapshot: snapshot.revision,
        "canary": lambda snapshot: snapshot.canary and snapshot.canary.revision,
        "shadow": lambda snapshot: snapshot.shadow and snapshot.shadow.revision,
        "keys, certificates or secrets": lambda snapshot: snapshot.named,
    }
    return [name for name, read_ in compared.items() if read_(before) != read_(after)]
