"""Two versions of a policy, compiled to be watched, and what each decides."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from gateway.errors import DecisionError
from gateway.rego import UNDEFINED, EvalError, Policy
from gateway.rego.compiler import Unit, all_good, compile_all, read_sources, request
from gateway.rego.plan import AssignOnce, Const, IsUndefined, read_plan, steps
from gateway.rego.plan_cache import find
from gateway.rego.program import DEFAULT_STEPS
from gateway.rego.values import equal
from gateway.workbench.contrast import Account
from gateway.workbench.events import allows
from gateway.workbench.hints import Hints, hints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gateway.bundle.folder import PolicySources
    from gateway.model import Decision
    from gateway.rego import Footprint, Value
    from gateway.rego.codegen import Observe
    from gateway.rego.plan import Plan
    from gateway.rego.trace import Trace

    Reading = Callable[[Value], Decision]

OBSERVED: Final[tuple[Observe, Observe]] = ("coverage", "trace")

Verdict = Literal["allow", "deny", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a policy said to an input: a value, UNDEFINED, or why it could not decide."""

    value: Value = UNDEFINED
    error: str = ""
    allow: bool = False

    @property
    def verdict(self) -> Verdict:
        """What that comes to."""
        return "error" if self.error else "allow" if self.allow else "deny"

    def same(self, other: Said) -> bool:
        """Whether both say the same; two errors are, whatever their texts."""
        if self.error or other.error:
            return bool(self.error) == bool(other.error)
        if self.value is UNDEFINED or other.value is UNDEFINED:
            return self.value is other.value
        return equal(self.value, other.value)


class Version:
    """A policy set that is compared: it decides and tells what it did."""

    def __init__(
        self,
        sources: PolicySources,
        entrypoints: Sequence[str],
        *,
        steps: int = DEFAULT_STEPS,
        readings: Mapping[str, Reading] | None = None,
    ) -> None:
        """Compile; CompileError, also where an entrypoint is not there.

        `steps` is the work limit of each decision, `readings` are how the gateway takes the values
        of entrypoints.
        """
        self.sources = sources
        self._steps = steps
        self._readings = readings or {}
        units = [
            Unit(modules=sources.modules, entrypoints=tuple(entrypoints), observe=observe)
            for observe in OBSERVED
        ]
        with tempfile.TemporaryDirectory(prefix="gateway-diff-") as folder:
            cache = Path(folder) / "plans"
            self.program, tracing = all_good(compile_all(units, cache_dir=cache))
            text = find(request(units[0], read_sources(units[0])), cache)
        assert text is not None  # it was just kept there
        self._plan = read_plan(text)
        self._granted = frozenset(_granted(self._plan))
        self._policy = Policy(self.program, sources.data)
        self._traced = Policy(tracing, sources.data)

    @property
    def hints(self) -> Hints:
        """What its plan and data suggest as inputs."""
        return hints(self._plan, self._policy.data)

    def footprint(self, entrypoint: str) -> Footprint | None:
        """What a decision reads."""
        return self.program.footprints.get(entrypoint)

    def decide(self, entrypoint: str, document: Any, now: float) -> tuple[Said, frozenset[int]]:
        """Decide; return the numbers of the places that were reached, too."""
        reached: set[int] = set()
        said = self._said(self._policy, entrypoint, document, now, reached)
        return said, frozenset(reached)

    def says(self, entrypoint: str, document: Any, now: float) -> Said:
        """Decide without noting what was reached."""
        return self._said(self._policy, entrypoint, document, now, set())

    def account(self, entrypoint: str, document: Any, now: float) -> Account:
        """Decide, and tell how."""
        trace = self._traced.trace()
        self._said(self._traced, entrypoint, document, now, trace)
        return Account(trace=trace, modules=self.sources.modules, granted=self._granted)

    def _said(
        self,
        policy: Policy,
        entrypoint: str,
        document: Any,
        now: float,
        observer: set[int] | Trace,
    ) -> Said:
        reading = self._readings.get(entrypoint)
        try:
            value = policy.decide(
                entrypoint, document, now=now, steps=self._steps, observer=observer
            )
            allow = allows(value) if reading is None else reading(value).allow
        except EvalError as error:
            return Said(error=str(error) or "cannot decide")
        except DecisionError as error:
            return Said(error=str(error))
        return Said(value=value, allow=allow)


def _granted(plan: Plan) -> Iterator[str]:
    """Yield the names of rules that are true by default."""
    for item in plan.functions:
        found = steps(item.blocks)
        for step, after in pairwise(found):
            match step, after:
                case (
                    IsUndefined(source=item.result),
                    AssignOnce(target=item.result, source=Const(value=True)),
                ):
                    yield ".".join(("data", *item.path))
                case _:
                    pass
