"""gateway.yaml → Config, or every problem at once with its place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.config import checks, disk
from gateway.config.document import MAX_BYTES, Document, Fault, Key, dotted, read_document
from gateway.config.model import Config
from gateway.config.validate import validate
from gateway.config.walk import files, leaves, map_paths
from gateway.errors import ConfigError, Problem
from gateway.files import read_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.model import Policy

STATE_FOLDER = ".gateway"

FIXED: tuple[Key, ...] = (
    ("workers",),
    ("server",),
    ("listeners",),
    ("admin", "address"),
    ("admin", "enabled"),
    ("limits", "head"),
    ("limits", "headers"),
    ("limits", "url"),
    ("limits", "head_timeout"),
    ("limits", "idle_timeout"),
    ("limits", "connections"),
    ("limits", "streams"),
    ("limits", "websocket_message"),
    ("limits", "drain_delay"),
    ("limits", "drain_timeout"),
    ("log", "decisions", "sink"),
    ("log", "decisions", "path"),
    ("log", "decisions", "queue"),
    ("log", "decisions", "ring"),
    ("log", "access", "sink"),
    ("log", "access", "path"),
    ("policy", "state"),
    ("rate_limits", "keys"),
    ("sessions", "memory"),
    ("sessions", "storage"),
    ("reload",),
)
"""What is fixed at the start: these keys and all below them.

The contents of a certificate reload, its file name does not.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A configuration and the file that it came from.

    All paths in `config` are absolute and `config.policy.state` is set. `warnings` are faults
    that do not keep the gateway from running.
    """

    config: Config
    path: Path
    document: Document
    warnings: tuple[Problem, ...]

    def locate(self, problem: Problem) -> Problem:
        """The problem with file, line and column, where it has a key and no place yet."""
        if problem.file or not problem.key:
            return problem
        fault = Fault(key=(problem.key,), message=problem.message, remedy=problem.remedy)
        return _in_file(self.document.problem(fault), self.path)

    def located(self, error: ConfigError) -> ConfigError:
        """The error with all its problems located."""
        return ConfigError(tuple(self.locate(problem) for problem in error.problems))


def load(path: Path, environ: Mapping[str, str]) -> Loaded:
    """Read a configuration file; raises ConfigError with every problem in it."""
    return read(read_text(path), path, environ)


def read_text(path: Path) -> bytes:
    """The contents of a configuration file; raises ConfigError."""
    try:
        return read_file(path, MAX_BYTES)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        remedy = "gateway init DIR writes one" if missing else ""
        message = f"cannot be read: {error.strerror}"
        raise ConfigError((Problem(message, file=str(path), remedy=remedy),)) from None


def read(data: bytes, path: Path, environ: Mapping[str, str]) -> Loaded:
    """Like `load`, of text at hand; relative paths in it start at the folder of `path`."""
    document = read_document(data, environ)
    problems = list(document.problems)
    config, draft, faults = validate(document.tree, Config, document.unreadable)
    if document.readable:
        problems += map(document.problem, faults)
    if config is not None:
        config = _absolute(config, path)
        names = checks.Names.of(draft)
        for fault in checks.check(config, names):
            key = draft.original(fault.key)
            written = replace(fault, key=key + fault.key[len(key) :])
            problems.append(document.problem(written))
    if problems or config is None:
        problems.sort(key=lambda problem: (problem.line, problem.column))
        raise ConfigError(tuple(_in_file(problem, path) for problem in problems))
    warnings = (_in_file(document.problem(fault), path) for fault in disk.warn(config))
    return Loaded(config=config, path=path, document=document, warnings=tuple(warnings))


def watched_files(config: Config, path: Path) -> tuple[Path, ...]:
    """Every file and folder whose change should cause a reload: `path` and what it names."""
    return tuple(dict.fromkeys([path, *(file for _, file in files(config))]))


def restart_required(old: Config, new: Config) -> tuple[str, ...]:
    """The keys (`listeners.0.address`) whose new values take effect at the next start only."""
    before, after = dict(leaves(old)), dict(leaves(new))
    return tuple(
        dotted(key)
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key) and any(key[: len(each)] == each for each in FIXED)
    )


def absolute_policy(config: Config, path: Path) -> Policy:
    """The policies of a configuration in the file `path`, their paths absolute and `state` set."""
    state = config.policy.state or Path(STATE_FOLDER)
    policy = config.policy.model_copy(update={"state": state})
    folder = path.absolute().parent
    absolute: Policy = map_paths(policy, lambda each: folder / each)
    return absolute


def _absolute(config: Config, path: Path) -> Config:
    whole = config.model_copy(update={"policy": absolute_policy(config, path)})
    folder = path.absolute().parent
    absolute: Config = map_paths(whole, lambda each: folder / each)
    return absolute


def _in_file(problem: Problem, path: Path) -> Problem:
    return replace(problem, file=str(path))
