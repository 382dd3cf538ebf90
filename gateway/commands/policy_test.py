"""`gateway policy test`: test rules and scenarios, or one request."""

from __future__ import annotations

import os
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from gateway.bundle import folder
from gateway.commands.dry_run import as_text, read_request, send
from gateway.commands.inputs import claims_of, read_token
from gateway.commands.options import config_file, is_given, no_such
from gateway.commands.policy_files import policy_set
from gateway.config import load as config_load
from gateway.errors import ConfigError, Problem
from gateway.files import read_file
from gateway.model import Refuse
from gateway.record.encode import encode
from gateway.rego.program import DEFAULT_STEPS
from gateway.snapshot import build, candidate_of, load
from gateway.workbench.coverage import Coverage
from gateway.workbench.reports import REPORTS, pretty
from gateway.workbench.request import as_dict
from gateway.workbench.scenario import TokenRecipe, find_scenarios, read_scenarios
from gateway.workbench.session import Session
from gateway.workbench.tokens import Mint

if TYPE_CHECKING:
    from gateway.commands.policy_files import PolicySet
    from gateway.snapshot import Snapshot
    from gateway.workbench.results import Check
    from gateway.workbench.scenario import Scenario

EXIT_TESTS = 2
MAX_SCENARIOS = 4 * 1024**2

OF_REQUESTS = ("method", "target", "header", "body", "scheme", "host", "address", "jwks")
OF_TESTS = ("paths", "pattern", "verbose", "count", "steps", "coverage", "threshold")


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
@click.option(
    "--token", type=click.File("rb"), help="Send a request with the token in FILE (- is stdin)."
)
@click.option(
    "--claims", help="Send a request with a token of these claims, as JSON or a file with them."
)
@click.option("--issuer", help="The issuer of --claims; the first one by default.")
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
    token: IO[bytes] | None,
    claims: str | None,
    issuer: str | None,
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
    coverage: bool,
    anonymous: bool,
) -> None:
    """Run the `test_` rules and the scenarios (*.scenario.yaml) below PATHS.

    PATHS are policy.paths of gateway.yaml, or policies/, by default. Scenarios go through the
    whole pipeline of gateway.yaml, with the policies below PATHS.

    With --token, --claims or --anonymous one request goes through it instead: what becomes of it
    is printed, and why.

    Exit codes: 0 all passed, or the request is allowed; 2 a test failed, or the request is
    refused; 1 something could not be run.

    Examples: gateway policy test --coverage; gateway policy test --claims '{"sub": "alice"}' -X
    POST --path /orders
    """
    kinds = {"--token": token is not None, "--claims": claims is not None, "--anonymous": anonymous}
    given = [name for name, is_there in kinds.items() if is_there]
    if not given:
        _refuse_given(ctx, OF_REQUESTS, f"describes a request: give one of {', '.join(kinds)}")
        _refuse_given(ctx, ("issuer",), "is for --claims")
        session = Session(
            sources=(found := policy_set(ctx, paths, path)).sources,
            scenarios=(scenarios := _scenarios(found)),
            snapshot=_snapshot(found, scenarios),
            selected=_selection(pattern),
            steps=steps,
            count=count,
            coverage=coverage or threshold is not None,
        )
        _run(session, pattern, shape, threshold, verbose=verbose)
        return
    _refuse_given(ctx, OF_TESTS, "is about tests, and a request runs none")
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} are different kinds of requests")
    if shape not in ("pretty", "json"):
        raise click.UsageError(f"--format {shape} is for tests")
    if token is None and jwks is not None:
        raise click.UsageError(f"--jwks verifies --token, and {given[0]} brings its own, or none")
    if claims is None:
        _refuse_given(ctx, ("issuer",), "is for --claims")
    snapshot = load(path, os.environ)
    bearer = read_token(token) if token is not None else None
    if claims is not None:
        bearer, snapshot = _made_token(snapshot, claims, issuer)
    request = read_request(bearer, method, target, header, body, scheme, host, address)
    outcome = send(request, snapshot, jwks)
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


def _made_token(snapshot: Snapshot, claims: str, issuer: str | None) -> tuple[str, Snapshot]:
    """A token of these claims, and the snapshot with the key that verifies it."""
    known = snapshot.config.issuers
    if issuer is not None and issuer not in known:
        raise no_such("issuer", issuer, known, "--issuer")
    if not known:
        raise click.ClickException("the configuration has no issuer whose tokens it takes")
    mint = Mint(snapshot.config)
    recipe = TokenRecipe(claims=claims_of(claims), issuer=issuer)
    return mint.token("test", recipe, time.time()), snapshot.with_keyrings(mint.keyrings)


def _selection(pattern: str | None) -> Any:
    try:
        selected = re.compile(pattern or "")
    except re.error as error:
        message = f"not a regular expression: {error}"
        raise click.BadParameter(message, param_hint="--run") from None
    return lambda name: bool(selected.search(name))


def _scenarios(found: PolicySet) -> list[Scenario]:
    """All scenarios below the paths of a policy set; ConfigError with every fault."""
    made: list[Scenario] = []
    problems: list[Problem] = []
    for path in find_scenarios(found.paths):
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


def _snapshot(found: PolicySet, scenarios: list[Scenario]) -> Snapshot | None:
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


def _run(
    session: Session, pattern: str | None, shape: str, threshold: float | None, *, verbose: bool
) -> None:
    checks: list[Check] = []
    coverage: Coverage | None = None
    for each in session.run():
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
