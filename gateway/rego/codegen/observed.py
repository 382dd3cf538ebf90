"""Writers whose code tells an observer what happens in it, generated where somebody asks.

`s.observer` is a set of numbers of places (coverage), or a `Trace`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.rego.codegen.bodies import is_body
from gateway.rego.codegen.writer import Writer
from gateway.rego.plan import (
    DATA,
    INPUT,
    Add,
    Assign,
    AssignOnce,
    At,
    Block,
    Call,
    Compare,
    Const,
    Dot,
    Insert,
    IsUndefined,
    Not,
    Statement,
    operands,
    steps,
    targets,
)

if TYPE_CHECKING:
    from gateway.rego.codegen.lines import Line
    from gateway.rego.codegen.shared import Shared

MAX_LABEL = 100

_WORDS = {"internal.member_2": "in", "internal.member_3": "in"}


class CoveredWriter(Writer):
    """Adds the number of each statement's place to a set before the statement runs."""

    marked: int | None = None

    def begin(self, remember: int | None) -> None:
        super().begin(remember)
        self.body.append("c = s.observer")

    def statement(self, step: Statement, after: Statement | None) -> None:
        if step.at is not None:
            number = self.program.place(step.at)
            if number != self.marked:
                self.marked = number
                self.body.append(f"c.add({number})")
        super().statement(step, after)

    def inside(
        self, block: Block, jump: str, defined: set[int] | None = None
    ) -> tuple[list[Line], bool, set[int]]:
        outer, self.marked = self.marked, None
        made = super().inside(block, jump, defined)
        self.marked = outer
        return made


class TracedWriter(Writer):
    """Tells a Trace which rules and bodies are tried, and what fails with which values."""

    def __init__(
        self,
        program: Shared,
        blocks: tuple[Block, ...],
        parameters: tuple[int, ...],
        result: int | None,
    ) -> None:
        super().__init__(program, blocks, parameters, result)
        self.number = -1
        self.at: At | None = None
        self.read: dict[int, None] = {}
        self.labels: dict[int, str] = {INPUT: "input", DATA: "data"}
        self.called: set[int] = set()
        self.negations = 0
        self.silent = False
        self.trying = False

    def function(self, name: str, remember: int | None) -> str:
        self.number = int(name[1:])
        return super().function(name, remember)

    def begin(self, remember: int | None) -> None:
        super().begin(remember)
        arguments = "".join(f"{self.name(parameter)}, " for parameter in self.parameters[2:])
        self.body.insert(0, f"x.enter({self.number}, ({arguments}))")

    def render(self, header: str, start: list[Line]) -> str:
        return super().render(header, ["x = s.observer", *start])

    def recalled(self) -> list[Line]:
        return [f"x.again({self.number}, m[{self.remember}])", *super().recalled()]

    def given(self, text: str) -> list[Line]:
        return [f"r = {text}", "x.leave(r)", *super().given("r")]

    def once(self, block: Block) -> None:
        at = None
        if self.body_of_rule(block):
            at = next((step.at for step in steps((block,)) if step.at), None)
            if at is not None:
                self.body.append(f"x.body({self.program.place(at)})")
        outer, self.trying = self.trying, self.trying or at is not None
        super().once(block)
        self.trying = outer
        self.read = {}  # what the block set may be unset behind it

    def body_of_rule(self, block: Block) -> bool:
        """Whether a block is one of the function's own, other than its default and its end."""
        return is_body(block) and any(block is own for own in self.blocks)

    def statement(self, step: Statement, after: Statement | None) -> None:
        if step.at is not None and step.at != self.at and not self.tests_call(step):
            self.at = step.at
            self.read = {}
        self.silent = isinstance(step, IsUndefined)
        self.label(step)
        for operand in operands(step):
            if isinstance(operand, int):
                self.read[operand] = None
        if self.trying and self.gives(step):
            self.body.append("x.hold()")
        super().statement(step, after)
        self.silent = False

    def gives(self, step: Statement) -> bool:
        """Whether a statement gives the rule its value, or a part of it."""
        match step:
            case Add(set=target) | Insert(object=target):
                return target == self.result
            case _:
                return isinstance(step, AssignOnce)

    def tests_call(self, step: Statement) -> bool:
        """Whether a statement tests a call's result: the compiler places it elsewhere."""
        return isinstance(step, Compare) and step.negate and step.left in self.called

    def label(self, step: Statement) -> None:
        """Give the local that a statement sets the text that a reader knows it by."""
        label = ""
        match step:
            case Assign(source=int() as source):
                label = self.labels.get(source, "")
            case Dot(source=int() as source, key=key) if source in self.labels:
                name = key.value if isinstance(key, Const) else None
                label = self.labels[source] + (f".{name}" if name.__class__ is str else "[_]")
            case Call(target=target, function=name):
                self.called.add(target)
                label = _WORDS.get(name, name)
                if name in self.program.numbers:
                    label = name.partition(".")[2]
        if label:
            self.labels[targets(step)[0]] = label[:MAX_LABEL]

    def leaving(self) -> list[Line]:
        if self.silent or self.at is None:
            return []
        seen: list[str] = []
        for local in self.read:
            term = self.known.get(local)
            unset = local not in self.defined if term is None else term.constant
            if local in (INPUT, DATA) or unset:  # what is constant stands in the source
                continue
            text = self.name(local) if term is None else term.text
            seen.append(f"({self.labels.get(local, '')!a}, {text}), ")
        place = self.program.place(self.at)
        return [f"x.fail({place}, {self.negations > 0}, ({''.join(seen)}))"]

    def negated(self, step: Not) -> tuple[list[Line], bool, set[int]]:
        self.negations += 1
        made = super().negated(step)
        self.negations -= 1
        return made
