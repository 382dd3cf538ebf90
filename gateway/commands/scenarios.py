"""The scenarios that commands run, and the configuration that they run in."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.bundle import folder
from gateway.bundle.owners import shown as shown_name
from gateway.bundle.root import unverified
from gateway.commands.policy_files import policy_set
from gateway.config import load as config_load
from gateway.errors import ConfigError, Problem
from gateway.files import read_file
from gateway.snapshot import build, candidate_of
from gateway.workbench.scenario import SUFFIX, find_scenarios, read_scenarios

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.commands.policy_files import PolicySet
    from gateway.snapshot import Snapshot
    from gateway.workbench.scenario import Scenario

MAX_SCENARIOS = 4 * 1024**2


def selection(pattern: str | None) -> Callable[[str], bool]:
    """Whether a full name fits `--run`."""
    try:
        selected = re.compile(pattern or "")
    except re.error as error:
        message = f"not a regular expression: {error}"
        raise click.BadParameter(message, param_hint="--run") from None
    return lambda name: bool(selected.search(name))


def scenarios_below(paths: Iterable[Path], *, once: bool = False) -> list[Scenario]:
    """All scenarios below some paths; ConfigError with every fault.

    With `once`, of files with the same text only the first counts.
    """
    made: list[Scenario] = []
    problems: list[Problem] = []
    seen: set[bytes] = set()
    for path in find_scenarios(each.absolute() for each in paths):
        shown = shown_name(path)
        try:
            text = read_file(path, MAX_SCENARIOS)
            if not once or text not in seen:
                seen.add(text)
                made += read_scenarios(Path(shown), text)
        except OSError as error:
            problems.append(Problem(f"cannot be read: {error.strerror}", file=shown))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(tuple(problems))
    return made


def scenarios_of(found: PolicySet, paths: Iterable[Path] = ()) -> list[Scenario]:
    """All scenarios below some paths, or those of a policy set; ConfigError with every fault."""
    return scenarios_below(tuple(paths) or found.paths)


def tested(
    ctx: click.Context, paths: tuple[Path, ...], path: Path
) -> tuple[PolicySet, list[Scenario]]:
    """The policies and scenarios below PATHS; the configuration's policies for scenario files only.

    Then no test rules are among them. Raises ConfigError.
    """
    alone = bool(paths) and all(each.name.endswith(SUFFIX) and each.is_file() for each in paths)
    found = policy_set(ctx, () if alone else paths, path)
    if alone:
        found = replace(found, sources=replace(found.sources, tests={}))
    return found, scenarios_of(found, paths)


def snapshot_of(found: PolicySet, scenarios: list[Scenario]) -> Snapshot | None:
    """The configuration that scenarios need, with the policies that are tested."""
    return snapshot_with(found.config_path, found.paths, scenarios) if scenarios else None


def snapshot_with(
    config_path: Path | None, paths: tuple[Path, ...], scenarios: list[Scenario]
) -> Snapshot:
    """The configuration that scenarios need, with the policies at some paths."""
    if config_path is None:
        message = "scenarios go through the pipeline of a configuration, and there is none"
        where = str(scenarios[0].file)
        raise ConfigError((Problem(message, file=where, remedy="name it with --config"),))
    text = config_load.read_text(config_path)
    loaded = config_load.read(text, config_path, os.environ)
    policy = loaded.config.policy.model_copy(update={"paths": paths, "bundles": {}, "tests": False})
    config = loaded.config.model_copy(update={"policy": policy})
    return build(
        candidate_of(replace(loaded, config=config), text, folder.read_files(unverified(paths))),
        now=0.0,
    )
