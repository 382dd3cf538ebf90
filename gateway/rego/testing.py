"""Runs `test_` rules; they are compiled apart from the program that serves."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from gateway.rego.cases import (
    GENERATED,
    PREFIX,
    module_of_cases,
    plain_tests,
    rule_of_alone,
    rules_of_cases,
)
from gateway.rego.errors import EvalError
from gateway.rego.program import DEFAULT_STEPS, PARAMETERS_OF_RULE, Policy, Program
from gateway.rego.source import Source, head_name
from gateway.rego.values import UNDEFINED, Value, key_form, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping

    from gateway.rego.trace import Trace

SKIPPED = "todo_test_"

Outcome = Literal["pass", "fail", "error", "skip"]


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a test rule that is a table, and those below it."""

    name: str
    passed: bool
    cases: tuple[Case, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """What became of one test rule; `row` counts from 1, 0 is unknown.

    `message` says why it did not pass, `output` is what the policy printed, `nanoseconds` how
    long it took.
    """

    __test__ = False

    package: str
    name: str
    file: str
    row: int
    outcome: Outcome
    message: str = ""
    output: tuple[str, ...] = ()
    cases: tuple[Case, ...] = ()
    nanoseconds: int = 0

    @property
    def full_name(self) -> str:
        """The name that people select tests by."""
        return f"{self.package}.{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Test modules, and all modules that their outcome can depend on, by name.

    Among those are the modules that tell the cases of the tests (cases.py). `digest` changes with
    every one of them.
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

    heads = _heads(sources.values())
    shared = _shared(sources[name] for name in tests)

    def cases_of(name: str) -> str:
        package = sources[name].package
        return module_of_cases(sources[name], heads.get(package, set()), shared.get(package, ()))

    grouped: dict[frozenset[str], set[str]] = {}
    for name in tests:
        grouped.setdefault(reached(name), set()).add(name)
    return tuple(
        Suite(
            tests=frozenset(of),
            modules={name: everything[name] for name in everything if name in names}
            | {name + GENERATED: made for name in of if (made := cases_of(name))},
            digest=_digest({name: everything[name] for name in sorted(names)}),
        )
        for names, of in grouped.items()
    )


def names_of_tests(tests: Mapping[str, str]) -> set[str]:
    """Return the full names of the test rules of some modules."""
    made = set()
    for source in (Source(name, text) for name, text in tests.items()):
        for statement in source.statements:
            names, is_function = head_name(statement)
            if names and names[-1].startswith((PREFIX, SKIPPED)) and not is_function:
                made.add(".".join(("data", *source.package, *names)))
    return made


def _heads(sources: Iterable[Source]) -> dict[tuple[str, ...], set[str]]:
    """Return the first names of the rules of each package."""
    made: dict[tuple[str, ...], set[str]] = {}
    for source in sources:
        for statement in source.statements:
            made.setdefault(source.package, set()).update(head_name(statement)[0][:1])
    return made


def _shared(
    sources: Iterable[Source],
) -> dict[tuple[str, ...], set[tuple[str, ...]]]:
    """Return for each package the tests without cases that several rules have the name of."""
    counts = Counter(
        (source.package, path) for source in sources for path, *_ in plain_tests(source)
    )
    made: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for (package, path), count in counts.items():
        if count > 1:
            made.setdefault(package, set()).add(path)
    return made


def _overlap(path: tuple[str, ...], package: tuple[str, ...]) -> bool:
    """Whether a path below `data` leads into a package, through it, or to what it stands in."""
    length = min(len(path), len(package))
    return path[:length] == package[:length]


def _digest(modules: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(list(modules.items())).encode()).hexdigest()


def tests_among(modules: Mapping[str, str]) -> dict[str, str]:
    """Return the modules that have test rules, whatever they are called."""

    def has_tests(name: str, text: str) -> bool:
        heads = (head_name(statement)[0] for statement in Source(name, text).statements)
        return any(part.startswith((PREFIX, SKIPPED)) for names in heads for part in names)

    return {
        name: text for name, text in modules.items() if PREFIX in text and has_tests(name, text)
    }


def run_tests(
    program: Program,
    tests: Container[str],
    data: Value,
    *,
    now: float,
    selected: Callable[[str], bool] = lambda _: True,
    steps: int = DEFAULT_STEPS,
    clock: Callable[[], int] = lambda: 0,
    observer: set[int] | Trace | None = None,
) -> Iterator[TestResult]:
    """Run the test rules of the modules named in `tests`, by file and row.

    A test passes if its value is true, and each rule of several that share its name is. One whose
    last names are found in its bodies is a table of cases: each that was begun must be true.
    `todo_test_` rules are skipped. `selected` gets the
    full name. `clock` counts nanoseconds; `observer` is that of `Policy.decide`. CompileError if
    data and a rule define the same.
    """
    policy = Policy(program, data)
    for file, row, path in _found(program, tests):
        *package, name = path
        test = TestResult(
            package=".".join(("data", *package)), name=name, file=file, row=row, outcome="skip"
        )
        if selected(test.full_name):
            if not name.startswith((PREFIX, SKIPPED)):
                # OPA takes it for a part of the test's value, which is no boolean then.
                message = f"a test is named `{PREFIX}…` at the end: rename `{name}`"
                test = replace(test, outcome="fail", message=message)
            elif not name.startswith(SKIPPED):
                began = clock()
                test = _run(policy, test, path, now, steps, observer)
                test = replace(test, nanoseconds=clock() - began)
            yield test


def _found(program: Program, tests: Container[str]) -> list[tuple[str, int, tuple[str, ...]]]:
    return sorted(
        (*program.places[path], path)
        for path, (_, parameters) in program.rules.items()
        if parameters == PARAMETERS_OF_RULE
        and any(name.startswith((PREFIX, SKIPPED)) for name in _below_package(path, program))
        and program.places[path][0] in tests
    )


def _below_package(path: tuple[str, ...], program: Program) -> tuple[str, ...]:
    """Return the names of a rule in its package."""
    package: Mapping[str, Any] = program.skeleton
    for number, name in enumerate(path):
        if name not in package:
            return path[number:]
        package = package[name]
    return path[-1:]


def _run(
    policy: Policy,
    test: TestResult,
    path: tuple[str, ...],
    now: float,
    steps: int,
    observer: set[int] | Trace | None,
) -> TestResult:
    output: list[str] = []
    outcome: Outcome
    cases: tuple[Case, ...] = ()

    def decided(path: tuple[str, ...], output: list[str], observer: set[int] | Trace | None) -> Any:
        return policy.decide(
            "/".join(path), UNDEFINED, now=now, steps=steps, output=output, observer=observer
        )

    try:
        value = decided(path, output, observer)
        table = list(rules_of_cases(path, policy.program.rules))
        cases = _cases(to_json(value)) if table and value.__class__ is dict else ()
        for noted, done in table:
            ended = None if done is None else decided(done, [], None)
            for keys in decided(noted, [], None).values():
                if ended is None or key_form(keys) not in ended:
                    cases = _begun(cases, list(map(_name, keys)), failed=ended is not None)
        alone = rule_of_alone(path, policy.program.rules)
        failed = [
            f"the rule of this name in {file}:{row}"
            for file, row, held in sorted(decided(alone, [], None).values() if alone else ())
            if not held
        ]
    except EvalError as error:
        outcome, message = "error", error.told
    else:
        message = _shortfall(value, cases, failed, is_table=bool(table))
        outcome = "fail" if message else "pass"
    return replace(test, outcome=outcome, message=message, output=tuple(output), cases=cases)


def _cases(table: Mapping[str, Value]) -> tuple[Case, ...]:
    made = []
    for name, value in table.items():
        below = _cases(value) if isinstance(value, dict) else ()
        passed = all(case.passed for case in below) if below else value is True
        made.append(Case(name, passed, below))
    return tuple(made)


def _name(key: Value) -> str:
    """Return the name that a case has by a key: that of the key in JSON."""
    return str(next(iter(to_json({key_form(key): True}))))


def _begun(cases: tuple[Case, ...], names: list[str], *, failed: bool) -> tuple[Case, ...]:
    """Add a case that was begun: it failed, if it is not there, or if that is known."""
    name, *below = names
    known = next((case for case in cases if case.name == name), None)
    if known is not None and not below:
        made = Case(name, known.passed and not failed, known.cases)
    elif below:
        inner = _begun(known.cases if known else (), below, failed=failed)
        made = Case(name, all(case.passed for case in inner), inner)
    else:
        made = Case(name, passed=False)
    return tuple(sorted((*(case for case in cases if case.name != name), made), key=_by_name))


def _by_name(case: Case) -> str:
    return case.name


def _shortfall(value: Value, cases: tuple[Case, ...], failed: list[str], *, is_table: bool) -> str:
    """Say why a test's value is no pass; empty if it is one.

    `failed` are those of several rules of its name that are not true.
    """
    if value is UNDEFINED:
        return "undefined"
    failed = failed or list(_failed(cases))
    if failed:
        return "not true: " + ", ".join(failed)
    if cases:
        return ""
    return "" if value is True or (is_table and value == {}) else "not true"


def _failed(cases: tuple[Case, ...]) -> Iterator[str]:
    for case in cases:
        if case.cases:
            yield from (f"{case.name}/{name}" for name in _failed(case.cases))
        elif not case.passed:
            yield case.name
