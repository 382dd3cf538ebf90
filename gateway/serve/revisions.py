"""The good policy sets that are kept on disk, and which of them is pinned.

Each is a file of two lines that only its owner may read: what it is, and what it holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.bundle import folder
from gateway.bundle.root import root_paths
from gateway.config import load as config_load
from gateway.errors import ConfigError, Problem
from gateway.files import read_own_file, replace_own_file
from gateway.snapshot import candidate_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from gateway.config.load import Loaded
    from gateway.snapshot import Candidate

log = logging.getLogger("gateway.reload")

MAX_KEPT = 512 * 1024**2
"""Most bytes that all files take; the oldest give way."""
MAX_FILE = 4 * folder.MAX_TOTAL
"""A set's text may grow by JSON's escapes."""
MAX_LINE = 4096
"""Longest first line, and longest pin."""
MAX_NAMED = 64
"""Most characters that are kept of a bundle's revision."""

Files = dict[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A policy set that is kept.

    It came from the files on disk at `kept_at`, and began to serve at `served_at`, the last time
    (Unix seconds). `files` and `size` (bytes) are those of its policies. `bundles` are the
    revisions that its bundles' manifests named, by bundle; cut, and left out where they are many.
    """

    revision: str
    kept_at: float
    served_at: float
    files: int
    size: int
    bundles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """The revision that serves whatever the files say, since when (Unix seconds) and by whom."""

    revision: str
    since: float
    by: str


class Store:
    """What the gateway keeps of the configuration at `path`, in the folder `state`.

    All of it blocks. What others may have written, what is damaged and what belongs to another
    configuration is not used.
    """

    def __init__(self, state: Path, path: Path) -> None:
        self.state = state
        self.path = path
        self.folder = state / f"{path.name}.revisions"
        self.pin_file = state / f"{path.name}.pin.json"

    @classmethod
    def of(cls, loaded: Loaded) -> Store:
        """The store of a configuration; its folder is made where it is missing, if it can be."""
        state = loaded.config.policy.state
        assert state is not None
        with contextlib.suppress(OSError):
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(state, loaded.path)

    def keep(
        self,
        candidate: Candidate,
        revision: str,
        *,
        now: float,
        fresh: bool = True,
        bundles: Mapping[str, str] | None = None,
    ) -> None:
        """Keep a good candidate that begins to serve; a failure is logged.

        It counts as new, unless it served last or `fresh` is false.
        """
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            kept = {each.revision: each for each in self.history()}
            before = kept.get(revision)
            last = max(kept.values(), key=lambda each: each.served_at, default=None)
            known = before is not None and (before is last or not fresh)
            self._write(
                candidate,
                Revision(
                    revision=revision,
                    kept_at=before.kept_at if before is not None and known else now,
                    served_at=now,
                    files=len(candidate.files),
                    size=sum(map(len, candidate.files.values())),
                    bundles=_named(bundles or {}),
                ),
            )
            self._prune(candidate.loaded.config.policy.history, revision)
        except OSError as error:
            log.warning(
                "revision %s cannot be kept in %s: %s", revision, self.folder, error.strerror
            )

    def history(self) -> list[Revision]:
        """What is kept, the newest first."""
        found = [header[1] for file in self._files() if (header := self._header(file))]
        return sorted(found, key=lambda each: each.kept_at, reverse=True)

    def policy_files(self, revision: str) -> Files:
        """The files of a kept set; ConfigError where it is not there or cannot be trusted."""
        for file in self._files():
            header = self._header(file)
            if header and header[1].revision == revision:
                return self._body(file)[1]
        raise ConfigError((Problem(f"revision {revision} is not kept", file=str(self.folder)),))

    def last_good(self, environ: Mapping[str, str]) -> tuple[Candidate, float]:
        """What served last, and since when; keys, certificates and secrets are read anew.

        FileNotFoundError where there is none, OSError or ConfigError where none can be used.
        """
        found = [
            (header[1].served_at, file) for file in self._files() if (header := self._header(file))
        ]
        if not found:
            raise FileNotFoundError(str(self.folder))
        served_at, file = max(found)
        text, files = self._body(file)
        loaded = config_load.read(text, self.path, environ)
        check_places(files, loaded)
        return candidate_of(loaded, text, files), served_at

    def pinned(self) -> Pin | None:
        """The pin; ConfigError where it cannot be read, as then nobody knows what may serve."""
        remedy = f"remove {self.pin_file} to serve what is on disk"
        try:
            document = json.loads(read_own_file(self.pin_file, MAX_LINE))
            self._check_path(document)
            return Pin(
                revision=str(document["revision"]),
                since=float(document["since"]),
                by=str(document["by"]),
            )
        except FileNotFoundError:
            return None
        except OSError as error:
            problem = Problem(
                f"the pin cannot be read: {error.strerror}", file=str(self.pin_file), remedy=remedy
            )
        except (ValueError, KeyError, TypeError):
            problem = Problem("the pin is damaged", file=str(self.pin_file), remedy=remedy)
        raise ConfigError((problem,))

    def pin(self, pin: Pin) -> None:
        """Let a pin outlive the process; OSError."""
        document = {"path": str(self.path.absolute()), **asdict(pin)}
        replace_own_file(self.pin_file, json.dumps(document).encode())

    def unpin(self) -> None:
        """Take the pin away; OSError."""
        self.pin_file.unlink(missing_ok=True)

    def _files(self) -> Iterator[Path]:
        try:
            yield from sorted(self.folder.glob("*.json"))
        except OSError:
            return

    def _header(self, file: Path) -> tuple[str, Revision] | None:
        """The digest of the second line, and what the set is; None where it cannot be used."""
        try:
            line = read_own_file(file, MAX_LINE, line=True)
            document = json.loads(line)
            self._check_path(document)
            return str(document["sha256"]), Revision(
                revision=str(document["revision"]),
                kept_at=float(document["kept_at"]),
                served_at=float(document["served_at"]),
                files=int(document["files"]),
                size=int(document["size"]),
                bundles={str(k): str(v) for k, v in document.get("bundles", {}).items()},
            )
        except FileNotFoundError:
            return None  # it gave way meanwhile
        except OSError as error:
            log.warning("%s cannot be used: %s", file, error.strerror)
        except (ValueError, KeyError, TypeError, AttributeError):
            log.warning("%s cannot be used: it is damaged, or another configuration's", file)
        return None

    def _body(self, file: Path) -> tuple[bytes, Files]:
        """Configuration and policy files of a set; ConfigError where they are not as kept."""
        try:
            first, _, second = read_own_file(file, MAX_FILE).partition(b"\n")
            header, body = json.loads(first), json.loads(second)
            files = {str(name): data.encode() for name, data in body["files"].items()}
            good = (
                header["sha256"] == hashlib.sha256(second).hexdigest()
                and file.stem == folder.digest(files)[:16]
            )
            if good:
                return body["config"].encode(), files
        except OSError as error:
            problem = Problem(f"cannot be read: {error.strerror}", file=str(file))
            raise ConfigError((problem,)) from None
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        raise ConfigError((Problem("is damaged", file=str(file)),))

    def _check_path(self, document: Mapping[str, Any]) -> None:
        if document["path"] != str(self.path.absolute()):
            raise ValueError("of another configuration")

    def _write(self, candidate: Candidate, revision: Revision) -> None:
        files = {name: data.decode() for name, data in candidate.files.items()}
        body = {"config": candidate.config_text.decode(), "files": files}
        second = json.dumps(body, ensure_ascii=False).encode()
        first = {
            "path": str(self.path.absolute()),
            "sha256": hashlib.sha256(second).hexdigest(),
            **asdict(revision),
        }
        file = self.folder / f"{revision.revision}.json"
        replace_own_file(file, json.dumps(first).encode() + b"\n" + second)

    def _prune(self, most: int, served: str) -> None:
        """Let the oldest go, but for what serves."""
        sizes = {}
        for file in self._files():
            header = self._header(file)
            if header is None:
                continue
            sizes[file] = (header[1].revision == served, header[1].kept_at, file.stat().st_size)
        total = 0
        for number, file in enumerate(sorted(sizes, key=lambda each: sizes[each], reverse=True)):
            total += sizes[file][2]
            if number and (number >= most or total > MAX_KEPT):
                file.unlink(missing_ok=True)


def _named(bundles: Mapping[str, str]) -> dict[str, str]:
    named = {name: revision[:MAX_NAMED] for name, revision in bundles.items()}
    return named if len(json.dumps(named)) <= MAX_LINE // 4 else {}


def check_places(files: Mapping[str, bytes], loaded: Loaded) -> None:
    """ConfigError where files came from more paths than a configuration names."""
    try:
        count = 1 + max((int(name.partition(":")[0]) for name in files), default=0)
    except ValueError:
        count = 0
    if not 0 < count <= len(root_paths(loaded.config.policy)):
        message = "the kept files came from other paths than the configuration names"
        raise ConfigError((loaded.locate(Problem(message, key="policy.paths")),))
