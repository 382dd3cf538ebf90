"""The places that a configuration takes its policies from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.bundle.signature import Trust
from gateway.bundle.trust import trust_of
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.config.model import Bundle, Policy
    from gateway.errors import Problem

FETCHED = "bundles"
"""The folder in `policy.state` with the archives that were fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """A folder, a file or a bundle; `bundle` is the name of one that the configuration has.

    `trust` says who may have signed an archive; without it no signature is looked at. `url` is
    where the gateway itself fetched the archive from, which then nobody else may write.
    """

    path: Path
    bundle: str = ""
    trust: Trust | None = None
    url: str = ""


def root_paths(policy: Policy) -> tuple[Path, ...]:
    """The paths of `policy_roots`, in their order."""
    return (*policy.paths, *(_path(policy, name) for name in policy.bundles))


def policy_roots(policy: Policy) -> tuple[Root, ...]:
    """All places with policies, and the keys of bundles, read; ConfigError with every problem."""
    problems: list[Problem] = []
    trusts: dict[str, Trust] = {}
    for name, bundle in policy.bundles.items():
        try:
            trusts[name] = trust_of(bundle.verification)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(tuple(problems))
    return (
        *(Root(path=path, trust=Trust()) for path in policy.paths),
        *(replace(root, trust=trusts[root.bundle]) for root in _bundles(policy)),
    )


def unverified_roots(policy: Policy) -> tuple[Root, ...]:
    """All places with policies, for commands that are run where the keys of bundles are not."""
    return (*unverified(policy.paths), *_bundles(policy))


def unverified(paths: Iterable[Path]) -> tuple[Root, ...]:
    """Places whose signatures nobody looks at, for commands that decide nothing in earnest."""
    return tuple(Root(path=path) for path in paths)


def fetched_archive(state: Path, name: str, url: str) -> Path:
    """Where the archive that comes from a URL is kept; that of another URL is another file."""
    mark = hashlib.sha256(url.encode()).hexdigest()[:8]
    return state / FETCHED / f"{name}-{mark}.tar.gz"


def _bundles(policy: Policy) -> Iterator[Root]:
    for name, bundle in policy.bundles.items():
        yield Root(path=_path(policy, name), bundle=name, url=bundle.url or "")


def _path(policy: Policy, name: str) -> Path:
    bundle: Bundle = policy.bundles[name]
    if bundle.url is None:
        assert bundle.file is not None
        return bundle.file
    return fetched_archive(policy.state or Path(), name, bundle.url)
