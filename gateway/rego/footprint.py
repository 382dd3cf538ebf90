"""What a decision can read of its input, found in the plan.

Chains of constant keys are followed from the input through copies, calls and rules. Where a value
is used as a whole (compared, scanned, passed to a builtin, returned) its path is read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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
    Mock,
    With,
    inner_blocks,
    operands,
    steps,
    targets,
)
from gateway.rego.stand_ins import MOCKABLE
from gateway.rego.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.rego.plan import At, Block, Function, Operand, Plan, Statement
    from gateway.rego.trace import Site

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Footprint:
    """The paths of the input whose values decide, and the impure builtins that are called.

    A path stands for everything below it, and for whether it is there; the empty path is the
    whole input. Where `impure` is empty, equal values at `paths` give equal decisions. `places`
    tells where each path stands in the policies.
    """

    paths: frozenset[Path]
    impure: frozenset[str]
    places: Mapping[Path, Site] = field(default_factory=dict, compare=False)


def footprint(plan: Plan, path: Path, site: Callable[[At | None], Site]) -> Footprint:
    """Return the footprint of the rule at `path` below data; `site` names a place of the plan."""
    tracer = _Tracer(plan)
    for item in plan.functions:
        if item.generation == "g0" and item.path == path:
            tracer.function(item, ((), *(None for _ in item.parameters[1:])))
    paths = frozenset(
        path
        for path in tracer.paths
        if not any(path[:length] in tracer.paths for length in range(len(path)))
    )
    places = {path: site(tracer.places.get(path)) for path in sorted(paths)}
    return Footprint(paths, frozenset(tracer.impure), places)


class _Tracer:
    """Collects what the functions that are reached read."""

    def __init__(self, plan: Plan) -> None:
        self.functions = {item.name: item for item in plan.functions}
        self.paths: set[Path] = set()
        self.impure: set[str] = set()
        self.places: dict[Path, At] = {}
        self.done: set[tuple[str, tuple[Path | None, ...]]] = set()
        mocks = (s.name for f in plan.functions for s in steps(f.blocks) if isinstance(s, Mock))
        self.mocked = {f"g0.{name}" for name in mocks}

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
        origin = self.origin(step, places)
        match step:
            case Call():
                self.call(step, places)
            case IsDefined() | IsUndefined():
                self.defined(step.source, places)
            case CallDynamic():
                self.anything()
            case With(local=local):
                self.read(step.value, places)
                if local == INPUT:
                    self.paths.add(())
            case _ if origin is None:
                for operand in operands(step):
                    self.read(operand, places)
        self.follow(step, origin, usage, places)

    def origin(self, step: Statement, places: dict[int, Path | None]) -> Path | None:
        """Return the path of the input that a statement only takes up, or goes down."""
        match step:
            case Dot(source=int() as source, key=Const(value=str() as key)):
                above = places.get(source)
                if above is None:
                    return None
                if step.at is not None:
                    self.places.setdefault((*above, key), step.at)
                return (*above, key)
            case Assign(source=int() as source):
                return places.get(source)
            case _:
                return None

    def anything(self) -> None:
        """Any function of the plan may be called, with whatever there is."""
        self.paths.add(())
        for item in self.functions.values():
            self.impure |= _impure(item.blocks)

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
        if step.function.startswith(MOCKABLE) or step.function in self.mocked:
            self.anything()
        if item is None:
            self.impure |= _impure(((step,),))
            for argument in step.arguments:
                self.read(argument, places)
            return
        given = [
            None if isinstance(argument, Const) or argument == DATA else places.get(argument)
            for argument in step.arguments
        ]
        self.function(item, given[: len(item.parameters)])


def _impure(blocks: tuple[Block, ...]) -> set[str]:
    found = steps(blocks)
    called = {s.function.removeprefix(MOCKABLE) for s in found if isinstance(s, Call)}
    called |= {s.value.value for s in found if isinstance(s, Mock) and isinstance(s.value, Const)}
    return {name for name in called if name in BUILTINS and BUILTINS[name].impure}
