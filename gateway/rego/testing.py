"""Runs `test_` rules; they are compiled apart from the program that serves."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gateway.rego.compiler import compile as compile_rego
from gateway.rego.errors import EvalError
from gateway.rego.program import DEFAULT_STEPS, PARAMETERS_OF_RULE, Policy, Program
from gateway.rego.source import Source
from gateway.rego.values import UNDEFINED, Value

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


def compile_tests(
    modules: Mapping[str, str], tests: Mapping[str, str], *, cache_dir: Path | None = None
) -> Program:
    """Compile policies together with their test modules; raises CompileError."""
    return compile_rego({**modules, **tests}, cache_dir=cache_dir)


def run_tests(
    program: Program,
    tests: Mapping[str, str],
    data: Value,
    *,
    now: float,
    selected: Callable[[str], bool] = lambda name: True,
    steps: int = DEFAULT_STEPS,
) -> Iterator[TestResult]:
    """Run the test rules of the modules in `tests`, in the order of the sources.

    A test passes if its value is true. `selected` gets the full name.
    """
    policy = Policy(program, data)
    for file, text in sorted(tests.items()):
        package = ".".join(("data", *Source(file, text).package))
        for name, row in _rules(text):
            path = tuple(package.split(".")[1:]) + (name,)
            known = program.rules.get(path)
            if known is None or known[1] != PARAMETERS_OF_RULE:
                continue
            made = TestResult(package=package, name=name, file=file, row=row, outcome="skip")
            if selected(made.full_name):
                yield made if name.startswith(SKIPPED) else _run(policy, made, path, now, steps)


def _run(
    policy: Policy, test: TestResult, path: tuple[str, ...], now: float, steps: int
) -> TestResult:
    output: list[str] = []
    outcome: Outcome
    try:
        value = policy.decide("/".join(path), {}, now=now, steps=steps, output=output)
    except EvalError as error:
        outcome, message = "error", f"{error.code}: {error}"
    else:
        outcome = "pass" if value is True else "fail"
        message = "" if value is True else _seen(value)
    return TestResult(
        package=test.package,
        name=test.name,
        file=test.file,
        row=test.row,
        outcome=outcome,
        message=message,
        output=tuple(output),
    )


def _seen(value: object) -> str:
    return "undefined" if value is UNDEFINED else "not true"


def _rules(text: str) -> list[tuple[str, int]]:
    """The test rules of a module with the row of their first definition."""
    found: dict[str, int] = {}
    for row, line in enumerate(text.splitlines(), 1):
        head = re.match(r"((?:todo_)?test_\w*)", line)
        if head:
            found.setdefault(head[1], row)
    return list(found.items())
