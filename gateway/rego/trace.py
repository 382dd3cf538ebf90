"""What one decision tried: rules, their bodies, and the expressions that failed, with values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.rego.values import UNDEFINED, Undefined, Value

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_EVENTS: Final = 10_000
"""What happens after that many events is not kept."""


class Site(NamedTuple):
    """A place in a policy source; row and column count from 1, 0 is unknown."""

    file: str
    row: int
    col: int


@dataclass(slots=True)
class Failure:
    """An expression that was not true: where, and the values that it read, by their names.

    A variable of the policy has no name here. Inside `not` a failure is what makes the
    expression true.
    """

    site: Site
    negated: bool
    seen: tuple[tuple[str, Value], ...]


@dataclass(slots=True)
class Body:
    """A body of a rule that was tried, and what happened in it; one that `held` gave a value."""

    site: Site
    steps: list[Failure | Evaluation] = field(default_factory=list)
    held: bool = False


@dataclass(slots=True)
class Evaluation:
    """A rule or function that was evaluated; `again` tells that its value was known already.

    `value` is UNDEFINED as well where an error ended the decision within it.
    """

    name: str
    site: Site
    arguments: tuple[Value, ...] = ()
    value: Value | Undefined = UNDEFINED
    again: bool = False
    bodies: list[Body] = field(default_factory=list)


class Trace:
    """Collects what traced code tells it; `roots` are the outermost evaluations.

    `rules` are the names and sites of the program's functions, `sites` its numbered places.
    """

    def __init__(self, rules: Sequence[tuple[str, Site]], sites: Sequence[Site]) -> None:
        self.roots: list[Evaluation] = []
        self.dropped = 0
        self._rules = rules
        self._sites = sites
        self._open: list[Evaluation] = []
        self._left = MAX_EVENTS

    # Called by generated code.

    def enter(self, number: int, arguments: tuple[Value, ...]) -> None:
        """A rule or function begins."""
        name, site = self._rules[number]
        evaluation = Evaluation(name, site, arguments)
        self._place(evaluation)
        self._open.append(evaluation)

    def leave(self, value: Value) -> None:
        """It ends with a value."""
        self._open.pop().value = value

    def again(self, number: int, value: Value) -> None:
        """Its value was known."""
        name, site = self._rules[number]
        self._place(Evaluation(name, site, (), value, again=True))

    def body(self, place: int) -> None:
        """Another body of it is tried."""
        if self._room():
            self._open[-1].bodies.append(Body(self._sites[place]))

    def hold(self) -> None:
        """The body gives its value; one that was not kept is not mistaken for the last kept."""
        if self._left >= 0 and self._open[-1].bodies:
            self._open[-1].bodies[-1].held = True

    def fail(self, place: int, negated: bool, seen: tuple[tuple[str, Value], ...]) -> None:
        """An expression is not true."""
        if self._open and self._room():
            self._steps().append(Failure(self._sites[place], negated, seen))

    def _room(self) -> bool:
        self._left -= 1
        self.dropped += self._left < 0
        return self._left >= 0

    def _place(self, evaluation: Evaluation) -> None:
        if not self._open:
            self.roots.append(evaluation)
        elif self._room():
            self._steps().append(evaluation)

    def _steps(self) -> list[Failure | Evaluation]:
        innermost = self._open[-1]
        if not innermost.bodies:
            innermost.bodies.append(Body(innermost.site))
        return innermost.bodies[-1].steps
