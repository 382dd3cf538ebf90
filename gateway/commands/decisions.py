"""`gateway decisions`: look into decision logs and a running gateway's recent decisions."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import TypeAdapter, ValidationError

from gateway.commands.admin_client import MOST, Admin, admin_url, checked
from gateway.commands.group import Group
from gateway.commands.inputs import json_text
from gateway.commands.logs import STDIN, events_of, followed, named
from gateway.commands.options import examples, output_format
from gateway.commands.report import counted
from gateway.config.model import Duration
from gateway.config.secrets import read_secret
from gateway.record.encode import encode
from gateway.workbench.decisions import Filter, Stats, as_line, as_text, outcome_of
from gateway.workbench.events import text_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import RenderableType

POLL = 0.5
"""Seconds between two looks at a log or an admin listener."""
FEW = 100
"""So many events are asked for again and again, all that are kept only where these are new."""
OUTCOMES = ("forwarded", "refused", "failed", "answered", "allowed", "denied")
COLOURS = {"forwarded": "green", "allowed": "green", "refused": "red", "denied": "red"}
OTHERWISE = "yellow"
STATUS = slice(18, 21)
"""Where a line has the status."""

AGO: TypeAdapter[float] = TypeAdapter(Duration)

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """Where events come from: logs, or an admin listener."""

    logs: tuple[Path, ...]
    admin: Admin | None

    def events(self, *, follow: bool) -> Iterator[Event | None]:
        """The events, oldest first; None where a followed source has no more for now."""
        if self.admin is not None:
            yield from polled(self.admin, follow=follow)
            return
        bad = good = 0
        for read in followed(self.logs[0]) if follow else events_of(self.logs):
            if read is None or not read.fault:
                good += read is not None
                yield None if read is None else read.event
            else:
                bad += 1
                if follow:
                    click.echo(f"{read.name}:{read.line}: {read.fault}", err=True)
        if bad and not good:
            names = ", ".join(map(str, self.logs))
            raise click.ClickException(f"{names}: no line of it is a decision event")
        if bad:
            click.echo(f"{counted(bad, 'line')} could not be read", err=True)


def polled(admin: Admin, *, follow: bool) -> Iterator[Event | None]:
    """The events that an admin listener keeps, then those that come."""
    seen: dict[str, None] = {}
    while True:
        events = admin.recent(FEW if seen else MOST)
        if seen and all(_id(event) not in seen for event in events):
            events = admin.recent(MOST)  # more came than a few
            if events and _id(events[0]) not in seen:
                click.echo("more decisions were made than are kept: some are missing", err=True)
        new = [event for event in events if _id(event) not in seen]
        yield from new
        if not follow:
            return
        seen = dict.fromkeys([*seen, *map(_id, new)][-MOST:])
        yield None


def _id(event: Event) -> str:
    return text_at(event, "decision_id")


def _moment(_: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """An option with a time, or a duration before now, in Unix seconds."""
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except ValueError:
        pass
    try:
        return time.time() - AGO.validate_python(value)
    except ValidationError:
        raise click.BadParameter(
            f"expected 2026-09-21T14:13:20Z or so, or a duration such as 1h, got {value!r}",
            param=parameter,
        ) from None


def _sources(command: Callable[..., None]) -> Callable[..., None]:
    """Add LOGS, --admin and --token-file, passed together as `source`."""

    @click.argument("logs", nargs=-1, type=click.Path(path_type=Path, allow_dash=True))
    @click.option("--admin", callback=admin_url, help="URL of the admin listener to ask.")
    @click.option(
        "--token-file",
        type=click.Path(path_type=Path),
        help="File with the bearer token of the admin listener.",
    )
    @output_format
    @wraps(command)
    def wrapped(
        logs: tuple[Path, ...], admin: str | None, token_file: Path | None, **options: Any
    ) -> None:
        if bool(logs) is (admin is not None):
            raise click.UsageError("name either LOGS or --admin")
        if token_file is not None and admin is None:
            raise click.UsageError("--token-file is for --admin")
        token = None if token_file is None else read_secret(token_file).decode("latin-1")
        client = None if admin is None else checked(Admin(admin, token))
        command(source=Source(logs, client), **options)

    return wrapped


def _filters(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a Filter, passed together as `wanted`."""

    @click.option("--route", multiple=True, help="Only this route's.")
    @click.option("--code", multiple=True, help="Only with this code, or reason's code.")
    @click.option(
        "--outcome", multiple=True, type=click.Choice(OUTCOMES),
        help="Only with this outcome; allowed and denied are OPA's.",
    )  # fmt: skip
    @click.option("--subject", multiple=True, help="Only this subject's.")
    @click.option("--method", "-X", multiple=True, help="Only this method.")
    @click.option("--path", default="", help="Only paths that begin with this.")
    @click.option("--since", callback=_moment, help="Not before: a time, or a duration ago (1h).")
    @click.option("--until", callback=_moment, help="Before: a time, or a duration ago.")
    @wraps(command)
    def wrapped(**options: Any) -> None:
        names = ("route", "code", "outcome", "subject", "method", "path", "since", "until")
        wanted = Filter(**{name: options.pop(name) for name in names})
        command(wanted=wanted, **options)

    return wrapped


