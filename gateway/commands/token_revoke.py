"""The deny lists of a running gateway: `gateway token revoke`, `unrevoke`, `revoked`."""

from __future__ import annotations

import time
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from gateway.commands.inputs import seconds_of
from gateway.commands.policy_rollout import asks_admin
from gateway.identify.denylist import TIMES
from gateway.identify.revoked import KINDS
from gateway.record.encode import encode
from gateway.record.text import readable

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.commands.admin_client import Admin

PATH = "/tokens/revoked"
NOW = "now"


def names_tokens(command: Callable[..., None]) -> Callable[..., None]:
    """Add --issuer, --jti, --sub and --sid; they are passed as `entry`."""

    @click.option("--issuer", "-i", required=True, help="The issuer's name in gateway.yaml.")
    @click.option("--jti", help="The id of one token.")
    @click.option("--sub", help="A subject: all its tokens.")
    @click.option("--sid", help="A session: all its tokens.")
    @wraps(command)
    def wrapped(issuer: str, **options: Any) -> None:
        given = {kind: options.pop(kind) for kind in KINDS}
        named = {kind: value for kind, value in given.items() if value}
        if len(named) != 1:
            raise click.UsageError("give one of --jti, --sub and --sid")
        command(entry={"issuer": issuer, **named}, **options)

    return wrapped


@click.command(short_help="Refuse tokens that are good otherwise.")
@names_tokens
@click.option("--for", "lasting", help="How long, such as 24h; for ever by default.")
@click.option("--until", help="The same as a time, such as 2026-12-01T00:00:00Z.")
@click.option(
    "--issued-before",
    metavar="TIME|now",
    help="Only tokens issued up to then: whoever logs in anew is let in.",
)
@asks_admin
def revoke(
    admin: Admin,
    shape: str,
    entry: dict[str, Any],
    lasting: str | None,
    until: str | None,
    issued_before: str | None,
) -> None:
    """Have a running gateway refuse tokens from now on, with all its workers, also after a restart.

    An entry needs to last no longer than the tokens that it means.

    Examples: gateway token revoke -i corp --jti 9b2c --for 1h --token-file admin.token; gateway
    token revoke -i corp --sub alice --issued-before now --token-file admin.token
    """
    if lasting and until:
        raise click.UsageError("give --for or --until, not both")
    if lasting:
        entry["until"] = time.time() + seconds_of(lasting, "--for")
    elif until:
        entry["until"] = _moment(until, "--until")
    if issued_before:
        entry["before"] = (
            int(time.time()) if issued_before == NOW else _moment(issued_before, "--issued-before")
        )
    found = admin.act(PATH, entry=entry)
    _show(found, "denied", "refused from now on", shape)


@click.command(short_help="Let tokens in again that were refused.")
@names_tokens
@asks_admin
def unrevoke(admin: Admin, shape: str, entry: dict[str, Any]) -> None:
    """Take an entry away that `revoke` has made.

    Entries of the file in `revocation.file` are removed there.

    Example: gateway token unrevoke -i corp --sub alice --token-file admin.token
    """
    found = admin.act(PATH, method="DELETE", entry=entry)
    _show(found, "allowed", "no longer refused", shape)


@click.command(short_help="List what a running gateway refuses.")
@asks_admin
def revoked(admin: Admin, shape: str) -> None:
    """List the newest entries of a running gateway's deny lists.

    Example: gateway token revoked --token-file admin.token
    """
    found = admin.read(PATH)
    if shape == "json":
        click.echo(encode(found))
        return
    entries = found.get("entries") or []
    for each in entries:
        click.echo(readable(f"{each.get('source', ''):6} {_text(each)}"))
    total = found.get("total", 0)
    click.echo(f"{total} entries" + (f", the newest {len(entries)} shown" * (total > len(entries))))


def _show(found: dict[str, Any], name: str, said: str, shape: str) -> None:
    if shape == "json":
        click.echo(encode(found))
    else:
        click.echo(readable(f"{said}: {_text(found.get(name) or {})}"))


def _text(entry: dict[str, Any]) -> str:
    """An entry on one line: `corp sub alice, issued before …, until …`."""
    named = next((f"{kind} {entry[kind]}" for kind in KINDS if kind in entry), "")
    words = {"until": "until", "before": "issued before"}
    times = [f", {words[name]} {entry[name]}" for name in reversed(TIMES) if name in entry]
    return f"{entry.get('issuer', '')} {named}{''.join(times)}"


def _moment(text: str, option: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise click.BadParameter(
            f"expected a time with its zone, such as 2026-12-01T00:00:00Z, got {text!r}",
            param_hint=option,
        )
    return found.timestamp()
