"""Compile policies in tests: programs are kept, and many go through one child process."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.rego import Policy, Program, compile as compile_rego
from gateway.rego.compiler import Unit, ask, finish, plan_text, read_sources, request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.rego import Value

NOW = 1_700_000_000.0


@lru_cache(maxsize=256)
def program(source: str, *entrypoints: str, strict: bool = True, indexed: bool = True) -> Program:
    """Compile one module."""
    return compile_rego({"policy.rego": source}, entrypoints, strict=strict, indexed=indexed)


def decide(source: str, entrypoint: str, input: Value = None, data: Value = None) -> Value:  # noqa: A002
    """Decide with a policy of one module."""
    return Policy(program(source), data).decide(entrypoint, input, now=NOW)


def rules(source: str, input: Value = None, data: Value = None) -> dict[str, Value]:  # noqa: A002
    """Return the value of every rule of a module by its name."""
    policy = Policy(program(source), data)
    return {
        "/".join(path[1:]): policy.decide("/".join(path), input, now=NOW)
        for path, (_, parameters) in policy.program.rules.items()
        if parameters == 2
    }


def answers(units: Sequence[Unit], size: int = 150) -> list[dict]:
    """Return the compiler's answers for many units, whose sources are without fault."""
    asked = [request(unit, read_sources(unit)) for unit in units]
    return [
        answer
        for start in range(0, len(asked), size)
        for answer in ask(asked[start : start + size])
    ]


def compile_all(units: Sequence[Unit]) -> list[Program]:
    """Compile many units in few child processes."""
    return [
        finish(unit, plan_text(answer, sources), sources)
        for unit, answer in zip(units, answers(units), strict=True)
        for sources in [read_sources(unit)]
    ]
