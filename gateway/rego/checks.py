"""What is wrong with a plan although the compiler made it.

regopy compiles calls of functions that do not exist, variables that nothing assigns, recursion
and more; at run time each is undefined, and `not undefined` is true.
"""

from __future__ import annotations

import bisect
import difflib
import re
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from gateway.rego.builtins import ANNOTATIONS, BUILTINS, UNSUPPORTED
from gateway.rego.errors import RegoProblem
from gateway.rego.hints import OTHER_NAMES, hint
from gateway.rego.plan import (
    DATA,
    INPUT,
    At,
    Block,
    Call,
    CallDynamic,
    Const,
    IsDefined,
    IsUndefined,
    Mock,
    Not,
    Plan,
    Reset,
    Statement,
    With,
    inner_blocks,
    operands,
    steps,
    targets,
)
from gateway.rego.replacements import Target
from gateway.rego.source import head_name
from gateway.rego.stand_ins import MOCKABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gateway.rego.source import Source
    from gateway.rego.tokens import Token
    from gateway.rego.tree import Node
    from gateway.rego.values import Value

Path = tuple[str, ...]
"""The path of a rule below data."""

NO_PLACES: Final[Mapping[Path, tuple[str, int]]] = MappingProxyType({})


def plan_problems(
    plan: Plan, sources: Sequence[Source], entrypoints: Iterable[str]
) -> list[RegoProblem]:
    """Return the faults of a plan that was compiled from `sources`."""
    check = _Check(plan, sources)
    found = [
        *check.calls(),
        *check.recursion(),
        *check.unsafe_variables(),
        *check.lost_replacements(),
        *check.entrypoints(entrypoints),
    ]
    return sorted(dict.fromkeys(found), key=lambda p: (p.file, p.row, p.col, p.code))


def data_problems(
    rules: Iterable[Path], data: Value, places: Mapping[Path, tuple[str, int]] = NO_PLACES
) -> list[RegoProblem]:
    """Return where a data document stands in the way of a rule, the path of its package included.

    Data below a package's path is no fault, as long as no rule has that name. `places` are the
    (file, row) of rules: the problem has that of the rule, or of the first in the package.
    """
    if not isinstance(data, dict):
        message = "the data document is not an object"
        return [RegoProblem(file="", row=0, col=0, code="data-shape", message=message)]
    found: dict[Path, tuple[str, tuple[str, int]]] = {}
    for path in rules:
        value: Value = data
        for depth, name in enumerate(path):
            if not isinstance(value, dict):
                place = places.get(path, ("", 0))
                _, first = found.get(path[:depth], ("", place))
                found[path[:depth]] = "a path of rules", min(first, place)
                break
            if name not in value:
                break
            value = value[name]
        else:
            found[path] = "a rule", places.get(path, ("", 0))
    remedy = "move the data to a path of its own"
    return [
        RegoProblem(
            file=file,
            row=row,
            col=0,
            code="data-overlap",
            message=f"data.{'.'.join(path)} is data and {other} too",
            remedy=remedy,
        )
        for path, (other, (file, row)) in sorted(found.items())
    ]


def source_of(plan: Plan, sources: Sequence[Source], at: At | None) -> Source | None:
    """Return the module that a place is in: the compiler is given `m0.rego`, `m1.rego` …."""
    if at is None or at.file >= len(plan.files):
        return None
    named = re.fullmatch(r"m([0-9]{1,9})\.rego", plan.files[at.file])
    if named is None or int(named[1]) >= len(sources):
        return None
    return sources[int(named[1])]


@dataclass(frozen=True, slots=True)
class _Site:
    """A statement, the function or entry it is in, and the nearest known place."""

    step: Statement
    owner: str
    at: At | None


def _sites(blocks: tuple[Block, ...], owner: str, at: At | None) -> Iterator[_Site]:
    for step in steps(blocks):
        at = step.at or at
        yield _Site(step, owner, at)


