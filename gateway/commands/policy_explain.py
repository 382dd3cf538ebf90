"""`gateway policy explain`: how a request, a scenario or a recorded decision was decided."""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.commands.admin_client import MOST, Admin, admin_url, checked
from gateway.commands.dry_run import send
from gateway.commands.inputs import read_input
from gateway.commands.logs import events_of, named
from gateway.commands.options import config_file, examples, is_given, output_format
from gateway.commands.policy_files import policy_set
from gateway.commands.reads import deciding
from gateway.commands.request_options import KINDS, refuse_given, request_options
from gateway.commands.scenarios import scenarios_of, selection, snapshot_of
from gateway.config.secrets import read_secret
from gateway.record.encode import encode
from gateway.record.text import one_line
from gateway.rego import UNDEFINED, CompileError, EvalError, Policy, compile as compile_rego
from gateway.rego.program import DEFAULT_STEPS
from gateway.rego.values import to_json
from gateway.snapshot import as_config_error
from gateway.workbench.candidate import Entry
from gateway.workbench.decisions import SHORT
from gateway.workbench.events import entrypoint_of, hidden, text_at, time_of
from gateway.workbench.explain import as_json, as_lines, shown
from gateway.workbench.observed import Observed, observed, with_policy
from gateway.workbench.request import as_dict
from gateway.workbench.run import run
from gateway.workbench.stages import Stage, recorded_stages, stages
from gateway.workbench.tokens import Mint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.commands.policy_files import PolicySet
    from gateway.commands.request_options import Asked
    from gateway.model import Answer, Forward, Refuse
    from gateway.rego.trace import Trace
    from gateway.snapshot import Snapshot

NARROWEST = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """What is told: the title, the stages, the policy's tree; `said` is the same as JSON.

    There is no tree where a recorded decision did not get to the policy.
    """

    title: str
    stages: list[Stage]
    trace: Trace | None
    modules: dict[str, str]
    said: dict[str, Any]


@click.command(
    short_help="Tell how a request, a scenario, a recorded decision or an input is decided.",
    epilog=examples(
        """gateway policy explain --claims '{"sub": "alice"}' --path /orders""",
        "gateway policy explain --scenario policies/orders.scenario.yaml -r above",
        "gateway policy explain --decision 6TY4V8ZQ --log decisions.jsonl",
        "gateway policy explain -i input.json --entrypoint gateway/authz/decision",
    ),
)
@config_file
@click.option(
    "--scenario",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Explain a scenario of this file.",
)
@click.option("--run", "-r", "pattern", help="The scenario: a regex that fits its full name.")
@click.option("--decision", help="Explain the recorded decision with this id, or whose id ends so.")
@click.option(
    "--log",
    "logs",
    multiple=True,
    type=click.Path(path_type=Path, allow_dash=True),
    help="A decision log to look for it in (- is stdin).",
)
@click.option("--admin", callback=admin_url, help="URL of the admin listener to ask for it.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File with the bearer token of the admin listener.",
)
@click.option(
    "--input", "-i", "given", type=click.Path(path_type=Path, allow_dash=True),
    help="Explain the decision on this input: JSON or YAML (- is stdin).",
)  # fmt: skip
@click.option("--entrypoint", help="The rule to ask with --input; the one that decides by default.")
@request_options
@output_format
@click.pass_context
def explain(
    ctx: click.Context,
    path: Path,
    scenario: Path | None,
    pattern: str | None,
    decision: str | None,
    logs: tuple[Path, ...],
    admin: str | None,
    token_file: Path | None,
    given: Path | None,
    entrypoint: str | None,
    shape: str,
    asked: Asked,
) -> None:
    """Tell step by step what the gateway does with a request, and how its policy decides.

    The request is described by options, as for `gateway policy test`, or is a scenario's, or that
    of a decision in a log, which is decided again as of its time; or an input is given to the
    policy alone. Each stage says what it found or
    why it refused. Then each rule that was evaluated says its value, each body whether it holds,
    and each expression that does not hold which values it read.

    Exit codes: 0 explained, whatever was decided; 1 it could not be.
    """
    _check_kinds(ctx, asked, scenario, decision, given)
    try:
        if scenario is not None:
            found = _scenario(ctx, path, scenario, pattern)
        elif decision is not None:
            event = _event(decision, logs, admin, token_file)
            found = _recorded(policy_set(ctx, (), path), event)
        elif given is not None:
            found = _given(policy_set(ctx, (), path), given, entrypoint)
        else:
            found = _request(ctx, path, asked)
    except CompileError as error:
        raise as_config_error(error) from None
    if shape == "json":
        tree = None if found.trace is None else as_json(found.trace, found.modules)
        told = found.said | {"stages": [stage.as_dict() for stage in found.stages], "trace": tree}
        click.echo(encode(told).decode())
    else:
        click.echo("\n".join(_wrapped(_lines(found))))


