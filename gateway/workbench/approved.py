"""Changes of decisions that somebody has approved, as a YAML file lists them.

    approved:
      - {change: allow-to-deny, route: orders, after: [role-missing], because: JIRA-12}

The model below is the reference; docs/testing.md explains it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from gateway.config.document import read_document
from gateway.config.model import Section
from gateway.config.validate import validate
from gateway.config.values import Malformed
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["deny-to-allow", "allow-to-deny", "result"]


def _listed(value: object) -> object:
    """One text is short for a list of it."""
    return (value,) if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(_listed)]
Codes = Annotated[tuple[str, ...], BeforeValidator(_listed)]


NARROW = ("rule", "route", "subject", "before", "decision_id")
"""Of these one at least must say which requests are to be allowed that were refused."""


class Approval(Section):
    """A kind of change that is meant. All that is given must fit; a list is a choice."""

    change: Kind
    """Refused requests that are allowed, the reverse, or another result with the same outcome."""
    entrypoint: Texts | None = None
    """The rule that was asked, as `gateway/authz/decision`."""
    route: Texts | None = None
    """Id of the route."""
    method: Texts | None = None
    """Method of the request."""
    subject: Texts | None = None
    """Who asked."""
    before: Codes | None = None
    """The codes of the recorded decision: all of them, in any order."""
    after: Codes | None = None
    """The same of the new decision."""
    rule: Texts | None = None
    """What decides now: `data.gateway.authz.allow`, a file, or `file:line` of the body."""
    decision_id: Texts | None = None
    """Ids of single decisions."""
    because: str = Field(min_length=1)
    """Why it is meant."""

    @model_validator(mode="after")
    def _says_what(self) -> Approval:
        for name in self.model_fields_set:
            if getattr(self, name) is None:
                raise Malformed("is empty, and would fit every change", "leave it out", key=(name,))
        if self.change == "deny-to-allow" and not self.model_fields_set.intersection(NARROW):
            remedy = f"say which: {', '.join(NARROW[:-1])} or {NARROW[-1]}"
            raise Malformed("approves every request that was refused", remedy)
        return self

    def covers(self, change: Mapping[str, Any]) -> bool:
        """Whether it approves a change: `before` and `after` are tuples, `rule` its names."""
        for name in self.model_fields_set - {"because"}:
            wanted, found = getattr(self, name), change[name]
            match name:
                case "change":
                    fits = wanted == found
                case "before" | "after":
                    fits = set(wanted) == set(found)
                case "rule":
                    fits = not set(wanted).isdisjoint(found)
                case _:
                    fits = found in wanted
            if not fits:
                return False
        return True


class ApprovalFile(Section):
    """A file of approved changes."""

    approved: tuple[Approval, ...] = ()
    """The changes."""


@dataclass(frozen=True, slots=True)
class Approved:
    """An approval and where it stands."""

    approval: Approval
    file: str
    line: int


def read_approved(name: str, data: bytes) -> list[Approved]:
    """Read a file's approvals; ConfigError with every fault in it."""
    document = read_document(data, None)
    problems = list(document.problems)
    found, _, faults = validate(document.tree, ApprovalFile, document.unreadable)
    if document.readable:
        problems += map(document.problem, faults)
    if problems or found is None:
        ordered = sorted(problems, key=lambda each: (each.line, each.column))
        raise ConfigError(tuple(replace(each, file=name) for each in ordered))
    return [
        Approved(approval, name, document.locate(f"approved.{index}").line)
        for index, approval in enumerate(found.approved)
    ]
