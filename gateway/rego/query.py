"""Queries: their rows as OPA has them, with the value of each expression and the variables.

The compiler's own rows are no good for that (it repeats expressions that it rewrites, and has
none for what is false), so a query becomes one comprehension that collects values and variables.
Its text is read, checked and rewritten as that of a module.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from gateway.rego.builtins import BUILTINS
from gateway.rego.compiler import NAMES, compile as compile_rego
from gateway.rego.errors import CompileError
from gateway.rego.faults import faults, hidden_builtins
from gateway.rego.program import DEFAULT_STEPS, Policy
from gateway.rego.scopes import declared_in, variables_of
from gateway.rego.source import read_modules

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.rego.errors import RegoProblem
    from gateway.rego.source import Source
    from gateway.rego.tree import Literal, Module, Node, Rule
    from gateway.rego.values import Value

FILE: Final = "query"
"""What faults of a query have for the name of their file."""

_PACKAGE: Final = "query__"


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression of a query: its text, and its row and column, from 1."""

    text: str
    row: int
    col: int


@dataclass(frozen=True, slots=True)
class Row:
    """An answer to a query: the value of each expression, and the variables.

    What has no value of its own, such as an assignment, has the value true.
    """

    values: tuple[Value, ...]
    bindings: Mapping[str, Value]


class Query:
    """A query over policies and data, ready to be asked; CompileError for faults of any.

    It is read as in a module of `package`, if one is named, with `imports` (such as `data.a as b`).
    """

    def __init__(
        self,
        text: str,
        modules: Mapping[str, str],
        data: Value = None,
        *,
        strict: bool = True,
        package: str = "",
        imports: Sequence[str] = (),
    ) -> None:
        head = "".join((f"package {package or _PACKAGE}\n", *(f"import {x}\n" for x in imports)))
        before = f"{head}row__ if {{\n"
        source, rule = _read(before, text, modules, len(imports))
        body = rule.branches[0].bodies[0]
        sources = read_modules(modules, NAMES)
        names = _Names(source, sources)
        self._data = {} if data is None else data
        told = [literal for literal in body if literal.kind != "some"]
        self._kept = [_has_value(literal, names.functions) for literal in told]
        self._names = sorted(variables_of(body) - (names.known - declared_in(body)))
        self.expressions = tuple(_expression(source, literal, before) for literal in told)
        below = sorted({*self._data, *(each.package[0] for each in sources if each.package)})
        collected = _Collected(source, _whole_data(below), len(before))
        wrapped = collected.rows(body, told, self._kept, self._names)
        if package or imports:
            modules = {**modules, FILE: f"{head}rows__ := {wrapped}\n"}
            asked = _path(*source.package, "rows__")
        else:
            asked = _prepared(wrapped, modules)
        try:
            program = compile_rego(modules, query=asked, strict=strict)
        except CompileError as error:  # what has no place is of the query
            raise CompileError(tuple(map(_placed, error.problems))) from None
        self._policy = Policy(program, self._data)

    def ask(
        self,
        document: Value,
        *,
        now: float,
        steps: int = DEFAULT_STEPS,
        output: list[str] | None = None,
    ) -> list[Row]:
        """Answer the query; `document` is the input, the rest that of `Policy.decide`."""
        asked = self._policy.program.query
        assert asked is not None
        (found,) = self._policy.run(asked, document, now=now, steps=steps, output=output)
        answers: Any = found
        return [self._row(*row) for row in answers["result"]["expressions"][0]["value"]]

    def _row(self, values: Sequence[Value], bound: Sequence[Value]) -> Row:
        left = iter(values)
        told = tuple(next(left) if kept else True for kept in self._kept)
        return Row(told, dict(zip(self._names, bound, strict=True)))


# --- reading


def _read(before: str, text: str, modules: Mapping[str, str], imports: int) -> tuple[Source, Rule]:
    """Return a query as the body of a rule that begins with `before`, or raise CompileError."""
    sources = read_modules({**modules, FILE: f"{before}{text}\n}}\n"}, NAMES)
    source = sources[-1]
    # A query is in none of the packages that it may name.
    problems = [each for each in faults(source, NAMES) if each.code != "variable-package"]
    if not problems:
        found = hidden_builtins(sources, NAMES)
        problems += [problem for problem in found if problem.file == FILE]
    lines = before.count("\n")
    if not problems and not _is_one_body(source.module, imports):
        problems = [source.problem((lines + 1, 1), "no-rego", "this is no query")]
    if problems:
        raise CompileError(tuple(replace(each, row=max(each.row - lines, 1)) for each in problems))
    assert source.module is not None
    return source, source.module.rules[0]


def _is_one_body(module: Module | None, imports: int) -> bool:
    """Whether a query is all in the braces that it was put into."""
    return (
        module is not None
        and len(module.imports) == imports
        and len(module.rules) == 1
        and [len(branch.bodies) for branch in module.rules[0].branches] == [1]
        and not module.rules[0].branches[0].bodies[0][-1].bare
    )


def _placed(problem: RegoProblem) -> RegoProblem:
    return problem if problem.file else replace(problem, file=FILE, row=1, col=1)


def _expression(source: Source, literal: Literal, before: str) -> Expression:
    row, col = source.place(literal.start)
    text = source.text[literal.start : literal.end]
    return Expression(text, row - before.count("\n"), col)


# --- what has a value

_BUILTIN_ARITIES: Final = {name: builtin.arity for name, builtin in BUILTINS.items()}


