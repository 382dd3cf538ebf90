"""Policies that tell what their decisions did."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gateway.rego import Policy, compile as compile_rego
from gateway.rego.program import DEFAULT_STEPS

if TYPE_CHECKING:
    from gateway.bundle.folder import PolicySources
    from gateway.rego import Undefined, Value
    from gateway.rego.codegen import Observe
    from gateway.rego.trace import Trace
    from gateway.snapshot import Snapshot


class Observed(Policy):
    """A policy of a program that was compiled to be observed; `observer` sees all decisions."""

    __slots__ = ("observer",)

    observer: set[int] | Trace

    def decide(
        self,
        entrypoint: str,
        input: Value,  # noqa: A002  as its base has it
        *,
        now: float,
        steps: int = DEFAULT_STEPS,
        output: list[str] | None = None,
        bounded: bool = False,
        observer: Any = None,
    ) -> Value | Undefined:
        """Decide, and tell the observer."""
        return super().decide(
            entrypoint,
            input,
            now=now,
            steps=steps,
            output=output,
            bounded=bounded,
            observer=self.observer if observer is None else observer,
        )


def observed(sources: PolicySources, observe: Observe) -> Observed:
    """Compile policies for coverage or trace; `observer` starts empty."""
    policy = Observed(compile_rego(sources.modules, observe=observe), sources.data)
    policy.observer = set() if observe == "coverage" else policy.trace()
    return policy


def with_policy(snapshot: Snapshot, policy: Policy, *, canary: bool = False) -> Snapshot:
    """The same snapshot, decided by another policy, or its canary."""
    if canary and snapshot.canary is not None:
        decider = replace(snapshot.canary.decider, policy=policy)
        return replace(snapshot, canary=replace(snapshot.canary, decider=decider))
    return replace(snapshot, decider=replace(snapshot.decider, policy=policy))
