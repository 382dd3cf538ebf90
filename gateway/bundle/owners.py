"""Which part of a policy set owns what: a bundle its roots, a folder all that no bundle has."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Self

from gateway.bundle import manifest
from gateway.bundle.errors import BundleError
from gateway.errors import Problem
from gateway.rego.annotations import head_path, package_path
from gateway.rego.source import Source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.bundle.manifest import Manifest


class StrayError(ValueError):
    """A file defines what its bundle does not own, or another one does."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class Owners:
    """The manifests of the bundles among the places of a set, by the place's number."""

    paths: tuple[Path, ...]
    manifests: Mapping[int, Manifest]
    problems: tuple[Problem, ...]

    @classmethod
    def read(cls, files: Mapping[str, bytes], paths: tuple[Path, ...]) -> Self:
        """Find the bundles by their manifests; two that overlap are a problem."""
        found: dict[int, Manifest] = {}
        problems: list[Problem] = []
        for number, path in enumerate(paths):
            data = files.get(f"{number}:{manifest.NAME}")
            try:
                if data is not None:
                    found[number] = manifest.parse(data)
            except BundleError as error:
                problems += error.of(shown(path)).problems
        for one, other in combinations(found, 2):
            for root, taken in product(found[one].roots, found[other].roots):
                if manifest.overlap(root, taken):
                    message = (
                        f"it owns {manifest.shown(taken)}, and {shown(paths[one])} "
                        f"{manifest.shown(root)}"
                    )
                    remedy = "give the bundles roots that do not overlap (--root)"
                    problems.append(Problem(message, file=shown(paths[other]), remedy=remedy))
        return cls(paths=paths, manifests=found, problems=tuple(problems))

    @property
    def revisions(self) -> dict[Path, str]:
        """The revisions that the manifests name."""
        return {self.paths[number]: each.revision for number, each in self.manifests.items()}

    def shown(self, number: int, name: str) -> str:
        """The name of a file for people."""
        root = self.paths[number]
        single = number not in self.manifests and os.path.isfile(root)  # noqa: PTH113  Path's raises
        return shown(root if single else root / name)

    def check_module(self, number: int, text: str, *, is_test: bool) -> None:
        """StrayError where a module's package is not its bundle's, or is another bundle's."""
        own = self.manifests.get(number)
        if own is not None and own.owns(()):
            return  # it owns everything, and nobody else may own anything
        if own is None and (is_test or not self.manifests):
            return  # the tests of a folder may be about a bundle
        source = Source("", text)
        package = package_path(source)
        if not package:  # the compiler says what is wrong without one
            return
        self._check(number, package, own is None or own.owns(package), "package")
        if own is not None:
            return
        taken = [root for bundle in self.manifests.values() for root in bundle.roots]
        for statement in source.statements[1:]:
            path = (*package, *head_path(statement))
            for root in taken if statement[0].text != "import" else ():
                if manifest.overlap(path, root):
                    self._check(number, root, True, "rule")

    def check_data(self, number: int, path: manifest.Path, document: Mapping[str, object]) -> None:
        """StrayError where a document has a value that is not its bundle's, or is another's."""
        own = self.manifests.get(number)
        if own is not None:
            for stray in own.strays(path, document):
                self._check(number, stray, False, "data")
            return
        for bundle in self.manifests.values():
            for root in bundle.roots:
                if manifest.holds(document, path, root):
                    self._check(number, root, True, "data")

    def _check(self, number: int, path: manifest.Path, owned: bool, noun: str) -> None:
        place = manifest.shown(path)
        if not owned:
            roots = ", ".join(map(manifest.shown, self.manifests[number].roots)) or "nothing"
            message = f"the {noun} {place} lies outside of the bundle's roots ({roots})"
            raise StrayError(message, "name it in the manifest's roots (--root), or move it")
        for other, bundle in self.manifests.items():
            if other != number and bundle.owns(path):
                message = f"the {noun} {place} belongs to the bundle {shown(self.paths[other])}"
                remedy = "move it, or give the bundle roots without it (--root)"
                raise StrayError(message, remedy)


def shown(path: Path) -> str:
    """A file's name for people: relative to the working folder where it lies below it."""
    try:
        return path.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(path)
