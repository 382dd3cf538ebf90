"""Policy sets from their files to what decides: the enforced one, and those beside it."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from gateway.bundle import folder
from gateway.bundle.root import root_paths
from gateway.config.values import fraction
from gateway.decide import Decider
from gateway.decide.programs import as_config_error, resolve_entrypoints, with_data
from gateway.decide.variants import REQUESTS, SUBJECTS, Canary, Shadow, Variant, first
from gateway.errors import ConfigError, Problem
from gateway.rego import CompileError
from gateway.rego.compiler import Unit, all_good, compile_all
from gateway.rego.testing import run_tests, suites

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from gateway.config.model import Config
    from gateway.rego import Program
    from gateway.rego.children import Children
    from gateway.rego.testing import Suite, TestResult

log = logging.getLogger("gateway.policy")

_Made = TypeVar("_Made")


class PolicySet:
    """A policy set on its way from its files to what decides; each step raises ConfigError.

    Only what differs from `before`, the same set as it served, is compiled: `units`, the served
    modules first if they are among them. `known` are the results of tests that no change reaches.
    """

    def __init__(
        self,
        config: Config,
        paths: tuple[Path, ...],
        files: Mapping[str, bytes],
        before: Variant | None,
        key: str,
    ) -> None:
        self.config = config
        self.policies = policies = folder.parse_files(files, paths)
        if not policies.modules:
            raise ConfigError((Problem(f"no .rego file in {key}", key=key),))
        self.served: Program | None = None
        known: Mapping[str, tuple[TestResult, ...]] = {}
        if before and before.policies.modules_digest == policies.modules_digest:
            self.served = before.decider.policy.program
        if before and before.policies.data_digest == policies.data_digest:
            known = before.tested
        found = suites(policies.modules, policies.tests) if config.policy.tests else ()
        self.known = {suite.digest: known[suite.digest] for suite in found if suite.digest in known}
        self.stale = [suite for suite in found if suite.digest not in known]
        own = () if self.served else (Unit(modules=policies.modules),)
        self.units = (*own, *(Unit(modules=suite.modules) for suite in self.stale))
        self.suites: list[tuple[Suite, Program]] = []

    def take(self, programs: Mapping[str, Program]) -> Decider:
        """What decides, with a program of another process, which has run the tests."""
        self.stale, program = [], programs.get(self.policies.modules_digest)
        if program is None:
            raise ConfigError((Problem("it is not compiled"),))
        return self._decider(program)

    def decider(self, made: Sequence[Program | CompileError]) -> Decider:
        """What decides, of what became of `units`."""
        try:
            programs = all_good(made)
        except CompileError as error:
            raise as_config_error(error) from None
        program = self.served or programs.pop(0)
        self.suites = list(zip(self.stale, programs, strict=True))
        return self._decider(program)

    def _decider(self, program: Program) -> Decider:
        entrypoints = resolve_entrypoints(self.config, program)
        policy = with_data(program, self.policies.data)
        return Decider.build(self.config, policy, entrypoints)

    def tested(self, now: float) -> dict[str, tuple[TestResult, ...]]:
        """The results of the set's own tests."""
        results = {
            suite.digest: tuple(run_tests(program, suite.tests, self.policies.data, now=now))
            for suite, program in self.suites
        }
        failed = [
            Problem(
                f"{result.full_name}: {result.outcome}: {result.message}",
                file=result.file,
                line=result.row,
                remedy="gateway policy test shows more",
            )
            for suite_results in results.values()
            for result in suite_results
            if result.outcome in ("fail", "error")
        ]
        if failed:
            raise ConfigError(tuple(failed))
        return {**self.known, **results}


