"""`gateway policy diff`: which requests two versions of the policies decide differently."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from gateway import wire
from gateway.bundle import folder
from gateway.bundle.root import unverified
from gateway.commands import reads
from gateway.commands.logs import events_of
from gateway.commands.options import config_file, examples, output_format
from gateway.commands.policy_files import policy_config
from gateway.commands.progress import progress
from gateway.commands.report import counted
from gateway.commands.scenarios import scenarios_below, snapshot_with
from gateway.decide import read_value, reserved_names
from gateway.decide.programs import DEFAULT_ENTRYPOINTS, as_config_error
from gateway.errors import ConfigError, Problem
from gateway.record.encode import encode
from gateway.record.text import one_line
from gateway.rego import CompileError, compile as compile_rego
from gateway.rego.program import DEFAULT_STEPS
from gateway.workbench.candidate import Reads, is_read, read_by
from gateway.workbench.diff import Case, diff as compare
from gateway.workbench.diff_report import as_json, as_lines
from gateway.workbench.recorded import case_of
from gateway.workbench.run import run
from gateway.workbench.tokens import Mint
from gateway.workbench.versions import Version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gateway.bundle.folder import PolicySources
    from gateway.config.model import Config
    from gateway.model import Decision
    from gateway.snapshot import Snapshot
    from gateway.workbench.scenario import Scenario

EXIT_DIFFERENT = 2
TRIES = 30_000
SECONDS = 600.0
ANY: frozenset[str] = frozenset()
"""The dialects of a rule that was named: nothing is known of them."""
NOW = 1_790_000_000.0
"""The time of inputs that no scenario or log gives one: the same each time."""


@click.command(
    short_help="Look for requests that two versions of the policies decide differently.",
    epilog=examples(
        "gateway policy diff policies policies-new",
        "gateway policy diff policies policies-new --log decisions.jsonl",
    ),
)
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
@click.option(
    "--seconds", type=click.FloatRange(0), default=SECONDS, show_default=True,
    help="Stop to generate inputs after so long.",
)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Generate others.")
@output_format
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
    seconds: float,
    seed: int,
    shape: str,
) -> None:
    """Look for requests that the policies at NEW decide differently than those at OLD.

    OLD and NEW are folders or files. Both are asked with what the scenarios beside them send, with
    the inputs of decision logs, and with inputs that are generated from what the policies compare.
    For each difference the smallest input and the lines that make it are shown. That none is
    found is no proof that there is none.

    Exit codes: 0 no difference found, 2 differences, 1 could not be done, or nothing was tried.
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
    asked = {entrypoint: ANY} if entrypoint else _entrypoints(config, *sources)
    steps = DEFAULT_STEPS if config is None else config.policy.steps
    try:
        before, after = (
            Version(each, tuple(asked), steps=steps, readings=_readings(config, asked))
            for each in sources
        )
    except CompileError as error:
        raise as_config_error(error) from None
    whole = {
        name: read_by(before.footprint(name)) | read_by(after.footprint(name)) for name in asked
    }
    cases = _recorded(logs, whole, entrypoint)
    if scenarios:
        snapshot = snapshot_with(config_path, (new.absolute(),), scenarios)
        cases = chain(_sent(scenarios, snapshot, entrypoint), cases)
    end = time.monotonic() + seconds
    with progress("inputs", tries) as tell:
        report = compare(
            before, after, tuple(asked), cases,
            tries=tries, seed=seed, now=NOW, progress=tell,
            over=lambda: time.monotonic() >= end,
        )  # fmt: skip
    if shape == "json":
        click.echo(encode({**as_json(report), "seed": seed}).decode())
    else:
        click.echo("\n".join(map(one_line, as_lines(report))))
    if report.differences:
        raise click.exceptions.Exit(EXIT_DIFFERENT)
    if report.untried:
        raise click.ClickException(f"{', '.join(report.untried)}: nothing was tried")


def _sources(path: Path) -> PolicySources:
    paths = (path.absolute(),)
    found = folder.parse_files(folder.read_files(unverified(paths)), paths)
    if not found.modules:
        raise ConfigError((Problem("no .rego file", file=str(path)),))
    return found


def _entrypoints(
    config: Config | None, old: PolicySources, new: PolicySources
) -> dict[str, frozenset[str]]:
    """The rules that routes ask, or the one that a gateway asks by default, and their dialects."""
    before, after = (reads.entrypoints(config, compile_rego(each.modules)) for each in (old, new))
    for name in sorted(before.keys() ^ after.keys()):
        has, lacks = ("OLD", "NEW") if name in before else ("NEW", "OLD")
        raise click.ClickException(
            f"{has} is asked for {name}, which {lacks} does not define: no request is decided by "
            "both; name a rule with --entrypoint"
        )
    if not after:
        known = " or ".join(DEFAULT_ENTRYPOINTS)
        raise click.ClickException(f"NEW defines no {known}: name a rule with --entrypoint")
    return dict(sorted(after.items()))


def _readings(
    config: Config | None, asked: Mapping[str, frozenset[str]]
) -> dict[str, Callable[[Any], Decision]]:
    """How the gateway takes the values of rules, each asked in one dialect only."""
    reserved = wire.RESERVED if config is None else reserved_names(config)
    return {
        name: partial(read_value, dialect=dialect, reserved=reserved)
        for name, dialects in asked.items()
        if len(dialects) == 1
        for dialect in dialects
    }


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
    logs: tuple[Path, ...], asked: Mapping[str, Reads], entrypoint: str | None
) -> Iterator[Case]:
    """The decisions of logs; how many are left out is told after the last.

    `asked` holds what the entrypoints that are asked read of the input.
    """
    others = lost = 0
    for found in filter(None, map(case_of, events_of(logs))):
        name = entrypoint or found.entrypoint
        if name not in asked:
            others += 1
        elif found.now is None or any(is_read(each, asked[name]) for each in found.gone):
            lost += 1
        else:
            yield replace(found.case, entrypoint=name, now=found.now)
    if others:
        said = f"{counted(others, 'recorded decision')} of other rules left out"
        click.echo(f"note: {said}, see --entrypoint", err=True)
    if lost:
        said = f"{counted(lost, 'recorded decision')} left out"
        click.echo(
            f"note: {said}: the time, or a part of the input that is read, is gone", err=True
        )
