"""Plan to Python source: one function for each rule, function and query.

An undefined statement leaves its block: a block is a loop that runs once, undefined is `break`
(or `continue`, directly inside a scan). Constants and copies are followed through the plan, so
that most of its locals never become variables. Text of a plan reaches the source only as an
ASCII string literal or through the table of constants; every name in it is made here.

Steps are counted where work repeats: at the start of a function by the number of its statements,
and before a scan by its length times the statements inside.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from gateway.rego.codegen.bodies import bodies, direct_returns
from gateway.rego.codegen.observed import CoveredWriter, TracedWriter
from gateway.rego.codegen.shared import Shared
from gateway.rego.codegen.writer import Writer
from gateway.rego.index import Test, build, conditions
from gateway.rego.plan import (
    DATA,
    INPUT,
    At,
    Block,
    Call,
    CallDynamic,
    Entry,
    Function,
    Make,
    Mock,
    Plan,
    Scan,
    Statement,
    With,
    inner_blocks,
    steps,
)
from gateway.rego.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.rego.values import Value

    Observe = Literal["", "coverage", "trace"]
    Path = tuple[str, ...]

__all__ = ["Generated", "Observe", "generate", "hideable_rules", "mockable_functions"]

WRITERS: Final[Mapping[str, type[Writer]]] = {
    "": Writer,
    "coverage": CoveredWriter,
    "trace": TracedWriter,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """Python source and what it refers to.

    `constants` are C0, C1 …; `builtins` are the names of b0, b1 …, `mocking` those of a0, a1 …:
    builtins that `with` replaces, or puts in the place of functions; `rules` maps the path of a
    rule or function to (its function's number, its number of parameters); `entries` maps the
    name of an entry to its function's number; `indexes` maps a function's number to its rule
    index and the number of its bodies; `sites` are the places that the code names by number.
    """

    source: str
    constants: tuple[Value, ...]
    builtins: tuple[str, ...]
    mocking: tuple[str, ...]
    rules: Mapping[tuple[str, ...], tuple[int, int]]
    entries: Mapping[str, int]
    indexes: Mapping[int, tuple[Test, int]]
    sites: tuple[At, ...] = ()


def generate(
    plan: Plan,
    *,
    files: Sequence[str] = (),
    strict: bool = True,
    indexed: bool = True,
    observe: Observe = "",
) -> Generated:
    """Write the Python source of a plan, whose calls were checked.

    `files` are the names of its modules, for the comment above each function. Unless `strict`,
    an error of a builtin makes its expression undefined. `indexed` is whether rules with many
    bodies get an index. With `observe` the code tells the state's observer which statements
    it runs (`coverage`) or what fails and why (`trace`); then there are no indexes. PlanError if
    the plan does not hold together.
    """
    program = _Program(plan, files, WRITERS[observe], strict=strict, indexed=indexed)
    if observe == "coverage":  # what is never generated can still be covered
        for step in steps(tuple(b for item in plan.functions for b in item.blocks)):
            if step.at is not None:
                program.shared.place(step.at)
    parts = [program.function(index, item) for index, item in enumerate(plan.functions)]
    parts += [program.entry(index, item) for index, item in enumerate(plan.entries)]
    return Generated(
        source="\n\n".join(parts) + "\n",
        constants=tuple(program.shared.constants),
        builtins=tuple(program.shared.builtins),
        mocking=tuple(program.shared.mocking),
        rules={
            item.path: (index, len(item.parameters))
            for index, item in enumerate(plan.functions)
            if item.generation == "g0" and item.path != plan.query_rule
        },
        entries={item.name: index for index, item in enumerate(plan.entries)},
        indexes=program.indexes,
        sites=tuple(program.shared.places),
    )


def hideable_rules(plan: Plan) -> dict[int, tuple[Path, frozenset[Path]]]:
    """Return the rules at or below a path that some `with` replaces: their paths, and those.

    The keys are the numbers of their functions.
    """
    replaced = {step.path for step in _all(plan) if isinstance(step, With) and step.local == DATA}
    found: dict[int, tuple[Path, frozenset[Path]]] = {}
    for number, item in enumerate(plan.functions if replaced else ()):
        above = {item.path[:length] for length in range(len(item.path) + 1)} & replaced
        if above and len(item.parameters) == 2:
            found[number] = (item.path, frozenset(above))
    return found


def mockable_functions(plan: Plan) -> dict[int, str]:
    """Return the names of the functions that some `with` replaces, by their numbers."""
    replaced = {step.name for step in _all(plan) if isinstance(step, Mock)}
    named = ((number, ".".join(("data", *f.path))) for number, f in enumerate(plan.functions))
    return {number: name for number, name in named if name in replaced}


def _all(plan: Plan) -> list[Statement]:
    blocks = [item.blocks for item in plan.functions] + [item.blocks for item in plan.entries]
    return steps(tuple(itertools.chain.from_iterable(blocks)))


class _Program:
    """Writes the functions and entries of one plan."""

    def __init__(
        self,
        plan: Plan,
        files: Sequence[str],
        writer: type[Writer],
        *,
        strict: bool,
        indexed: bool,
    ) -> None:
        self.shared = Shared(plan, strict=strict)
        self.files = files
        self.writer = writer
        self.indexed = indexed and writer is Writer
        self.indexes: dict[int, tuple[Test, int]] = {}
        self.once = _called_once(plan)

    def function(self, index: int, item: Function) -> str:
        remember = len(item.parameters) == 2 and item.name not in self.once
        written = self.divided(index, item, remember=remember) if self.indexed else None
        if written is None:
            writer = self.writer(self.shared, item.blocks, item.parameters, item.result)
            written = writer.function(f"f{index}", index if remember else None)
        place = "data" if item.generation == "g0" else item.generation
        title = _title(".".join((place, *item.path)), item.at, self.files)
        return title + written

    def divided(self, index: int, item: Function, *, remember: bool) -> str | None:
        """Write a rule with an index: a function for each body, and one that picks them."""
        parts = bodies(item)
        if parts is None:
            return None
        before, within, after = parts
        collected = any(
            isinstance(step, Make) and step.target == item.result for step in steps(before)
        )
        parameters = (*item.parameters, item.result) if collected else item.parameters
        usages = [Usage((body,), parameters) for body in within]
        node = build(
            [
                conditions(body, item.parameters, usage)
                for body, usage in zip(within, usages, strict=True)
            ]
        )
        if node is None:
            return None
        self.indexes[index] = (node, len(within))
        written: list[str] = []
        result = None if collected else item.result
        for number, (body, usage) in enumerate(zip(within, usages, strict=True)):
            writer = Writer(self.shared, (body,), parameters, result, usage)
            written.append(writer.function(f"f{index}_{number}", None))
        writer = Writer(self.shared, (*before, *after), item.parameters, item.result)
        writer.returns = direct_returns(item.blocks, item.result)
        written.append(writer.picking(index, before, after, collected=collected, remember=remember))
        return "\n\n".join(written)

    def entry(self, index: int, item: Entry) -> str:
        writer = self.writer(self.shared, item.blocks, (INPUT, DATA), None)
        return _title(item.name, None, self.files) + writer.entry(index)


def _title(name: str, at: At | None, files: Sequence[str]) -> str:
    place = f"  {ascii(files[at.file])[1:-1]}:{at.row}" if at and at.file < len(files) else ""
    return f"# {ascii(name)[1:-1]}{place}\n"


def _called_once(plan: Plan) -> frozenset[str]:
    """Return the rules that one decision calls at most once, so that a memo has no use."""
    sites: dict[str, int] = {}

    def count(blocks: tuple[Block, ...], repeated: int) -> None:
        for block in blocks:
            for step in block:
                if isinstance(step, Call):
                    sites[step.function] = sites.get(step.function, 0) + repeated
                elif isinstance(step, CallDynamic):
                    sites[""] = 2
                count(inner_blocks(step), 2 if isinstance(step, Scan) else repeated)

    for item in plan.functions:
        count(item.blocks, 1 if len(item.parameters) == 2 else 2)
    for entry in plan.entries:
        count(entry.blocks, 1)
    if "" in sites:
        return frozenset()
    return frozenset(item.name for item in plan.functions if sites.get(item.name, 0) <= 1)
