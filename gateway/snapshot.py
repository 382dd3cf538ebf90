"""Everything that a request is decided with, as one immutable value."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from gateway.bundle import folder
from gateway.bundle.reader import FOREVER
from gateway.bundle.root import policy_roots, root_paths
from gateway.config import load as config_load
from gateway.config.document import dotted
from gateway.config.secrets import secret_of
from gateway.config.walk import files as config_files, names_policies
from gateway.decide import Decider
from gateway.errors import ConfigError, Problem
from gateway.files import MAX_NAMED_FILE, read_file
from gateway.forward import Forwarder
from gateway.identify import Identifier, Keyring, KeysError, accepted_algorithms
from gateway.limit import Limiter
from gateway.rego import CompileError, Policy, Program, Value
from gateway.rego.compiler import Unit, all_good, compile_all
from gateway.rego.testing import Suite, TestResult, run_tests, suites
from gateway.route.cors import CorsRules
from gateway.route.source import SourceReader
from gateway.route.table import RouteTable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gateway.bundle.folder import PolicySources
    from gateway.config.load import Loaded
    from gateway.config.model import Config, Issuer
    from gateway.rego.children import Children

DEFAULT_ENTRYPOINTS = ("gateway/authz/decision", "gateway/authz/allow")

_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What was read from disk, not yet known to be good.

    `files` are those of bundle.folder, `named` is the digest of the keys, certificates and
    secrets, which building reads itself; `digest` changes with every byte that a reload can
    change.
    """

    loaded: Loaded
    config_text: bytes
    files: Mapping[str, bytes]
    named: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One configuration with one policy revision, ready to decide.

    `keyrings` are those of all issuers, by name; only they change without a reload. `revision`
    is that of the policy files, `config_revision` that of the configuration's text, `named` as
    in Candidate. `tested` holds the results of the policies' own tests, by the digest of their
    suite.
    """

    config: Config
    config_revision: str
    revision: str
    named: str
    policies: PolicySources
    decider: Decider
    routes: RouteTable
    cors: CorsRules
    origins: SourceReader
    identifier: Identifier
    keyrings: Mapping[str, Keyring]
    limiter: Limiter
    forwarder: Forwarder
    tested: Mapping[str, tuple[TestResult, ...]]

    @property
    def bundles(self) -> dict[str, str]:
        """The revisions that the manifests of the configured bundles name, by bundle."""
        policy = self.config.policy
        paths = root_paths(policy)[len(policy.paths) :]
        return {
            name: self.policies.bundles.get(path, "")
            for name, path in zip(policy.bundles, paths, strict=True)
        }

    @property
    def programs(self) -> dict[str, Program]:
        """The compiled programs, by the digest of their modules."""
        return {self.policies.modules_digest: self.decider.policy.program}

    def with_keyrings(self, keyrings: Mapping[str, Keyring]) -> Snapshot:
        """The same snapshot with newer keys of some issuers."""
        return replace(self, keyrings={**self.keyrings, **keyrings})


def load(path: Path, environ: Mapping[str, str], *, now: float = FOREVER) -> Snapshot:
    """Read and build in one step; raises ConfigError with every problem found."""
    return build(read(path, environ, now=now), now=0.0)


def read(path: Path, environ: Mapping[str, str], *, now: float = FOREVER) -> Candidate:
    """Read the configuration and all files that it names; raises ConfigError.

    `now` (Unix seconds) is when the signatures of bundles must be good; by default, for ever.
    """
    loaded, text = read_config(path, environ)
    return read_policies(loaded, text, now)


def read_config(path: Path, environ: Mapping[str, str]) -> tuple[Loaded, bytes]:
    """The configuration alone, and its text; raises ConfigError."""
    text = config_load.read_text(path)
    return config_load.read(text, path, environ), text


def read_policies(loaded: Loaded, text: bytes, now: float) -> Candidate:
    """Read all files that a configuration names; raises ConfigError."""
    try:
        roots = policy_roots(loaded.config.policy)
    except ConfigError as error:
        raise loaded.located(error) from None
    return candidate_of(loaded, text, folder.read_files(roots, now))


def candidate_of(loaded: Loaded, text: bytes, files: Mapping[str, bytes]) -> Candidate:
    """A candidate of what was read, and of the keys, certificates and secrets as they are now."""
    named = named_files(loaded.config)
    whole = {**files, "config": text, "named": named.encode()}
    return Candidate(
        loaded=loaded, config_text=text, files=files, named=named, digest=folder.digest(whole)
    )


def named_files(config: Config) -> str:
    """The digest of all files that a configuration names, but for the policies."""
    found: dict[str, bytes] = {}
    for key, file in config_files(config):
        if not names_policies(key):
            try:
                found[str(file)] = read_file(file, MAX_NAMED_FILE)
            except OSError as error:
                problem = Problem(
                    f"cannot be read: {error.strerror}", file=str(file), key=dotted(key)
                )
                raise ConfigError((problem,)) from None
    return folder.digest(found)


def is_current(candidate: Candidate) -> bool:
    """Whether what building read by itself is what the candidate was made of."""
    loaded = candidate.loaded
    try:
        text = config_load.read_text(loaded.path)
        return text == candidate.config_text and named_files(loaded.config) == candidate.named
    except ConfigError:
        return False


def build(
    candidate: Candidate,
    *,
    now: float,
    previous: Snapshot | None = None,
    cache: Path | None = None,
    children: Children | None = None,
    programs: Mapping[str, Program] | None = None,
) -> Snapshot:
    """Build a snapshot; raises ConfigError with every problem, each with its place.

    `now` (Unix seconds) is the time that policy tests see. Of `previous` it takes over the
    compiled program where no module changed, and the results of the tests that no change can
    reach. `cache` is a folder for compiled plans. With `programs`, by the digest of their
    modules, nothing is compiled and no test is run: another process has done so. Blocking.
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
    decided = attempt(lambda: _decided(candidate, previous, cache, children, programs))
    if problems:
        raise ConfigError(tuple(problems))
    assert routes and cors and origins and forwarder and decided  # noqa: PT018
    assert keyrings is not None
    policies, compiled, decider = decided
    return Snapshot(
        config=config,
        config_revision=folder.digest({"": candidate.config_text})[:16],
        revision=policies.revision,
        named=candidate.named,
        policies=policies,
        decider=decider,
        routes=routes,
        cors=cors,
        origins=origins,
        identifier=_identifier(config, previous),
        keyrings=keyrings,
        limiter=Limiter.build(config),
        forwarder=forwarder,
        tested=_test(policies, compiled, now),
    )


