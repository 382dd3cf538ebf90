"""Which policies `gateway policy` looks at."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import click
from click.core import ParameterSource

from gateway.bundle.folder import PolicySources, parse_files, read_files
from gateway.bundle.owners import shown
from gateway.bundle.root import unverified, unverified_roots
from gateway.commands.options import is_given
from gateway.config.document import MAX_BYTES, read_document
from gateway.config.load import absolute_policy, load as load_config
from gateway.config.model import Config
from gateway.config.validate import validate
from gateway.errors import ConfigError, Problem

POLICIES = Path("policies")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySet:
    """Policies, the folders and files that they are in, and what they are for.

    `config_path` is the configuration, if there is one; `config` is read from it (see
    `policy_config`) where it was named or names the policies.
    """

    sources: PolicySources
    paths: tuple[Path, ...]
    config: Config | None
    config_path: Path | None


def policy_set(ctx: click.Context, paths: tuple[Path, ...], path: Path) -> PolicySet:
    """The policies below PATHS, or those that the configuration names; ConfigError without any."""
    default = ctx.get_parameter_source("path") is ParameterSource.DEFAULT
    named = is_given(ctx, "path") or not (default or paths)
    config_path = path if named or path.exists() else None
    config = None
    if config_path is not None and (named or not paths):
        config = policy_config(config_path)
    roots = unverified(each.absolute() for each in paths)
    if not paths:
        if config is not None:
            roots = unverified_roots(absolute_policy(config, path))
        elif POLICIES.is_dir():
            roots = unverified((POLICIES.absolute(),))
        else:
            raise click.UsageError(f"no {path} and no {POLICIES}/ here; name PATHS", ctx)
    absolute = tuple(root.path for root in roots)
    sources = parse_files(read_files(roots), absolute)
    if not sources.modules and not sources.tests:
        raise ConfigError(tuple(Problem("no .rego file", file=shown(each)) for each in absolute))
    return PolicySet(sources=sources, paths=absolute, config=config, config_path=config_path)


def policy_config(path: Path) -> Config:
    """A configuration of which `policy` is good, whatever else in it cannot be used here.

    Keys, secrets and certificates are seldom where policies are tested. Raises ConfigError.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError:
        return load_config(path, os.environ).config  # which says what is wrong
    document = read_document(data, os.environ)
    config, _, faults = validate(document.tree, Config, document.unreadable)
    wrong = [found for found in document.problems if f"{found.key}.".startswith("policy.")]
    wrong += [document.problem(fault) for fault in faults if fault.key[:1] == ("policy",)]
    if wrong or config is None or not document.readable:
        load_config(path, os.environ)
    assert config is not None
    return config
