"""Plans kept on disk by the content that they were compiled from, for their owner only."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.rego.plan import PlanError, read_plan

if TYPE_CHECKING:
    from gateway.rego.compiler import Unit

KEPT: Final = 256
"""How many plans are kept; those that were used last."""

_SUFFIX: Final = ".plan.json"


def find(unit: Unit, folder: Path) -> str | None:
    """Return a plan kept before; only from a file that nobody else could have written."""
    path = _file(unit, folder)
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with open(file, encoding="utf-8") as stream:  # noqa: PTH123  a descriptor, checked below
        status = os.fstat(file)
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            return None
        try:
            text = stream.read()
            read_plan(text)
        except (PlanError, ValueError):
            return None
        with contextlib.suppress(OSError):
            os.utime(file)
        return text


def keep(unit: Unit, folder: Path, text: str) -> None:
    """Keep a plan; a cache that cannot be written is no error."""
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
        file, name = tempfile.mkstemp(dir=folder, suffix=".new")
        with open(file, "w", encoding="utf-8") as stream:  # noqa: PTH123  a descriptor
            stream.write(text)
        Path(name).replace(_file(unit, folder))
        _prune(folder)


def _file(unit: Unit, folder: Path) -> Path:
    asked = json.dumps(
        [
            metadata.version("regopy"),
            list(unit.modules.values()),
            unit.entrypoints,
            unit.query,
        ]
    )
    return folder / f"{hashlib.sha256(asked.encode()).hexdigest()}{_SUFFIX}"


def _prune(folder: Path) -> None:
    kept = [(path.stat().st_mtime_ns, path) for path in folder.glob(f"*{_SUFFIX}")]
    for _, path in sorted(kept, reverse=True)[KEPT:]:
        path.unlink(missing_ok=True)
