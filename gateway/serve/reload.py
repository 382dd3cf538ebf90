"""Candidate → build → swap, whenever a file changes; the last good set is kept on disk."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.config import load as config_load
from gateway.errors import ConfigError, Problem
from gateway.rego.children import Children
from gateway.serve.admin import ReloadStatus
from gateway.serve.watch import Watcher
from gateway.snapshot import Candidate, Snapshot, build, candidate_of, read

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.config.model import Config

log = logging.getLogger("gateway.reload")

LAST_GOOD = "last-good.json"
PLANS = "plans"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What the gateway starts with; `problems` are those of the candidate that it replaces."""

    snapshot: Snapshot
    candidate: Candidate
    problems: tuple[Problem, ...] = ()


def start(path: Path, environ: Mapping[str, str]) -> Start:
    """The configuration on disk or, if that is broken, the last good one; raises ConfigError.

    Blocking.
    """
    try:
        candidate = read(path, environ)
        snapshot = build(candidate, now=time.time(), cache=_plans(candidate))
    except ConfigError as error:
        return _start_with_last_good(path, environ, error)
    return Start(snapshot=snapshot, candidate=candidate)


def _start_with_last_good(path: Path, environ: Mapping[str, str], broken: ConfigError) -> Start:
    state = path.absolute().parent / config_load.STATE_FOLDER
    # Of a broken configuration, the default folder is the only one that can be known.
    with contextlib.suppress(ConfigError):
        state = config_load.load(path, environ).config.policy.state or state
    try:
        candidate = kept(state, path, environ)
        snapshot = build(candidate, now=time.time(), cache=_plans(candidate))
    except (OSError, ValueError, KeyError, ConfigError):
        raise broken from None
    return Start(snapshot=snapshot, candidate=candidate, problems=broken.problems)


def keep(candidate: Candidate) -> None:
    """Keep a good candidate on disk, owner-only; a failure is logged."""
    state = candidate.loaded.config.policy.state
    assert state is not None
    document = {
        "config": candidate.config_text.decode(),
        "files": {name: data.decode() for name, data in candidate.files.items()},
    }
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=state, prefix=LAST_GOOD)  # mode 0600
        with os.fdopen(handle, "w") as file:
            json.dump(document, file)
        Path(name).replace(state / LAST_GOOD)
    except OSError as error:
        log.warning("the last good set cannot be kept in %s: %s", state, error)


def kept(state: Path, path: Path, environ: Mapping[str, str]) -> Candidate:
    """The candidate that `keep` kept; keys, certificates and secrets are read anew."""
    document = json.loads((state / LAST_GOOD).read_text())
    text = document["config"].encode()
    loaded = config_load.read(text, path, environ)
    files = {name: data.encode() for name, data in document["files"].items()}
    return candidate_of(loaded, text, files, {})


def _plans(candidate: Candidate) -> Path:
    state = candidate.loaded.config.policy.state
    assert state is not None
    return state / PLANS


class Reloader:
    """Replaces the active snapshot when the files of its candidate change.

    `check` raises ConfigError for what only the shell can check; `activate` swaps.
    """

    def __init__(
        self,
        path: Path,
        environ: Mapping[str, str],
        begun: Start,
        *,
        check: Callable[[Snapshot], None],
        activate: Callable[[Snapshot], None],
        reported: Callable[[bool], None],
    ) -> None:
        self.path = path
        self.environ = environ
        self.snapshot = begun.snapshot
        self.check = check
        self.activate = activate
        self.reported = reported
        self.begun = None if begun.problems else begun.candidate
        self.seen = self.begun.digest if self.begun else ""
        self.first = begun.snapshot.config
        self.status = ReloadStatus(
            revision=begun.snapshot.revision,
            last_success=None if begun.problems else time.time(),
            last_failure=time.time() if begun.problems else None,
            problems=begun.problems,
            last_good=bool(begun.problems),
        )
        self.children = Children()
        self.warming: asyncio.Task[None] | None = None
        reload = self.first.reload
        self.watcher = Watcher(self.reload, debounce=reload.debounce, rescan=reload.rescan)

    def start(self) -> None:
        """Begin to watch; the gateway serves by now, so what it began with is kept on disk."""
        if self.begun:
            keep(self.begun)
        self.watch(self.snapshot.config)
        self.warming = asyncio.create_task(asyncio.to_thread(self.children.start_ahead))
        self.watcher.start()
        self.watcher.touch()  # what changed since the files were read

    def watch(self, config: Config) -> None:
        """Watch the files of a configuration."""
        if self.first.reload.watch:
            self.watcher.watch(config_load.watched_files(config, self.path))

    async def reload(self) -> None:
        """Read the files and, if they differ from what was seen, try to activate them."""
        self.watch(self.snapshot.config)
        try:
            candidate = await asyncio.to_thread(read, self.path, self.environ)
        except (ConfigError, OSError) as error:
            self.failed(error, seen=f"unreadable: {error}")
            return
        if candidate.digest == self.seen:
            return
        began = time.perf_counter()
        try:
            snapshot = await asyncio.to_thread(
                build,
                candidate,
                now=time.time(),
                previous=self.snapshot,
                cache=_plans(candidate),
                children=self.children,
            )
            self.check(snapshot)
        except ConfigError as error:
            self.failed(error, seen=candidate.digest)
            return
        # Before the swap: what has been served can be started with again.
        await asyncio.to_thread(keep, candidate)
        self.seen = candidate.digest
        self.activate(snapshot)
        self.snapshot = snapshot
        self.succeeded(snapshot, time.perf_counter() - began)
        self.watch(snapshot.config)

    async def close(self) -> None:
        """Stop watching."""
        await self.watcher.close()
        if self.warming is not None:
            await self.warming
        await asyncio.to_thread(self.children.close)

    def succeeded(self, snapshot: Snapshot, seconds: float) -> None:
        """Say so everywhere."""
        restart = config_load.restart_required(self.first, snapshot.config)
        self.status = ReloadStatus(
            revision=snapshot.revision,
            last_success=time.time(),
            last_failure=self.status.last_failure,
            restart_required=restart,
        )
        self.reported(True)
        log.info("reloaded: policy revision %s in %.0f ms", snapshot.revision, seconds * 1000)
        if restart:
            log.warning("restart-required: %s take effect at the next start", ", ".join(restart))

    def failed(self, error: ConfigError | OSError, *, seen: str) -> None:
        """Say so everywhere, once for each broken state of the files."""
        if seen == self.seen:
            return
        self.seen = seen
        problems = error.problems if isinstance(error, ConfigError) else (Problem(str(error)),)
        self.status = replace(self.status, last_failure=time.time(), problems=problems)
        self.reported(False)
        log.error(
            "reload refused, revision %s goes on: %s",
            self.snapshot.revision,
            "; ".join(str(problem) for problem in problems),
        )
