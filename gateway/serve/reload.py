"""Candidate → build → swap, whenever a file changes; the last good set is kept on disk."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.bundle.root import root_paths
from gateway.config import load as config_load
from gateway.config.model import public_url
from gateway.errors import ConfigError, Problem
from gateway.files import read_own_file, replace_own_file
from gateway.rego.children import Children
from gateway.serve.admin import BundleStatus, ReloadStatus
from gateway.serve.bundles import BundleService, remote_bundles
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

log = logging.getLogger("gateway.reload")

Activate = Callable[[], Awaitable[None]]
PLANS = "plans"
FIRST_PATIENCE = 5.0
"""Seconds until what was refused is tried again though no file changed; it doubles."""
LONGEST_PATIENCE = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What the gateway starts with.

    `problems` are those of the candidate that the last good set, kept at `kept_at` (Unix
    seconds), replaces.
    """

    snapshot: Snapshot
    candidate: Candidate
    problems: tuple[Problem, ...] = ()
    kept_at: float = 0.0


def start(path: Path, environ: Mapping[str, str]) -> Start:
    """The configuration on disk or, if that is broken, the last good one; raises ConfigError.

    Blocking.
    """
    try:
        candidate = read(path, environ, now=time.time())
        snapshot = build(candidate, now=time.time(), cache=_plans(candidate))
    except ConfigError as error:
        return _start_with_last_good(path, environ, error)
    except OSError as error:
        broken = ConfigError((Problem(str(error)),))
        return _start_with_last_good(path, environ, broken)
    return Start(snapshot=snapshot, candidate=candidate)


def _start_with_last_good(path: Path, environ: Mapping[str, str], broken: ConfigError) -> Start:
    state = path.absolute().parent / config_load.STATE_FOLDER
    # Of a broken configuration, the default folder is the only one that can be known.
    with contextlib.suppress(ConfigError, OSError):
        state = config_load.load(path, environ).config.policy.state or state
    try:
        candidate, kept_at = kept(state, path, environ)
        snapshot = build(candidate, now=time.time(), cache=_plans(candidate))
    except FileNotFoundError:
        raise broken from None
    except (OSError, ConfigError) as error:
        log.warning("the last good set cannot be used: %s", error)
        raise broken from None
    return Start(snapshot=snapshot, candidate=candidate, problems=broken.problems, kept_at=kept_at)


def keep(candidate: Candidate) -> None:
    """Keep a good candidate on disk, owner-only; a failure is logged."""
    loaded = candidate.loaded
    document = {
        "path": str(loaded.path.absolute()),
        "kept_at": time.time(),
        "config": candidate.config_text.decode(),
        "files": {name: data.decode() for name, data in candidate.files.items()},
    }
    state = _state(candidate)
    place = last_good(state, loaded.path)
    try:
        replace_own_file(place, json.dumps(document).encode())
    except OSError as error:
        log.warning("the last good set cannot be kept in %s: %s", state, error.strerror)


def kept(state: Path, path: Path, environ: Mapping[str, str]) -> tuple[Candidate, float]:
    """What `keep` kept, and when; keys, certificates and secrets are read anew.

    OSError or ConfigError where there is none, or none that can be trusted.
    """
    file = last_good(state, path)
    try:
        document = json.loads(read_own_file(file))
        if document["path"] != str(path.absolute()):
            raise ConfigError((Problem("is that of another configuration", file=str(file)),))
        text = document["config"].encode()
        files = {name: data.encode() for name, data in document["files"].items()}
        kept_at = float(document["kept_at"])
        numbers = {int(name.partition(":")[0]) for name in files}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError((Problem("is damaged", file=str(file)),)) from None
    loaded = config_load.read(text, path, environ)
    if not numbers <= set(range(len(root_paths(loaded.config.policy)))):
        raise ConfigError((Problem("is damaged", file=str(file)),))
    return candidate_of(loaded, text, files), kept_at


def last_good(state: Path, path: Path) -> Path:
    """Where the last good set of the configuration at `path` is kept."""
    return state / f"{path.name}.last-good.json"


def _plans(candidate: Candidate) -> Path:
    return _state(candidate) / PLANS


def _state(candidate: Candidate) -> Path:
    """The folder for what the gateway keeps, made where it is missing, if it can be."""
    state = candidate.loaded.config.policy.state
    assert state is not None
    with contextlib.suppress(OSError):
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    return state


