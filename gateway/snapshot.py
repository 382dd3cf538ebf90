"""Everything that a request is decided with, as one immutable value."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from gateway.bundle import folder
from gateway.bundle.reader import FOREVER
from gateway.bundle.root import policy_roots, root_paths
from gateway.config import load as config_load
from gateway.config.document import dotted
from gateway.config.model import Client
from gateway.config.secrets import secret_of
from gateway.config.walk import files as config_files, names_policies, sections, sets_beside
from gateway.decide.variants import Variant
from gateway.errors import ConfigError, Problem
from gateway.files import MAX_NAMED_FILE, read_file
from gateway.forward import Forwarder
from gateway.identify import Identifier, Keyring, KeysError, accepted_algorithms
from gateway.identify.revoked import NOTHING, Denied
from gateway.jose.sign import load_pem
from gateway.limit import Limiter
from gateway.policy_sets import PolicySets
from gateway.route.cors import CorsRules
from gateway.route.source import SourceReader
from gateway.route.table import RouteTable
from gateway.session import SessionRules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gateway.bundle.folder import PolicySources
    from gateway.config.load import Loaded
    from gateway.config.model import Config, Issuer
    from gateway.decide import Decider
    from gateway.decide.variants import Canary, Shadow
    from gateway.rego import Program
    from gateway.rego.children import Children
    from gateway.rego.testing import TestResult

_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What was read from disk, not yet known to be good.

    `files` are those of bundle.folder, `beside` those of the other policy sets by name, or why
    they cannot be read. `named` is the digest of the keys, certificates and secrets, which
    building reads itself; `digest` changes with every byte that a reload can change.
    """

    loaded: Loaded
    config_text: bytes
    files: Mapping[str, bytes]
    beside: Mapping[str, Mapping[str, bytes] | ConfigError]
    named: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One configuration with one policy revision, ready to decide.

    `keyrings` are those of all issuers, by name, `denied` the tokens that are refused all the
    same; only they change without a reload. `revision`
    is that of the policy files, `config_revision` that of the configuration's text, `named` as
    in Candidate. `tested` holds the results of the policies' own tests, by the digest of their
    suite. `canary` and `shadow` are the policy sets beside the enforced one; `faults` tells by name
    why one of them is None though it is configured.
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
    sessions: SessionRules | None
    identifier: Identifier
    keyrings: Mapping[str, Keyring]
    limiter: Limiter
    forwarder: Forwarder
    tested: Mapping[str, tuple[TestResult, ...]]
    canary: Canary | None = None
    shadow: Shadow | None = None
    faults: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)
    denied: Denied = NOTHING

    def policy_sets(self) -> dict[str, Variant | None]:
        """The policy sets by name; the enforced one has none."""
        enforced = Variant(policies=self.policies, decider=self.decider, tested=self.tested)
        return {"": enforced, "canary": self.canary, "shadow": self.shadow}

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
        return {
            made.policies.modules_digest: made.decider.policy.program
            for made in self.policy_sets().values()
            if made is not None
        }

    def with_keyrings(self, keyrings: Mapping[str, Keyring]) -> Snapshot:
        """The same snapshot with newer keys of some issuers."""
        return replace(self, keyrings={**self.keyrings, **keyrings})

    def with_denied(self, denied: Denied) -> Snapshot:
        """The same snapshot with other deny lists."""
        return replace(self, denied=denied)


def load(path: Path, environ: Mapping[str, str], *, now: float = FOREVER) -> Snapshot:
    """Read and build in one step; raises ConfigError with every problem found."""
    return build(read(path, environ, now=now), now=0.0)


def read(
    path: Path,
    environ: Mapping[str, str],
    *,
    now: float = FOREVER,
    instead: Callable[[Loaded], Mapping[str, bytes] | None] | None = None,
) -> Candidate:
    """Read the configuration and all files that it names; raises ConfigError.

    `now` (Unix seconds) is when the signatures of bundles must be good; by default, for ever.
    `instead` may give policy files that stand for those on disk, which are not read then.
    """
    loaded, text = read_config(path, environ)
    return read_policies(loaded, text, now, instead)


def read_config(path: Path, environ: Mapping[str, str]) -> tuple[Loaded, bytes]:
    """The configuration alone, and its text; raises ConfigError."""
    text = config_load.read_text(path)
    return config_load.read(text, path, environ), text


