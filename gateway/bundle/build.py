"""What a bundle is built of: the files of folders, and a manifest."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.bundle import manifest
from gateway.bundle.folder import parse_files, read_files
from gateway.errors import ConfigError, Problem
from gateway.files import read_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.bundle.folder import PolicySources
    from gateway.bundle.manifest import Manifest


def gather(
    paths: tuple[Path, ...],
    *,
    ignore: tuple[str, ...] = (),
    revision: str | None = None,
    roots: tuple[str, ...] = (),
) -> tuple[dict[str, bytes], PolicySources]:
    """The files of a bundle, its manifest among them, and the policy set that they make.

    A name of which a part fits a pattern of `ignore` is left out. `revision` and `roots` go before
    those of a `.manifest` in the one folder that there is. Raises ConfigError.
    """
    files: dict[str, bytes] = {}
    problems: list[Problem] = []
    for key, data in read_files(paths).items():
        number, _, name = key.partition(":")
        if any(fnmatchcase(part, pattern) for part in name.split("/") for pattern in ignore):
            continue
        if name == manifest.NAME:
            message, remedy = "a bundle cannot be built of an archive", "unpack it first"
            problems.append(Problem(message, file=str(paths[int(number)]), remedy=remedy))
        elif name in files:
            message = f"{name} is in two of the paths"
            problems.append(Problem(message, remedy="give them a folder in common"))
        files[name] = data
    if problems:
        raise ConfigError(tuple(problems))
    files[manifest.NAME] = manifest.dump(_manifest(paths, revision, roots))
    return files, _sources(files, paths)


def _manifest(paths: tuple[Path, ...], revision: str | None, roots: tuple[str, ...]) -> Manifest:
    found = manifest.Manifest()
    file = paths[0] / manifest.NAME
    if len(paths) == 1 and file.is_file():
        try:
            found = manifest.parse(read_file(file, manifest.MAX_BYTES))
        except OSError as error:
            message = f"cannot be read: {error.strerror}"
            raise ConfigError((Problem(message, file=str(file)),)) from None
    named = tuple(map(manifest.root_of, roots)) or found.roots
    return replace(
        found,
        revision=found.revision if revision is None else revision,
        roots=named,
        rego_version=1,
        file_rego_versions={},
    )


def _sources(files: Mapping[str, bytes], paths: tuple[Path, ...]) -> PolicySources:
    """The set that a bundle with these files makes; ConfigError for what lies outside of it."""
    single = len(paths) == 1 and paths[0].is_dir()
    place = paths[0] if single else Path.cwd() / "bundle"
    return parse_files({f"0:{name}": data for name, data in files.items()}, (place,))
