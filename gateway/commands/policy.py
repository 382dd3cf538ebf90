"""`gateway policy`: test, check and replay policies."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.commands import reads, report
from gateway.commands.group import Group
from gateway.commands.options import config_file, examples, output_format
from gateway.commands.policy_bench import bench
from gateway.commands.policy_diff import diff
from gateway.commands.policy_eval import evaluate
from gateway.commands.policy_explain import explain
from gateway.commands.policy_files import policy_set
from gateway.commands.policy_replay import replay
from gateway.commands.policy_test import test
from gateway.commands.scenarios import scenarios_of, snapshot_of
from gateway.errors import ConfigError
from gateway.rego import CompileError, Policy, compile as compile_rego
from gateway.rego.compiler import Unit, all_good, compile_all
from gateway.rego.testing import suites
from gateway.snapshot import as_config_error
from gateway.workbench.lint import Lint, kept, unknown_fields
from gateway.workbench.session import Session

if TYPE_CHECKING:
    from gateway.commands.policy_files import PolicySet
    from gateway.rego import Program
    from gateway.workbench.lint import Doubt
    from gateway.workbench.scenario import Scenario


@click.group(cls=Group)
def policy() -> None:
    """Test, check and replay policies."""


policy.add_command(bench)
policy.add_command(evaluate)
policy.add_command(explain)
policy.add_command(replay)
policy.add_command(test)
policy.add_command(diff)


@policy.command(
    short_help="Compile the policies and report every fault with its place.",
    epilog=examples("gateway policy check policies", "gateway policy check --tests --strict"),
)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True))
@config_file
@click.option("--emit", type=click.Choice(["python"]), help="Print the generated code.")
@click.option(
    "--verbose", "-v", is_flag=True, help="Show what deciding rules read, and which have an index."
)
@click.option("--strict", is_flag=True, help="Warnings count as faults.")
@click.option(
    "--tests", "tested", is_flag=True,
    help="Run tests and scenarios, too, and warn of what never held in them.",
)  # fmt: skip
@output_format
@click.pass_context
def check(
    ctx: click.Context,
    paths: tuple[Path, ...],
    path: Path,
    emit: str | None,
    shape: str,
    *,
    verbose: bool,
    strict: bool,
    tested: bool,
) -> None:
    """Compile the policies below PATHS and report every fault with its place.

    Without PATHS they are policy.paths of gateway.yaml, or policies/. Scenarios beside them are
    read, too. What is no fault, but seldom meant, is a warning with a code; `# gateway:ignore
    CODE` on its line or the line above switches it off.

    Exit codes: 0 no fault, 1 faults, or warnings with --strict.
    """
    if emit and shape == "json":
        raise click.UsageError("--emit prints code; leave --format json out")
    try:
        found = policy_set(ctx, paths, path)
        program, asked = _checked(found)
        scenarios = scenarios_of(found)
    except (ConfigError, CompileError) as error:
        faults = as_config_error(error) if isinstance(error, CompileError) else error
        if shape == "json":
            click.echo(json.dumps({"problems": list(map(report.as_json, faults.problems))}))
            raise click.exceptions.Exit(1) from None
        raise faults from None
    doubts = _doubts(found, program, asked, scenarios if tested else None)
    if shape == "json":
        made = {
            "problems": [],
            "warnings": [report.as_json(each.problem) | {"code": each.code} for each in doubts],
            "revision": found.sources.revision,
        }
        click.echo(json.dumps(made | (reads.as_json(asked, program) if verbose else {})))
    else:
        report.show_problems(
            (replace(each.problem, key=each.code) for each in doubts), kind="warning"
        )
        _show(found, program, asked, len(scenarios), emit=emit is not None, verbose=verbose)
    if strict and doubts:
        raise click.exceptions.Exit(1)


def _doubts(
    found: PolicySet,
    program: Program,
    asked: dict[str, reads.Asked],
    scenarios: list[Scenario] | None,
) -> list[Doubt]:
    """What is seldom meant, but where a comment says that it is; with scenarios, they are run."""
    sources = found.sources
    footprints = {name: each.footprint for name, each in asked.items()}
    lint = Lint(sources, program, footprints)
    doubts = [*unknown_fields(reads.warnings(asked)), *lint.doubts()]
    if scenarios is not None:
        session = Session(
            sources=sources, scenarios=scenarios, snapshot=snapshot_of(found, scenarios)
        )
        doubts += lint.never(session.held())
    return kept(doubts, sources.modules)


def _show(
    found: PolicySet,
    program: Program,
    asked: dict[str, reads.Asked],
    scenarios: int,
    *,
    emit: bool,
    verbose: bool,
) -> None:
    if emit:
        click.echo(program.source)
        return
    sizes = (len(found.sources.modules), len(found.sources.tests), scenarios)
    kinds = zip(sizes, ("module", "test module", "scenario"), strict=True)
    counts = ", ".join(report.counted(size, noun) for size, noun in kinds if size)
    click.echo(f"{counts}, no fault; revision {found.sources.revision}")
    if verbose:
        click.echo("\n".join(("", *reads.as_text(asked, program))))


def _checked(found: PolicySet) -> tuple[Program, dict[str, reads.Asked]]:
    """Compile policies and tests; return the served program, and the rules that decide."""
    sources = found.sources
    tests = suites(sources.modules, sources.tests)
    units = [Unit(modules=modules) for modules in (sources.modules, *(s.modules for s in tests))]
    program = all_good(compile_all(units))[0]
    Policy(program, sources.data)
    dialects = reads.entrypoints(found.config, program)
    if not dialects:
        return program, {}
    footprints = compile_rego(sources.modules, tuple(dialects)).footprints
    return program, {
        name: reads.Asked(dialects=dialects[name], footprint=footprint)
        for name, footprint in footprints.items()
    }
