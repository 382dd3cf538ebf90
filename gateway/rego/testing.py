"""Runs `test_` rules; they are compiled apart from the program that serves."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gateway.rego.errors import EvalError
from gateway.rego.program import DEFAULT_STEPS, PARAMETERS_OF_RULE, Policy, Program
from gateway.rego.source import Source
from gateway.rego.values import UNDEFINED, Value, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping

PREFIX = "test_"
SKIPPED = "todo_test_"

Outcome = Literal["pass", "fail", "error", "skip"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """What became of one test rule; `row` counts from 1, 0 is unknown.

    `message` says why it did not pass, `output` is what the policy printed.
    """

    __test__ = False

    package: str
    name: str
    file: str
    row: int
    outcome: Outcome
    message: str = ""
    output: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """The name that people select tests by."""
        return f"{self.package}.{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Test modules, and all modules that their outcome can depend on, by name.

    `digest` changes with every one of them.
    """

    __test__ = False

    tests: frozenset[str]
    modules: Mapping[str, str]
    digest: str


def suites(modules: Mapping[str, str], tests: Mapping[str, str]) -> tuple[Suite, ...]:
    """Divide test modules into suites: those that depend on the same modules stand together.

    A module depends on those of its own package, and on those whose package overlaps a path
    below `data` that it names. So an edit runs again only what it can change.
    """
    everything = {**modules, **tests}
    sources = {name: Source(name, text) for name, text in everything.items()}
    needs = {name: {*source.references, source.package} for name, source in sources.items()}

    def reached(name: str) -> frozenset[str]:
        found, left = {name}, [name]
        while left:
            wanted = needs[left.pop()]
            new = {
                other
                for other, source in sources.items()
                if other not in found and any(_overlap(path, source.package) for path in wanted)
            }
            found |= new
            left += new
        return frozenset(found)

    grouped: dict[frozenset[str], set[str]] = {}
    for name in tests:
        grouped.setdefault(reached(name), set()).add(name)
    return tuple(
        Suite(
            tests=frozenset(of),
            modules={name: everything[name] for name in everything if name in names},
            digest=_digest({name: everything[name] for name in sorted(names)}),
        )
        for names, of in grouped.items()
    )


def _overlap(path: tuple[str, ...], package: tuple[str, ...]) -> bool:
    """Whether a path below `data` leads into a package, through it, or to what it stands in."""
    length = min(len(path), len(package))
    return path[:length] == package[:length]


def _digest(modules: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(list(modules.items())).encode()).hexdigest()


def run_tests(
    program: Program,
    tests: Container[str],
    data: Value,
    *,
    now: float,
    selected: Callable[[str], bool] = lambda _: True,
    steps: int = DEFAULT_STEPS,
) -> Iterator[TestResult]:
    """Run the test rules of the modules named in `tests`, by file and row.

    A test passes if its value is true; an object is a table of cases, each of which must be true.
    `todo_test_` rules are skipped. `selected` gets the full name. CompileError if data and a
    rule define the same.
    """
    policy = Policy(program, data)
    for file, row, path in _found(program, tests):
        *package, name = path
        test = TestResult(
            package=".".join(("data", *package)), name=name, file=file, row=row, outcome="skip"
        )
        if selected(test.full_name):
            yield test if name.startswith(SKIPPED) else _run(policy, test, path, now, steps)


def _found(program: Program, tests: Container[str]) -> list[tuple[str, int, tuple[str, ...]]]:
    return sorted(
        (*program.places[path], path)
        for path, (_, parameters) in program.rules.items()
        if parameters == PARAMETERS_OF_RULE
        and path[-1].startswith((PREFIX, SKIPPED))
        and program.places[path][0] in tests
    )


def _run(
    policy: Policy, test: TestResult, path: tuple[str, ...], now: float, steps: int
) -> TestResult:
    output: list[str] = []
    outcome: Outcome
    try:
        value = policy.decide("/".join(path), UNDEFINED, now=now, steps=steps, output=output)
    except EvalError as error:
        outcome, message = "error", error.told
    else:
        message = _shortfall(value)
        outcome = "fail" if message else "pass"
    return TestResult(
        package=test.package,
        name=test.name,
        file=test.file,
        row=test.row,
        outcome=outcome,
        message=message,
        output=tuple(output),
    )


def _shortfall(value: Value) -> str:
    """Say why a test's value is no pass; empty if it is one."""
    if value is UNDEFINED:
        return "undefined"
    if isinstance(value, dict) and value:
        failed = [name for name, case in to_json(value).items() if case is not True]
        return "not true: " + ", ".join(failed) if failed else ""
    return "" if value is True else "not true"