# --- what is explained


def _check_kinds(
    ctx: click.Context,
    asked: Asked,
    scenario: Path | None,
    decision: str | None,
    given: Path | None,
) -> None:
    """Wrong usage unless the options name one thing to explain, and nothing beside it."""
    others = {"--scenario": scenario, "--decision": decision, "--input": given}
    kinds = [*asked.kinds, *(name for name, value in others.items() if value is not None)]
    if not kinds:
        raise click.UsageError(f"give one of {', '.join((*KINDS, *others))}")
    if len(kinds) > 1:
        raise click.UsageError(f"{' and '.join(kinds)} are different things to explain")
    if not asked.kinds:
        asked.refuse(ctx)
    if scenario is None:
        refuse_given(ctx, ("pattern",), "names a scenario: give --scenario")
    if decision is None:
        refuse_given(ctx, ("logs", "admin"), "holds decisions: give --decision")
    if given is None:
        refuse_given(ctx, ("entrypoint",), "is for --input")
    if not is_given(ctx, "admin"):
        refuse_given(ctx, ("token_file",), "is for --admin")


def _request(ctx: click.Context, path: Path, asked: Asked) -> Explained:
    request, snapshot = asked.ready(ctx, path)
    policy = observed(snapshot.policies, "trace")
    outcome = send(request, with_policy(snapshot, policy), asked.jwks)
    return _outcome(f"{request.method} {request.target.decode()}", outcome, snapshot, policy)


def _scenario(ctx: click.Context, path: Path, file: Path, pattern: str | None) -> Explained:
    found = policy_set(ctx, (), path)
    fits = selection(pattern)
    chosen = [each for each in scenarios_of(found, (file,)) if fits(each.full_name)]
    if len(chosen) != 1:
        names = ", ".join(repr(each.name) for each in chosen[:10])
        what = f"{len(chosen)} scenarios fit: {names}" if chosen else "no scenario fits"
        raise click.ClickException(f"{file}: {what}; name one with --run")
    snapshot = snapshot_of(found, chosen)
    assert snapshot is not None
    policy = observed(found.sources, "trace")
    ran = run(chosen[0], with_policy(snapshot, policy), Mint(snapshot.config))
    if ran.outcome is None:
        raise click.ClickException(ran.error)
    explained = _outcome(chosen[0].full_name, ran.outcome, snapshot, policy)
    explained.said["differences"] = list(map(str, ran.differences))
    return explained


def _outcome(
    title: str, outcome: Forward | Refuse | Answer, snapshot: Snapshot, policy: Observed
) -> Explained:
    trace: Any = policy.observer
    return Explained(
        title=title,
        stages=stages(outcome, snapshot),
        trace=trace,
        modules=dict(snapshot.policies.modules),
        said={"outcome": as_dict(outcome)},
    )


def _event(
    decision: str, logs: tuple[Path, ...], admin: str | None, token_file: Path | None
) -> dict[str, Any]:
    """The recorded decision, from logs or an admin listener."""
    if bool(logs) is (admin is not None):
        raise click.UsageError("--decision is looked for in one place: give --log or --admin")
    if admin is None:
        events = (read.event for read in events_of(logs) if not read.fault)
        return named(decision, events, ", ".join(map(str, logs)))
    token = None if token_file is None else read_secret(token_file).decode("latin-1")
    client = checked(Admin(admin, token))
    found = client.find(decision)
    if found is None:
        found = named(decision, client.recent(MOST) if len(decision) >= SHORT else (), admin)
    return found