class _Check:
    def __init__(self, plan: Plan, sources: Sequence[Source]) -> None:
        self.plan = plan
        self.sources = sources
        self.functions = {item.name: item for item in plan.functions}

    def source(self, at: At | None) -> Source | None:
        return source_of(self.plan, self.sources, at)

    def problem(self, at: At | None, code: str, message: str, remedy: str = "") -> RegoProblem:
        source = self.source(at)
        if source is None or at is None:
            return RegoProblem(file="", row=0, col=0, code=code, message=message, remedy=remedy)
        return source.problem(source.place_prepared(at.row, at.col), code, message, remedy)

    def sites(self) -> Iterator[_Site]:
        for function in self.plan.functions:
            yield from _sites(function.blocks, function.name, function.at)
        for entry in self.plan.entries:
            yield from _sites(entry.blocks, entry.name, None)

    # --- calls

    def calls(self) -> Iterator[RegoProblem]:
        replaced: set[tuple[int, str]] = set()
        for site in self.sites():
            step = site.step
            if isinstance(step, Mock):
                calls = (inner for inner in steps((step.block,)) if isinstance(inner, Call))
                replaced |= {(id(call), MOCKABLE + step.name) for call in calls}
                if step.called and isinstance(step.value, Const):
                    yield from self.stand_in(step.name, str(step.value.value), site.at)
            elif isinstance(step, Call) and (id(step), step.function) not in replaced:
                yield from self.call(step, site.at)

    def stand_in(self, name: str, called: str, at: At | None) -> Iterator[RegoProblem]:
        """Find a function that cannot stand in for another one."""
        wanted, given = self.takes(name), self.takes(called)
        if called in UNSUPPORTED:
            message = f"the builtin `{called}` is not supported"
            yield self.problem(at, "unsupported-builtin", message, UNSUPPORTED[called])
        elif wanted is not None and given is not None and wanted != given:
            yield self.arity(at, called, given, wanted)

    def takes(self, name: str) -> int | None:
        """Return the number of the arguments of a function or builtin, if it is known."""
        function = self.functions.get(f"g0.{name}")
        if function is not None:
            return len(function.parameters) - 2
        return BUILTINS[name].arity if name in BUILTINS else None

    def call(self, step: Call, at: At | None) -> Iterator[RegoProblem]:
        name, given = step.function.removeprefix(MOCKABLE), len(step.arguments)
        function = self.functions.get(name)
        if function is not None:
            wanted = len(function.parameters)
            if given != wanted:
                shown = ".".join(("data", *function.path))
                yield self.arity(at, shown, wanted - 2, given - 2)
            return
        builtin = BUILTINS.get(name)
        if builtin is not None:
            if given != builtin.arity:
                yield self.arity(at, name, builtin.arity, given)
            return
        remedy = UNSUPPORTED.get(name) or ANNOTATIONS.get(name)
        if remedy is not None:
            where = " here" if name in ANNOTATIONS else ""
            message = f"the builtin `{name}` is not supported{where}"
            yield self.problem(at, "unsupported-builtin", message, remedy)
            return
        functions = [item for item in self.plan.functions if len(item.parameters) > 2]
        known = [*BUILTINS, *(".".join(("data", *item.path)) for item in functions)]
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
        meant = OTHER_NAMES.get(name) or (close[0] if close else None)
        remedy = f"did you mean `{meant}`?" if meant else "define it, or import its package"
        yield self.problem(at, "unknown-function", f"unknown function `{name}`", remedy)

    def arity(self, at: At | None, name: str, wanted: int, given: int) -> RegoProblem:
        message = f"`{name}` takes {wanted} argument{'' if wanted == 1 else 's'}, not {given}"
        remedy = f"write `{name}({', '.join(['…'] * wanted)})`"
        return self.problem(at, "arity", message, remedy)

    # --- recursion

    def recursion(self) -> Iterator[RegoProblem]:
        calls: dict[str, dict[str, At | None]] = {item.name: {} for item in self.plan.functions}
        for site in self.sites():
            if site.owner in calls:
                for name in self.called(site.step):
                    calls[site.owner].setdefault(name, site.at)
        for circle in _circles(calls):
            names = [".".join(("data", *self.functions[name].path)) for name in circle]
            at = calls[circle[0]][circle[1] if len(circle) > 1 else circle[0]]
            way = " -> ".join([*names, names[0]])
            remedy = "name the rules that are needed: a whole package holds this one, too"
            if len(circle) > 1:
                remedy = "put what both need into a rule of its own"
            yield self.problem(at, "recursion", f"recursion: {way}", remedy)

    def called(self, step: Statement) -> Sequence[str]:
        """Return the rules and functions that a statement may call."""
        if isinstance(step, Call):
            return (step.function,) if step.function in self.functions else ()
        if isinstance(step, Mock) and step.called and isinstance(step.value, Const):
            called = f"g0.{step.value.value}"
            return (called,) if called in self.functions else ()
        if isinstance(step, CallDynamic):
            wanted = [part.value if isinstance(part, Const) else None for part in step.path[1:]]
            return [
                item.name
                for item in self.plan.functions
                if item.generation == "g0"
                and item.path != self.plan.query_rule
                and all(
                    part is None or part == name
                    for part, name in zip(wanted, item.path, strict=False)
                )
            ]
        return ()

    # --- unsafe variables

    def unsafe_variables(self) -> Iterator[RegoProblem]:
        found: list[At | None] = []
        for item in self.plan.functions:
            ignored = {INPUT, DATA, item.result, *item.parameters}
            found += _unsafe(item.blocks, ignored, item.at)
        for entry in self.plan.entries:
            found += _unsafe(entry.blocks, {INPUT, DATA}, None)
        for number, at in enumerate(found):
            yield self.unsafe(at, number)

    def unsafe(self, at: At | None, number: int) -> RegoProblem:
        source = self.source(at)
        remedy = "assign it, or declare it with `some … in …`"
        message = "a variable here is used but never assigned"
        if source is None or at is None:
            return self.problem(at, "unsafe-variable", message, remedy)
        place = source.place_prepared(at.row, at.col)
        found = self.undefined_variable(source, place)
        if found is None:
            return source.problem(place, "unsafe-variable", message, remedy)
        source, token = found
        message = f"the variable `{token.text}` is used but never assigned"
        remedy = hint(source, token, number) or remedy
        return source.problem_at(token, "unsafe-variable", message, remedy)

    def undefined_variable(
        self, source: Source, place: tuple[int, int]
    ) -> tuple[Source, Token] | None:
        """Return the name at or after `place` in its rule that nothing in the module defines.

        A guess for the message alone: the plan has no names of variables. And where a step has no
        place of its own, `place` is that of the first rule of the name, often its default.
        """
        own = source.statement_at(source.offset(place)) if place[0] else []
        if not own:
            return None
        token = _undefined_name(source, own, place)
        if token is not None:
            return source, token
        for other, statement in self.named[source.package, tuple(head_name(own)[0])]:
            token = _undefined_name(other, statement)
            if token is not None:
                return other, token
        return None

    @cached_property
    def named(self) -> Mapping[tuple[Path, Path], list[tuple[Source, list[Token]]]]:
        """The statements of each name, below the package."""
        found: dict[tuple[Path, Path], list[tuple[Source, list[Token]]]] = {}
        for source in self.sources:
            for statement in source.statements:
                key = source.package, tuple(head_name(statement)[0])
                found.setdefault(key, []).append((source, statement))
        return found

    # --- replacements

    def lost_replacements(self) -> Iterator[RegoProblem]:
        """Find each `with` that the compiler left out: it would have no effect."""
        wanted: dict[tuple[Source, int, int, Target], list[Node]] = {}
        for source in self.sources:
            for rule, node, target in source.replaced:
                if target is not None:
                    wanted.setdefault((source, rule.start, rule.end, target), []).append(node)
        if not wanted:
            return
        found: dict[tuple[Source, Target], list[int]] = {}
        for site in self.sites():
            module, replaced = self.source(site.at), _target(site.step)
            own = site.owner not in self.functions or self.functions[site.owner].generation == "g0"
            if own and module is not None and site.at is not None and replaced is not None:
                row, _ = module.place_prepared(site.at.row, site.at.col)
                bisect.insort(found.setdefault((module, replaced), []), row)
        for (source, start, end, target), nodes in wanted.items():
            rows = found.get((source, target), [])
            last, first = source.place(end)[0], source.place(start)[0]
            if bisect.bisect_right(rows, last) - bisect.bisect_left(rows, first) < len(nodes):
                at = source.place(nodes[-1].start)
                message = f"this `with {target.shown}` is lost on the compiler"
                remedy = "assign the value to a variable, and write `with … as variable`"
                yield source.problem(at, "lost-with", message, remedy)

    # --- entrypoints

    def entrypoints(self, wanted: Iterable[str]) -> Iterator[RegoProblem]:
        paths = [item.path for item in self.plan.functions if item.generation == "g0"]
        packages = {source.package for source in self.sources}
        for name in wanted:
            path = tuple(name.split("/"))
            if any(known[: len(path)] == path for known in (*paths, *packages)):
                continue
            close = difflib.get_close_matches(name, ["/".join(known) for known in paths], n=1)
            yield RegoProblem(
                file="",
                row=0,
                col=0,
                code="unknown-entrypoint",
                message=f"no rule `{name}`",
                remedy=f"did you mean `{close[0]}`?" if close else "",
            )