class Reloader:
    """Replaces the active snapshot when the files of its candidate change.

    `prepare` raises ConfigError for what only the shell can know, and returns what activates the
    snapshot.
    """

    def __init__(
        self,
        path: Path,
        environ: Mapping[str, str],
        begun: Start,
        *,
        prepare: Callable[[Candidate, Snapshot], Awaitable[Activate]],
        reported: Callable[[bool], None],
    ) -> None:
        self.path = path
        self.environ = environ
        self.snapshot = begun.snapshot
        self.prepare = prepare
        self.reported = reported
        self.begun = begun
        self.seen = "" if begun.problems else begun.candidate.digest
        self.first = begun.snapshot.config
        self.warnings = begun.candidate.loaded.warnings
        self.status = ReloadStatus(
            revision=begun.snapshot.revision,
            last_success=begun.kept_at or time.time(),
            last_failure=time.time() if begun.problems else None,
            problems=begun.problems,
            last_good=bool(begun.problems),
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
        if not self.begun.problems:
            await asyncio.to_thread(keep, self.begun.candidate)
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
        forced, self.forced = self.forced, False
        seen = "unreadable"
        try:
            await self.watch(self.snapshot.config)
            loaded, text = await asyncio.to_thread(read_config, self.path, self.environ)
            await self.bundles.ensure(loaded.config.policy)
            candidate = await asyncio.to_thread(read_policies, loaded, text, time.time())
            seen = candidate.digest
            if seen != self.seen or forced or asyncio.get_running_loop().time() >= self.retry_at:
                await self.replace(candidate)
        except ConfigError as error:
            self.failed(error.problems, seen)
        except Exception as error:
            log.exception("reload failed")
            self.failed((Problem(f"the gateway failed: {error!r}"),), seen)

    async def replace(self, candidate: Candidate) -> None:
        """Build, check, keep and activate; ConfigError."""
        began = time.perf_counter()
        snapshot = await asyncio.to_thread(
            build,
            candidate,
            now=time.time(),
            previous=self.snapshot,
            cache=_plans(candidate),
            children=self.children,
        )
        activate = await self.prepared(candidate, snapshot)
        # Building reads keys and certificates itself; they may have changed since the candidate.
        if activate is None or not await asyncio.to_thread(is_current, candidate):
            self.watcher.touch()
            return
        # Before the swap: what has been served can be started with again.
        await asyncio.to_thread(keep, candidate)
        await activate()
        self.seen = candidate.digest
        before, self.snapshot = self.snapshot, snapshot
        self.succeeded(before, candidate.loaded, time.perf_counter() - began)
        await self.bundles.keep(snapshot.config.policy)
        await self.watch(snapshot.config)

    async def prepared(self, candidate: Candidate, snapshot: Snapshot) -> Activate | None:
        """What `prepare` gives; None where it fails for files that have changed meanwhile."""
        try:
            return await self.prepare(candidate, snapshot)
        except ConfigError:
            if await asyncio.to_thread(is_current, candidate):
                raise
            return None

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
        )
        self.patience, self.retry_at = FIRST_PATIENCE, float("inf")
        self.reported(True)
        changed = ", ".join(changes(before, self.snapshot)) or "nothing changed"
        shown = revisions(self.snapshot)
        log.info("reloaded: policy revision %s in %.0f ms (%s)", shown, seconds * 1000, changed)
        for warning in loaded.warnings:
            if warning not in self.warnings:
                log.warning("%s", warning)
        self.warnings = loaded.warnings
        if restart:
            log.warning("restart-required: only the next start changes %s", ", ".join(restart))

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


def revisions(snapshot: Snapshot) -> str:
    """The revision of a snapshot, and those of its bundles, for people."""
    bundles = ", ".join(f"{name} {revision!r}" for name, revision in snapshot.bundles.items())
    return f"{snapshot.revision} of {bundles}" if bundles else snapshot.revision


def changes(before: Snapshot, after: Snapshot) -> list[str]:
    """What of a snapshot changed, for people."""
    compared = {
        "configuration": "config_revision",
        "policies": "revision",
        "keys, certificates or secrets": "named",
    }
    return [
        name for name, field in compared.items() if getattr(before, field) != getattr(after, field)
    ]
