"""What came of tests and scenarios, in one form for all reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.rego.testing import Case

if TYPE_CHECKING:
    from gateway.rego.testing import Outcome, TestResult
    from gateway.workbench.run import Ran

__all__ = ["Case", "Check", "of_scenario", "of_test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A test rule, or a scenario, that was run.

    `suite` is its package (`data.…`) or file; `row` counts from 1, 0 is unknown. `lines` say why it
    did not pass, `output` is what the policy printed, `cases` are those of a table of cases.
    `explained` shows how the policy came to its decision. `seconds` is how long it took.
    """

    suite: str
    name: str
    file: str
    row: int
    outcome: Outcome
    lines: tuple[str, ...] = ()
    output: tuple[str, ...] = ()
    cases: tuple[Case, ...] = ()
    explained: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def full_name(self) -> str:
        """The name that people select it by."""
        return f"{self.suite}.{self.name}" if self.is_rule else f"{self.suite}: {self.name}"

    @property
    def is_rule(self) -> bool:
        """Whether it is a test rule."""
        return self.suite.startswith("data.")


def of_test(result: TestResult, explained: tuple[str, ...] = ()) -> Check:
    """A test rule's result."""
    return Check(
        suite=result.package,
        name=result.name,
        file=result.file,
        row=result.row,
        outcome=result.outcome,
        lines=(result.message,) if result.message else (),
        output=result.output,
        cases=result.cases,
        explained=explained,
        seconds=result.nanoseconds / 1e9,
    )


def of_scenario(ran: Ran, seconds: float, explained: tuple[str, ...] = ()) -> Check:
    """A scenario's result."""
    scenario = ran.scenario
    return Check(
        suite=str(scenario.file),
        name=scenario.name,
        file=str(scenario.file),
        row=scenario.row,
        outcome="pass" if ran.passed else "error" if ran.error else "fail",
        lines=(ran.error,) if ran.error else tuple(map(str, ran.differences)),
        explained=explained,
        seconds=seconds,
    )
