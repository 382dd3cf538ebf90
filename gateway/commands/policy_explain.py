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

from gateway.commands.admin_client import Admin, admin_url, checked
from gateway.commands.dry_run import send
from gateway.commands.logs import events_of
from gateway.commands.options import config_file
from gateway.commands.policy_files import policy_set
from gateway.commands.request_options import KINDS, refuse_given, request_options
from gateway.commands.scenarios import scenarios_of, selection, snapshot_of
from gateway.config.secrets import read_secret
from gateway.decide.programs import as_config_error
from gateway.record.encode import encode
from gateway.rego import UNDEFINED, CompileError, EvalError
from gateway.rego.program import DEFAULT_STEPS
from gateway.rego.values import to_json
from gateway.workbench.events import entrypoint_of, time_of
from gateway.workbench.explain import as_json, as_lines, shown
from gateway.workbench.observed import Observed, observed, with_policy
from gateway.workbench.request import as_dict
from gateway.workbench.run import run
from gateway.workbench.stages import Stage, stages
from gateway.workbench.tokens import Mint

if TYPE_CHECKING:
    from gateway.bundle.folder import PolicySources
    from gateway.commands.policy_files import PolicySet
    from gateway.commands.request_options import Asked
    from gateway.model import Answer, Forward, Refuse
    from gateway.rego.trace import Trace
    from gateway.snapshot import Snapshot

NARROWEST = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """What is told: the title, the stages, the policy's tree; `said` is the same as JSON."""

    title: str
    stages: list[Stage]
    trace: Trace
    modules: dict[str, str]
    said: dict[str, Any]


@click.command(short_help="Tell how a request, a scenario or a recorded decision is decided.")
@config_file
@click.option(
    "--scenario",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Explain a scenario of this file.",
)
@click.option("--run", "pattern", help="The scenario: a regex that fits its full name.")
@click.option("--decision", help="Explain the recorded decision with this id.")
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
@request_options
@click.option("--format", "shape", type=click.Choice(["pretty", "json"]), default="pretty")
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
    shape: str,
    asked: Asked,
) -> None:
    """Tell step by step what the gateway does with a request, and how its policy decides.

    The request is described by options, as for `gateway policy test`, or is a scenario's, or that
    of a decision in a log, which is decided again as of its time. Each stage says what it found or
    why it refused. Then each rule that was evaluated says its value, each body whether it holds,
    and each expression that does not hold which values it read.

    Exit codes: 0 explained, whatever was decided; 1 it could not be.

    Examples: gateway policy explain --claims '{"sub": "alice"}' --path /orders; gateway policy
    explain --scenario policies/orders.scenario.yaml --run reader; gateway policy explain
    --decision 0197… --log decisions.jsonl
    """
    _check_kinds(ctx, asked, scenario, decision, admin)
    try:
        if scenario is not None:
            found = _scenario(ctx, path, scenario, pattern)
        elif decision is not None:
            event = _event(decision, logs, admin, token_file)
            found = _recorded(policy_set(ctx, (), path), decision, event)
        else:
            found = _request(ctx, path, asked)
    except CompileError as error:
        raise as_config_error(error) from None
    if shape == "json":
        tree = as_json(found.trace, found.modules)
        told = found.said | {"stages": [stage.as_dict() for stage in found.stages], "trace": tree}
        click.echo(encode(told).decode())
    else:
        click.echo("\n".join(_wrapped(_lines(found))))


# --- what is explained


def _check_kinds(
    ctx: click.Context, asked: Asked, scenario: Path | None, decision: str | None, admin: str | None
) -> None:
    """Wrong usage unless the options name one thing to explain, and nothing beside it."""
    kinds = [*asked.kinds, *(["--scenario"] if scenario else [])]
    kinds += ["--decision"] if decision is not None else []
    if not kinds:
        raise click.UsageError(f"give one of {', '.join((*KINDS, '--scenario', '--decision'))}")
    if len(kinds) > 1:
        raise click.UsageError(f"{' and '.join(kinds)} are different things to explain")
    if not asked.kinds:
        asked.refuse(ctx)
    if scenario is None:
        refuse_given(ctx, ("pattern",), "names a scenario: give --scenario")
    if decision is None:
        refuse_given(ctx, ("logs", "admin"), "holds decisions: give --decision")
    if admin is None:
        refuse_given(ctx, ("token_file",), "is for --admin")


