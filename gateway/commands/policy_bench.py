"""`gateway policy bench`: what decisions cost."""

from __future__ import annotations

import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from gateway.commands.dry_run import send
from gateway.commands.inputs import read_json
from gateway.commands.options import config_file, examples, output_format
from gateway.commands.policy_files import policy_set
from gateway.commands.progress import counted, progress
from gateway.commands.reads import deciding
from gateway.commands.request_options import refuse_given, request_options
from gateway.commands.scenarios import selection, snapshot_of, tested
from gateway.record.encode import encode
from gateway.rego import CompileError, Policy, compile as compile_rego
from gateway.rego.program import DEFAULT_STEPS
from gateway.snapshot import as_config_error
from gateway.workbench.bench import Question, as_json, as_table, measure
from gateway.workbench.observed import observed
from gateway.workbench.run import run
from gateway.workbench.tokens import Mint

if TYPE_CHECKING:
    from gateway.bundle.folder import PolicySources
    from gateway.commands.policy_files import PolicySet
    from gateway.commands.request_options import Asked
    from gateway.model import Answer, Forward, Refuse
    from gateway.snapshot import Snapshot
    from gateway.workbench.scenario import Scenario


@click.command(
    short_help="Measure what the decisions of scenarios cost.",
    epilog=examples(
        "gateway policy bench",
        "gateway policy bench --run reader --seconds 2",
        "gateway policy bench -i input.json --entrypoint gateway/authz/decision",
    ),
)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True))
@config_file
@click.option("--run", "-r", "pattern", help="Only scenarios whose full name fits this regex.")
@click.option(
    "--input", "-i", "given", type=click.File("rb"), help="An input, as JSON (- is stdin)."
)
@click.option("--entrypoint", help="The rule to ask with --input, such as gateway/authz/decision.")
@click.option(
    "--seconds", type=click.FloatRange(0, 60), default=0.2, show_default=True,
    help="How long each is measured.",
)  # fmt: skip
@request_options
@output_format
@click.pass_context
def bench(
    ctx: click.Context,
    paths: tuple[Path, ...],
    path: Path,
    pattern: str | None,
    given: IO[bytes] | None,
    entrypoint: str | None,
    seconds: float,
    shape: str,
    asked: Asked,
) -> None:
    """Measure the decisions of the scenarios below PATHS, of one request, or of an input.

    Only the policy's part is measured. A row says how long half of the decisions and 99 % of them
    took at most, how many steps of the work limit (policy.steps) one takes, how many bodies the
    indexes of the evaluated rules picked and spared, and how many values of rules were known.

    Exit codes: 0 measured; 1 it could not be.
    """
    if given is None:
        refuse_given(ctx, ("entrypoint",), "is for --input")
    elif asked.kinds:
        raise click.UsageError(f"--input and {asked.kinds[0]} are different things to measure")
    if asked.kinds:
        refuse_given(ctx, ("paths", "pattern"), "is about scenarios")
        sources, steps, questions = _of_request(ctx, path, asked)
    else:
        asked.refuse(ctx)
        if given is None:
            found, scenarios = tested(ctx, paths, path)
            questions = _of_scenarios(found, scenarios, pattern)
        else:
            found = policy_set(ctx, paths, path)
            questions = [_of_input(found, given, entrypoint)]
        sources = found.sources
        steps = found.config.policy.steps if found.config else DEFAULT_STEPS
    try:
        policy = Policy(compile_rego(sources.modules), sources.data)
        traced = observed(sources, "trace")
    except CompileError as error:
        raise as_config_error(error) from None
    with progress("decisions", len(questions)) as tell:
        measured = [
            measure(question, policy, traced, steps=steps, seconds=seconds)
            for question in counted(questions, tell, every=1)
        ]
    if shape == "json":
        click.echo(encode(as_json(measured)).decode())
    else:
        click.echo("\n".join(as_table(measured)))


def _of_request(
    ctx: click.Context, path: Path, asked: Asked
) -> tuple[PolicySources, int, list[Question]]:
    request, snapshot = asked.ready(ctx, path)
    outcome = send(request, snapshot, asked.jwks)
    name = f"{request.method} {request.target.decode()}"
    question = _question(name, outcome, snapshot, time.time())
    if question is None:
        raise click.ClickException(f"{name}: the policy is not asked; see gateway policy explain")
    return snapshot.policies, snapshot.decider.steps, [question]


def _of_scenarios(
    found: PolicySet, scenarios: list[Scenario], pattern: str | None
) -> list[Question]:
    fits = selection(pattern)
    chosen = [each for each in scenarios if fits(each.full_name)]
    snapshot = snapshot_of(found, chosen)
    if snapshot is None:
        raise click.ClickException("no scenario; name one with --run, a request, or --input")
    mint = Mint(snapshot.config)
    ran = [(each, run(each, snapshot, mint).outcome) for each in chosen]
    made = [
        _question(each.full_name, outcome, snapshot, each.now)
        for each, outcome in ran
        if outcome is not None
    ]
    asking = [question for question in made if question is not None]
    if not asking:
        raise click.ClickException("no scenario asks the policy")
    return asking


def _question(
    name: str, outcome: Forward | Refuse | Answer, snapshot: Snapshot, now: float
) -> Question | None:
    """What the policy was asked for a request; None where it was not."""
    trail = outcome.trail
    if trail.match is None or trail.document is None:
        return None
    entrypoint = snapshot.decider.entrypoints[trail.match.route.id]
    return Question(
        name=name,
        entrypoint=entrypoint,
        document=dict(trail.document),
        now=now,
        bounded=trail.match.route.body is None,
    )


def _of_input(found: PolicySet, given: IO[bytes], entrypoint: str | None) -> Question:
    document = read_json(given, "--input")
    name = deciding(found.config, compile_rego(found.sources.modules), entrypoint)
    return Question(name=name, entrypoint=name, document=document, now=time.time())
