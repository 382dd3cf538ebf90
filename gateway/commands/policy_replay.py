"""`gateway policy replay`: past decisions with other policies."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import click

from gateway.commands import report
from gateway.commands.logs import Logs
from gateway.commands.options import config_file, examples, output_format
from gateway.commands.policy_files import policy_config, policy_set
from gateway.commands.progress import progress
from gateway.config.document import MAX_BYTES
from gateway.errors import Problem
from gateway.files import read_file
from gateway.record.encode import encode
from gateway.rego.program import DEFAULT_STEPS
from gateway.workbench.approved import read_approved
from gateway.workbench.candidate import Candidate
from gateway.workbench.replay import Replay, readings
from gateway.workbench.replay_report import as_dict, as_lines

EXIT_CHANGES = 2
MOST_NAMED = 5
STEP = 1000
"""Events between two looks at the progress."""


@click.command(
    short_help="Decide the events of decision logs again, and tell what changes.",
    epilog=examples(
        "gateway policy replay decisions.jsonl --against policies-new",
        "zcat logs/*.gz | gateway policy replay - --allow-list approved.yaml",
    ),
)
@click.argument("logs", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--against",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    help="Folder or file of the policies to decide with; policy.paths of gateway.yaml by default.",
)
@config_file
@click.option(
    "--allow-list",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="YAML file with the changes that are approved.",
)
@click.option(
    "--entrypoint",
    "entrypoints",
    multiple=True,
    help="Only decisions of this rule; all by default.",
)
@click.option("--limit", type=click.IntRange(1), help="Stop after so many events.")
@click.option(
    "--examples",
    type=click.IntRange(0, 1000),
    default=3,
    show_default=True,
    help="Decision ids that are shown of each kind of change.",
)
@click.option(
    "--results", is_flag=True, help="Changes of the result with the same outcome count as well."
)
@output_format
@click.pass_context
def replay(
    ctx: click.Context,
    logs: tuple[Path, ...],
    against: tuple[Path, ...],
    path: Path,
    allow_list: Path | None,
    entrypoints: tuple[str, ...],
    limit: int | None,
    examples: int,
    shape: str,
    *,
    results: bool,
) -> None:
    """Decide the events of LOGS again with other policies, and tell what changes.

    LOGS are decision logs of the gateway or of OPA: a JSON object a line or arrays of them, plain
    or gzip; - is standard input. Each event's input is decided at its own time. Changes are
    grouped by the codes of their reasons before and after, and by the rule that now decides. Where
    there is a configuration its work limit holds, and results are read as its routes' dialects
    have it.

    Exit codes: 0 nothing changes that is not approved; 2 something does; 1 it could not be run, a
    log was not read to its end, or of an entrypoint nothing could be replayed.
    """
    approved = [] if allow_list is None else read_approved(str(allow_list), _read(allow_list))
    found = policy_set(ctx, against, path)
    config = found.config
    if config is None and found.config_path is not None:
        config = policy_config(found.config_path)
    steps = DEFAULT_STEPS if config is None else config.policy.steps
    taken = None if config is None else readings(config)
    asked = frozenset(name.strip("/") for name in entrypoints)
    made = Replay(Candidate(found.sources, steps), approved, examples, taken, asked)
    read = Logs(logs)
    with progress("events", limit or read.size) as tell:
        for number, event in enumerate(islice(read, limit)):
            if number % STEP == 0:
                tell(number, None if limit else read.position)
            made.add(event)
    report.show_problems(
        (
            Problem("approves nothing that changed", file=each.file, line=each.line)
            for each in made.unused
        ),
        kind="warning",
    )
    if shape == "json":
        click.echo(encode(as_dict(made)))
    else:
        click.echo("\n".join(as_lines(made)))
    kinds = ("deny-to-allow", "allow-to-deny", *(("result",) if results else ()))
    if made.found(*kinds):
        raise click.exceptions.Exit(EXIT_CHANGES)
    if not made.replayed:
        raise click.ClickException("no event could be replayed")
    if made.skips["cut"]:
        raise click.ClickException("not all was read: what is missing may change")
    if made.untried:
        names = ", ".join(made.untried[:MOST_NAMED])
        raise click.ClickException(
            f"nothing of {names} could be replayed; name others with --entrypoint if that is meant"
        )


def _read(path: Path) -> bytes:
    return read_file(path, MAX_BYTES)
