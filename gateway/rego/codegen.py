"""Plan to Python source: one function for each rule, function and query.

An undefined statement leaves its block: a block is a loop that runs once, undefined is `break`
(or `continue`, directly inside a scan). Constants and copies are followed through the plan, so
that most of its locals never become variables. Text of a plan reaches the source only as an
ASCII string literal or through the table of constants; every name in it is made here.

Steps are counted where work repeats: at the start of a function by the number of its statements,
and before a scan by its length times the statements inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.rego.builtins import BUILTINS
from gateway.rego.index import SMALLEST, Test, build, conditions
from gateway.rego.plan import (
    DATA,
    INPUT,
    Add,
    Append,
    Assign,
    AssignOnce,
    At,
    Block,
    Blocks,
    Call,
    CallDynamic,
    Compare,
    Const,
    Dot,
    Entry,
    Function,
    Insert,
    IsDefined,
    IsKind,
    IsUndefined,
    Length,
    Make,
    Merge,
    Not,
    Operand,
    Plan,
    PlanError,
    Reset,
    Result,
    Return,
    Scan,
    Statement,
    With,
    inner_blocks,
    operands,
    steps,
    targets,
)
from gateway.rego.usage import Usage
from gateway.rego.values import (
    UNDEFINED,
    RegoSet,
    Value,
    equal,
    key_form,
    sorted_items,
    sorted_members,
)

MAX_LOOPS: Final = 16
"""Loops nested in one Python function; CPython takes 20 and `try` needs one as well."""

MAX_LITERAL: Final = 1 << 62
"""Larger integers come from the table of constants."""


@dataclass(slots=True)
class Suite:
    """A line that ends in a colon, and what is indented below it."""

    header: str
    body: list[Line]


Line = str | Suite


@dataclass(frozen=True, slots=True)
class Term:
    """An operand as source text. `value` is the constant it stands for, else UNDEFINED."""

    text: str
    defined: bool
    value: Value = UNDEFINED

    @property
    def constant(self) -> bool:
        """Whether the value is known now."""
        return self.value is not UNDEFINED

    @property
    def dotted(self) -> str:
        """The text as it must be before a point: `1.__class__` is no Python."""
        return f"({self.text})" if self.value.__class__ is int else self.text

    @property
    def is_text(self) -> bool:
        """Whether the value is known to be a string."""
        return self.value.__class__ is str


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """Python source and what it refers to.

    `constants` are C0, C1 …; `builtins` are the names of b0, b1 …; `rules` maps the path of a
    rule or function to (its function's number, its number of parameters); `entries` maps the
    name of an entry to its function's number; `indexes` maps a function's number to its rule
    index and the number of its bodies.
    """

    source: str
    constants: tuple[Value, ...]
    builtins: tuple[str, ...]
    rules: Mapping[tuple[str, ...], tuple[int, int]]
    entries: Mapping[str, int]
    indexes: Mapping[int, tuple[Test, int]]


def generate(
    plan: Plan, *, files: Sequence[str] = (), strict: bool = True, indexed: bool = True
) -> Generated:
    """Write the Python source of a plan, whose calls were checked.

    `files` are the names of its modules, for the comment above each function. Unless `strict`,
    an error of a builtin makes its expression undefined. `indexed` is whether rules with many
    bodies get an index. PlanError if the plan does not hold together.
    """
    program = _Program(plan, files, strict=strict, indexed=indexed)
    parts = [program.function(index, item) for index, item in enumerate(plan.functions)]
    parts += [program.entry(index, item) for index, item in enumerate(plan.entries)]
    return Generated(
        source="\n\n".join(parts) + "\n",
        constants=tuple(program.constants),
        builtins=tuple(program.builtins),
        rules={
            item.path: (index, len(item.parameters))
            for index, item in enumerate(plan.functions)
            if item.generation == "g0" and item.path != plan.query_rule
        },
        entries={item.name: index for index, item in enumerate(plan.entries)},
        indexes=program.indexes,
    )


class _Program:
    """What the functions of one plan share: constants, builtins, numbers of functions."""

    def __init__(self, plan: Plan, files: Sequence[str], *, strict: bool, indexed: bool) -> None:
        self.plan = plan
        self.files = files
        self.indexed = indexed
        self.indexes: dict[int, tuple[Test, int]] = {}
        self.strict = strict
        self.constants: list[Value] = []
        self.builtins: dict[str, int] = {}
        self.numbers = {item.name: index for index, item in enumerate(plan.functions)}
        self.once = _called_once(plan)

    def constant(self, value: Value) -> str:
        self.constants.append(value)
        return f"C{len(self.constants) - 1}"

    def builtin(self, name: str) -> str:
        return f"b{self.builtins.setdefault(name, len(self.builtins))}"

    def function(self, index: int, item: Function) -> str:
        remember = len(item.parameters) == 2 and item.name not in self.once
        written = self.divided(index, item, remember=remember) if self.indexed else None
        if written is None:
            writer = _Writer(self, item.blocks, item.parameters, item.result)
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
        usages = [Usage((body,), item.parameters) for body in within]
        node = build(
            [
                conditions(body, item.parameters, usage)
                for body, usage in zip(within, usages, strict=True)
            ]
        )
        if node is None:
            return None
        self.indexes[index] = (node, len(within))
        collected = any(
            isinstance(step, Make) and step.target == item.result for step in steps(before)
        )
        written: list[str] = []
        for number, body in enumerate(within):
            parameters = (*item.parameters, item.result) if collected else item.parameters
            writer = _Writer(self, (body,), parameters, None if collected else item.result)
            written.append(writer.function(f"f{index}_{number}", None))
        writer = _Writer(self, (*before, *after), item.parameters, item.result)
        writer.returns = _direct_returns(item.blocks, item.result)
        written.append(writer.picking(index, before, after, collected=collected, remember=remember))
        return "\n\n".join(written)

    def entry(self, index: int, item: Entry) -> str:
        writer = _Writer(self, item.blocks, (INPUT, DATA), None)
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


def _weight(block: Block) -> int:
    """Return the number of statements that one run of a block executes, scans inside apart."""
    total = 0
    for step in block:
        total += 1
        if not isinstance(step, Scan):
            total += sum(map(_weight, inner_blocks(step)))
    return total


class _Writer:
    """Writes one function."""

    def __init__(
        self,
        program: _Program,
        blocks: tuple[Block, ...],
        parameters: tuple[int, ...],
        result: int | None,
    ) -> None:
        self.program = program
        self.blocks = blocks
        self.parameters = parameters
        self.result = result
        self.usage = Usage(blocks, parameters)
        self.names: dict[int, str] = {INPUT: "input", DATA: "data"}
        self.known: dict[int, Term] = {}
        self.defined: set[int] = set(parameters) - {INPUT}
        self.unset: set[int] = set()
        self.temporaries = 0
        self.body: list[Line] = []
        self.jump = "break"
        self.jumped = False
        self.ended = False
        self.remember: int | None = None
        self.returns = _direct_returns(blocks, result)
        self.rows = False
        self.hoisted = 0

    # --- whole functions

    def function(self, name: str, remember: int | None) -> str:
        """Write a whole rule or function, or one body of it."""
        self.begin(remember)
        self.all(self.blocks)
        return self.end(name)

    def picking(
        self,
        index: int,
        before: tuple[Block, ...],
        after: tuple[Block, ...],
        *,
        collected: bool,
        remember: bool,
    ) -> str:
        """Write a rule that calls those of its bodies that the index picks."""
        assert self.result is not None
        self.begin(index if remember else None)
        for block in before:
            self.once(block)
        parameters = ", ".join(map(self.name, self.parameters))
        result = self.name(self.result)
        picked = f"for _, body in select(s, I{index}, ({parameters})):"
        if collected:
            self.body.append(Suite(picked, [f"body(s, {parameters}, {result})"]))
        else:
            outer, self.body = self.body, [f"r = body(s, {parameters})"]
            check = self.agreement()
            found: list[Line] = [f"{result} = r if {result} is U else {check}(s, {result}, r)"]
            if self.returns:
                found = [*self.given("r")]
            else:
                self.unset.add(self.result)
            outer.append(Suite(picked, [*self.body, Suite("if r is not U:", found)]))
            self.body = outer
        self.all(after)
        return self.end(f"f{index}")

    def begin(self, remember: int | None) -> None:
        for parameter in self.parameters:
            self.name(parameter)
        self.remember = remember
        weight = sum(map(_weight, self.blocks))
        self.body.append(f"s.steps -= {weight}")
        self.body.append(Suite("if s.steps < 0:", ["s.exceeded()"]))

    def all(self, blocks: tuple[Block, ...]) -> None:
        """Write the blocks of a function up to its end."""
        *first, last = blocks or ((),)
        for block in first:
            if self.ended:
                return
            self.once(block)
        if not self.ended and not self.final(last):
            self.once(last)
            if not self.ended:
                unset = self.result is None or self.returns
                self.give("U" if unset else self.term(self.result or 0).text)

    def end(self, name: str) -> str:
        arguments = ", ".join(map(self.name, self.parameters))
        start: list[Line] = []
        if self.remember is not None:
            found = f"return m[{self.remember}]"
            start = ["m = s.rules", Suite(f"if {self.remember} in m:", [found])]
        return self.render(f"def {name}(s, {arguments}):", start)

    def agreement(self) -> str:
        return "agree" if len(self.parameters) == 2 else "agree_function"

    def entry(self, index: int) -> str:
        self.rows = True
        for block in self.blocks:
            self.once(block)
        return self.render(f"def e{index}(s, input, data, rows):", [])

    def final(self, block: Block) -> bool:
        match block:
            case (IsDefined(source=source), Return(source=local)) if source == local:
                self.give("U" if self.returns and local == self.result else self.term(local).text)
                return True
            case _:
                return False

    def render(self, header: str, start: list[Line]) -> str:
        body = [*start, *self.body]
        loops = _loops(body)
        unset = [self.name(local) for local in sorted(self.unset - set(self.parameters))]
        if loops > MAX_LOOPS:
            own = {self.names[p] for p in self.parameters}
            unset = [name for name in self.names.values() if name not in own | {"input", "data"}]
            unset += [f"t{number}" for number in range(1, self.temporaries + 1)]
        if unset:
            body.insert(len(start), " = ".join([*unset, "U"]))
        shared = [*unset, *(n for n in ("input", "data") if self.usage.writes.get(_LOCALS[n]))]
        lines: list[str] = []
        self.lay([Suite(header, body)], 0, -1, lines, shared)
        return "\n".join(lines)

    def lay(
        self, body: Iterable[Line], indent: int, loops: int, lines: list[str], shared: list[str]
    ) -> None:
        """Write lines with their indentation; loops nested too deeply move to a function."""
        margin = "    " * indent
        for line in body:
            if isinstance(line, str):
                lines.append(margin + line)
            elif loops >= MAX_LOOPS and line.header.startswith(("while", "for")):
                self.hoisted += 1
                name = f"h{self.hoisted}"
                inner: list[Line] = [f"nonlocal {', '.join(shared)}", line, "return U"]
                self.lay([Suite(f"def {name}():", inner)], indent, -1, lines, shared)
                lines.append(f"{margin}h = {name}()")
                lines.append(f"{margin}if h is not U:")
                lines.append(f"{margin}    return h")
            else:
                lines.append(margin + line.header)
                self.lay(line.body, indent + 1, loops + _is_loop(line), lines, shared)

    # --- names and operands

    def name(self, local: int) -> str:
        known = self.names.get(local)
        if known is None:
            known = self.names[local] = f"v{len(self.names) - 1}"
        return known

    def temporary(self) -> str:
        self.temporaries += 1
        return f"t{self.temporaries}"

    def literal(self, value: Value) -> Term:
        """Return a constant as a term, writing only what cannot be anything but a literal."""
        kind = value.__class__
        if kind is str:
            return Term(ascii(value), defined=True, value=value)
        if value is None or kind is bool or (kind is int and -MAX_LITERAL < value < MAX_LITERAL):
            return Term(repr(value), defined=True, value=value)
        return Term(self.program.constant(value), defined=True, value=value)

    def term(self, operand: Operand) -> Term:
        if isinstance(operand, Const):
            return self.literal(operand.value)
        known = self.known.get(operand)
        if known is not None:
            return known
        defined = operand in self.defined
        if not defined:
            self.unset.add(operand)
        return Term(self.name(operand), defined=defined)

    def need(self, operand: Operand) -> Term:
        """Return the term of an operand, after leaving the block where it is undefined."""
        term = self.term(operand)
        if not term.defined:
            self.leave_if(f"{term.text} is U")
            if isinstance(operand, int):
                self.defined.add(operand)
        return term

    def store(self, local: int, text: str, *, defined: bool = True) -> None:
        self.body.append(f"{self.name(local)} = {text}")
        (self.defined.add if defined else self.defined.discard)(local)

    # --- control

    def leave(self) -> None:
        self.body.append(self.jump)
        self.jumped = self.ended = True

    def leave_if(self, condition: str) -> None:
        self.body.append(Suite(f"if {condition}:", [self.jump]))
        self.jumped = True

    def give(self, text: str) -> None:
        """Return a value from the function, remembering it where that is of use."""
        self.body += self.given(text)
        self.ended = True

    def given(self, text: str) -> list[str]:
        if self.remember is None:
            return [f"return {text}"]
        return [f"m[{self.remember}] = r = {text}", "return r"]

    def once(self, block: Block) -> None:
        """Write a block after which execution goes on, whether it completed or not."""
        body, jumped, defined = self.inside(block, "break")
        if not jumped:
            self.body += body
            self.defined = defined
            return
        if not _leaves(body):
            body.append("break")
        self.body.append(Suite("while True:", body))
        self.ended = False
        self.defined -= self.usage.assigned(block)

    def inside(
        self, block: Block, jump: str, defined: set[int] | None = None
    ) -> tuple[list[Line], bool, set[int]]:
        """Write a block apart; return its lines, whether it can jump, what is defined after."""
        outer = self.body, self.jump, self.jumped, self.defined
        self.body, self.jump, self.jumped = [], jump, False
        self.defined = set(outer[3]) if defined is None else defined
        self.ended = False
        self.statements(block)
        made = self.body, self.jumped, self.defined
        self.body, self.jump, self.jumped, self.defined = outer
        return made

    def statements(self, block: Block) -> None:
        for position, step in enumerate(block):
            if self.ended:
                return
            after = block[position + 1] if position + 1 < len(block) else None
            if isinstance(step, Call) and self.fused(step, after):
                continue
            _WRITERS[step.__class__](self, step)

    # --- statements

    def reset(self, step: Reset) -> None:
        if step.target == self.result and self.returns:
            return
        self.store(step.target, "U", defined=False)

    def make(self, step: Make) -> None:
        value = self.usage.constant(step.target)
        if value is not UNDEFINED:
            self.known[step.target] = self.literal(value)
        elif not self.usage.displays(step.target):
            self.store(step.target, _EMPTY[step.kind])

    def assign(self, step: Assign) -> None:
        if not self.usage.reads.get(step.target):
            return
        term = self.term(step.source)
        followed = self.usage.stable(step.target) and self.settled(step.source)
        if followed and (term.defined or step.source == INPUT):
            self.known[step.target] = term
        else:
            self.store(step.target, term.text, defined=term.defined)

    def settled(self, operand: Operand) -> bool:
        """Whether an operand keeps its value as long as it can be read."""
        return isinstance(operand, Const) or operand in self.known or self.usage.stable(operand)

    def assign_once(self, step: AssignOnce) -> None:
        term = self.term(step.source)
        if step.target == self.result and self.returns:
            if not term.defined:
                self.leave_if(f"{term.text} is U")
            self.give(term.text)
            return
        target = self.name(step.target)
        if step.target not in self.defined:
            self.unset.add(step.target)
        check = self.agreement()
        line = f"{target} = {term.text} if {target} is U else {check}(s, {target}, {term.text})"
        if term.defined:
            self.body.append(line)
            self.defined.add(step.target)
        else:
            self.body.append(Suite(f"if {term.text} is not U:", [line]))

    def dot(self, step: Dot) -> None:
        source, key = self.term(step.source), self.need(step.key)
        if key.is_text:
            name = source.dotted
            found = (
                f"{name}.get({key.text}, U) if {name}.__class__ is dict "
                f"else lookup(s, {name}, {key.text})"
            )
        else:
            found = f"lookup(s, {source.text}, {key.text})"
        self.store(step.target, found)
        self.leave_if(f"{self.name(step.target)} is U")

    def compare(self, step: Compare) -> None:
        left, right = self.need(step.left), self.need(step.right)
        if left.constant and right.constant:
            if equal(left.value, right.value) is step.negate:
                self.leave()
            return
        self.leave_if(_compared(left, right, equal_=step.negate))

    def is_defined(self, step: IsDefined) -> None:
        self.need(step.source)

    def is_undefined(self, step: IsUndefined) -> None:
        if step.source == self.result and self.returns:
            return
        term = self.term(step.source)
        if term.defined:
            self.leave()
        else:
            self.leave_if(f"{term.text} is not U")

    def is_kind(self, step: IsKind) -> None:
        self.leave_if(f"{self.need(step.source).dotted}.__class__ is not {_CLASSES[step.kind]}")

    def length(self, step: Length) -> None:
        self.store(step.target, f"len({self.need(step.source).text})")

    def append(self, step: Append) -> None:
        self.change(step.array, step, lambda name: f"{name}.append({self.need(step.value).text})")

    def add(self, step: Add) -> None:
        value = self.need(step.value)
        self.change(step.set, step, lambda name: f"{name}[{self.form(value)}] = {value.text}")

    def insert(self, step: Insert) -> None:
        key, value = self.need(step.key), self.need(step.value)
        self.change(
            step.object,
            step,
            lambda name: (
                f"insert_once(s, {name}, {key.text}, {value.text})"
                if step.once
                else f"{name}[{self.form(key)}] = {value.text}"
            ),
        )

    def change(self, local: int, step: Statement, line: Callable[[str], str]) -> None:
        """Write a change to a collection, unless all its changes are one display or constant."""
        if local in self.known:
            return
        if self.usage.displays(local):
            parts = self.usage.changes[local]
            if step is parts[-1]:
                self.store(local, self.display(parts))
            return
        if self.usage.shared(local):
            self.body.append(f"{self.name(local)} = {_COPIES[step.__class__]}({self.name(local)})")
        self.body.append(line(self.name(local)))

    def display(self, parts: list[Statement]) -> str:
        """Return the array or object display that a row of changes amounts to."""
        if isinstance(parts[0], Append):
            items = [self.need(part.value).text for part in parts if isinstance(part, Append)]
            return f"[{', '.join(items)}]"
        pairs = [
            f"{self.term(part.key).text}: {self.need(part.value).text}"
            for part in parts
            if isinstance(part, Insert)
        ]
        return "{" + ", ".join(pairs) + "}"

    def form(self, term: Term) -> str:
        """Return the source of a term's key form."""
        if term.constant:
            plain = key_form(term.value)
            if plain.__class__ in (str, int):
                return self.literal(plain).text
            return self.program.constant(plain)
        return f"{term.text} if {term.text}.__class__ is str else form(s, {term.text})"

    def merge(self, step: Merge) -> None:
        left, right = self.need(step.left), self.need(step.right)
        self.store(step.target, f"merge(s, {left.text}, {right.text})")

    def blocks_in_order(self, step: Blocks) -> None:
        for block in step.blocks:
            if self.ended:
                return
            self.once(block)

    def scan(self, step: Scan) -> None:
        source = self.need(step.source)
        weight = _weight(step.block) or 1
        keyed = bool(self.usage.reads.get(step.key))
        ordered = self.ordered(step.block)
        assigned = self.usage.assigned(step.block) | {step.key, step.value}
        if source.constant:
            items = _constant_items(source.value, keyed=keyed)
            if items is None:
                self.leave()
                return
            each, charge = self.program.constant(items), str(weight * len(items))
        else:
            each = self.temporary()
            kind = ("ordered_" if ordered else "") + ("pairs" if keyed else "members")
            state = "s, " if ordered else ""
            self.body.append(f"{each} = {kind}({state}{source.text})")
            self.leave_if(f"{each} is None")
            charge = f"{weight} * len({source.text})"
        inside = self.defined - assigned | {step.key, step.value}
        body, _, _ = self.inside(step.block, "continue", inside)
        self.ended = False
        if body and body[-1] == "continue":
            body.pop()
        target = self.name(step.value)
        if keyed:
            target = f"{self.name(step.key)}, {target}"
        self.body.append(f"s.steps -= {charge}")
        self.body.append(Suite("if s.steps < 0:", ["s.exceeded()"]))
        self.body.append(Suite(f"for {target} in {each}:", body or ["pass"]))
        self.defined -= assigned

    def ordered(self, block: Block) -> bool:
        """Whether anything shows the order in which a block's scan runs."""
        made = {step.target for step in steps((block,)) if isinstance(step, Make)}
        return self.rows or any(
            (isinstance(step, Append) and step.array not in made)
            or (isinstance(step, Call) and _is_impure(step.function))
            for step in steps((block,))
        )

    def negation(self, step: Not) -> None:
        body, jumped, _ = self.inside(_without_flag(step.block), "break")
        ended = self.ended
        self.ended = False
        self.defined -= self.usage.assigned(step.block)
        if not jumped:
            self.body += body
            if not ended:
                self.leave()
            return
        if ended:
            self.body.append(Suite("while True:", body))
            return
        found = self.temporary()
        self.body.append(f"{found} = False")
        self.body.append(Suite("while True:", [*body, f"{found} = True", "break"]))
        self.leave_if(found)

    def replaced(self, step: With) -> None:
        value = self.need(step.value)
        target = self.name(step.local)
        if step.local not in self.defined:
            self.unset.add(step.local)
        before = step.local in self.defined
        kept, rules = self.temporary(), self.temporary()
        path = "".join(f"{name!a}, " for name in step.path)
        self.body.append(f"{kept}, {rules}, s.rules = {target}, s.rules, {{}}")
        self.body.append(f"{target} = patch(s, {target}, ({path}), {value.text})")
        body, jumped, defined = self.inside(step.block, "break", self.defined | {step.local})
        ended = self.ended
        self.ended = False
        restore = f"{target}, s.rules = {kept}, {rules}"
        done = self.temporary()
        if jumped:
            if not ended:
                body += [f"{done} = True", "break"]
            self.body.append(f"{done} = False")
            self.body.append(Suite("while True:", body))
            self.body.append(restore)
            self.leave_if(f"not {done}")
        else:
            self.body += [*body, restore]
        self.defined = defined if before else defined - {step.local}

    def give_back(self, step: Return) -> None:
        self.give(self.term(step.source).text)

    def row(self, step: Result) -> None:
        self.body.append(f"rows.append({self.need(step.value).text})")

    # --- calls

    def call(self, step: Call) -> None:
        number = self.program.numbers.get(step.function)
        if number is not None:
            wanted = len(self.program.plan.functions[number].parameters)
            if len(step.arguments) < wanted or step.arguments[:2] != (INPUT, DATA):
                raise PlanError(f"{step.function}: wrong arguments")
            # A rule that stands in for a function (`with f as rule`) is given arguments too.
            arguments = [self.need(argument) for argument in step.arguments[2:wanted]]
            text = ", ".join(["input", "data", *(argument.text for argument in arguments)])
            self.store(step.target, f"f{number}(s, {text})")
            self.leave_if(f"{self.name(step.target)} is U")
            return
        arguments = [self.need(argument) for argument in step.arguments]
        call = self.builtin_call(step.function, arguments)
        inline = _INLINE.get(step.function)
        quick = inline(arguments, call) if inline else None
        if quick is not None:
            self.guarded(step.target, quick)
        else:
            self.guarded(step.target, call)
            self.leave_if(f"{self.name(step.target)} is U")

    def builtin_call(self, name: str, arguments: list[Term]) -> str:
        if name not in BUILTINS:
            raise PlanError(f"unknown function {name!a}")
        text = ", ".join(argument.text for argument in arguments)
        state = "s, " if BUILTINS[name].needs_state else ""
        return f"{self.program.builtin(name)}({state}{text})"

    def guarded(self, target: int, text: str) -> None:
        """Write a call of a builtin; unless strict, its error makes the block undefined."""
        if self.program.strict:
            self.store(target, text)
            return
        self.body.append(Suite("try:", [f"{self.name(target)} = {text}"]))
        self.body.append(Suite("except BuiltinError:", [self.jump]))
        self.jumped = True
        self.defined.add(target)

    def fused(self, step: Call, after: Statement | None) -> bool:
        """Write a comparison and the test of its outcome as one condition, where it is one."""
        inline = _CONDITIONS.get(step.function)
        if inline is None or not self.program.strict:
            return False
        match after:
            case Compare(left=left, right=Const(value=False), negate=True) if (
                left == step.target and self.usage.reads.get(step.target) == 1
            ):
                pass
            case _:
                return False
        arguments = [self.need(argument) for argument in step.arguments]
        condition = inline(arguments, self.builtin_call(step.function, arguments))
        if condition is None:
            return False
        self.known[step.target] = Term("True", defined=True, value=True)
        self.leave_if(f"not ({condition})")
        return True

    def call_dynamic(self, step: CallDynamic) -> None:
        path = "".join(f"{self.need(part).text}, " for part in step.path)
        arguments = "".join(f"{self.term(part).text}, " for part in step.arguments)
        self.store(step.target, f"call_dynamic(s, FUNCTIONS, ({path}), ({arguments}))")
        self.leave_if(f"{self.name(step.target)} is U")


_LOCALS: Final = {"input": INPUT, "data": DATA}
_EMPTY: Final = {"array": "[]", "object": "{}", "set": "RegoSet()"}
_CLASSES: Final = {"array": "list", "object": "dict", "set": "RegoSet"}
_COPIES: Final[Mapping[type, str]] = {Append: "list", Add: "RegoSet", Insert: "own_object"}

_WRITERS: Final[Mapping[type, Callable[[_Writer, Any], None]]] = {
    Reset: _Writer.reset,
    Make: _Writer.make,
    Assign: _Writer.assign,
    AssignOnce: _Writer.assign_once,
    Dot: _Writer.dot,
    Compare: _Writer.compare,
    IsDefined: _Writer.is_defined,
    IsUndefined: _Writer.is_undefined,
    IsKind: _Writer.is_kind,
    Length: _Writer.length,
    Append: _Writer.append,
    Add: _Writer.add,
    Insert: _Writer.insert,
    Merge: _Writer.merge,
    Call: _Writer.call,
    CallDynamic: _Writer.call_dynamic,
    Blocks: _Writer.blocks_in_order,
    Scan: _Writer.scan,
    Not: _Writer.negation,
    With: _Writer.replaced,
    Return: _Writer.give_back,
    Result: _Writer.row,
}


def _is_impure(name: str) -> bool:
    return name in BUILTINS and BUILTINS[name].impure


def _is_loop(suite: Suite) -> int:
    return 1 if suite.header.startswith(("while", "for", "def")) else 0


def _loops(body: Iterable[Line]) -> int:
    """Return how deeply loops are nested in `body`."""
    return max(
        (_is_loop(line) + _loops(line.body) for line in body if isinstance(line, Suite)),
        default=0,
    )


def _leaves(body: list[Line]) -> bool:
    """Whether the last line leaves the loop by itself."""
    return bool(body) and isinstance(body[-1], str) and body[-1].startswith(("break", "return "))


def _compared(left: Term, right: Term, *, equal_: bool) -> str:
    """Return the condition that two terms are equal, or are not."""
    for one, other in ((left, right), (right, left)):
        if one.is_text:
            return f"{other.text} {'==' if equal_ else '!='} {one.text}"
        if one.constant and (one.value is None or one.value.__class__ is bool):
            return f"{other.text} {'is' if equal_ else 'is not'} {one.text}"
    if left.constant:
        left, right = right, left
    kind = "int" if right.value.__class__ is int else "str"
    quick, call = ("==", "same") if equal_ else ("!=", "not same")
    a, b = left.text, right.text
    return f"{a} {quick} {b} if {left.dotted}.__class__ is {kind} else {call}(s, {a}, {b})"


def _constant_items(value: Value, *, keyed: bool) -> tuple[Value, ...] | None:
    """Return what a scan of a constant yields, in order."""
    kind = value.__class__
    pairs: Iterable[tuple[Value, Value]]
    if kind is list:
        pairs = enumerate(value)
    elif kind is dict:
        pairs = sorted_items(value)
    elif kind is RegoSet:
        pairs = ((member, member) for member in sorted_members(value))
    else:
        return None
    return tuple(pairs) if keyed else tuple(member for _, member in pairs)


Parts = tuple[tuple[Block, ...], tuple[Block, ...], tuple[Block, ...]]


def bodies(item: Function) -> Parts | None:
    """Divide a rule into what comes before its bodies, the bodies, and what comes after.

    None if there are few, or if they use each other's locals.
    """
    blocks = _without_slots(item.blocks)
    found = [number for number, block in enumerate(blocks) if _is_body(block)]
    if len(found) < SMALLEST or found[-1] - found[0] + 1 != len(found):
        return None
    before, after = blocks[: found[0]], blocks[found[-1] + 1 :]
    within = tuple(_inner(block) for block in blocks[found[0] : found[-1] + 1])
    outside: set[int] = {local for block in (*before, *after) for local in _locals(block)}
    shared = {*item.parameters, item.result}
    seen = outside - shared
    for block in within:
        own = _locals(block) - shared
        if own & seen and not _sets_first(block, own & seen - outside):
            return None
        if own & outside:
            return None
        seen |= own
    return before, within, after


def _without_slots(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    """Return the blocks of a partial object without the local that holds each one's value.

    The compiler resets it, lets the body assign it last, and inserts it where it is defined.
    """
    made: list[Block] = []
    for block in blocks:
        match block:
            case (
                Blocks(
                    at=at,
                    blocks=(
                        (),
                        (*body, AssignOnce(target=set_, source=source)),
                        (IsDefined(source=tested), Insert(value=value) as insert),
                    ),
                ),
            ) if (
                set_ == tested == value
                and _resets(made, set_)
                and not any(set_ in targets(step) for step in steps((tuple(body),)))
            ):
                made[-1] = (Blocks(at, ((*body, replace(insert, value=source)),)),)
            case _:
                made.append(block)
    return tuple(made)


def _resets(made: list[Block], local: int) -> bool:
    match made:
        case [*_, (Reset(target=target),)]:
            return target == local
        case _:
            return False


def _sets_first(block: Block, locals_: set[int]) -> bool:
    """Whether a body sets each of these locals, on its own level, before anything reads it."""
    left = set(locals_)
    for step in block:
        read = {used for inner in steps(((step,),)) for used in operands(inner)}
        nested = {
            target
            for below in inner_blocks(step)
            for inner in steps((below,))
            for target in targets(inner)
        }
        if left & (read | nested):
            return False
        left -= set(targets(step))
        if not left:
            return True
    return False


def _is_body(block: Block) -> bool:
    return len(block) == 1 and isinstance(block[0], Blocks)


def _inner(block: Block) -> Block:
    """Return a body without the statement that only wraps it."""
    match block:
        case (Blocks(blocks=(inner,)),):
            return inner
        case _:
            return block


def _locals(block: Block) -> set[int]:
    used = {target for step in steps((block,)) for target in targets(step)}
    for step in steps((block,)):
        used.update(operand for operand in operands(step) if isinstance(operand, int))
    return used


def _direct_returns(blocks: tuple[Block, ...], result: int | None) -> bool:
    """Whether each assignment of the result can be a `return` at once.

    So it is where all bodies give the same constant, or only one assignment, outside of scans,
    exists beside the default; and never inside `with`, which has something to put back.
    """
    if result is None:
        return False
    found: list[tuple[Operand, bool]] = []
    for block in blocks:
        is_default = bool(block) and block[0] == IsUndefined(block[0].at, result)
        if not is_default and not _results(block, result, found, scanned=False):
            return False
    if not found:
        return False
    first, scanned = found[0]
    if isinstance(first, Const):
        return all(isinstance(s, Const) and equal(s.value, first.value) for s, _ in found)
    return len(found) == 1 and not scanned


def _results(
    block: Block, result: int, found: list[tuple[Operand, bool]], *, scanned: bool
) -> bool:
    """Collect what is assigned to the result, and whether in a scan; False if not only so."""
    for step in block:
        if isinstance(step, AssignOnce) and step.target == result:
            found.append((step.source, scanned))
        elif result in targets(step) and not isinstance(step, Reset):
            return False
        if isinstance(step, With) and any(result in targets(s) for s in steps((step.block,))):
            return False
        within = scanned or isinstance(step, Scan)
        if not all(_results(b, result, found, scanned=within) for b in inner_blocks(step)):
            return False
    return True


def _without_flag(block: Block) -> Block:
    """Return a negated block without the flag that tells whether its end was reached."""
    match block:
        case (Reset(target=flag), *body, Assign(target=set_), IsDefined(source=tested)) if (
            flag == set_ == tested
        ):
            return tuple(body)
        case _:
            return block


# --- builtins written in place, for the types that policies use most; the call does the rest

_Inline = Callable[[list[Term], str], "str | None"]


def _integers(operator: str) -> _Inline:
    def inline(arguments: list[Term], call: str) -> str | None:
        unknown = [argument for argument in arguments if not argument.constant]
        if not unknown or any(a.constant and a.value.__class__ is not int for a in arguments):
            return None
        left, right = arguments
        test = " and ".join(f"{argument.text}.__class__ is int" for argument in unknown)
        return f"{left.text} {operator} {right.text} if {test} else {call}"

    return inline


def _unequal(arguments: list[Term], _call: str) -> str | None:
    left, right = arguments
    return None if left.constant and right.constant else _compared(left, right, equal_=False)


def _affix(method: str) -> _Inline:
    def inline(arguments: list[Term], call: str) -> str | None:
        text, part = arguments
        if not part.is_text or text.constant:
            return None
        return f"{text.text}.{method}({part.text}) if {text.text}.__class__ is str else {call}"

    return inline


def _count(arguments: list[Term], call: str) -> str:
    (value,) = arguments
    return f"len({value.text}) if {value.dotted}.__class__ in SIZED else {call}"


def _member(arguments: list[Term], _call: str) -> str | None:
    value, collection = arguments
    if collection.value.__class__ is RegoSet:
        text = value.text
        return (
            f"({text} if {value.dotted}.__class__ is str else form(s, {text})) in {collection.text}"
        )
    return None


_CONDITIONS: Final[Mapping[str, _Inline]] = {
    "lt": _integers("<"),
    "lte": _integers("<="),
    "gt": _integers(">"),
    "gte": _integers(">="),
    "neq": _unequal,
    "startswith": _affix("startswith"),
    "endswith": _affix("endswith"),
    "internal.member_2": _member,
}

_INLINE: Final[Mapping[str, _Inline]] = {
    **_CONDITIONS,
    "plus": _integers("+"),
    "minus": _integers("-"),
    "count": _count,
}
