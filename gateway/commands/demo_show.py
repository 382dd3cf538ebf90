"""What `gateway demo` prints: a table for people, or a JSON object a line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.commands.demo_rows import ORDERS, mint

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.commands.demo_rows import Row, Seen
    from gateway.jose.sign import SigningKey
    from gateway.serve.app import Gateway

WIDE = 70


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """What became of an edit: the revisions around it, and how long it took to be live.

    `problems` say why it was refused.
    """

    before: str
    after: str
    seconds: float
    problems: tuple[str, ...] = ()


class Show:
    """Prints the demo. With `json_lines` prose goes to standard error."""

    def __init__(self, *, json_lines: bool) -> None:
        self.json_lines = json_lines
        self.console = Console(highlight=False, stderr=json_lines)
        self.table = _table(self.console.width)

    def begin(self, gateway: Gateway, policies: Path) -> None:
        """Say where everything is."""
        self.say(f"The gateway listens on {gateway.edge[0].url}.")
        self.say("It decides by a copy of the policies in")
        self.line(f"  {policies}\n")

    def row(self, row: Row, seen: Seen, *, edited: Edited | None = None) -> None:
        """Show one request, and what was expected where something else came of it."""
        ok = seen.fits(row)
        if self.json_lines:
            click.echo(json.dumps(_line(row, seen, edited)))  # rich would wrap it
            return
        mark = Text("ok", "green") if ok else Text("FAILED", "red")
        self.table.add_row(row.name, str(seen.status), seen.code, _saw(seen), mark)
        if not ok:
            wanted = row.subject or ("anonymous" if row.status == 200 else "nothing")
            self.table.add_row("  expected", str(row.status), row.code, wanted, "", style="red")

    def rows_done(self) -> None:
        """Print the table of the rows so far."""
        if not self.json_lines:
            self.console.print(self.table)
        self.table = _table(self.console.width)

    def editing(self, name: str, added: str, skipped: str) -> None:
        """Say what is changed in the policies."""
        if self.json_lines:
            return
        self.say(
            "\nNow a policy changes while the gateway serves. This is added to "
            f"policies/{name}, in the copy:\n"
        )
        for line in added.strip().splitlines():
            self.console.print(Text(f"    {line.expandtabs(4)}", "cyan"))
        if skipped:
            self.say(f"\nIts test {skipped} says the opposite, and is skipped from now on.")
        self.say("")

    def edited(self, edited: Edited) -> None:
        """Say how long the edit took to be live, or why it is not."""
        self.rows_done()
        if edited.before == edited.after:
            self.say("\nThe edit did not take effect:")
            for problem in edited.problems:
                self.say(f"  {problem}")
            return
        self.say(
            f"\nThe edit was live after {edited.seconds * 1000:.0f} ms: "
            f"policy revision {edited.before} became {edited.after}."
        )

    def end(self, *, ok: bool) -> None:
        """Say how it went."""
        self.say(
            "Every row came out as stated."
            if ok
            else "Not every row came out as stated: see FAILED."
        )

    def invite(self, gateway: Gateway, issuer: str, key: SigningKey, copied: Path) -> None:
        """Print curl lines with live tokens, and what to try."""
        url = gateway.edge[0].url
        self.say("\nTry it yourself (the tokens are valid for an hour):\n")
        for name, claims, arguments in (
            ("alice", {"roles": ["reader"]}, f"{url}{ORDERS}/42"),
            ("bob", {"roles": ["writer"]}, f"-X POST -d '{{}}' {url}{ORDERS}"),
            ("carol", {"roles": ["admin"], "mfa": True}, f"{url}/admin/users"),
        ):
            token = mint(issuer, key, name, **claims)
            self.line(f"curl -i -H 'Authorization: Bearer {token}' {arguments}\n")
        self.say("The gateway reads these copies of the policies. Edit one, and ask again:\n")
        self.line(f"  {copied}\n")
        if gateway.admin:
            self.say(f"Status: {gateway.admin.url}/status")
        self.say("Ctrl-C ends the demo and removes the copies.")

    def say(self, text: str) -> None:
        """Print prose; a program that reads JSON lines finds none of it among them."""
        if self.json_lines:
            self.line(text)
        else:
            self.console.print(Text(text))

    def line(self, text: str) -> None:
        """Print what is to be copied: a terminal may break it, but not this."""
        print(text, file=self.console.file)


def _table(width: int) -> Table:
    gap = 2 if width >= WIDE else 1
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
    table.add_column("request", overflow="fold")
    table.add_column("status", no_wrap=True)
    table.add_column("code", no_wrap=True)
    table.add_column("upstream saw", overflow="fold")
    table.add_column("", no_wrap=True)
    return table


def _line(row: Row, seen: Seen, edited: Edited | None) -> dict[str, Any]:
    ok = seen.fits(row)
    line: dict[str, Any] = {
        "request": row.name,
        "method": row.method,
        "path": row.path,
        "ok": ok,
        "status": seen.status,
        "code": seen.code,
        "saw": _saw(seen),
    }
    if not ok:
        line["expected"] = {"status": row.status, "code": row.code, "subject": row.subject}
    if edited is not None:
        line["edit"] = {
            "before": edited.before,
            "after": edited.after,
            "seconds": round(edited.seconds, 3),
            "problems": edited.problems,
        }
    return line


def _saw(seen: Seen) -> str:
    if seen.upstream is None:
        return "nothing"
    headers = seen.upstream["headers"]
    who = headers.get("x-auth-subject", "anonymous")
    roles = headers.get("x-auth-roles")
    return f"{who} ({roles})" if roles else str(who)