def _identifier(config: Config, previous: Snapshot | None) -> Identifier:
    """The previous one, with the signatures that it knows, where nothing differs that it reads."""
    if previous is not None and all(
        _is_same(getattr(config, section), getattr(previous.config, section))
        for section in ("issuers", "credentials", "limits")
    ):
        return previous.identifier
    return Identifier.build(config)


def _is_same(one: object, other: object) -> bool:
    # Python finds 1 == True, and a repr shows no secret; a required claim tells them apart.
    return one == other and repr(one) == repr(other)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """The served program, the suites of tests still to run, and the results of the others."""

    program: Program
    suites: tuple[tuple[Suite, Program], ...] = ()
    known: Mapping[str, tuple[TestResult, ...]] = field(default_factory=dict)


def _decided(
    candidate: Candidate,
    previous: Snapshot | None,
    cache: Path | None,
    children: Children | None,
    programs: Mapping[str, Program] | None,
) -> tuple[PolicySources, Compiled, Decider]:
    config = candidate.loaded.config
    policies = folder.parse_files(candidate.files, root_paths(config.policy))
    if programs is None:
        compiled = _compile(config, policies, previous, cache, children)
    else:
        compiled = Compiled(program=programs[policies.modules_digest])
    entrypoints = resolve_entrypoints(config, compiled.program)
    policy = with_data(compiled.program, policies.data)
    return policies, compiled, Decider.build(config, policy, entrypoints)


