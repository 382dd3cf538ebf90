"""`gateway policy test`: test rules and scenarios, or one request."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.commands import report
from gateway.commands.dry_run import as_text, send
from gateway.commands.options import config_file, examples
from gateway.commands.policy_watch import follow
from gateway.commands.progress import counted, progress
from gateway.commands.request_options import refuse_given, request_options
from gateway.commands.scenarios import selection, snapshot_of, tested
from gateway.errors import ConfigError
from gateway.model import Refuse
from gateway.record.encode import encode
from gateway.rego import CompileError
from gateway.rego.program import DEFAULT_STEPS
from gateway.snapshot import as_config_error
from gateway.workbench.coverage import Coverage
from gateway.workbench.reports import REPORTS, pretty
from gateway.workbench.request import as_dict
from gateway.workbench.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.commands.request_options import Asked
    from gateway.workbench.results import Check

EXIT_TESTS = 2

OF_TESTS = (
    "paths", "pattern", "verbose", "count", "steps", "coverage", "threshold", "watch",
    "skips_pass", "fail_on_empty",
)  # fmt: skip


@click.command(
    short_help="Run tests and scenarios, or send one request through the pipeline.",
    epilog=examples(
        "gateway policy test --coverage",
        "gateway policy test policies/orders.scenario.yaml -r 'reader' -v",
        "gateway policy test --watch",
        """gateway policy test --claims '{"sub": "alice"}' -X POST --path /orders""",
    ),
)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True))
@config_file
@click.option("--run", "-r", "pattern", help="Only tests whose full name fits this regex.")
@click.option("--verbose", "-v", is_flag=True, help="Show passed tests and printed output, too.")
@click.option(
    "--count", type=click.IntRange(1), default=1, show_default=True, help="How often each is run."
)
@click.option(
    "--steps", type=click.IntRange(1), default=DEFAULT_STEPS, show_default=True,
    help="Work limit of each test rule.",
)  # fmt: skip
@click.option("--coverage", is_flag=True, help="Report the lines that nothing reached.")
@click.option(
    "--threshold", type=click.FloatRange(0, 100), help="Fail below this coverage, in percent."
)
@click.option(
    "--exit-zero-on-skipped", "-z", "skips_pass", is_flag=True, help="Skipped tests are no failure."
)
@click.option("--fail-on-empty", is_flag=True, help="Fail where there is no test.")
@click.option("--watch", "-w", is_flag=True, help="Run again what a change affects, until Ctrl-C.")
@request_options
@click.option(
    "--format", "-f", "shape", type=click.Choice(["pretty", *REPORTS]), default="pretty",
    show_default=True, help="For people, programs, or CI systems.",
)  # fmt: skip
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
    skips_pass: bool,
    fail_on_empty: bool,
    watch: bool,
    asked: Asked,
) -> None:
    """Run the `test_` rules and the scenarios (*.scenario.yaml) below PATHS.

    PATHS are policy.paths of gateway.yaml, or policies/, by default. Scenarios go through the
    whole pipeline of gateway.yaml, with the policies below PATHS. If PATHS are scenario files
    only, they alone run, with the policies of gateway.yaml.

    With --token, --claims or --anonymous one request goes through it instead: what becomes of it
    is printed, and why.

    Exit codes: 0 all passed, or the request is allowed; 2 a test failed or was skipped, or the
    request is refused; 1 something could not be run. --watch exits with 0.
    """
    if asked.kinds:
        refuse_given(ctx, OF_TESTS, "is about tests, and a request runs none")
        _send(ctx, path, asked, shape)
        return
    asked.refuse(ctx)
    fits = selection(pattern)
    covered = coverage or threshold is not None

    def session(memory: dict[str, list[Check]] | None = None) -> Session:
        found, scenarios = tested(ctx, paths, path)
        return Session(
            sources=found.sources,
            scenarios=scenarios,
            snapshot=snapshot_of(found, scenarios),
            selected=fits,
            steps=steps,
            count=count,
            coverage=covered,
            memory=None if covered or count > 1 else memory,
        )

    if watch:
        refuse_given(ctx, ("shape",), "is not for --watch")
        found, _ = tested(ctx, paths, path)
        watched = dict.fromkeys((*found.paths, *(each.absolute() for each in paths)))
        config = [found.config_path] if found.config_path else []
        _watch([*watched, *config], session, threshold, verbose=verbose)
        return
    checks, reached = _run(session())
    if pattern and not checks:
        raise click.ClickException(f"no test fits --run {pattern!r}")
    _show(checks, reached, shape, verbose=verbose)
    missed = _missed(reached, threshold)
    outcomes = {check.outcome for check in checks}
    if missed or outcomes & {"fail", "error"}:
        raise click.exceptions.Exit(EXIT_TESTS)
    if "skip" in outcomes and not skips_pass:
        click.echo("skipped tests count as failures, unless -z is given", err=True)
        raise click.exceptions.Exit(EXIT_TESTS)
    if not checks:
        click.echo("no tests found: `test_` rules in *_test.rego, or *.scenario.yaml", err=True)
        raise click.exceptions.Exit(int(fail_on_empty))


def _send(ctx: click.Context, path: Path, asked: Asked, shape: str) -> None:
    """Send the one request that was asked for."""
    if shape not in ("pretty", "json"):
        raise click.UsageError(f"--format {shape} is for tests")
    request, snapshot = asked.ready(ctx, path)
    outcome = send(request, snapshot, asked.jwks)
    result = as_dict(outcome)
    click.echo(encode(result).decode() if shape == "json" else as_text(result))
    if isinstance(outcome, Refuse):
        raise click.exceptions.Exit(EXIT_TESTS)


def _watch(
    paths: list[Path],
    session: Callable[[dict[str, list[Check]]], Session],
    threshold: float | None,
    *,
    verbose: bool,
) -> None:
    """Run all, and again after each change, until somebody ends it."""
    memory: dict[str, list[Check]] = {}

    def run(changed: Sequence[str]) -> None:
        began = time.perf_counter()
        if changed:
            click.echo(f"\n{time.strftime('%H:%M:%S')} {', '.join(changed)}", err=True)
        try:
            checks, reached = _run(session(memory))
        except ConfigError as error:
            report.show_problems(error.problems)
        except CompileError as error:
            report.show_problems(as_config_error(error).problems)
        except click.ClickException as error:
            report.show_error(error.format_message())
        except OSError as error:  # a file that is gone by now; another change follows
            report.show_error(f"{error.filename}: {error.strerror}")
        else:
            _show(checks, reached, "pretty", verbose=verbose)
            _missed(reached, threshold)
        took = time.perf_counter() - began
        click.echo(f"waiting for changes ({took:.2f} s)", err=True)

    asyncio.run(follow(paths, run))


def _run(session: Session) -> tuple[list[Check], Coverage | None]:
    checks: list[Check] = []
    coverage: Coverage | None = None
    with progress("tests", session.size) as tell:
        for each in counted(session.run(), tell):
            if isinstance(each, Coverage):
                coverage = each
            else:
                checks.append(each)
    return checks, coverage


def _show(checks: list[Check], coverage: Coverage | None, shape: str, *, verbose: bool) -> None:
    lines = [] if coverage is None else list(coverage.as_lines())
    if shape == "pretty":
        report.show_results(pretty(checks, verbose=verbose))
        if lines:
            click.echo("\n".join(("", *lines)))
        return
    click.echo(REPORTS[shape](checks, coverage))
    if coverage is not None and shape == "json":  # which has no place for results then
        failed = [check for check in checks if check.outcome in ("fail", "error")]
        lines = [pretty(failed, verbose=False)] if failed else []
    if lines:
        click.echo("\n".join(lines), err=True)


def _missed(coverage: Coverage | None, threshold: float | None) -> bool:
    """Whether the coverage is too low, which is said then."""
    missed = coverage is not None and threshold is not None and coverage.total.percent < threshold
    if missed:
        click.echo(f"the coverage is below {threshold:g} %", err=True)
    return missed
