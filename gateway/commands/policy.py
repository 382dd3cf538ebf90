"""`gateway policy`: test and check policies."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from gateway.commands import reads, report
from gateway.commands.dry_run import as_text, read_request, send
from gateway.commands.group import Group
from gateway.commands.inputs import read_token
from gateway.commands.options import config_file, is_given
from gateway.commands.policy_files import policy_set
from gateway.errors import ConfigError
from gateway.model import Refuse
from gateway.record.encode import encode
from gateway.rego import CompileError, Policy, compile as compile_rego
from gateway.rego.compiler import Unit, all_good, compile_all
from gateway.rego.testing import TestResult, run_tests, suites
from gateway.snapshot import as_config_error, load
from gateway.workbench.request import as_dict

EXIT_TESTS = 2

OF_REQUESTS = ("method", "target", "header", "body", "scheme", "host", "address", "jwks")
OF_TESTS = ("paths", "pattern", "verbose")

if TYPE_CHECKING:
    from gateway.bundle.folder import PolicySources
    from gateway.commands.policy_files import PolicySet
    from gateway.rego import Program


@click.group(cls=Group)
def policy() -> None:
    """Test and check policies."""


@policy.command(short_help="Run the policies' tests, or send one request through the pipeline.")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True))
@config_file
@click.option("--run", "pattern", help="Only tests whose full name fits this regex.")
@click.option("--verbose", "-v", is_flag=True, help="Show passed tests and printed output, too.")
@click.option(
    "--token", type=click.File("rb"), help="Send a request with the token in FILE (- is stdin)."
)
@click.option("--anonymous", is_flag=True, help="Send a request without a token.")
@click.option("--method", "-X", default="GET", show_default=True, help="The request's method.")
@click.option("--path", "target", default="/", show_default=True, help="Its path and query.")
@click.option("--header", "-H", multiple=True, metavar="NAME: VALUE", help="A header.")
@click.option("--body", help="The body as text, or @FILE.")
@click.option(
    "--scheme", type=click.Choice(["http", "https"]),
    help="What the client speaks; that of the first listener by default.",
)  # fmt: skip
@click.option("--host", default="localhost", show_default=True, help="The Host.")
@click.option("--address", default="127.0.0.1", show_default=True, help="The client's address.")
@click.option(
    "--jwks", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The key set of issuers whose keys come from the network.",
)  # fmt: skip
@click.option("--format", "shape", type=click.Choice(["pretty", "json"]), default="pretty")
@click.pass_context
def test(
    ctx: click.Context,
    paths: tuple[Path, ...],
    path: Path,
    pattern: str | None,
    token: IO[bytes] | None,
    method: str,
    target: str,
    header: tuple[str, ...],
    body: str | None,
    scheme: str | None,
    host: str,
    address: str,
    jwks: Path | None,
    shape: str,
    *,
    verbose: bool,
    anonymous: bool,
) -> None:
    """Run the `test_` rules below PATHS (policy.paths of gateway.yaml, or policies/, by default).

    With --token or --anonymous one request goes through the whole pipeline of gateway.yaml
    instead: what becomes of it is printed, and why.

    Exit codes: 0 all passed, or the request is allowed; 2 a test failed, or the request is
    refused; 1 something could not be run.

    Examples: gateway policy test; gateway policy test --token alice.jwt -X POST --path /orders
    """
    if token is None and not anonymous:
        _refuse_given(ctx, OF_REQUESTS, "describes a request: give --token FILE or --anonymous")
        _test(policy_set(ctx, paths, path).sources, pattern, shape, verbose=verbose)
        return
    _refuse_given(ctx, OF_TESTS, "is about tests, and a request runs none")
    if token is not None and anonymous:
        raise click.UsageError("--token and --anonymous are two kinds of requests")
    if anonymous and jwks is not None:
        raise click.UsageError("--jwks verifies tokens, and --anonymous sends none")
    bearer = read_token(token) if token is not None else None
    request = read_request(bearer, method, target, header, body, scheme, host, address)
    outcome = send(request, load(path, os.environ), jwks)
    result = as_dict(outcome)
    click.echo(encode(result).decode() if shape == "json" else as_text(result))
    if isinstance(outcome, Refuse):
        raise click.exceptions.Exit(EXIT_TESTS)


def _refuse_given(ctx: click.Context, names: tuple[str, ...], why: str) -> None:
    """Wrong usage where one of these parameters was given."""
    for parameter in ctx.command.params:
        if parameter.name in names and is_given(ctx, parameter.name):
            raise click.UsageError(f"{_shown(parameter)} {why}", ctx)


def _shown(parameter: click.Parameter) -> str:
    return (
        parameter.opts[0] if isinstance(parameter, click.Option) else parameter.human_readable_name
    )


def _test(sources: PolicySources, pattern: str | None, shape: str, *, verbose: bool) -> None:
    results = _run(sources, pattern or "")
    if pattern and not results:
        raise click.ClickException(f"no test fits --run {pattern!r}")
    _report(results, shape, verbose=verbose)
    if not results:
        click.echo("no tests found: `test_` rules in *_test.rego files", err=True)
    if any(result.outcome in ("fail", "error") for result in results):
        raise click.exceptions.Exit(EXIT_TESTS)


@policy.command(short_help="Compile the policies and report every fault with its place.")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True))
@config_file
@click.option("--emit", type=click.Choice(["python"]), help="Print the generated code.")
@click.option(
    "--verbose", "-v", is_flag=True, help="Show what deciding rules read, and which have an index."
)
@click.option("--format", "shape", type=click.Choice(["pretty", "json"]), default="pretty")
@click.pass_context
def check(
    ctx: click.Context,
    paths: tuple[Path, ...],
    path: Path,
    emit: str | None,
    shape: str,
    *,
    verbose: bool,
) -> None:
    """Compile the policies below PATHS and report every fault with its place.

    Without PATHS they are policy.paths of gateway.yaml, or policies/. A field of `input` that
    the routes' rules read and no request has is a warning.

    Exit codes: 0 no fault, 1 faults.

    Example: gateway policy check policies
    """
    if emit and shape == "json":
        raise click.UsageError("--emit prints code; leave --format json out")
    try:
        found = policy_set(ctx, paths, path)
        program, asked = _checked(found)
    except (ConfigError, CompileError) as error:
        faults = as_config_error(error) if isinstance(error, CompileError) else error
        if shape == "json":
            click.echo(json.dumps({"problems": list(map(report.as_json, faults.problems))}))
            raise click.exceptions.Exit(1) from None
        raise faults from None
    doubts = reads.warnings(asked)
    if shape == "json":
        made = {
            "problems": [],
            "warnings": list(map(report.as_json, doubts)),
            "revision": found.sources.revision,
        }
        click.echo(json.dumps(made | (reads.as_json(asked, program) if verbose else {})))
        return
    report.show_problems(doubts, kind="warning")
    if emit:
        click.echo(program.source)
        return
    kinds = ((found.sources.modules, "module"), (found.sources.tests, "test module"))
    counts = ", ".join(report.counted(len(files), noun) for files, noun in kinds if files)
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


def _run(sources: PolicySources, pattern: str) -> list[TestResult]:
    try:
        selected = re.compile(pattern)
    except re.error as error:
        message = f"not a regular expression: {error}"
        raise click.BadParameter(message, param_hint="--run") from None
    found = suites(sources.modules, sources.tests)
    programs = all_good(compile_all([Unit(modules=suite.modules) for suite in found]))
    results = [
        result
        for suite, program in zip(found, programs, strict=True)
        for result in run_tests(
            program,
            suite.tests,
            sources.data,
            now=time.time(),
            selected=lambda name: bool(selected.search(name)),
        )
    ]
    return sorted(results, key=lambda result: (result.file, result.row))


def _report(results: list[TestResult], shape: str, *, verbose: bool) -> None:
    if shape == "json":
        click.echo(json.dumps([_as_opa(result) for result in results], indent=2))
        return
    for result in results:
        if result.outcome != "pass" or verbose:
            mark = result.outcome.upper()
            click.echo(f"{result.file}:{result.row}: {result.full_name}: {mark}")
            if result.message:
                click.echo(f"  {result.message}")
            for line in result.output:
                click.echo(f"  | {line}")
    click.echo(summary(results))


def summary(results: list[TestResult]) -> str:
    """How many tests there were, and what became of them."""
    kinds = {"pass": "passed", "fail": "failed", "error": "could not run", "skip": "skipped"}
    counts = {
        said: count
        for kind, said in kinds.items()
        if (count := sum(result.outcome == kind for result in results))
    }
    parts = (f"{count} {said}" for said, count in counts.items())
    return ": ".join(filter(None, (report.counted(len(results), "test"), ", ".join(parts))))


def _as_opa(result: TestResult) -> dict[str, Any]:
    """A result in the shape of `opa test --format json`."""
    made: dict[str, Any] = {
        "location": {"file": result.file, "row": result.row, "col": 1},
        "package": result.package,
        "name": result.name,
    }
    if result.message:
        made["message"] = result.message  # names the cases of a table that are not true
    if result.output:
        made["output"] = "\n".join(result.output)
    return made | {result.outcome: True} if result.outcome != "pass" else made