def _compile(
    config: Config,
    policies: PolicySources,
    previous: Snapshot | None,
    cache: Path | None,
    children: Children | None,
) -> Compiled:
    """Compile what differs from `previous`; raises ConfigError with the problems of all."""
    if not policies.modules:
        key = "policy.paths" if config.policy.paths else "policy.bundles"
        raise ConfigError((Problem(f"no .rego file in {key}", key=key),))
    units: list[Unit] = []
    served: Program | None = None
    known: Mapping[str, tuple[TestResult, ...]] = {}
    if previous and previous.policies.modules_digest == policies.modules_digest:
        served = previous.decider.policy.program
    else:
        units.append(Unit(modules=policies.modules))
    if previous and previous.policies.data_digest == policies.data_digest:
        known = previous.tested
    found = suites(policies.modules, policies.tests) if config.policy.tests else ()
    stale = [suite for suite in found if suite.digest not in known]
    units += [Unit(modules=suite.modules) for suite in stale]
    try:
        made = all_good(compile_all(units, cache_dir=cache, children=children))
    except CompileError as error:
        raise as_config_error(error) from None
    program = served or made[0]
    return Compiled(
        program=program,
        suites=tuple(zip(stale, made if served else made[1:], strict=True)),
        known={suite.digest: known[suite.digest] for suite in found if suite not in stale},
    )


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


def default_entrypoint(config: Config, program: Program) -> str:
    """The deciding rule of routes that name none."""
    return config.policy.entrypoint or next(
        filter(program.defines, DEFAULT_ENTRYPOINTS), DEFAULT_ENTRYPOINTS[0]
    )


def resolve_entrypoints(config: Config, program: Program) -> dict[str, str]:
    """The deciding rule of each route; ConfigError for one that the policies do not define."""
    default = default_entrypoint(config, program)
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
            kind = "jwks_file" if issuer.keys.jwks_file else "pem_file"
            reason = error.strerror if isinstance(error, OSError) else error
            message = f"{getattr(issuer.keys, kind)}: {reason}"
            remedy = error.remedy if isinstance(error, KeysError) else ""
            problems.append(Problem(message, key=f"issuers.{name}.keys.{kind}", remedy=remedy))
    if problems:
        raise ConfigError(tuple(problems))
    return keyrings


def local_keyring(issuer: Issuer) -> Keyring:
    """The keys of an issuer that are on disk or in the configuration; OSError, ValueError."""
    keys = issuer.keys
    algorithms = accepted_algorithms(issuer)
    if keys.jwks_file is not None:
        content = read_file(keys.jwks_file, MAX_NAMED_FILE)
        return Keyring.from_jwks(content, algorithms=algorithms)
    if keys.pem_file is not None:
        content = read_file(keys.pem_file, MAX_NAMED_FILE)
        return Keyring.from_pem(content, algorithms=algorithms)
    if keys.symmetric:
        return Keyring.from_secret(secret_of(keys))
    return Keyring.unloaded()


def _test(
    policies: PolicySources, compiled: Compiled, now: float
) -> dict[str, tuple[TestResult, ...]]:
    """The results of the policies' own tests; ConfigError where one does not pass."""
    results = {
        suite.digest: tuple(run_tests(program, suite.tests, policies.data, now=now))
        for suite, program in compiled.suites
    }
    failed = [
        Problem(
            f"{result.full_name}: {result.outcome}: {result.message}",
            file=result.file,
            line=result.row,
            remedy="gateway policy test shows more",
        )
        for suite_results in results.values()
        for result in suite_results
        if result.outcome in ("fail", "error")
    ]
    if failed:
        raise ConfigError(tuple(failed))
    return {**compiled.known, **results}
