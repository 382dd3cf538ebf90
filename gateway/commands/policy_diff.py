"""`gateway policy diff`: which requests two versions of the policies decide differently."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from gateway.bundle import folder
from gateway.commands import reads
from gateway.commands.logs import events_of
from gateway.commands.options import config_file
from gateway.commands.policy_files import policy_config
from gateway.commands.report import counted
from gateway.commands.scenarios import scenarios_below, snapshot_with
from gateway.decide.programs import DEFAULT_ENTRYPOINTS, as_config_error
from gateway.errors import ConfigError, Problem
from gateway.record.encode import encode
from gateway.rego import CompileError, compile as compile_rego
from gateway.workbench.diff import Case, diff as compare
from gateway.workbench.diff_report import as_json, as_lines
from gateway.workbench.recorded import cases_of
from gateway.workbench.reports import one_line
from gateway.workbench.run import run
from gateway.workbench.tokens import Mint
from gateway.workbench.versions import Version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.bundle.folder import PolicySources
    from gateway.config.model import Config
    from gateway.snapshot import Snapshot
    from gateway.workbench.scenario import Scenario

EXIT_DIFFERENT = 2
MAX_SCENARIOS = 4 * 1024**2
TRIES = 30_000
NOW = 1_790_000_000.0
"""The time of inputs that no scenario or log gives one: the same each time."""


@click.command(short_help="Look for requests that two versions of the policies decide differently.")
@click.argument("old", type=click.Path(path_type=Path, exists=True))
@click.argument("new", type=click.Path(path_type=Path, exists=True))
@config_file
@click.option("--entrypoint", help="The rule to ask; those of the routes by default.")
@click.option(
    "--scenarios", "scenario_paths", multiple=True,
    type=click.Path(path_type=Path, exists=True),
    help="Scenario files or folders with some; those beside OLD and NEW by default.",
)  # fmt: skip
@click.option(
    "--log", "logs", multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A decision log whose inputs are decided again.",
)  # fmt: skip
@click.option(
    "--tries", type=click.IntRange(0), default=TRIES, show_default=True,
    help="How many inputs to generate.",
)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Generate others.")
@click.option("--format", "shape", type=click.Choice(["pretty", "json"]), default="pretty")
@click.pass_context
def diff(
    ctx: click.Context,
    old: Path,
    new: Path,
    path: Path,
    entrypoint: str | None,
    scenario_paths: tuple[Path, ...],
    logs: tuple[Path, ...],
    tries: int,
    seed: int,
    shape: str,
) -> None:
    """Look for requests that the policies at NEW decide differently than those at OLD.

    OLD and NEW are folders or files. Both are asked with what the scenarios beside them send, with
    the inputs of decision logs, and with inputs that are generated from what the policies compare.
    For each difference the smallest input and the lines that make it are shown. That none is
    found is no proof that there is none.

    Exit codes: 0 no difference found, 2 differences, 1 could not be done.

    Example: gateway policy diff policies policies-new --log decisions.log
    """
    default = ctx.get_parameter_source("path") is ParameterSource.DEFAULT
    config_path = path if path.exists() or not default else None
    config = None if config_path is None else policy_config(config_path)
    sources = [_sources(each) for each in (old, new)]
    scenarios = scenarios_below(scenario_paths or (old, new), once=True)
    if config_path is None and scenarios and not scenario_paths:
        said = "scenarios are left out: they need a configuration, see --config"
        click.echo(f"note: {said}", err=True)
        scenarios = []
    try:
        entrypoints = (entrypoint,) if entrypoint else _entrypoints(config, sources[1])
        before, after = (Version(each, entrypoints) for each in sources)
    except CompileError as error:
        raise as_config_error(error) from None
    cases: list[Case] = []
    if scenarios:
        snapshot = snapshot_with(config_path, (new.absolute(),), scenarios)
        cases += _sent(scenarios, snapshot, entrypoint)
    cases += _recorded(logs, entrypoints, entrypoint)
    report = compare(
        before, after, entrypoints, cases,
        tries=tries, seed=seed, now=NOW, progress=_progress(tries),
    )  # fmt: skip
    if shape == "json":
        click.echo(encode({**as_json(report), "seed": seed}).decode())
    else:
        click.echo("\n".join(map(one_line, as_lines(report))))
    if report.differences:
        raise click.exceptions.Exit(EXIT_DIFFERENT)


def _sources(path: Path) -> PolicySources:
    paths = (path.absolute(),)
    found = folder.parse_files(folder.read_files(paths), paths)
    if not found.modules:
        raise ConfigError((Problem("no .rego file", file=str(path)),))
    return found


def _entrypoints(config: Config | None, sources: PolicySources) -> tuple[str, ...]:
    """The rules that routes ask, or the one that a gateway asks by default."""
    found = tuple(sorted(reads.entrypoints(config, compile_rego(sources.modules))))
    if not found:
        known = " or ".join(DEFAULT_ENTRYPOINTS)
        raise click.ClickException(f"NEW defines no {known}: name a rule with --entrypoint")
    return found


def _sent(scenarios: list[Scenario], snapshot: Snapshot, entrypoint: str | None) -> Iterator[Case]:
    """The inputs that scenarios lead to; those that are refused before the policy have none."""
    mint = Mint(snapshot.config)
    for scenario in scenarios:
        ran = run(scenario, snapshot, mint)
        if ran.error:
            raise click.ClickException(f"{scenario.file}:{scenario.row}: {ran.error}")
        trail = ran.outcome.trail if ran.outcome else None
        if trail is not None and trail.document is not None and trail.match is not None:
            yield Case(
                source="scenario",
                entrypoint=entrypoint or snapshot.decider.entrypoints[trail.match.route.id],
                document=trail.document,
                now=scenario.now,
                name=f"{scenario.file}:{scenario.row}: {scenario.name}",
            )


def _recorded(
    logs: tuple[Path, ...], entrypoints: tuple[str, ...], entrypoint: str | None
) -> Iterator[Case]:
    left_out = 0
    for found in cases_of(events_of(logs)):
        asked = entrypoint or found.entrypoint
        if asked in entrypoints:
            yield replace(found, entrypoint=asked)
        else:
            left_out += 1
    if left_out:
        said = f"{counted(left_out, 'recorded decision')} of other rules left out"
        click.echo(f"note: {said}, see --entrypoint", err=True)


def _progress(tries: int) -> Callable[[int], None]:
    """Show on a terminal how far it is."""
    if not sys.stderr.isatty():
        return lambda _: None

    def show(number: int) -> None:
        click.echo(f"\r\x1b[Ktried {number} of {tries} inputs", nl=False, err=True)
        if number >= tries:
            click.echo("\r\x1b[K", nl=False, err=True)

    return show