class _Names:
    """What names stand for in a query: `known` are those of no variables.

    `functions` are the numbers of parameters, by all names that a function has here.
    """

    def __init__(self, source: Source, sources: Sequence[Source]) -> None:
        assert source.module is not None
        paths = {each.name: _dotted(each.path) for each in source.module.imports}
        rules = {
            rule.head.parts[0].text if rule.head.parts else rule.head.text
            for each in sources
            if each.module is not None and each.package == source.package
            for rule in each.module.rules
        }
        paths |= {name: ".".join(("data", *source.package, name)) for name in rules}
        self.known = frozenset(paths)
        self.functions = {**_BUILTIN_ARITIES, **_arities(sources)}
        for name, path in paths.items():
            self.functions |= {
                name + full[len(path) :]: arity
                for full, arity in list(self.functions.items())
                if f"{full}.".startswith(f"{path}.")
            }


def _dotted(path: Node) -> str:
    return ".".join(part.text for part in path.parts) if path.kind == "ref" else path.text


def _arities(sources: Sequence[Source]) -> dict[str, int]:
    """Return the number of parameters of each function, by its whole name."""
    return {
        ".".join(("data", *source.package, *(part.text for part in rule.head.parts))): len(
            rule.arguments
        )
        for source in sources
        if source.module is not None
        for rule in source.module.rules
        if rule.arguments is not None
    }


def _has_value(literal: Literal, functions: Mapping[str, int]) -> bool:
    """Whether an expression has a value: a call whose last argument is its result has none."""
    if literal.kind != "term" or literal.negated:
        return False
    (term,) = literal.terms
    if term.kind != "call":
        return True
    name, *arguments = term.parts
    named = ".".join(part.text for part in name.parts) if name.kind == "ref" else name.text
    return named != "print" and functions.get(named) == len(arguments)


def _iterates(nodes: Iterator[Node] | Sequence[Node]) -> bool:
    """Whether a term can have several values."""
    return any(
        (node.kind == "ref" and any(part.kind == "var" for part in node.parts[1:]))
        or (node.kind == "call" and node.parts[0].text == "walk")
        or (node.kind != "comprehension" and _iterates(node.parts))
        for node in nodes
    )


# --- the comprehension


class _Collected:
    """Writes the comprehension of a query that begins at `start`; `whole` stands for all of `data`.

    The compiler knows only parts of `data` that have names.
    """

    def __init__(self, source: Source, whole: str, start: int) -> None:
        self._start = start
        self._text = source.text
        self._end = source.module.rules[0].end - 1 if source.module else 0
        self._whole = whole

    def rows(
        self,
        body: Sequence[Literal],
        told: Sequence[Literal],
        kept: Sequence[bool],
        names: Sequence[str],
    ) -> str:
        """Return the text of a comprehension of all rows."""
        # What is false ends a query, unless it is all that was asked.
        tested = len(body) > 1 or any(_iterates(literal.terms) for literal in body)
        at = sorted(_dynamic(body))
        values: list[str] = []
        parts: list[str] = []
        position = self._start
        for literal, has_value in zip(told, kept, strict=True):
            if has_value:
                name = f"value__{len(values)}"
                values.append(name)
                (term,) = literal.terms
                shown = self._part(term.start, term.end, at)
                rest = self._part(term.end, literal.end, at)
                test = f"; {name}" if tested else ""
                before = self._part(position, literal.start, at)
                parts += [before, f"{name} := ({shown}){rest}{test}"]
                position = literal.end
        parts.append(self._part(position, self._end, at))
        return f"[[[{', '.join(values)}], [{', '.join(names)}]] | {''.join(parts)}]"

    def _part(self, start: int, end: int, at: Sequence[int]) -> str:
        """Return the text of a range, with `data` at some places replaced."""
        parts: list[str] = []
        for place in at:
            if start <= place < end:
                parts += [self._text[start:place], self._whole]
                start = place + len("data")
        return "".join((*parts, self._text[start:end]))


def _path(*names: str) -> str:
    """Return the reference to a rule below `data`."""
    return f"data{''.join(f'[{json.dumps(name, ensure_ascii=False)}]' for name in names)}"


def _whole_data(names: Sequence[str]) -> str:
    """Return an object of all that is directly below `data`."""
    quoted = [json.dumps(name, ensure_ascii=False) for name in names]
    return f"{{{', '.join(f'{name}: data[{name}]' for name in quoted)}}}"


def _dynamic(body: Sequence[Literal]) -> Iterator[int]:
    """Yield where `data` stands without the name of a part of it."""
    for literal in body:
        yield from _dynamic(literal.body)
        for term in (*literal.terms, *(value for _, value in literal.replaced)):
            yield from _dynamic_in(term)


def _dynamic_in(node: Node) -> Iterator[int]:
    parts = node.parts
    if node.kind == "var" and node.text == "data":
        yield node.start
    elif node.kind == "ref" and parts[0].text == "data" and parts[1].kind in ("name", "scalar"):
        parts = parts[1:]
    yield from _dynamic(node.body)
    for part in parts:
        yield from _dynamic_in(part)


def _prepared(comprehension: str, modules: Mapping[str, str]) -> str:
    """Return the text that the compiler gets for a term."""
    before = f"package {_PACKAGE}\nrow__ := "
    source = read_modules({**modules, FILE: f"{before}{comprehension}\n"}, NAMES)[-1]
    start, end = source.prepared_span(len(before), len(before) + len(comprehension))
    return source.prepared[start:end]