def _request(ctx: click.Context, path: Path, asked: Asked) -> Explained:
    request, snapshot = asked.ready(ctx, path)
    canary = send(request, snapshot, asked.jwks).trail.canary
    sources = snapshot.canary.policies if canary and snapshot.canary else snapshot.policies
    policy = observed(sources, "trace")
    outcome = send(request, with_policy(snapshot, policy, canary=canary), asked.jwks)
    title = f"{request.method} {request.target.decode()}"
    return _outcome(title, outcome, snapshot, policy, sources)


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
    explained = _outcome(chosen[0].full_name, ran.outcome, snapshot, policy, found.sources)
    explained.said["differences"] = list(map(str, ran.differences))
    return explained


def _outcome(
    title: str,
    outcome: Forward | Refuse | Answer,
    snapshot: Snapshot,
    policy: Observed,
    sources: PolicySources,
) -> Explained:
    trace: Any = policy.observer
    return Explained(
        title=title,
        stages=stages(outcome, snapshot),
        trace=trace,
        modules=dict(sources.modules),
        said={"outcome": as_dict(outcome)},
    )


def _event(
    decision: str, logs: tuple[Path, ...], admin: str | None, token_file: Path | None
) -> dict[str, Any]:
    """The recorded decision, from logs or an admin listener."""
    if bool(logs) is (admin is not None):
        raise click.UsageError("--decision is looked for in one place: give --log or --admin")
    if admin is not None:
        token = None if token_file is None else read_secret(token_file).decode("latin-1")
        event = checked(Admin(admin, token)).find(decision)
    else:
        events = (read.event for read in events_of(logs))
        event = next((each for each in events if each.get("decision_id") == decision), None)
    if event is None:
        raise click.ClickException(
            f"no decision {decision!r} in {admin or ', '.join(map(str, logs))}"
        )
    return event


def _recorded(found: PolicySet, decision: str, event: dict[str, Any]) -> Explained:
    entrypoint = entrypoint_of(event)
    if not entrypoint:
        why = event.get("error") or event.get("code") or "the event names no rule"
        raise click.ClickException(f"no policy was asked for {decision!r}: {shown(why)}")
    policy = observed(found.sources, "trace")
    if not policy.program.defines(entrypoint):
        raise click.ClickException(f"the policies define no {entrypoint}, which was asked then")
    steps = DEFAULT_STEPS if found.config is None else found.config.policy.steps
    lines = _decided(policy, entrypoint, event, steps)
    lines += (f"with revision {found.sources.revision}",)
    trace: Any = policy.observer
    return Explained(
        title=f"decision {decision}",
        stages=[Stage(name="decide", state="ok", lines=lines)],
        trace=trace,
        modules=dict(found.sources.modules),
        said={"decision": decision, "recorded": event.get("result")},
    )


def _decided(
    policy: Observed, entrypoint: str, event: dict[str, Any], steps: int
) -> tuple[str, ...]:
    """Decide a recorded input again, and say what came then and now."""
    now = time_of(event)
    try:
        value = policy.decide(
            entrypoint,
            event.get("input", UNDEFINED),
            now=time.time() if now is None else now,
            steps=steps,
        )
        told = shown(to_json(value) if value is not UNDEFINED else UNDEFINED)
    except EvalError as error:
        told = error.told
    then = shown(event["result"]) if "result" in event else "not recorded"
    lines = [f"{entrypoint} was {then}", f"{entrypoint} is now {told}"]
    hidden = [*event.get("erased", ()), *event.get("masked", ())]
    if hidden:
        lines.append(f"without what the log hides: {', '.join(map(str, hidden))}")
    return tuple(lines)


# --- for people


def _lines(found: Explained) -> list[str]:
    lines = [found.title]
    for stage in found.stages:
        first, *more = stage.lines or ("",)
        state = "" if stage.state == "ok" else f"{stage.state}: " if first else stage.state
        lines.append(f"  {stage.name:<9} {state}{first}")
        lines += [f"{'':12}{line}" for line in more]
    lines += [f"  differs   {each}" for each in found.said.get("differences", ())]
    tree = list(as_lines(found.trace, found.modules))
    return [*lines, "", *tree] if tree else lines


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