def _target(step: Statement) -> Target | None:
    """Return what a statement replaces, if it is a `with`."""
    match step:
        case With(local=local, path=path):
            return Target("input" if local == INPUT else "data", path)
        case Mock(name=name):
            return Target("function", (name,))
        case _:
            return None


def _circles(calls: Mapping[str, Mapping[str, object]]) -> Iterator[list[str]]:
    """Yield a circle of calls for each place where one closes."""
    done: set[str] = set()
    for start in calls:
        path: list[str] = []
        pending: list[tuple[str, bool]] = [(start, False)]
        while pending:
            name, leaving = pending.pop()
            if leaving:
                path.pop()
                done.add(name)
            elif name in path:
                yield path[path.index(name) :]
            elif name not in done:
                path.append(name)
                pending.append((name, True))
                pending += [(called, False) for called in calls[name]]


def _unsafe(blocks: Sequence[Block], ignored: set[int], at: At | None) -> Iterator[At | None]:
    """Yield where a local is read that nothing before can have set."""
    known = set(ignored)

    def visit(block: Block, near: At | None) -> Iterator[At | None]:
        for step in block:
            near = step.at or near
            if not isinstance(step, (IsDefined, IsUndefined)):
                for operand in operands(step):
                    if not isinstance(operand, Const) and operand not in known:
                        known.add(operand)
                        yield near
            if not isinstance(step, Reset):
                known.update(targets(step))
            before = set(known) if isinstance(step, Not) else None
            for inner in inner_blocks(step):
                yield from visit(inner, near)
            if before is not None:
                known.intersection_update(before)

    for block in blocks:
        yield from visit(block, at)


def _undefined_name(
    source: Source, statement: Sequence[Token], place: tuple[int, int] = (0, 0)
) -> Token | None:
    """Return the first name in a statement that nothing defines, best one at or after `place`."""
    after: Token | None = None
    before: Token | None = None
    for previous, token in zip([None, *statement], statement, strict=False):
        if token.kind != "name" or token.text in source.defined:
            continue
        if previous and previous.text == ".":
            continue
        if source.place(token.start) >= place:
            after = after or token
        else:
            before = before or token
    return after or before
