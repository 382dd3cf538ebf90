"""What a decision can read of its input, found in the plan.

Chains of constant keys are followed from the input through copies, calls and rules. Where a value
is used as a whole (compared, scanned, passed to a builtin, returned) its path is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.rego.builtins import BUILTINS
from gateway.rego.plan import (
    DATA,
    INPUT,
    Assign,
    Call,
    CallDynamic,
    Const,
    Dot,
    IsDefined,
    IsUndefined,
    With,
    inner_blocks,
    operands,
    targets,
)
from gateway.rego.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.rego.plan import Block, Function, Operand, Plan, Statement

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Footprint:
    """The paths of the input whose values decide, and the impure builtins that are called.

    A path stands for everything below it, and for whether it is there; the empty path is the
    whole input. Where `impure` is empty, equal values at `paths` give equal decisions.
    """

    paths: frozenset[Path]
    impure: frozenset[str]


def footprint(plan: Plan, path: Path) -> Footprint:
    """Return the footprint of the rule at `path` below data."""
    tracer = _Tracer(plan)
    for item in plan.functions:
        if item.generation == "g0" and item.path == path:
            tracer.function(item, ((), *(None for _ in item.parameters[1:])))
    paths = frozenset(
        path
        for path in tracer.paths
        if not any(path[:length] in tracer.paths for length in range(len(path)))
    )
    return Footprint(paths, frozenset(tracer.impure))


class _Tracer:
    """Collects what the functions that are reached read."""

    def __init__(self, plan: Plan) -> None:
        self.functions = {item.name: item for item in plan.functions}
        self.paths: set[Path] = set()
        self.impure: set[str] = set()
        self.done: set[tuple[str, tuple[Path | None, ...]]] = set()

    def function(self, item: Function, arguments: Sequence[Path | None]) -> None:
        key = (item.name, tuple(arguments))
        if key not in self.done:
            self.done.add(key)
            usage = Usage(item.blocks, item.parameters)
            places = dict(zip(item.parameters, arguments, strict=False))
            for block in item.blocks:
                self.block(block, usage, places)

    def block(self, block: Block, usage: Usage, places: dict[int, Path | None]) -> None:
        for step in block:
            self.statement(step, usage, places)
            for inner in inner_blocks(step):
                self.block(inner, usage, places)

    def read(self, operand: Operand, places: dict[int, Path | None]) -> None:
        place = None if isinstance(operand, Const) else places.get(operand)
        if place is not None:
            self.paths.add(place)

    def statement(self, step: Statement, usage: Usage, places: dict[int, Path | None]) -> None:
        place: Path | None = None
        match step:
            case Dot(source=int() as source, key=Const(value=str() as key)):
                above = places.get(source)
                place = None if above is None else (*above, key)
            case Assign(source=int() as source):
                place = places.get(source)
            case Call():
                self.call(step, places)
            case IsDefined() | IsUndefined():
                self.defined(step.source, places)
            case CallDynamic():
                self.paths.add(())
            case With(local=local):
                self.read(step.value, places)
                if local == INPUT:
                    self.paths.add(())
            case _:
                for operand in operands(step):
                    self.read(operand, places)
        if isinstance(step, Dot):
            self.read(step.key, places)
        self.follow(step, place, usage, places)

    def defined(self, operand: Operand, places: dict[int, Path | None]) -> None:
        if operand != INPUT:
            self.read(operand, places)

    def follow(
        self, step: Statement, place: Path | None, usage: Usage, places: dict[int, Path | None]
    ) -> None:
        """Note where the local that a statement sets comes from, if nothing else sets it."""
        if isinstance(step, With):
            return
        for target in targets(step):
            places[target] = None
            if place is None:
                continue
            if usage.stable(target) and usage.reads.get(target):
                places[target] = place
            else:
                self.paths.add(place)

    def call(self, step: Call, places: dict[int, Path | None]) -> None:
        item = self.functions.get(step.function)
        if item is None:
            if step.function in BUILTINS and BUILTINS[step.function].impure:
                self.impure.add(step.function)
            for argument in step.arguments:
                self.read(argument, places)
            return
        given = [
            None if isinstance(argument, Const) or argument == DATA else places.get(argument)
            for argument in step.arguments
        ]
        self.function(item, given[: len(item.parameters)])