class PolicySets:
    """The enforced set and those beside it, of one candidate; ConfigError is about the first only.

    `beside` are the files of the others by name, or why they cannot be read; `before` the sets as
    they served, the enforced one by the empty name. `faults` collects what is wrong with others.
    """

    def __init__(
        self,
        config: Config,
        files: Mapping[str, bytes],
        beside: Mapping[str, Mapping[str, bytes] | ConfigError],
        before: Mapping[str, Variant | None],
    ) -> None:
        self.config = config
        self.faults: dict[str, tuple[Problem, ...]] = {}
        policy = config.policy
        key = "policy.paths" if policy.paths else "policy.bundles"
        self.sets = {"": PolicySet(config, root_paths(policy), files, before.get(""), key)}
        for name, found in beside.items():
            made = self._attempt(name, partial(self._set, name, found, before.get(name)))
            if made is not None:
                self.sets[name] = made
        self.deciders: dict[str, Decider] = {}

    def compile(self, cache: Path | None, children: Children | None) -> None:
        """Compile all sets together; ConfigError."""

        def compiled(names: Sequence[str]) -> dict[str, list[Program | CompileError]]:
            units = [unit for name in names for unit in self.sets[name].units]
            made = compile_all(units, cache_dir=cache, children=children)
            counts = [len(self.sets[name].units) for name in names]
            return {
                name: made[sum(counts[:number]) :][:count]
                for number, (name, count) in enumerate(zip(names, counts, strict=True))
            }

        made = compiled(list(self.sets))
        if len(self.sets) > 1 and any(isinstance(one, CompileError) for one in made[""]):
            made |= compiled([""])  # another set may have taken its time, or its process down
        self.deciders[""] = self.sets[""].decider(made[""])
        for name in [*self.sets][1:]:
            decider = self._attempt(name, partial(self.sets[name].decider, made[name]))
            if decider is not None:
                self.deciders[name] = decider

    def take(self, programs: Mapping[str, Program]) -> None:
        """Take what another process has compiled and tested; ConfigError.

        What is not there was found broken.
        """
        self.deciders[""] = self.sets[""].take(programs)
        for name in [*self.sets][1:]:
            decider = self._attempt(name, partial(self.sets[name].take, programs))
            if decider is not None:
                self.deciders[name] = decider

    def enforced(self, now: float) -> Variant:
        """The enforced set, once its tests have passed; ConfigError."""
        return self._tested("", now)

    def canary(self, now: float) -> Canary | None:
        """The canary, if there is one that works."""
        section, made = self.config.policy.canary, self._beside("canary", now)
        if made is None or section is None:
            return None
        return Canary(
            policies=made.policies,
            decider=made.decider,
            tested=made.tested,
            places=first(fraction(section.share), SUBJECTS),
            claim=section.claim,
            salt=section.salt,
        )

    def shadow(self, now: float) -> Shadow | None:
        """The shadow, if there is one that works."""
        section, made = self.config.policy.shadow, self._beside("shadow", now)
        if made is None or section is None:
            return None
        return Shadow(
            policies=made.policies,
            decider=replace(made.decider, steps=section.steps or made.decider.steps),
            tested=made.tested,
            sampled=first(fraction(section.share), REQUESTS),
            queue=section.queue,
            cpu=float(fraction(section.cpu)),
        )

    def _set(
        self, name: str, found: Mapping[str, bytes] | ConfigError, before: Variant | None
    ) -> PolicySet:
        if isinstance(found, ConfigError):
            raise found
        section = getattr(self.config.policy, name)
        return PolicySet(self.config, section.paths, found, before, f"policy.{name}.paths")

    def _beside(self, name: str, now: float) -> Variant | None:
        if name not in self.deciders:
            return None
        return self._attempt(name, partial(self._tested, name, now))

    def _tested(self, name: str, now: float) -> Variant:
        made = self.sets[name]
        return Variant(policies=made.policies, decider=self.deciders[name], tested=made.tested(now))

    def _attempt(self, name: str, step: Callable[[], _Made]) -> _Made | None:
        """What a step gives; whatever is wrong with it is a fault of that set."""
        try:
            return step()
        except ConfigError as error:
            problems = error.problems
        except Exception as error:  # a fault of ours must not keep the enforced set from serving
            log.exception("the %s cannot be built", name)
            problems = (Problem(f"the gateway failed: {error!r}"),)
        self.faults[name] = tuple(
            replace(found, message=f"{name}: {found.message}") for found in problems
        )
        return None
