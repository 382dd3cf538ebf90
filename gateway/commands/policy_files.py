"""Which policies `gateway policy` looks at."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.core import ParameterSource

from gateway.bundle.folder import PolicySources, parse_files, read_files
from gateway.commands.options import is_given
from gateway.config.document import MAX_BYTES, read_document
from gateway.config.load import load as load_config
from gateway.config.validate import validate
from gateway.errors import ConfigError, Problem

POLICIES = Path("policies")


def policy_sources(ctx: click.Context, paths: tuple[Path, ...], config: Path) -> PolicySources:
    """The policies below PATHS, or those that the configuration names; ConfigError without any."""
    if paths and is_given(ctx, "path"):
        raise click.UsageError("--config names policies, and so do PATHS: give one of them", ctx)
    if not paths:
        default = ctx.get_parameter_source("path") is ParameterSource.DEFAULT
        if not default or config.exists():
            paths = policy_paths(config)
        elif POLICIES.is_dir():
            paths = (POLICIES,)
        else:
            raise click.UsageError(f"no {config} and no {POLICIES}/ here; name PATHS", ctx)
    absolute = tuple(path.absolute() for path in paths)
    sources = parse_files(read_files(absolute), absolute)
    if not sources.modules and not sources.tests:
        raise ConfigError(tuple(Problem("no .rego file", file=str(path)) for path in paths))
    return sources


def policy_paths(path: Path) -> tuple[Path, ...]:
    """`policy.paths` of a configuration, whatever else in it cannot be used here.

    Keys, secrets and certificates are seldom where policies are tested. Raises ConfigError.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError:
        return load_config(path, os.environ).config.policy.paths  # which says what is wrong
    document = read_document(data, os.environ)
    config, _, faults = validate(document.tree, document.unreadable)
    wrong = [found for found in document.problems if f"{found.key}.".startswith("policy.")]
    wrong += [document.problem(fault) for fault in faults if fault.key[:1] == ("policy",)]
    if wrong or config is None or not document.readable:
        load_config(path, os.environ)
    assert config is not None
    return tuple(path.absolute().parent / each for each in config.policy.paths)
