"""The scenarios that commands run, and the configuration that they run in."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.bundle import folder
from gateway.config import load as config_load
from gateway.errors import ConfigError, Problem
from gateway.files import read_file
from gateway.snapshot import build, candidate_of
from gateway.workbench.scenario import find_scenarios, read_scenarios

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


def scenarios_of(found: PolicySet, paths: Iterable[Path] = ()) -> list[Scenario]:
    """All scenarios below some paths, or those of a policy set; ConfigError with every fault."""
    made: list[Scenario] = []
    problems: list[Problem] = []
    for path in find_scenarios([each.absolute() for each in paths] or found.paths):
        shown = folder.shown(path)
        try:
            made += read_scenarios(Path(shown), read_file(path, MAX_SCENARIOS))
        except OSError as error:
            problems.append(Problem(f"cannot be read: {error.strerror}", file=shown))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(tuple(problems))
    return made


def snapshot_of(found: PolicySet, scenarios: list[Scenario]) -> Snapshot | None:
    """The configuration that scenarios need, with the policies that are tested."""
    if not scenarios:
        return None
    if found.config_path is None:
        raise ConfigError(
            (
                Problem(
                    "scenarios go through the pipeline of a configuration, and there is none",
                    file=str(scenarios[0].file),
                    remedy="name it with --config",
                ),
            )
        )
    text = config_load.read_text(found.config_path)
    loaded = config_load.read(text, found.config_path, os.environ)
    policy = loaded.config.policy.model_copy(update={"paths": found.paths, "tests": False})
    config = loaded.config.model_copy(update={"policy": policy})
    files = folder.read_files(found.paths)
    return build(candidate_of(replace(loaded, config=config), text, files), now=0.0)