def _recorded(found: PolicySet, event: dict[str, Any]) -> Explained:
    decision = text_at(event, "decision_id")
    target = (text_at(event, name) for name in ("method", "target", "timestamp"))
    title = " ".join(filter(None, (f"decision {decision}", *target)))
    entrypoint = entrypoint_of(event)
    if not entrypoint:
        if "code" not in event:
            raise click.ClickException(f"{decision}: the event names no rule that was asked")
        return Explained(
            title=title,
            stages=recorded_stages(event, ()),
            trace=None,
            modules={},
            said={"decision": decision, "recorded": None},
        )
    policy = observed(found.sources, "trace")
    if not policy.program.defines(entrypoint):
        raise click.ClickException(f"the policies define no {entrypoint}, which was asked then")
    lines = _decided(policy, entrypoint, event, _steps(found))
    lines += tuple(_hidden(found, entrypoint, event))
    lines += (f"with revision {found.sources.revision}",)
    trace: Any = policy.observer
    return Explained(
        title=title,
        stages=recorded_stages(event, lines),
        trace=trace,
        modules=dict(found.sources.modules),
        said={"decision": decision, "recorded": event.get("result")},
    )


def _given(found: PolicySet, given: Path, entrypoint: str | None) -> Explained:
    """What the policy alone says to an input."""
    document = read_input(given)
    policy = observed(found.sources, "trace")
    name = deciding(found.config, policy.program, entrypoint)
    told = _answer(policy, name, document, time.time(), _steps(found))
    trace: Any = policy.observer
    return Explained(
        title=f"{name} on {'standard input' if str(given) == '-' else given}",
        stages=[Stage(name="decide", state="ok", lines=(f"{name} is {told}",))],
        trace=trace,
        modules=dict(found.sources.modules),
        said={"input": document},
    )


def _steps(found: PolicySet) -> int:
    return DEFAULT_STEPS if found.config is None else found.config.policy.steps


def _answer(policy: Observed, entrypoint: str, document: Any, now: float, steps: int) -> str:
    """Decide, and say what came of it."""
    try:
        value = policy.decide(entrypoint, document, now=now, steps=steps)
    except EvalError as error:
        return error.told
    return shown(to_json(value) if value is not UNDEFINED else UNDEFINED)


def _decided(
    policy: Observed, entrypoint: str, event: dict[str, Any], steps: int
) -> tuple[str, ...]:
    """Decide a recorded input again, and say what came then and now."""
    now = time_of(event)
    moment = time.time() if now is None else now
    told = _answer(policy, entrypoint, event.get("input", UNDEFINED), moment, steps)
    then = shown(event["result"]) if "result" in event else "not recorded"
    lines = [f"{entrypoint} was {then}", f"{entrypoint} is now {told}"]
    return tuple(lines)


def _hidden(found: PolicySet, entrypoint: str, event: dict[str, Any]) -> Iterator[str]:
    """What a decision from a log cannot know."""
    try:
        gone = hidden(event)
    except ValueError as error:
        yield f"it is not known what the log hides: {error}"
        return
    if not gone:
        return
    yield f"without what the log hides: {', '.join(gone)}"
    program = compile_rego(found.sources.modules, (entrypoint,))
    entry = Entry(entrypoint, Policy(program, found.sources.data), program.footprints[entrypoint])
    if lost := entry.hidden(gone):
        yield f"of that the policy reads {', '.join(lost)}: it may have decided otherwise"


# --- for people


def _lines(found: Explained) -> list[str]:
    lines = [found.title]
    for stage in found.stages:
        first, *more = stage.lines or ("",)
        state = "" if stage.state == "ok" else f"{stage.state}: " if first else stage.state
        lines.append(f"  {stage.name:<9} {state}{first}")
        lines += [f"{'':12}{line}" for line in more]
    lines += [f"  differs   {each}" for each in found.said.get("differences", ())]
    tree = [] if found.trace is None else list(as_lines(found.trace, found.modules))
    # Of strangers: the subject, values of the input, names of a log's decisions.
    return list(map(one_line, [*lines, "", *tree] if tree else lines))


def _wrapped(lines: list[str]) -> list[str]:
    """Break long lines at blanks where a terminal shows them, below where they begin."""
    if not sys.stdout.isatty():
        return lines
    width = max(shutil.get_terminal_size().columns, NARROWEST)
    made: list[str] = []
    for line in lines:
        indent = len(line) - len(line.lstrip())
        # Deep in the tree what is left of a line is too short: it is begun farther left.
        start = min(indent, width // 2)
        made += textwrap.wrap(
            line.strip(),
            width,
            initial_indent=" " * start,
            subsequent_indent=" " * (start + 4),
            break_on_hyphens=False,
        ) or [""]
    return made
