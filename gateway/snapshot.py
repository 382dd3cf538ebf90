"""Everything that a request is decided with, as one immutable value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.bundle import folder
from gateway.bundle.folder import PolicySources
from gateway.config import load as config_load
from gateway.config.secrets import secret_of
from gateway.decide import Documenter
from gateway.errors import ConfigError, Problem
from gateway.forward import Forwarder
from gateway.identify import Identifier, Keyring, accepted_algorithms
from gateway.rego import CompileError, Policy, Program, RegoProblem, compile as compile_rego
from gateway.rego.testing import TestResult, run_tests
from gateway.route.cors import CorsRules
from gateway.route.source import SourceReader
from gateway.route.table import RouteTable

if TYPE_CHECKING:
    from gateway.config.load import Loaded
    from gateway.config.model import Config, Issuer

DEFAULT_ENTRYPOINTS = ("gateway/authz/decision", "gateway/authz/allow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What was read from disk: a configuration and the policy files, not yet known to be good.

    `files` are those of bundle.folder; `digest` changes with every byte that a reload can change.
    """

    loaded: Loaded
    config_text: bytes
    files: Mapping[str, bytes]
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One configuration with one policy revision, ready to decide.

    `keyrings` are those of all issuers, by name; only they change without a reload.
    `entrypoints` names the deciding rule of each route, by route id.
    """

    config: Config
    config_revision: str
    revision: str
    sources: PolicySources
    policy: Policy
    entrypoints: Mapping[str, str]
    routes: RouteTable
    cors: CorsRules
    origins: SourceReader
    identifier: Identifier
    keyrings: Mapping[str, Keyring]
    documenter: Documenter
    forwarder: Forwarder
    tests: tuple[TestResult, ...]

    def with_keyring(self, name: str, keyring: Keyring) -> Snapshot:
        """The same snapshot with newer keys of one issuer."""
        return replace(self, keyrings={**self.keyrings, name: keyring})


def load(path: Path, environ: Mapping[str, str]) -> Snapshot:
    """Read and build in one step; raises ConfigError with every problem found."""
    return build(read(path, environ))


def read(path: Path, environ: Mapping[str, str]) -> Candidate:
    """Read the configuration and all files that it names; raises ConfigError."""
    try:
        text = path.read_bytes()
    except OSError:
        config_load.load(path, environ)  # says it better
        raise
    loaded = config_load.read(text, path, environ)
    paths = loaded.config.policy.paths
    others = {
        str(file): file.read_bytes()
        for file in config_load.watched_files(loaded.config, path)
        if file.is_file() and file not in paths
    }
    return candidate(loaded, text, folder.read_files(paths), others)


def candidate(
    loaded: Loaded, text: bytes, files: Mapping[str, bytes], others: Mapping[str, bytes]
) -> Candidate:
    """A candidate of what was read; `others` are keys, certificates and secrets."""
    whole = {**others, **{f"policy:{name}": data for name, data in files.items()}, "": text}
    return Candidate(
        loaded=loaded, config_text=text, files=files, digest=folder.digest(whole)
    )


def build(
    candidate: Candidate, *, previous: Snapshot | None = None, cache: Path | None = None
) -> Snapshot:
    """Build a snapshot; raises ConfigError with every problem, each with its place.

    Of `previous` it takes over the keys of unchanged remote issuers, and the compiled program
    where no module changed. `cache` is a folder for compiled plans.
    """
    config = candidate.loaded.config
    problems: list[Problem] = []

    def attempt[T](step: Callable[[], T]) -> T | None:
        try:
            return step()
        except ConfigError as error:
            problems.extend(candidate.loaded.located(error).problems)
            return None

    ...
