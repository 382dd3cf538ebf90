"""Writes one function.

An undefined statement leaves its block: a block is a loop that runs once, undefined is `break`
(or `continue`, directly inside a scan). Constants and copies are followed through the plan, so
that most of its locals never become variables. Text of a plan reaches the source only as an
ASCII string literal or through the table of constants; every name in it is made here.

A line that can raise an error ends in a comment with the number of its place in the policy, which
costs nothing until one is looked up.

Steps are counted where work repeats: at the start of a function by the number of its statements,
and before a scan by its length times the statements inside.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from gateway.rego.builtins import BUILTINS
from gateway.rego.codegen.bodies import direct_returns
from gateway.rego.codegen.inline import CONDITIONS, INLINE
from gateway.rego.codegen.lines import Line, Suite, Term, compared, leaves, loop, nested_loops
from gateway.rego.plan import (
    DATA,
    INPUT,
    Add,
    Append,
    Assign,
    AssignOnce,
    Block,
    Blocks,
    Call,
    CallDynamic,
    Compare,
    Const,
    Dot,
    Insert,
    IsDefined,
    IsKind,
    IsUndefined,
    Length,
    Make,
    Merge,
    Mock,
    Not,
    Operand,
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
)
from gateway.rego.stand_ins import MOCKABLE
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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.rego.codegen.shared import Shared
    from gateway.rego.plan import At

NOTE: Final = "  # @"
"""What comes before the number of a place."""

MAX_LOOPS: Final = 16
"""Loops nested in one Python function; CPython takes 20 and `try` needs one as well."""

MAX_LITERAL: Final = 1 << 62
"""Larger integers come from the table of constants."""


def _weight(block: Block) -> int:
    """Return the number of statements that one run of a block executes, scans inside apart."""
    total = 0
    for step in block:
        total += 1
        if not isinstance(step, Scan):
            total += sum(map(_weight, inner_blocks(step)))
    return total


class Writer:
    """Writes one function."""

    def __init__(
        self,
        program: Shared,
        blocks: tuple[Block, ...],
        parameters: tuple[int, ...],
        result: int | None,
        usage: Usage | None = None,
    ) -> None:
        self.program = program
        self.blocks = blocks
        self.parameters = parameters
        self.result = result
        self.usage = usage or Usage(blocks, parameters)
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
        self.returns = direct_returns(blocks, result)
        self.rows = False
        self.hoisted = 0
        self.near: At | None = None

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
                found = self.given("r")
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
            start = ["m = s.rules", Suite(f"if {self.remember} in m:", self.recalled())]
        return self.render(f"def {name}(s, {arguments}):", start)

    def recalled(self) -> list[Line]:
        """What to do where the rule was evaluated before."""
        return [f"return m[{self.remember}]"]

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
        loops = nested_loops(body)
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
                self.lay(line.body, indent + 1, loops + loop(line), lines, shared)

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
        self.body += [*self.leaving(), self.jump]
        self.jumped = self.ended = True

    def leave_if(self, condition: str, note: str = "") -> None:
        self.body.append(Suite(f"if {condition}:{note}", [*self.leaving(), self.jump]))
        self.jumped = True

    def leaving(self) -> list[Line]:
        """What to do before a block is left as undefined."""
        return []

    def give(self, text: str) -> None:
        """Return a value from the function, remembering it where that is of use."""
        self.body += self.given(text)
        self.ended = True

    def given(self, text: str) -> list[Line]:
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
        if not leaves(body):
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
            self.statement(step, block[position + 1] if position + 1 < len(block) else None)

    def statement(self, step: Statement, after: Statement | None) -> None:
        self.near = step.at or self.near
        if not (isinstance(step, Call) and self.fused(step, after)):
            _WRITERS[step.__class__](self, step)

    def note(self) -> str:
        """Return the comment for a line that can raise an error."""
        return "" if self.near is None else f"{NOTE}{self.program.place(self.near)}"

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
        line += self.note()
        if term.defined:
            self.body.append(line)
            self.defined.add(step.target)
        else:
            self.body.append(Suite(f"if {term.text} is not U:", [line]))

    def dot(self, step: Dot) -> None:
        source, key = self.term(step.source), self.need(step.key)
        name = source.dotted
        found = f"lookup(s, {name}, {key.text})"
        if key.is_text or not key.constant:
            test = f"{name}.__class__ is dict"
            if not key.constant:
                test += f" and {key.text}.__class__ is str"
            found = f"{name}.get({key.text}, U) if {test} else {found}"
        self.store(step.target, found)
        self.leave_if(f"{self.name(step.target)} is U")

    def compare(self, step: Compare) -> None:
        left, right = self.need(step.left), self.need(step.right)
        if left.constant and right.constant:
            if equal(left.value, right.value) is step.negate:
                self.leave()
            return
        self.leave_if(compared(left, right, equal_=step.negate))

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
                f"insert_once(s, {name}, {key.text}, {value.text}){self.note()}"
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
            listed = "" if keyed else f"{source.text} if {source.text}.__class__ is list else "
            self.body.append(f"{each} = {listed}{kind}({state}{source.text})")
            self.leave_if(f"{each} is None")
            charge = f"{weight} * len({source.text})"
        inside = self.defined - assigned | {step.key, step.value}
        body, _, _ = self.inside(step.block, "continue", inside)
        ended, self.ended = self.ended, False
        if body and body[-1] == "continue":
            body.pop()
        flag = None if ended else self.flag(step.block)
        if flag is not None:
            body.append(Suite(f"if {self.name(flag)} is not U:", ["break"]))
        target = self.name(step.value)
        if keyed:
            target = f"{self.name(step.key)}, {target}"
        self.body.append(f"s.steps -= {charge}")
        self.body.append(Suite("if s.steps < 0:", ["s.exceeded()"]))
        self.body.append(Suite(f"for {target} in {each}:", body or ["pass"]))
        self.defined -= assigned

    def flag(self, block: Block) -> int | None:
        """Return the flag that a scan's block sets last, if it does nothing else.

        Once it is set the rest of the scan changes nothing, and could only fail.
        """
        last = block
        while last and isinstance(last[-1], Scan):
            last = last[-1].block
        if not last or not isinstance(last[-1], Assign) or not isinstance(last[-1].source, Const):
            return None
        flag = last[-1].target
        inside = steps((block,))
        made = {step.target for step in inside if isinstance(step, Make)}
        if any(_shows(step, made) for step in inside):
            return None
        read = Counter(
            operand for step in inside for operand in operands(step) if isinstance(operand, int)
        )
        set_ = self.usage.assigned(block)
        outside = {local for local in set_ if self.usage.reads.get(local, 0) > read[local]}
        return flag if outside == {flag} else None

    def ordered(self, block: Block) -> bool:
        """Whether anything shows the order in which a block's scan runs."""
        made = {step.target for step in steps((block,)) if isinstance(step, Make)}
        return self.rows or any(
            (isinstance(step, Append) and step.array not in made)
            or (isinstance(step, Call) and _is_impure(step.function))
            for step in steps((block,))
        )

    def negation(self, step: Not) -> None:
        body, jumped, _ = self.negated(step)
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

    def negated(self, step: Not) -> tuple[list[Line], bool, set[int]]:
        return self.inside(_without_flag(step.block), "break")

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
        restore = f"{target}, s.rules = {kept}, {rules}"
        if step.local == DATA:
            hidden = self.temporary()
            self.body.append(f"{hidden}, s.replaced = s.replaced, {{**s.replaced, ({path}): None}}")
            restore = f"{target}, s.rules, s.replaced = {kept}, {rules}, {hidden}"
        defined = self.within(step.block, restore, self.defined | {step.local})
        self.defined = defined if before else defined - {step.local}

    def mocked(self, step: Mock) -> None:
        value = self.need(step.value).text
        if step.called:
            value = self.stand_in(step.value)
        kept, rules = self.temporary(), self.temporary()
        self.body.append(f"{kept}, {rules}, s.rules = s.replaced, s.rules, {{}}")
        self.body.append(f"s.replaced = {{**s.replaced, {step.name!a}: {value}}}")
        self.defined = self.within(
            step.block, f"s.replaced, s.rules = {kept}, {rules}", set(self.defined)
        )

    def stand_in(self, operand: Operand) -> str:
        """Return the source of what is called in the place of a replaced function."""
        name = operand.value if isinstance(operand, Const) else None
        number = self.program.numbers.get(f"g0.{name}")
        if number is not None:
            return f"StandIn(f{number})"
        if not isinstance(name, str) or name not in BUILTINS:
            raise PlanError(f"unknown function {name!a}")
        return f"StandIn({self.program.alone(name)})"

    def within(self, block: Block, restore: str, known: set[int]) -> set[int]:
        """Write what is done inside of `with`, and return what is defined after."""
        body, jumped, defined = self.inside(block, "break", known)
        ended = self.ended
        self.ended = False
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
        return defined

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
        inline = INLINE.get(step.function)
        quick = inline(arguments, call) if inline else None
        if quick is not None:
            self.guarded(step.target, quick)
        else:
            self.guarded(step.target, call)
            self.leave_if(f"{self.name(step.target)} is U")

    def builtin_call(self, name: str, arguments: list[Term]) -> str:
        text = ", ".join(argument.text for argument in arguments)
        if name.startswith(MOCKABLE):
            builtin = self.program.alone(name.removeprefix(MOCKABLE))
            return f"m{builtin}(s, input, data, {text})"
        if name not in BUILTINS:
            raise PlanError(f"unknown function {name!a}")
        state = "s, " if BUILTINS[name].needs_state else ""
        return f"{self.program.builtin(name)}({state}{text})"

    def guarded(self, target: int, text: str) -> None:
        """Write a call of a builtin; unless strict, its error makes the block undefined."""
        if self.program.strict:
            self.store(target, text + self.note())
            return
        self.body.append(Suite("try:", [f"{self.name(target)} = {text}"]))
        self.body.append(Suite("except BuiltinError:", [*self.leaving(), self.jump]))
        self.jumped = True
        self.defined.add(target)

    def fused(self, step: Call, after: Statement | None) -> bool:
        """Write a comparison and the test of its outcome as one condition, where it is one."""
        inline = CONDITIONS.get(step.function)
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
        self.leave_if(f"not ({condition})", self.note())
        return True

    def call_dynamic(self, step: CallDynamic) -> None:
        path = "".join(f"{self.need(part).text}, " for part in step.path)
        arguments = "".join(f"{self.term(part).text}, " for part in step.arguments)
        self.store(step.target, f"call_dynamic(s, RULES, ({path}), ({arguments}))")
        self.leave_if(f"{self.name(step.target)} is U")


