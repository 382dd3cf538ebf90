"""Inputs of a decision log (docs/decision-log.md): JSON lines, ours or OPA's."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from gateway.errors import ConfigError, Problem
from gateway.rego.values import loads
from gateway.workbench.diff import Case

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


def read_log(lines: Iterable[bytes], path: Path) -> Iterator[Case]:
    """Yield the decisions of a log that have an input; ConfigError for a line that is no event.

    Requests that were refused before the policy was asked have none.
    """
    for row, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            event = loads(line.decode())
        except ValueError:
            event = None
        if not isinstance(event, dict):
            raise ConfigError((Problem("no decision event: not a JSON object",
                                       file=str(path), line=row),))  # fmt: skip
        entrypoint, document = event.get("path"), event.get("input")
        if isinstance(entrypoint, str) and document is not None and not event.get("partial"):
            yield Case(
                source="recorded",
                entrypoint=entrypoint.strip("/"),
                document=document,
                now=_moment(event.get("timestamp")),
                name=f"{path}:{row}",
            )


def _moment(timestamp: Any) -> float:
    """Unix seconds of an RFC 3339 time; 0 where there is none."""
    try:
        return datetime.fromisoformat(timestamp).timestamp()
    except (TypeError, ValueError):
        return 0.0
