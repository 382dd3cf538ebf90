"""All tests and scenarios of a policy set, run one after the other."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.rego.compiler import Unit, all_good, compile_all
from gateway.rego.program import DEFAULT_STEPS
from gateway.rego.testing import names_of_tests, run_tests, suites, tests_among
from gateway.rego.trace import Trace
from gateway.workbench.coverage import Coverage
from gateway.workbench.explain import as_lines
from gateway.workbench.held import Held
from gateway.workbench.observed import Observed, observed, with_policy
from gateway.workbench.results import of_scenario, of_test
from gateway.workbench.run import run
from gateway.workbench.tokens import Mint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gateway.bundle.folder import PolicySources
    from gateway.rego import Program
    from gateway.rego.codegen import Observe
    from gateway.rego.testing import Suite, TestResult
    from gateway.rego.trace import Site
    from gateway.snapshot import Snapshot
    from gateway.workbench.results import Check
    from gateway.workbench.scenario import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What is to be run: the policies with their tests, and scenarios for a configuration.

    `selected` gets the full name of a test or scenario. `steps` is the work limit of each,
    `count` how often each is run. `memory` keeps what came of test rules until a module or the data
    that they depend on changes.
    """

    sources: PolicySources
    scenarios: Sequence[Scenario] = ()
    snapshot: Snapshot | None = None
    selected: Callable[[str], bool] = field(default=lambda _: True)
    steps: int = DEFAULT_STEPS
    count: int = 1
    coverage: bool = False
    memory: dict[str, list[Check]] | None = None

    @property
    def size(self) -> int:
        """How many results there will be."""
        names = (*names_of_tests(self._all_tests()), *(each.full_name for each in self.scenarios))
        return sum(map(self.selected, names)) * self.count

    def run(self) -> Iterator[Check | Coverage]:
        """Yield each result as it comes, and last the coverage, where it was asked for.

        Raises CompileError.
        """
        reached: list[tuple[Program, set[int]]] = []
        for _ in range(self.count):
            yield from self._tests(reached)
            yield from self._scenarios(reached)
        if self.coverage:
            yield self._coverage(reached)

    def _coverage(self, reached: list[tuple[Program, set[int]]]) -> Coverage:
        """What was reached of all modules, also of those that no test depends on."""
        compiled = {name for program, _ in reached for name in program.files}
        if not compiled.issuperset(self.sources.modules):
            reached.append((observed(self.sources, "coverage").program, set()))
        return Coverage.of(reached, self.sources.modules)

    def held(self) -> set[Site]:
        """Run all once, and return where the bodies begin that held.

        Raises CompileError.
        """
        found = self._suites()
        units = [Unit(modules=suite.modules, observe="trace") for suite in found]
        sites: set[Site] = set()
        for suite, program in zip(found, all_good(compile_all(units)), strict=True):
            observer = Held(program)
            for _ in run_tests(
                program, suite.tests, self.sources.data, now=time.time(), observer=observer
            ):
                pass
            sites |= observer.held
        if self.scenarios:
            assert self.snapshot is not None
            policy = observed(self.sources, "trace")
            policy.observer = observer = Held(policy.program)
            snapshot, mint = with_policy(self.snapshot, policy), Mint(self.snapshot.config)
            for scenario in self.scenarios:
                run(scenario, snapshot, mint)
            sites |= observer.held
        return sites

    def _tests(self, reached: list[tuple[Program, set[int]]]) -> Iterator[Check]:
        found = self._suites()
        known = self._known(found)
        stale = [suite for suite in found if suite.digest not in known]
        observe: Observe = "coverage" if self.coverage else ""
        units = [Unit(modules=suite.modules, observe=observe) for suite in stale]
        now = time.time()
        for suite, program in zip(stale, all_good(compile_all(units)), strict=True):
            observer: set[int] = set()
            results = list(
                run_tests(
                    program,
                    suite.tests,
                    self.sources.data,
                    now=now,
                    selected=self.selected,
                    steps=self.steps,
                    clock=time.perf_counter_ns,
                    observer=observer if self.coverage else None,
                )
            )
            why = self._why(suite, [each for each in results if each.outcome == "fail"], now)
            known[suite.digest] = [of_test(each, why.get(each.full_name, ())) for each in results]
            reached.append((program, observer))
        if self.memory is not None:
            self.memory.clear()
            self.memory.update((self._key(digest), checks) for digest, checks in known.items())
        checks = [check for made in known.values() for check in made]
        yield from sorted(checks, key=lambda check: (check.file, check.row))

    def _why(
        self, suite: Suite, failed: Sequence[TestResult], now: float
    ) -> dict[str, tuple[str, ...]]:
        """Run test rules that failed again, and return how each came to its value."""
        if not failed:
            return {}
        (program,) = all_good(compile_all([Unit(modules=suite.modules, observe="trace")]))
        made = {}
        for each in failed:
            trace = Trace(program.functions, program.sites)
            again = run_tests(
                program, suite.tests, self.sources.data, now=now,
                selected=each.full_name.__eq__, steps=self.steps, observer=trace,
            )  # fmt: skip
            deque(again, maxlen=0)
            made[each.full_name] = tuple(as_lines(trace, suite.modules))
        return made

    def _suites(self) -> tuple[Suite, ...]:
        return suites(self.sources.modules, self._all_tests())

    def _all_tests(self) -> dict[str, str]:
        """All modules of tests, also served ones that hold some: OPA runs them, too."""
        return {**self.sources.tests, **tests_among(self.sources.modules)}

    def _known(self, found: Iterable[Suite]) -> dict[str, list[Check]]:
        """What is remembered of suites, by their digests."""
        memory = self.memory or {}
        keys = {suite.digest: self._key(suite.digest) for suite in found}
        return {digest: memory[key] for digest, key in keys.items() if key in memory}

    def _key(self, digest: str) -> str:
        return f"{digest} {self.sources.data_digest}"

    def _scenarios(self, reached: list[tuple[Program, set[int]]]) -> Iterator[Check]:
        chosen = [each for each in self.scenarios if self.selected(each.full_name)]
        if not chosen:
            return
        assert self.snapshot is not None
        snapshot, mint = self.snapshot, Mint(self.snapshot.config)
        if self.coverage:
            policy = observed(self.sources, "coverage")
            snapshot = with_policy(snapshot, policy)
            assert isinstance(policy.observer, set)
            reached.append((policy.program, policy.observer))
        tracing: Observed | None = None
        for scenario in chosen:
            began = time.perf_counter()
            ran = run(scenario, snapshot, mint)
            seconds = time.perf_counter() - began
            explained: tuple[str, ...] = ()
            if not ran.passed and ran.outcome and ran.outcome.trail.document is not None:
                tracing = tracing or observed(self.sources, "trace")
                trace = tracing.observer = tracing.trace()
                run(scenario, with_policy(snapshot, tracing), mint)
                explained = tuple(as_lines(trace, self.sources.modules))
            yield of_scenario(ran, seconds, explained)