_LOCALS: Final = {"input": INPUT, "data": DATA}
_EMPTY: Final = {"array": "[]", "object": "{}", "set": "RegoSet()"}
_CLASSES: Final = {"array": "list", "object": "dict", "set": "RegoSet"}
_COPIES: Final[Mapping[type, str]] = {Append: "list", Add: "RegoSet", Insert: "own_object"}

_WRITERS: Final[Mapping[type, Callable[[Writer, Any], None]]] = {
    Reset: Writer.reset,
    Make: Writer.make,
    Assign: Writer.assign,
    AssignOnce: Writer.assign_once,
    Dot: Writer.dot,
    Compare: Writer.compare,
    IsDefined: Writer.is_defined,
    IsUndefined: Writer.is_undefined,
    IsKind: Writer.is_kind,
    Length: Writer.length,
    Append: Writer.append,
    Add: Writer.add,
    Insert: Writer.insert,
    Merge: Writer.merge,
    Call: Writer.call,
    CallDynamic: Writer.call_dynamic,
    Blocks: Writer.blocks_in_order,
    Scan: Writer.scan,
    Not: Writer.negation,
    With: Writer.replaced,
    Mock: Writer.mocked,
    Return: Writer.give_back,
    Result: Writer.row,
}


def _shows(step: Statement, made: set[int]) -> bool:
    """Whether a statement does more than to set locals, `made` being collections of its own."""
    match step:
        case Append(array=local) | Add(set=local) | Insert(object=local):
            return local not in made
        case Call(function=name):
            return _is_impure(name)
        case _:
            return isinstance(step, (AssignOnce, Return, Result))


def _is_impure(name: str) -> bool:
    return name in BUILTINS and BUILTINS[name].impure


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


def _without_flag(block: Block) -> Block:
    """Return a negated block without the flag that tells whether its end was reached."""
    match block:
        case (Reset(target=flag), *body, Assign(target=set_), IsDefined(source=tested)) if (
            flag == set_ == tested
        ):
            return tuple(body)
        case _:
            return block
