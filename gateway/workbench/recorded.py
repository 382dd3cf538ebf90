"""Inputs of a decision log (docs/decision-log.md), ours or OPA's, as cases to compare with."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import ConfigError, Problem
from gateway.workbench.diff import Case
from gateway.workbench.events import entrypoint_of, hidden, time_of

if TYPE_CHECKING:
    from gateway.workbench.events import Read


class Recorded(NamedTuple):
    """A recorded decision; `now` is None where its event has no time.

    `gone` are the JSON pointers into the event to what was erased or masked.
    """

    case: Case
    now: float | None
    gone: tuple[str, ...]

    @property
    def entrypoint(self) -> str:
        """The rule that decided."""
        return self.case.entrypoint


def case_of(read: Read) -> Recorded | None:
    """The decision of an event, None where it has no input; ConfigError for what is no event.

    Requests that were refused before the policy was asked have none.
    """
    event, fault = read.event, read.fault
    if not fault:
        try:
            gone = hidden(event)
        except ValueError as error:
            fault = str(error)
    if fault:
        raise ConfigError((Problem(fault, file=read.name, line=read.line),))
    entrypoint = entrypoint_of(event)
    if not entrypoint or "input" not in event or event.get("partial"):
        return None
    now = time_of(event)
    case = Case(
        source="recorded",
        entrypoint=entrypoint,
        document=event["input"],
        now=now or 0.0,
        name=f"{read.name}:{read.line}",
    )
    return Recorded(case, now, gone)
