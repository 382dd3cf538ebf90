"""`gateway policy test`: test rules and scenarios, or one request."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.commands import report
from gateway.commands.dry_run import as_text, send
from gateway.commands.options import config_file
from gateway.commands.policy_files import policy_set
from gateway.commands.policy_watch import follow
from gateway.commands.progress import progress
from gateway.commands.request_options import refuse_given, request_options
from gateway.commands.scenarios import scenarios_of, selection, snapshot_of
from gateway.decide.programs import as_config_error
from gateway.errors import ConfigError
from gateway.model import Refuse
from gateway.record.encode import encode
from gateway.rego import CompileError
from gateway.rego.program import DEFAULT_STEPS
from gateway.workbench.coverage import Coverage
from gateway.workbench.reports import REPORTS, pretty
from gateway.workbench.request import as_dict
from gateway.workbench.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.commands.request_options import Asked
    from gateway.workbench.results import Check

EXIT_TESTS = 2

OF_TESTS = ("paths", "pattern", "verbose", "count", "steps", "coverage", "threshold", "watch")


@click.command(short_help="Run tests and scenarios, or send one request through the pipeline.")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True))
@config_file
@click.option("--run", "pattern", help="Only tests whose full name fits this regex.")
@click.option("--verbose", "-v", is_flag=True, help="Show passed tests and printed output, too.")
@click.option("--count", type=click.IntRange(1), default=1, help="How often each is run.")
@click.option(
    "--steps", type=click.IntRange(1), default=DEFAULT_STEPS, help="Work limit of each test rule."
)
@click.option("--coverage", is_flag=True, help="Report the lines that nothing reached.")
@click.option(
    "--threshold", type=click.FloatRange(0, 100), help="Fail below this coverage, in percent."
)
@click.option("--watch", is_flag=True, help="Run again what a change affects, until Ctrl-C.")
@request_options
@click.option("--format", "shape", type=click.Choice(["pretty", *REPORTS]), default="pretty")
@click.pass_context
def test(
    ctx: click.Context,
    paths: tuple[Path, ...],
    path: Path,
    pattern: str | None,
    count: int,
    steps: int,
    threshold: float | None,
    shape: str,
    *,
    verbose: bool,
    coverage: bool,
    watch: bool,
    asked: Asked,
) -> None:
    """Run the `test_` rules and the scenarios (*.scenario.yaml) below PATHS.

    PATHS are policy.paths of gateway.yaml, or policies/, by default. Scenarios go through the
    whole pipeline of gateway.yaml, with the policies below PATHS.

    With --token, --claims or --anonymous one request goes through it instead: what becomes of it
    is printed, and why.

    Exit codes: 0 all passed, or the request is allowed; 2 a test failed, or the request is
    refused; 1 something could not be run.

    Examples: gateway policy test --coverage; gateway policy test --claims '{"sub": "alice"}' -X
    POST --path /orders; gateway policy test --watch
    """
    if not asked.kinds:
        asked.refuse(ctx)
        fits = selection(pattern)

        def session(memory: dict[str, list[Check]] | None = None) -> Session:
            found = policy_set(ctx, paths, path)
            scenarios = scenarios_of(found)
            return Session(
                sources=found.sources,
                scenarios=scenarios,
                snapshot=snapshot_of(found, scenarios),
                selected=fits,
                steps=steps,
                count=count,
                coverage=coverage or threshold is not None,
                memory=memory,
            )

        if watch:
            refuse_given(ctx, ("count", "coverage", "threshold", "shape"), "is not for --watch")
            found = policy_set(ctx, paths, path)
            config = [found.config_path] if found.config_path else []
            _watch([*found.paths, *config], session, verbose=verbose)
        _run(session(), pattern, shape, threshold, verbose=verbose)
        return
    refuse_given(ctx, OF_TESTS, "is about tests, and a request runs none")
    if shape not in ("pretty", "json"):
        raise click.UsageError(f"--format {shape} is for tests")
    request, snapshot = asked.ready(ctx, path)
    outcome = send(request, snapshot, asked.jwks)
    result = as_dict(outcome)
    click.echo(encode(result).decode() if shape == "json" else as_text(result))
    if isinstance(outcome, Refuse):
        raise click.exceptions.Exit(EXIT_TESTS)


def _watch(
    paths: list[Path], session: Callable[[dict[str, list[Check]]], Session], *, verbose: bool
) -> None:
    """Run all, and again after each change; never returns."""
    memory: dict[str, list[Check]] = {}

    def run() -> None:
        began = time.perf_counter()
        try:
            checks = [each for each in session(memory).run() if not isinstance(each, Coverage)]
        except ConfigError as error:
            report.show_problems(error.problems)
        except CompileError as error:
            report.show_problems(as_config_error(error).problems)
        except click.ClickException as error:
            report.show_error(error.format_message())
        except OSError as error:  # a file that is gone by now; another change follows
            report.show_error(f"{error.filename}: {error.strerror}")
        else:
            click.echo(pretty(checks, verbose=verbose))
        took = time.perf_counter() - began
        click.echo(f"{time.strftime('%H:%M:%S')} waiting for changes ({took:.2f} s)", err=True)

    asyncio.run(follow(paths, run))


def _run(
    session: Session, pattern: str | None, shape: str, threshold: float | None, *, verbose: bool
) -> None:
    checks: list[Check] = []
    coverage: Coverage | None = None
    with progress() as shown:
        for each in shown(session.run()):
            if isinstance(each, Coverage):
                coverage = each
            else:
                checks.append(each)
    if pattern and not checks:
        raise click.ClickException(f"no test fits --run {pattern!r}")
    if shape == "pretty":
        click.echo(pretty(checks, verbose=verbose))
        if coverage is not None:
            click.echo("\n".join(("", *coverage.as_lines())))
    else:
        click.echo(REPORTS[shape](checks, coverage))
    if not checks:
        click.echo("no tests found: `test_` rules in *_test.rego files", err=True)
    missed = coverage is not None and threshold is not None and coverage.total.percent < threshold
    if missed:
        click.echo(f"the coverage is below {threshold:g} %", err=True)
    if missed or any(check.outcome in ("fail", "error") for check in checks):
        raise click.exceptions.Exit(EXIT_TESTS)
