"""Which bodies of rules held in decisions of traced programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.rego.trace import Trace

if TYPE_CHECKING:
    from gateway.rego import Program
    from gateway.rego.trace import Site
    from gateway.rego.values import Value


class Held(Trace):
    """A trace of any number of decisions, of which only the sites in `held` are kept."""

    def __init__(self, program: Program) -> None:
        super().__init__(program.functions, program.sites)
        self.held: set[Site] = set()
        self._begun: list[Site | None] = []

    def enter(self, number: int, arguments: tuple[Value, ...]) -> None:  # noqa: ARG002
        """A rule or function begins."""
        self._begun.append(None)

    def leave(self, value: Value) -> None:  # noqa: ARG002
        """It ends; where an error ends a decision it does not, and the next one begins anew."""
        self._begun.pop()

    def again(self, number: int, value: Value) -> None:
        """Its value was known."""

    def body(self, place: int) -> None:
        """Another body of it is tried."""
        self._begun[-1] = self._sites[place]

    def hold(self) -> None:
        """The body gives its value."""
        site = self._begun[-1]
        if site is not None:
            self.held.add(site)

    def fail(self, place: int, negated: bool, seen: tuple[tuple[str, Value], ...]) -> None:
        """An expression is not true."""
