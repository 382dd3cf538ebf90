"""What a running gateway serves: `gateway policy history`, `rollback`, `pin`, `unpin`, `shadow`."""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from gateway.commands.admin_client import Admin, admin_url, checked, problem_texts
from gateway.commands.group import Group
from gateway.config.secrets import read_secret
from gateway.record.encode import encode
from gateway.record.text import readable
from gateway.workbench.events import text_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEFAULT_ADMIN = "http://127.0.0.1:9090"


def asks_admin(command: Callable[..., None]) -> Callable[..., None]:
    """Add --admin, --token-file and --format; the client is passed as `admin`."""

    @click.option(
        "--admin",
        "url",
        callback=admin_url,
        default=DEFAULT_ADMIN,
        show_default=True,
        help="URL of the admin listener.",
    )
    @click.option(
        "--token-file",
        type=click.Path(path_type=Path),
        help="File with the bearer token of the admin listener.",
    )
    @click.option("--format", "shape", type=click.Choice(["pretty", "json"]), default="pretty")
    @wraps(command)
    def wrapped(url: str, token_file: Path | None, **options: Any) -> None:
        token = None if token_file is None else read_secret(token_file).decode("latin-1")
        command(admin=checked(Admin(url, token)), **options)

    return wrapped


@click.command(short_help="List the revisions that a running gateway has kept.")
@asks_admin
def history(admin: Admin, shape: str) -> None:
    """List the policy revisions that a running gateway has kept, the newest first.

    `*` is the one that serves. Below it are its bundles, with the revisions that they name.

    Example: gateway policy history
    """
    found = admin.read("/policy/history")
    if shape == "json":
        click.echo(encode(found))
        return
    click.echo("  revision          came from disk       served last          files      bytes")
    for each in found.get("revisions") or ():
        click.echo(readable(_row(each, text_at(found, "revision"))))
        for name, revision in (each.get("bundles") or {}).items():
            click.echo(readable(f"    {name} {revision}".rstrip())[:80])
    _show(found)


def _row(kept: dict[str, Any], active: str) -> str:
    name = text_at(kept, "revision")
    came, served = (text_at(kept, moment)[:19] for moment in ("kept_at", "served_at"))
    mark = "*" if name == active else " "
    return f"{mark} {name:16}  {came:19}  {served:19}  {kept['files']:5}  {kept['size']:9,}"


@click.command(short_help="Serve an earlier revision, and pin it.")
@click.argument("revision", required=False)
@asks_admin
def rollback(admin: Admin, shape: str, revision: str | None) -> None:
    """Serve a kept REVISION, or the one before the active one, until `unpin`.

    It serves with the configuration as it is. What changes on disk meanwhile is compiled, tested
    and reported, and does not serve. REVISION may be cut to four characters or more.

    Examples: gateway policy rollback --token-file admin.token; gateway policy rollback 3f9a
    --token-file admin.token
    """
    _act(admin, "rollback", revision, shape)


@click.command(short_help="Let a revision serve whatever changes on disk.")
@click.argument("revision", required=False)
@asks_admin
def pin(admin: Admin, shape: str, revision: str | None) -> None:
    """Let the active revision, or a kept REVISION, serve until `unpin`, also after a restart.

    Example: gateway policy pin --token-file admin.token
    """
    _act(admin, "pin", revision, shape)


@click.command(short_help="Serve what is on disk again.")
@asks_admin
def unpin(admin: Admin, shape: str) -> None:
    """Serve what is on disk again; if that is broken, what serves goes on.

    Example: gateway policy unpin --token-file admin.token
    """
    _act(admin, "unpin", None, shape)


def _act(admin: Admin, action: str, revision: str | None, shape: str) -> None:
    where = f"/{quote(revision, safe='')}" if revision else ""
    found = admin.act(f"/policy/{action}{where}")
    if shape == "json":
        click.echo(encode(found))
    else:
        click.echo(readable(f"revision {found.get('revision')} serves"))
        _show(found)
    if action == "unpin" and found.get("last_error"):
        raise click.exceptions.Exit(1)


def _show(found: dict[str, Any]) -> None:
    """Say what is pinned, and what waits or is wrong."""
    lines = []
    if pinned := found.get("pinned"):
        revision, since, by = (text_at(pinned, name) for name in ("revision", "since", "by"))
        lines.append(f"pinned at {revision} since {since[:19]} by {by}")
    pending = found.get("pending")
    if pending and pending["revision"]:
        lines.append(f"on disk waits revision {text_at(pending, 'revision')}")
    lines += [f"on disk: {each}" for each in problem_texts(pending)]
    lines += [f"refused: {each}" for each in problem_texts(found.get("last_error"))]
    for line in lines:
        click.echo(readable(line))


@click.group(cls=Group)
def shadow() -> None:
    """Look at what the shadow of a running gateway decides differently."""


@shadow.command(short_help="Show what the shadow decides differently, and how often.")
@asks_admin
def report(admin: Admin, shape: str) -> None:
    """Count what the shadow of a running gateway decided, by route and kind of difference.

    Since both revisions serve side by side. Examples are decision ids, for `gateway decisions
    show`.

    Exit codes: 0 no difference, 2 differences, 1 there is no shadow, or it is broken.

    Example: gateway policy shadow report
    """
    found = admin.read("/policy/shadow")
    if shape == "json":
        click.echo(encode(found))
    told = found.get("report")
    if told is None:
        lines = problem_texts(found.get("status")) or ["it has no policy.shadow"]
        raise click.ClickException(readable(f"{admin.url}: " + "; ".join(lines)))
    if shape == "pretty":
        click.echo("\n".join(map(readable, _report(told))))
    if any(each["outcome"] not in ("same", "dropped") for each in told["counts"]):
        raise click.exceptions.Exit(2)


def _report(told: dict[str, Any]) -> Iterator[str]:
    since = text_at(told, "since")[:19]
    yield f"shadow {text_at(told, 'shadow')} beside {text_at(told, 'revision')}, since {since}"
    for each in told["counts"]:
        yield f"{each['count']:9,}  {each['outcome']:13}  {each['route']}"
    for each in told["differences"]:
        yield ""
        yield f"{each['count']:9,}  {each['outcome']:13}  {each['route']}"
        if each["enforced"] is None:
            yield "           differences of other kinds"
        else:
            yield f"           enforced  {each['enforced']}"
            yield f"           shadow    {each['shadow']}"
        yield f"           such as   {', '.join(each['examples'][-2:])}"
