"""Policy sets in OPA's bundle layout, from folders and bundles: `*.rego` and `data.json|yaml`."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.bundle import archive, manifest
from gateway.bundle.digest import MAX_YAML
from gateway.bundle.owners import Owners, StrayError, shown
from gateway.bundle.reader import DATA_FILES, FOREVER, SUFFIXES, read_bundle
from gateway.bundle.root import Root
from gateway.bundle.signature import Trust
from gateway.config.document import read_document
from gateway.config.model import public_url
from gateway.errors import ConfigError, Problem
from gateway.files import is_below, read_file, read_own_file
from gateway.jose.strict_json import JsonError, loads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

TEST_SUFFIX = "_test.rego"
MAX_FILE = 32 * 1024**2
MAX_FILES = 10_000
MAX_TOTAL = 128 * 1024**2
"""What all files of a policy set may hold, in bytes."""
READINGS = 5
"""How often a set is read of which files vanish meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySources:
    """A policy set as text: module name → source, the tests apart, and the data document.

    `bundles` are the revisions that the manifests of bundles name, by the path of the bundle.
    `modules_digest` changes with the served modules only, `data_digest` with the data only,
    `revision` with anything in the set.
    """

    modules: Mapping[str, str]
    tests: Mapping[str, str]
    data: Mapping[str, Any]
    modules_digest: str
    data_digest: str
    revision: str
    bundles: Mapping[Path, str] = field(default_factory=dict)


def read_files(places: Iterable[Path | Root], now: float = FOREVER) -> dict[str, bytes]:
    """Every policy and data file in folders and bundles, by name; raises ConfigError.

    An archive among the paths that are no Root must not be signed: nobody could verify it. `now`
    (Unix seconds) is what signatures and keys must be valid at; by default, for ever.
    """
    roots = [
        place if isinstance(place, Root) else Root(path=place, trust=Trust()) for place in places
    ]
    for _ in range(READINGS):
        files: dict[str, bytes] = {}
        problems: list[Problem] = []
        # A set without the file that an editor is just replacing may allow what it denies.
        if not any(_read(number, root, files, problems, now) for number, root in enumerate(roots)):
            break
    else:
        problems.append(Problem("files vanish while they are read", file=str(roots[0].path)))
    if problems:
        raise ConfigError(tuple(problems))
    return files


def _read(
    number: int, place: Root, files: dict[str, bytes], problems: list[Problem], now: float
) -> bool:
    """Read what is in one of the places; whether a file was gone by then."""
    root = place.path
    is_folder = os.path.isdir(root)  # noqa: PTH112  Path's raises where it may not look
    signed = place.url or (place.trust is not None and place.trust.keys)
    if signed or (not is_folder and (place.bundle or root.name.endswith(SUFFIXES))):
        try:
            found = read_bundle(_archive(place), shown(root), place.trust, now)
        except ConfigError as error:
            problems += error.problems
        else:
            files |= {f"{number}:{name}": data for name, data in found.files.items()}
            _check_size(files, root)
        return False
    if place.bundle:
        files[f"{number}:{manifest.NAME}"] = _manifest(root, problems)
    return _read_folder(number, root, files, problems)


def _archive(place: Root) -> bytes:
    """The bytes of a bundle's archive; ConfigError."""
    try:
        if place.url:
            return read_own_file(place.path, archive.MAX_PACKED)
        return read_file(place.path, archive.MAX_PACKED)
    except FileNotFoundError:
        if not place.url:
            raise ConfigError((Problem("does not exist", file=str(place.path)),)) from None
        message = f"bundle {place.bundle} was never fetched from {public_url(place.url)}"
        remedy = "`gateway serve` does that; `gateway bundle pull` shows what the server says"
        raise ConfigError((Problem(message, remedy=remedy),)) from None
    except OSError as error:
        raise ConfigError((_unreadable(error, place.path),)) from None


def _manifest(root: Path, problems: list[Problem]) -> bytes:
    """The manifest of a bundle that is a folder; without one it owns everything."""
    try:
        return read_file(root / manifest.NAME, manifest.MAX_BYTES)
    except FileNotFoundError:
        pass
    except OSError as error:
        problems.append(_unreadable(error, root / manifest.NAME))
    return b"{}\n"


def _read_folder(number: int, root: Path, files: dict[str, bytes], problems: list[Problem]) -> bool:
    """Read what is below one of the paths; whether a file was gone by then."""
    vanished = False
    total = sum(map(len, files.values()))
    for path, name in _policy_files(root, problems):
        limit = MAX_YAML if name.endswith((".yaml", ".yml")) else MAX_FILE
        try:
            name.encode()
            # The number keeps data of two roots apart; the engine never sees it.
            files[f"{number}:{name}"] = data = read_file(path, limit)
            total += len(data)
        except UnicodeEncodeError:
            problems.append(Problem("the file's name is not UTF-8", file=ascii(str(path))))
        except FileNotFoundError:
            if _is_link(path):
                problems.append(Problem("a link that leads nowhere", file=str(path)))
            else:
                vanished = True
        except OSError as error:
            problems.append(_unreadable(error, path))
        _check_size(files, root, total)
    return vanished


def _check_size(files: Mapping[str, bytes], root: Path, total: int | None = None) -> None:
    total = sum(map(len, files.values())) if total is None else total
    if len(files) > MAX_FILES or total > MAX_TOTAL:
        message = f"more than {MAX_FILES} files, or than {MAX_TOTAL} bytes in all"
        raise ConfigError((Problem(message, file=str(root)),))


