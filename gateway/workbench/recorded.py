"""Inputs of a decision log (docs/decision-log.md), ours or OPA's, as cases to compare with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import ConfigError, Problem
from gateway.workbench.diff import Case
from gateway.workbench.events import entrypoint_of, time_of

if TYPE_CHECKING:
    from gateway.workbench.events import Read


def case_of(read: Read) -> Case | None:
    """The decision of an event, None where it has no input; ConfigError for what is no event.

    Requests that were refused before the policy was asked have none.
    """
    if read.fault:
        raise ConfigError((Problem(read.fault, file=read.name, line=read.line),))
    event = read.event
    entrypoint = entrypoint_of(event)
    if not entrypoint or "input" not in event or event.get("partial"):
        return None
    return Case(
        source="recorded",
        entrypoint=entrypoint,
        document=event["input"],
        now=time_of(event) or 0.0,
        name=f"{read.name}:{read.line}",
    )
