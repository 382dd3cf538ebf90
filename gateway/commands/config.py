"""`gateway config`: check, show and describe the configuration."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Literal

import click

from gateway import snapshot
from gateway.commands import report
from gateway.commands.group import Group
from gateway.commands.options import config_file
from gateway.config.load import load
from gateway.config.schema import json_schema
from gateway.config.show import as_json, as_yaml
from gateway.errors import ConfigError
from gateway.identify.denylist import load_list

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateway.errors import Problem


@click.group(cls=Group)
def config() -> None:
    """Check and show the configuration."""


@config.command()
@config_file
@click.option("--format", "form", type=click.Choice(["pretty", "json"]), default="pretty")
@click.pass_context
def check(ctx: click.Context, path: Path, form: Literal["pretty", "json"]) -> None:
    """Build all that `serve` would run with, and list the problems.

    Reads the configuration, keys, certificates and policies, and runs the policies' tests; each
    of these steps needs those before it to be without problems.
    Exits with 1 if the gateway could not start, or not all of its policy sets could decide.

    Example: gateway config check --config gateway.yaml
    """
    warnings: tuple[Problem, ...] = ()
    try:
        candidate = snapshot.read(path, os.environ, now=time.time())
        warnings = candidate.loaded.warnings
        built = snapshot.build(candidate, now=time.time())
        if built.config.revocation.file is not None:
            load_list(built.config.revocation.file, built.config.issuers, time.time())
    except ConfigError as error:
        _show_result(error.problems, warnings, form)
        ctx.exit(1)
    faults = [problem for problems in built.faults.values() for problem in problems]
    _show_result(faults, warnings, form)
    if faults:
        ctx.exit(1)
    if form == "pretty":
        click.echo(f"{path}: ok, {_summary(built)}")


def _show_result(
    problems: Iterable[Problem], warnings: Iterable[Problem], form: Literal["pretty", "json"]
) -> None:
    if form == "pretty":
        report.show_problems(warnings, kind="warning")
        report.show_problems(problems)
        return
    found = [report.as_json(problem) for problem in problems]
    noted = [report.as_json(problem) for problem in warnings]
    click.echo(json.dumps({"ok": not found, "problems": found, "warnings": noted}, indent=2))


def _summary(built: snapshot.Snapshot) -> str:
    counts = (
        (len(built.config.routes), "route"),
        (len(built.config.issuers), "issuer"),
        (len(built.policies.modules), "policy module"),
        (sum(map(len, built.tested.values())), "policy test"),
    )
    parts = (report.counted(count, noun) for count, noun in counts)
    return ", ".join((*parts, f"revision {built.revision}"))


@config.command(short_help="Print the effective configuration, its secrets masked.")
@config_file
@click.option("--format", "form", type=click.Choice(["yaml", "json"]), default="yaml")
def show(path: Path, form: Literal["yaml", "json"]) -> None:
    """Print the configuration with its defaults filled in and its secrets masked.

    Example: gateway config show --format json | jq .limits
    """
    loaded = load(path, os.environ)
    click.echo((as_json if form == "json" else as_yaml)(loaded.config), nl=False)


@config.command()
def schema() -> None:
    """Print the JSON Schema of gateway.yaml, for editors.

    Example: gateway config schema > gateway.schema.json, and as the first line of gateway.yaml,
    for editors with yaml-language-server: # yaml-language-server: $schema=gateway.schema.json
    """
    click.echo(json.dumps(json_schema(), indent=2))