def parse_files(files: Mapping[str, bytes], paths: tuple[Path, ...]) -> PolicySources:
    """Sort the files of `read_files` into modules, tests and one data document."""
    modules: dict[str, str] = {}
    tests: dict[str, str] = {}
    data: dict[str, Any] = {}
    owners = Owners.read(files, paths)
    problems: list[Problem] = [*owners.problems]
    for key in sorted(files):
        number, _, name = key.partition(":")
        if name == manifest.NAME:
            continue
        shown_name = owners.shown(int(number), name)
        try:
            if name.endswith(".rego"):
                text = _text(files[key])
                is_test = name.endswith(TEST_SUFFIX)
                if (tests if is_test else modules).setdefault(shown_name, text) != text:
                    raise _DataError("another file of this name is in the set", 0)
                owners.check_module(int(number), text, is_test=is_test)
            else:
                document = _document(name, files[key])
                owners.check_data(int(number), tuple(name.split("/")[:-1]), document)
                _graft(data, name.split("/")[:-1], document)
        except ValueError as error:
            line, message = _located(error)
            remedy = error.remedy if isinstance(error, StrayError) else ""
            problems.append(Problem(message, file=shown_name, line=line, remedy=remedy))
    if problems:
        raise ConfigError(tuple(problems))
    return PolicySources(
        modules=modules,
        tests=tests,
        data=data,
        modules_digest=digest({name: text.encode() for name, text in modules.items()}),
        data_digest=digest(
            {name: files[name] for name in files if not name.endswith((".rego", manifest.NAME))}
        ),
        revision=digest(files)[:16],
        bundles=owners.revisions,
    )


def digest(files: Mapping[str, bytes]) -> str:
    """A hash of names and contents, in hex."""
    total = hashlib.sha256()
    for name in sorted(files):
        for part in (name.encode(), files[name]):
            total.update(len(part).to_bytes(8, "big"))
            total.update(part)
    return total.hexdigest()


def _policy_files(root: Path, problems: list[Problem]) -> Iterator[tuple[Path, str]]:
    """Yield the files below `root` and their names; a link to a folder elsewhere is a problem."""
    try:
        single = not stat.S_ISDIR(root.stat().st_mode)
    except OSError as error:
        problems.append(_unreadable(error, root))
        return
    if single:
        yield root, root.name
        return
    for folder, names in _folders(root, problems):
        for name in sorted(names):
            # Hidden files and editors' copies (.x.swp, x~, #x#) end otherwise or start with a dot.
            if name.startswith((".", "#")) or not (name.endswith(".rego") or name in DATA_FILES):
                continue
            path = Path(folder, name)
            yield path, path.relative_to(root).as_posix()


def _folders(root: Path, problems: list[Problem]) -> Iterator[tuple[str, list[str]]]:
    """Yield the folders from `root` on, each once, and the names of the files in them."""
    top = os.path.realpath(root)
    seen = {top}

    def enter(path: Path) -> bool:
        real = os.path.realpath(path)
        if not is_below(real, top):
            remedy = "name the folder in policy.paths"
            problems.append(Problem("a link out of the folder", file=str(path), remedy=remedy))
        elif real not in seen:
            seen.add(real)
            return True
        return False

    def unreadable(error: OSError) -> None:
        # Rules that deny may stand in it. A folder that is gone by now is no fault.
        if not isinstance(error, FileNotFoundError):
            problems.append(_unreadable(error, root))

    for folder, folders, names in os.walk(root, followlinks=True, onerror=unreadable):
        # Of two names for one folder its own counts, not that of a link.
        ordered = sorted((_is_link(f"{folder}/{name}"), name) for name in folders)
        folders[:] = [
            name for _, name in ordered if not name.startswith(".") and enter(Path(folder, name))
        ]
        yield folder, names


def _is_link(path: str | Path) -> bool:
    return os.path.islink(path)  # noqa: PTH114  Path's raises where it may not look


def _unreadable(error: OSError, path: Path) -> Problem:
    where = error.filename if isinstance(error.filename, str) else str(path)
    return Problem(f"cannot be read: {error.strerror}", file=where)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _DataError("not UTF-8", line) from None


def _document(name: str, data: bytes) -> dict[str, Any]:
    value: Any
    if name.endswith(".json"):
        try:
            value = loads(data, max_depth=256, max_members=MAX_FILE)
        except JsonError as error:
            raise _DataError(str(error), 0) from None
    else:
        document = read_document(data, None, max_bytes=MAX_YAML)
        for problem in document.problems:
            raise _DataError(f"{problem.key}: {problem.message}".lstrip(": "), problem.line)
        value = document.tree
    if not isinstance(value, dict):
        raise _DataError("a data document must be an object", 1)
    return value


class _DataError(ValueError):
    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def _located(error: ValueError) -> tuple[int, str]:
    return (error.line if isinstance(error, _DataError) else 0), str(error)


def _graft(data: dict[str, Any], keys: list[str], document: dict[str, Any]) -> None:
    for key in keys:
        below = data.setdefault(key, {})
        if not isinstance(below, dict):
            raise _DataError(f"another data file gives {key!r} a value that is not an object", 0)
        data = below
    _merge(data, document, ".".join(keys))


def _merge(data: dict[str, Any], document: dict[str, Any], at: str) -> None:
    for key, value in document.items():
        path = f"{at}.{key}" if at else key
        if key not in data:
            data[key] = value
        elif isinstance(data[key], dict) and isinstance(value, dict):
            _merge(data[key], value, path)
        else:
            raise _DataError(f"data.{path} is given by two files", 0)