def _follow_one(source: Source, *, follow: bool) -> None:
    if follow and source.admin is None and (len(source.logs) > 1 or str(source.logs[0]) == STDIN):
        raise click.UsageError("--follow takes one log file, or --admin")


@click.group(cls=Group)
def decisions() -> None:
    """Look into decision logs, or ask a running gateway for its recent decisions.

    LOGS are decision logs of the gateway or of OPA: a JSON object a line or arrays of them, plain
    or gzip; - is standard input.
    """


@decisions.command(
    short_help="Show the newest decisions, one a line.",
    epilog=examples(
        "gateway decisions tail -f decisions.jsonl --outcome refused",
        "gateway decisions tail --admin http://127.0.0.1:9090 --since 5m",
    ),
)
@_sources
@_filters
@click.option("--lines", "-n", type=click.IntRange(0), default=20, show_default=True)
@click.option("--follow", "-f", is_flag=True, help="Go on with those that come.")
def tail(source: Source, wanted: Filter, lines: int, shape: str, *, follow: bool) -> None:
    """Show the newest decisions of LOGS or --admin, oldest first, one a line.

    A line has the time (UTC), the end of the decision id, the status, method and path, the codes
    of a refusal, and the subject. --follow goes on, also when the log is rotated.
    """
    _follow_one(source, follow=follow)
    held: deque[Event] = deque(maxlen=lines)
    live = False
    for event in source.events(follow=follow):
        if event is None:
            _print(held, shape)
            held.clear()
            live = True
            sys.stdout.flush()
            time.sleep(POLL)
        elif wanted.fits(event):
            if live:
                _print((event,), shape)
            else:
                held.append(event)
    _print(held, shape)


def _print(events: Iterable[Event], shape: str) -> None:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    colour = False if os.environ.get("NO_COLOR") else None
    for event in events:
        if shape == "json":
            click.echo(encode(event))
            continue
        line = as_line(event, width)
        status = click.style(line[STATUS], fg=COLOURS.get(outcome_of(event), OTHERWISE))
        click.echo(line[: STATUS.start] + status + line[STATUS.stop :], color=colour)


@decisions.command(short_help="Show one decision in full.")
@click.argument("decision_id", metavar="ID")
@_sources
def show(decision_id: str, source: Source, shape: str) -> None:
    """Show the decision with this ID, or with an ID that ends so (8 characters or more).

    Example: gateway decisions show 6TY4V8ZQ decisions.jsonl
    """
    found = None if source.admin is None else source.admin.find(decision_id)
    if found is None:
        found = named(decision_id, filter(None, source.events(follow=False)))
    if shape == "json":
        click.echo(encode(found))
    else:
        click.echo("\n".join(as_text(found, partial(json_text, indent=2))))


@decisions.command(short_help="Count decisions and show latencies.")
@_sources
@_filters
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, help="Rows of each.")
@click.option("--follow", "-f", is_flag=True, help="Count on, in a table that changes.")
def stats(source: Source, wanted: Filter, top: int, shape: str, *, follow: bool) -> None:
    """Count decisions by outcome, route, code, reason and subject, and show latencies.

    The latencies are those of the whole request, upstream included, to 1 %.

    Example: gateway decisions stats decisions.jsonl --since 1h
    """
    _follow_one(source, follow=follow)
    if follow and (shape == "json" or not sys.stdout.isatty()):
        raise click.UsageError("--follow changes a table on a terminal")
    made = Stats()
    if follow:
        _live(made, source.events(follow=True), wanted, top)
    for event in source.events(follow=False):
        if event is not None and wanted.fits(event):
            made.add(event)
    if shape == "json":
        click.echo(encode(made.as_dict(top)))
        return
    click.echo(made.summary())
    last = ""
    for kind, name, count in made.rows(top):
        if kind != last:
            click.echo(f"\n{kind}")
        last = kind
        click.echo(f"  {count:9,}  {name}")


def _live(made: Stats, events: Iterator[Event | None], wanted: Filter, top: int) -> None:
    """Count on until interrupted."""
    from rich.live import Live  # noqa: PLC0415  slow to import, and only terminals need it

    with Live(_table(made, top), auto_refresh=False) as live:
        for event in events:
            if event is None:
                live.update(_table(made, top), refresh=True)
                time.sleep(POLL)
            elif wanted.fits(event):
                made.add(event)


def _table(made: Stats, top: int) -> RenderableType:
    from rich.console import Group as Together  # noqa: PLC0415  as above
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, show_header=False)
    last = ""
    for kind, name, count in made.rows(top):
        table.add_row(Text(kind if kind != last else "", "bold"), Text(f"{count:9,}"), Text(name))
        last = kind
    return Together(Text(made.summary()), table)
