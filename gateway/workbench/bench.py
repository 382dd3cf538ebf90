"""How long decisions take, how much work they are, and what the index saves."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.rego.errors import EvalError, StepLimitExceeded
from gateway.rego.index import bind, select
from gateway.rego.runtime import State
from gateway.rego.trace import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gateway.rego import Policy, Value
    from gateway.rego.trace import Evaluation
    from gateway.workbench.observed import Observed

LEAST = 50
"""Least number of decisions that are measured."""

WARM = 20
"""Decisions before those."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A decision to measure: the rule that is asked, the input, and the time in Unix seconds.

    `bounded` is that of `Policy.decide`.
    """

    name: str
    entrypoint: str
    document: Value
    now: float
    bounded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a decision took; times are in nanoseconds.

    `steps` are those of the work limit. Of the rules with an index that were evaluated, `tried`
    bodies were picked by it and `skipped` were not. `reused` values of rules were known already in
    the same decision. `error` says why there is no decision, which is measured as well.
    """

    question: Question
    count: int
    mean: float
    p50: float
    p99: float
    steps: int
    tried: int
    skipped: int
    reused: int
    error: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON, with times in microseconds."""
        return {
            "name": self.question.name,
            "entrypoint": self.question.entrypoint,
            "decisions": self.count,
            "us": {name: round(getattr(self, name) / 1000, 3) for name in ("mean", "p50", "p99")},
            "steps": self.steps,
            "bodies": {"tried": self.tried, "skipped": self.skipped},
            "reused": self.reused,
            "error": self.error or None,
        }


def measure(
    question: Question,
    policy: Policy,
    traced: Observed,
    *,
    steps: int,
    seconds: float,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Measured:
    """Decide for `seconds`; `traced` is the same policy, compiled to be traced.

    `steps` is the work limit of each decision, `clock` counts nanoseconds.
    """

    def decide(limit: int = steps) -> None:
        policy.decide(
            question.entrypoint,
            question.document,
            now=question.now,
            steps=limit,
            bounded=question.bounded,
        )

    error = ""
    try:
        decide()
    except EvalError as caught:
        error = caught.told
    times = sorted(_times(decide, seconds, clock))
    tried, skipped, reused = _picked(question, policy, traced, steps)
    return Measured(
        question=question,
        count=len(times),
        mean=sum(times) / len(times),
        p50=_percentile(times, 50),
        p99=_percentile(times, 99),
        steps=_steps(decide, steps),
        tried=tried,
        skipped=skipped,
        reused=reused,
        error=error,
    )


def _times(decide: Callable[[], None], seconds: float, clock: Callable[[], int]) -> Iterator[int]:
    end = clock() + round(seconds * 1e9)
    number = -WARM
    while number < LEAST or clock() < end:
        began = clock()
        _attempt(decide)
        if number >= 0:
            yield clock() - began
        number += 1


def _attempt(decide: Callable[[], None]) -> None:
    """Decide; that there is no decision is an answer, too."""
    try:
        decide()
    except EvalError:
        return


def _percentile(times: Sequence[int], percent: int) -> float:
    """Return the least value that so many percent of sorted values do not exceed."""
    return float(times[max(0, -(-len(times) * percent // 100) - 1)])


def _steps(decide: Callable[[int], None], limit: int) -> int:
    """Return the steps of a decision: the smallest limit that lets it come to its end."""
    low, high = 0, limit
    while low < high:
        middle = (low + high) // 2
        try:
            decide(middle)
        except StepLimitExceeded:
            low = middle + 1
            continue
        except EvalError:
            pass
        high = middle
    return low


def _picked(
    question: Question, policy: Policy, traced: Observed, steps: int
) -> tuple[int, int, int]:
    """Return how many bodies the indexes pick, how many they spare, and how many values are reused.

    The trace tells which rules are evaluated and with which arguments; observed code has no
    indexes itself.
    """
    program = policy.program
    indexes = {
        ".".join(("data", *path)): program.indexes[number]
        for path, (number, _) in program.rules.items()
        if number in program.indexes
    }
    trace = traced.trace()
    with suppress(EvalError):  # what was evaluated until then counts
        traced.decide(
            question.entrypoint,
            question.document,
            now=question.now,
            steps=steps,
            observer=trace,
        )
    state = State(question.now, steps, strict=program.strict)
    tried = total = reused = 0
    for found in _evaluations(trace.roots):
        reused += found.again
        if found.name in indexes and not found.again:
            test, count = indexes[found.name]
            arguments = (question.document, policy.data, *found.arguments)
            tried += len(select(state, bind(test, range(count)), arguments))
            total += count
    return tried, total - tried, reused


def _evaluations(found: Sequence[Evaluation]) -> Iterator[Evaluation]:
    for each in found:
        yield each
        for body in each.bodies:
            yield from _evaluations([step for step in body.steps if not isinstance(step, Failure)])


def as_table(found: Sequence[Measured]) -> list[str]:
    """The same for people: a row for each decision."""
    head = ("p50 µs", "p99 µs", "steps", "bodies", "skipped", "reused", "decision")
    rows = [head]
    rows += [
        (
            f"{each.p50 / 1000:.1f}",
            f"{each.p99 / 1000:.1f}",
            str(each.steps),
            str(each.tried),
            str(each.skipped),
            str(each.reused),
            each.question.name + (f": {each.error}" if each.error else ""),
        )
        for each in found
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head) - 1)]
    return [
        "  ".join((*(cell.rjust(width) for cell, width in zip(row, widths, strict=False)), row[-1]))
        for row in rows
    ]


def as_json(found: Sequence[Measured]) -> Mapping[str, Any]:
    """All of it as JSON."""
    return {"decisions": [each.as_dict() for each in found]}
