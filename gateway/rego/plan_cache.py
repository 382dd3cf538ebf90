"""Plans kept on disk by what the compiler was asked, for their owner only.

That is the text as it was prepared, so that a newer engine, which prepares it otherwise, asks anew.
"""

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
    from collections.abc import Mapping
    from typing import Any

KEPT: Final = 256
"""How many plans are kept; those that were used last."""

_SUFFIX: Final = ".plan.json"


def find(asked: Mapping[str, Any], folder: Path) -> str | None:
    """Return a plan kept before; only from a file that nobody else could have written."""
    path = _file(asked, folder)
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


def keep(asked: Mapping[str, Any], folder: Path, text: str) -> None:
    """Keep a plan; a cache that cannot be written is no error."""
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
        file, name = tempfile.mkstemp(dir=folder, suffix=".new")
        with open(file, "w", encoding="utf-8") as stream:  # noqa: PTH123  a descriptor
            stream.write(text)
        Path(name).replace(_file(asked, folder))
        _prune(folder)


def _file(asked: Mapping[str, Any], folder: Path) -> Path:
    whole = json.dumps([metadata.version("regopy"), asked])
    return folder / f"{hashlib.sha256(whole.encode()).hexdigest()}{_SUFFIX}"


def _prune(folder: Path) -> None:
    kept = [(path.stat().st_mtime_ns, path) for path in folder.glob(f"*{_SUFFIX}")]
    for _, path in sorted(kept, reverse=True)[KEPT:]:
        path.unlink(missing_ok=True)
