"""Inputs of a decision log (docs/decision-log.md), ours or OPA's, as cases to compare with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import ConfigError, Problem
from gateway.workbench.diff import Case
from gateway.workbench.events import entrypoint_of, time_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.workbench.events import Read


def cases_of(events: Iterable[Read]) -> Iterator[Case]:
    """Yield the decisions of a log that have an input; ConfigError for what is no event.

    Requests that were refused before the policy was asked have none.
    """
    for read in events:
        if read.fault:
            raise ConfigError((Problem(read.fault, file=read.name, line=read.line),))
        event = read.event
        entrypoint, document = entrypoint_of(event), event.get("input")
        if entrypoint and document is not None and not event.get("partial"):
            yield Case(
                source="recorded",
                entrypoint=entrypoint,
                document=document,
                now=time_of(event) or 0.0,
                name=f"{read.name}:{read.line}",
            )
