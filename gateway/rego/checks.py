"""What is wrong with a plan although the compiler made it.

regopy compiles calls of functions that do not exist, variables that nothing assigns, recursion
and more; at run time each is undefined, and `not undefined` is true.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.rego.builtins import BUILTINS, UNSUPPORTED
from gateway.rego.errors import RegoProblem
from gateway.rego.plan import (
    DATA,
    INPUT,
    AssignOnce,
    At,
    Block,
    Blocks,
    Call,
    Const,
    Function,
    IsDefined,
    IsUndefined,
    Not,
    Plan,
    Reset,
    Scan,
    Statement,
    inner_blocks,
    operands,
    steps,
    targets,
)
from gateway.rego.source import KEYWORDS, Source


def plan_problems(
    plan: Plan, sources: Sequence[Source], entrypoints: Iterable[str]
) -> list[RegoProblem]:
    """Return the faults of a plan that was compiled from `sources`."""
    check = _Check(plan, sources)
    found = [
        *check.calls(),
        *check.recursion(),
        *check.unsafe_variables(),
        *check.entrypoints(entrypoints),
    ]
    return sorted(dict.fromkeys(found), key=lambda p: (p.file, p.row, p.col, p.code))


def data_problems(rules: Iterable[tuple[str, ...]], data: Mapping[str, Any]) -> list[RegoProblem]:
    """Return where a data document defines what a rule defines too."""
    found: dict[str, RegoProblem] = {}
    for path in rules:
        value: Any = data
        for depth, name in enumerate(path):
            if not isinstance(value, dict):
                _add_overlap(found, path[:depth], "a package")
                break
            if name not in value:
                break
            value = value[name]
        else:
            _add_overlap(found, path, "a rule")
    return [found[name] for name in sorted(found)]


def _add_overlap(found: dict[str, RegoProblem], path: tuple[str, ...], other: str) -> None:
    name = ".".join(("data", *path))
    found[name] = RegoProblem(
        file="",
        row=0,
        col=0,
        code="data-overlap",
        message=f"{name} is both in the data and {other}",
        remedy="move the data to a path of its own",
    )


@dataclass(frozen=True, slots=True)
class _Site:
    """A statement, the function or entry it is in, and the nearest known place."""

    step: Statement
    owner: str
    at: At | None


class _Check:
    def __init__(self, plan: Plan, sources: Sequence[Source]) -> None:
        self.plan = plan
        self.sources = sources
        self.functions = {item.name: item for item in plan.functions}

    def source(self, at: At | None) -> Source | None:
        if at is None or at.file >= len(self.plan.files):
            return None
        named = re.fullmatch(r"m([0-9]+)\.rego", self.plan.files[at.file])
        if named is None or int(named[1]) >= len(self.sources):
            return None
        return self.sources[int(named[1])]

    def problem(self, at: At | None, code: str, message: str, remedy: str = "") -> RegoProblem:
        source = self.source(at)
        if source is None or at is None:
            return RegoProblem(file="", row=0, col=0, code=code, message=message, remedy=remedy)
        return source.problem(source.place_prepared(at.row, at.col), code, message, remedy)

    def sites(self) -> Iterator[_Site]:
        for item in (*self.plan.functions, *self.plan.entries):
            at = item.at if isinstance(item, Function) else None
            for step in steps(item.blocks):
                at = step.at or at
                yield _Site(step, item.name, at)

    # --- calls

    def calls(self) -> Iterator[RegoProblem]:
        for site in self.sites():
            if isinstance(site.step, Call):
                yield from self.call(site.step, site.at)

    def call(self, step: Call, at: At | None) -> Iterator[RegoProblem]:
        name, given = step.function, len(step.arguments)
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
        if name in UNSUPPORTED:
            message = f"the builtin `{name}` is not supported"
            yield self.problem(at, "unsupported-builtin", message, UNSUPPORTED[name])
            return
        known = [*BUILTINS, *(".".join(("data", *f.path)) for f in self.plan.functions)]
        close = difflib.get_close_matches(name, known, n=1)
        remedy = f"did you mean `{close[0]}`?" if close else ""
        yield self.problem(at, "unknown-function", f"unknown function `{name}`", remedy)

    def arity(self, at: At | None, name: str, wanted: int, given: int) -> RegoProblem:
        message = f"`{name}` takes {wanted} arguments, not {given}"
        return self.problem(at, "arity", message)

    # --- recursion

    def recursion(self) -> Iterator[RegoProblem]:
        calls: dict[str, dict[str, At | None]] = {item.name: {} for item in self.plan.functions}
        for site in self.sites():
            if isinstance(site.step, Call) and site.step.function in calls and site.owner in calls:
                calls[site.owner].setdefault(site.step.function, site.at)
        for circle in _circles(calls):
            names = [".".join(("data", *self.functions[name].path)) for name in circle]
            at = calls[circle[0]][circle[1] if len(circle) > 1 else circle[0]]
            way = " -> ".join([*names, names[0]])
            yield self.problem(at, "recursion", f"recursion: {way}")

    # --- unsafe variables

    def unsafe_variables(self) -> Iterator[RegoProblem]:
        for item in self.plan.functions:
            ignored = {INPUT, DATA, item.result, *item.parameters}
            for step, at in _unsafe(item.blocks, ignored, item.at):
                yield self.unsafe(step, at)
        for entry in self.plan.entries:
            for step, at in _unsafe(entry.blocks, {INPUT, DATA}, None):
                yield self.unsafe(step, at)

    def unsafe(self, step: Statement, at: At | None) -> RegoProblem:
        source = self.source(at)
        names: list[tuple[str, int]] = []
        if source is not None and at is not None:
            names = _variables(source, source.place_prepared(at.row, at.col))
        remedy = "assign it, or declare it with `some … in …`"
        if source is None or len(names) != 1:
            message = "a variable here is used but never assigned"
            return self.problem(at, "unsafe-variable", message, remedy)
        name, offset = names[0]
        message = f"the variable `{name}` is used but never assigned"
        return source.problem(source.place(offset), "unsafe-variable", message, remedy)

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


def _unsafe(
    blocks: Sequence[Block], ignored: set[int], at: At | None
) -> Iterator[tuple[Statement, At | None]]:
    """Yield statements that read a local which nothing before them can have set."""
    set_before = set(ignored)
    hidden: set[int] = set()

    def visit(block: Block, near: At | None) -> Iterator[tuple[Statement, At | None]]:
        for step in block:
            near = step.at or near
            if not isinstance(step, (IsDefined, IsUndefined)):
                for operand in operands(step):
                    if isinstance(operand, Const) or operand in set_before:
                        continue
                    set_before.add(operand)
                    yield step, near
            if not isinstance(step, Reset):
                set_before.update(targets(step))
            for inner in inner_blocks(step):
                if isinstance(step, Not):
                    before = set(set_before)
                    yield from visit(inner, near)
                    set_before.intersection_update(before)
                else:
                    yield from visit(inner, near)

    for block in blocks:
        yield from visit(block, at)


def _variables(source: Source, place: tuple[int, int]) -> list[tuple[str, int]]:
    """Return names in the expression at `place` that nothing in the module defines."""
    tokens = [token for token in source.tokens if token.kind != "newline"]
    defined: set[str] = set()
    for before, token, after in zip(
        [None, *tokens], tokens, [*tokens[1:], None], strict=False
    ):
        if token.kind != "name":
            continue
        if after is not None and after.text in (":=", "=", "(") and after.kind == "mark":
            defined.add(token.text)
        if before is not None and before.text in ("some", "every", "as", "default"):
            defined.add(token.text)
    rows = {source.place(t.start)[0]: t for t in reversed(tokens)}
    defined |= {token.text for token in rows.values() if source.place(token.start)[1] == 1}
    imported = [
        tokens[i - 1].text for i in range(1, len(tokens)) if source.place(tokens[i].start)[1] == 1
    ]
    defined |= set(imported)
    found: dict[str, int] = {}
    previous = None
    for token in tokens:
        row, col = source.place(token.start)
        here = row == place[0] and col >= place[1]
        if (
            here
            and token.kind == "name"
            and token.text not in defined | KEYWORDS | {"input", "data", "_"}
            and (previous is None or previous.text != ".")
        ):
            found.setdefault(token.text, token.start)
        previous = token
    return list(found.items())