def read_policies(
    loaded: Loaded,
    text: bytes,
    now: float,
    instead: Callable[[Loaded], Mapping[str, bytes] | None] | None = None,
) -> Candidate:
    """Read all files that a configuration names; raises ConfigError."""
    files = instead(loaded) if instead else None
    if files is None:
        try:
            roots = policy_roots(loaded.config.policy)
        except ConfigError as error:
            raise loaded.located(error) from None
        files = folder.read_files(roots, now)
    return candidate_of(loaded, text, files)


def candidate_of(loaded: Loaded, text: bytes, files: Mapping[str, bytes]) -> Candidate:
    """A candidate of what was read; all else that it is made of is read as it is now."""
    named = named_files(loaded.config)
    whole = {**files, "config": text, "named": named.encode()}
    beside: dict[str, Mapping[str, bytes] | ConfigError] = {}
    for name, section in sets_beside(loaded.config):
        try:
            beside[name] = found = folder.read_files(section.paths)
            whole[name] = folder.digest(found).encode()
        except ConfigError as error:
            beside[name] = error
            whole[name] = str(error).encode()
    return Candidate(
        loaded=loaded,
        config_text=text,
        files=files,
        beside=beside,
        named=named,
        digest=folder.digest(whole),
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
    attempt(lambda: check_client_keys(config))
    sets = attempt(lambda: _policy_sets(candidate, previous, cache, children, programs))
    if problems:
        raise ConfigError(tuple(problems))
    assert routes and cors and origins and forwarder and sets  # noqa: PT018
    assert keyrings is not None
    served, canary, shadow = sets.enforced(now), sets.canary(now), sets.shadow(now)
    return Snapshot(
        config=config,
        config_revision=folder.digest({"": candidate.config_text})[:16],
        revision=served.revision,
        named=candidate.named,
        policies=served.policies,
        decider=served.decider,
        routes=routes,
        cors=cors,
        origins=origins,
        sessions=SessionRules.build(config),
        identifier=_identifier(config, previous),
        keyrings=keyrings,
        limiter=Limiter.build(config),
        forwarder=forwarder,
        tested=served.tested,
        canary=canary,
        shadow=shadow,
        faults={
            name: tuple(map(candidate.loaded.locate, found)) for name, found in sets.faults.items()
        },
    )


def _policy_sets(
    candidate: Candidate,
    previous: Snapshot | None,
    cache: Path | None,
    children: Children | None,
    programs: Mapping[str, Program] | None,
) -> PolicySets:
    before = previous.policy_sets() if previous else {}
    sets = PolicySets(candidate.loaded.config, candidate.files, candidate.beside, before)
    if programs is None:
        sets.compile(cache, children)
    else:
        sets.take(programs)
    return sets


def _identifier(config: Config, previous: Snapshot | None) -> Identifier:
    """The previous one, with the signatures that it knows, where nothing differs that it reads."""
    if previous is not None and all(
        _is_same(getattr(config, section), getattr(previous.config, section))
        for section in ("issuers", "logins", "credentials", "limits")
    ):
        return previous.identifier
    return Identifier.build(config)


def _is_same(one: object, other: object) -> bool:
    # Python finds 1 == True, and a repr shows no secret; a required claim tells them apart.
    return one == other and repr(one) == repr(other)


def local_keyrings(config: Config) -> dict[str, Keyring]:
    """The keyring of every issuer; remote ones have no keys yet. Raises ConfigError."""
    problems: list[Problem] = []
    keyrings: dict[str, Keyring] = {}
    for name, issuer in config.issuers.items():
        try:
            keyrings[name] = local_keyring(issuer)
        except (OSError, ValueError) as error:
            kind = "jwks_file" if issuer.key_source.jwks_file else "pem_file"
            reason = error.strerror if isinstance(error, OSError) else error
            message = f"{getattr(issuer.key_source, kind)}: {reason}"
            remedy = error.remedy if isinstance(error, KeysError) else ""
            problems.append(Problem(message, key=f"issuers.{name}.keys.{kind}", remedy=remedy))
    if problems:
        raise ConfigError(tuple(problems))
    return keyrings


def check_client_keys(config: Config) -> None:
    """ConfigError where a key that the gateway is to sign with as a client cannot be used."""
    problems: list[Problem] = []
    for key, client in sections(config, Client):
        if client.key_file is None:
            continue
        try:
            load_pem(read_file(client.key_file, MAX_NAMED_FILE), client.algorithm)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            place = dotted((*key, "key_file"))
            problems.append(Problem(f"{client.key_file}: {reason}", key=place))
    if problems:
        raise ConfigError(tuple(problems))


def local_keyring(issuer: Issuer) -> Keyring:
    """The keys of an issuer that are on disk or in the configuration; OSError, ValueError."""
    keys = issuer.keys
    if keys is None:
        return Keyring.unloaded()
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
