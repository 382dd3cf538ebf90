"""Everything that a request is decided with, as one immutable value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from gateway.bundle import folder
from gateway.config import load as config_load
from gateway.config.secrets import secret_of
from gateway.decide import Decider
from gateway.errors import ConfigError, Problem
from gateway.forward import Forwarder
from gateway.identify import Identifier, Keyring, accepted_algorithms
from gateway.rego import CompileError, Policy, Program, Value, compile as compile_rego
from gateway.rego.testing import TestResult, compile_tests, run_tests
from gateway.route.cors import CorsRules
from gateway.route.source import SourceReader
from gateway.route.table import RouteTable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gateway.bundle.folder import PolicySources
    from gateway.config.load import Loaded
    from gateway.config.model import Config, Issuer

DEFAULT_ENTRYPOINTS = ("gateway/authz/decision", "gateway/authz/allow")

_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What was read from disk, not yet known to be good.

    `files` are those of bundle.folder; `digest` changes with every byte that a reload can change.
    """

    loaded: Loaded
    config_text: bytes
    files: Mapping[str, bytes]
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One configuration with one policy revision, ready to decide.

    `keyrings` are those of all issuers, by name; only they change without a reload. `revision`
    is that of the policy files, `config_revision` that of the configuration's text.
    """

    config: Config
    config_revision: str
    revision: str
    policies: PolicySources
    decider: Decider
    routes: RouteTable
    cors: CorsRules
    origins: SourceReader
    identifier: Identifier
    keyrings: Mapping[str, Keyring]
    forwarder: Forwarder
    tests: tuple[TestResult, ...]

    def with_keyrings(self, keyrings: Mapping[str, Keyring]) -> Snapshot:
        """The same snapshot with newer keys of some issuers."""
        return replace(self, keyrings={**self.keyrings, **keyrings})


def load(path: Path, environ: Mapping[str, str]) -> Snapshot:
    """Read and build in one step; raises ConfigError with every problem found."""
    return build(read(path, environ), now=0.0)


def read(path: Path, environ: Mapping[str, str]) -> Candidate:
    """Read the configuration and all files that it names; raises ConfigError."""
    loaded = config_load.load(path, environ)
    text = path.read_bytes()
    paths = loaded.config.policy.paths
    others = {
        str(file): file.read_bytes()
        for file in config_load.watched_files(loaded.config, path)
        if file.is_file() and file not in paths
    }
    if others.get(str(path), text) != text:
        raise ConfigError((Problem("changed while it was read", file=str(path)),))
    return candidate_of(loaded, text, folder.read_files(paths), others)


def candidate_of(
    loaded: Loaded, text: bytes, files: Mapping[str, bytes], others: Mapping[str, bytes]
) -> Candidate:
    """A candidate of what was read; `others` are keys, certificates and secrets."""
    whole = {**others, **{f"policy:{name}": data for name, data in files.items()}, "": text}
    digest = folder.digest(whole)
    return Candidate(loaded=loaded, config_text=text, files=files, digest=digest)


def build(
    candidate: Candidate,
    *,
    now: float,
    previous: Snapshot | None = None,
    cache: Path | None = None,
) -> Snapshot:
    """Build a snapshot; raises ConfigError with every problem, each with its place.

    `now` (Unix seconds) is the time that policy tests see. Of `previous` it takes over the
    compiled program where no module changed. `cache` is a folder for compiled plans. Blocking.
    """
    config = candidate.loaded.config
    problems: list[Problem] = []

    def attempt(step: Callable[[], _Made]) -> _Made | None:
        try:
            return step()
        except ConfigError as error:
            problems.extend(candidate.loaded.located(error).problems)
            return None

    routes = attempt(lambda: RouteTable.build(config.routes))
    cors = attempt(lambda: CorsRules.build(config))
    origins = attempt(lambda: SourceReader.build(config))
    forwarder = attempt(lambda: Forwarder.build(config))
    keyrings = attempt(lambda: local_keyrings(config))
    policies = attempt(lambda: folder.parse_files(candidate.files, config.policy.paths))
    decider = policies and attempt(lambda: _decider(config, policies, previous, cache))
    if problems:
        raise ConfigError(tuple(problems))
    assert routes and cors and origins and forwarder and policies and decider  # noqa: PT018
    assert keyrings is not None
    return Snapshot(
        config=config,
        config_revision=folder.digest({"": candidate.config_text})[:16],
        revision=policies.revision,
        policies=policies,
        decider=decider,
        routes=routes,
        cors=cors,
        origins=origins,
        identifier=Identifier.build(config),
        keyrings=keyrings,
        forwarder=forwarder,
        tests=_tested(config, policies, previous, cache, now),
    )


def _decider(
    config: Config, policies: PolicySources, previous: Snapshot | None, cache: Path | None
) -> Decider:
    program = compile_policies(policies, previous, cache)
    entrypoints = resolve_entrypoints(config, program)
    return Decider.build(config, Policy(program, policies.data), entrypoints)


def compile_policies(
    policies: PolicySources, previous: Snapshot | None = None, cache: Path | None = None
) -> Program:
    """The served program; raises ConfigError."""
    if not policies.modules:
        raise ConfigError((Problem("no .rego file in policy.paths", key="policy.paths"),))
    if previous and previous.policies.modules_digest == policies.modules_digest:
        return previous.decider.policy.program
    try:
        return compile_rego(policies.modules, cache_dir=cache)
    except CompileError as error:
        raise as_config_error(error) from None


def with_data(program: Program, data: Value) -> Policy:
    """The program over its data; ConfigError where data and a rule define the same."""
    try:
        return Policy(program, data)
    except CompileError as error:
        raise as_config_error(error) from None


def as_config_error(error: CompileError) -> ConfigError:
    """The engine's problems as the gateway's."""
    return ConfigError(
        tuple(
            Problem(
                found.message,
                file=found.file,
                line=found.row,
                column=found.col,
                remedy=found.remedy,
            )
            for found in error.problems
        )
    )


def resolve_entrypoints(config: Config, program: Program) -> dict[str, str]:
    """The deciding rule of each route; ConfigError for one that the policies do not define."""
    default = config.policy.entrypoint or next(
        filter(program.defines, DEFAULT_ENTRYPOINTS), DEFAULT_ENTRYPOINTS[0]
    )
    problems: list[Problem] = []
    found: dict[str, str] = {}
    for index, route in enumerate(config.routes):
        found[route.id] = (route.entrypoint or default).strip("/")
        if not program.defines(found[route.id]):
            key = f"routes.{index}.entrypoint" if route.entrypoint else "policy.entrypoint"
            package, _, rule = found[route.id].rpartition("/")
            problems.append(
                Problem(
                    f"no policy defines {found[route.id]}",
                    key=key,
                    remedy=f"write `{rule}` in `package {package.replace('/', '.')}`",
                )
            )
    if problems:
        raise ConfigError(tuple({problem.key: problem for problem in problems}.values()))
    return found


def local_keyrings(config: Config) -> dict[str, Keyring]:
    """The keyring of every issuer; remote ones have no keys yet. Raises ConfigError."""
    problems: list[Problem] = []
    keyrings: dict[str, Keyring] = {}
    for name, issuer in config.issuers.items():
        try:
            keyrings[name] = local_keyring(issuer)
        except (OSError, ValueError) as error:
            problems.append(Problem(f"no keys: {error}", key=f"issuers.{name}.keys"))
    if problems:
        raise ConfigError(tuple(problems))
    return keyrings


def local_keyring(issuer: Issuer) -> Keyring:
    """The keys of an issuer that are on disk or in the configuration; OSError, ValueError."""
    keys = issuer.keys
    algorithms = accepted_algorithms(issuer)
    if keys.jwks_file is not None:
        return Keyring.from_jwks(keys.jwks_file.read_bytes(), algorithms=algorithms)
    if keys.pem_file is not None:
        return Keyring.from_pem(keys.pem_file.read_bytes(), algorithms=algorithms)
    if keys.symmetric:
        return Keyring.from_secret(secret_of(keys))
    return Keyring.unloaded()


def _tested(
    config: Config,
    policies: PolicySources,
    previous: Snapshot | None,
    cache: Path | None,
    now: float,
) -> tuple[TestResult, ...]:
    """The results of the policies' own tests; ConfigError where one does not pass."""
    if previous and previous.revision == policies.revision:
        return previous.tests
    if not config.policy.tests or not policies.tests:
        return ()
    try:
        program = compile_tests(policies.modules, policies.tests, cache_dir=cache)
    except CompileError as error:
        raise as_config_error(error) from None
    results = tuple(run_tests(program, policies.tests, policies.data, now=now))
    failed = [
        Problem(
            f"{result.full_name}: {result.outcome}: {result.message}",
            file=result.file,
            line=result.row,
            remedy="gateway policy test shows more",
        )
        for result in results
        if result.outcome in ("fail", "error")
    ]
    if failed:
        raise ConfigError(tuple(failed))
    return results
