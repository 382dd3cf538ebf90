"""What OPA refuses and the compiler takes, without effect or with another one."""

from __future__ import annotations

import difflib
from collections import Counter
from typing import TYPE_CHECKING, Final

from gateway.rego.hints import CONSTANTS
from gateway.rego.source import default_name
from gateway.rego.tokens import (
    CLOSING,
    KEYWORDS,
    OPENING,
    RESERVED,
    Token,
    after_bracket,
    end_of_reference,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.rego.errors import RegoProblem
    from gateway.rego.source import Source
    from gateway.rego.statements import Statement

_FUTURE: Final = ("in", "every", "if", "contains")


def unaccepted(source: Source) -> Iterator[RegoProblem]:
    """Yield what a module holds that OPA does not take."""
    yield from _imports(source)
    for statement in source.statements:
        if default_name(statement) is not None:
            yield from _default(source, statement)
    yield from _bodies(source)
    yield from _targets(source)
    uses = _Uses(source)
    for each in source.parts:
        yield from _assigned(source, each)
        yield from _unused(source, each, uses)


def _imports(source: Source) -> Iterator[RegoProblem]:
    named: dict[str, Token] = {}
    for statement in source.statements:
        if statement[0].text != "import" or len(statement) == 1 or statement[1].text == ".":
            continue
        end = end_of_reference(statement, 1)
        path = [token.text for token in statement[1:end]]
        yield from _import(source, statement[1], path)
        name = statement[-1]
        if name.kind == "string":
            continue
        if name.text in named and path[:1] != ["rego"] and path[:1] != ["future"]:
            row, _ = source.place(named[name.text].start)
            message = f"`{name.text}` is imported already, in line {row}"
            remedy = "give one another name: `import … as name`"
            yield source.problem_at(name, "imported-twice", message, remedy)
        named[name.text] = name


def _import(source: Source, token: Token, path: list[str]) -> Iterator[RegoProblem]:
    text = "".join(path)
    first = path[0] if path else ""
    if first in RESERVED:
        return
    if first == "rego":
        if text != "rego.v1":
            message = f"`{text}` cannot be imported"
            yield source.problem_at(token, "import", message, "write `import rego.v1`, or nothing")
    elif first == "future":
        known = ("future.keywords", *(f"future.keywords.{word}" for word in _FUTURE))
        if text not in known:
            message, remedy = (
                f"`{text}` cannot be imported",
                "leave it out: Rego v1 has all keywords",
            )
            yield source.problem_at(token, "import", message, remedy)
    elif first:
        close = difflib.get_close_matches(first, RESERVED, n=1)
        remedy = (
            f"did you mean `{close[0]}`?" if close else f"write `import data.{text}` for a package"
        )
        message = "only what is below `data` or `input` can be imported"
        yield source.problem_at(token, "import", message, remedy)


def _default(source: Source, statement: list[Token]) -> Iterator[RegoProblem]:
    """Find a default without a value, with a body, or whose value is not constant."""
    at = next((i for i, t in enumerate(statement) if t.text in (":=", "=")), None)
    name = default_name(statement)
    if at is None:
        message, remedy = "a default without a value", f"write `default {name} := false`"
        yield source.problem_at(statement[0], "default", message, remedy)
        return
    depth = 0
    for index, token in enumerate(statement[at + 1 :], at + 1):
        if not depth and index > at + 1 and source.parted(statement[index - 1], token):
            return
        if token.kind == "mark":
            if token.text == "|" and depth:
                return  # a comprehension may hold anything
            depth += (token.text in OPENING) - (token.text in CLOSING)
        elif token.text == "if":
            message, remedy = "a default has no body", "write a rule for the condition"
            yield source.problem_at(token, "default", message, remedy)
            return
        elif (
            token.kind == "name" and token.text not in KEYWORDS and statement[index - 1].text != "."
        ):
            close = CONSTANTS.get(token.text)
            remedy = (
                f"write `{close}`" if close else f"write a rule `{name} := … if {{ … }}` instead"
            )
            message = f"the value of a default is constant, `{token.text}` is not"
            if not any(mark.text == "|" for mark in statement[at + 1 :]):
                yield source.problem_at(token, "default", message, remedy)
            return


def _bodies(source: Source) -> Iterator[RegoProblem]:
    """Find bodies that hold no condition."""
    found = [token for token in source.tokens if token.kind != "newline"]
    for index, (word, opening, first) in enumerate(zip(found, found[1:], found[2:], strict=False)):
        if word.kind != "name" or word.text != "if" or opening.text != "{":
            continue
        if first.text == "}":
            remedy = "write the conditions, or leave `if` and the braces out"
            yield source.problem_at(opening, "empty-body", "a body without a condition", remedy)
        elif _is_object(found, index + 1):
            message = "this body is an object, which is no condition"
            remedy = "compare it, or write `;` between conditions"
            yield source.problem_at(opening, "constant-body", message, remedy)


def _is_object(found: Sequence[Token], index: int) -> bool:
    """Whether the brace at `index` holds a colon of its own, and is no comprehension."""
    colon = False
    position, end = index + 1, after_bracket(found, index) - 1
    while position < end:
        token = found[position]
        if token.kind == "mark" and token.text == "|":
            return False
        colon = colon or (token.kind == "mark" and token.text == ":")
        opens = token.kind == "mark" and token.text in OPENING
        position = after_bracket(found, position) if opens else position + 1
    return colon


def _assigned(source: Source, each: Statement) -> Iterator[RegoProblem]:
    """Find `input.x := 1`: nothing but a variable, or a pattern of them, can be assigned."""
    found = source.tokens
    end = end_of_reference(found, each.start)
    first = found[each.start]
    if first.kind in ("number", "string") or first.text in ("true", "false", "null"):
        end = each.start + 1
    elif end < each.end and found[end].text == "(":
        end = after_bracket(found, end)
    elif end == each.start + 1:
        return
    if end >= each.end or end == each.start or found[end].text != ":=":
        return
    shown = source.text[first.start : found[end - 1].end]
    message = f"`{shown if len(shown) <= _SHOWN else '…'}` is no variable to assign"
    yield source.problem_at(first, "assigned-value", message, "write `==` to compare")


_SHOWN: Final = 60
"""Longest piece of source that a message repeats."""


def _targets(source: Source) -> Iterator[RegoProblem]:
    """Find `with x as …` for an x that is nothing to replace."""
    found = source.tokens
    for index, token in enumerate(found):
        if token.text != "with" or token.kind != "name" or found[index - 1].text == ".":
            continue
        target = [part.text for part in found[index + 1 : end_of_reference(found, index + 1)]]
        if not target or source.is_replaceable(target):
            continue
        close = difflib.get_close_matches(target[0], RESERVED, n=1)
        message = "`with` replaces what is below input or data, or a function"
        remedy = f"did you mean `{close[0]}`?" if close else "write `with input.x as value`"
        yield source.problem_at(found[index + 1], "with-target", message, remedy)


def _unused(source: Source, each: Statement, uses: _Uses) -> Iterator[RegoProblem]:
    """Find `some x` whose x nothing uses: it is always true."""
    found = source.tokens
    if found[each.start].text != "some":
        return
    own = found[each.start + 1 : each.end]
    if not own or any(token.text == "in" for token in own):
        return
    for index, token in enumerate(own):
        if token.kind != "name" or token.text in KEYWORDS or (index and own[index - 1].text != ","):
            continue
        if uses.around(each).of(token.text) <= 1:
            message = f"`{token.text}` is declared and never used"
            remedy = f"write `some {token.text} in …`, or leave it out"
            yield source.problem_at(token, "unused-variable", message, remedy)


class _Names:
    """How often a row of tokens holds each name."""

    def __init__(self, row: Iterable[Token]) -> None:
        row = list(row)
        self._names = Counter(token.text for token in row if token.kind == "name")
        self._templates = [t.text for t in row if t.kind == "string" and t.text[0] == "$"]

    def of(self, name: str) -> int:
        return self._names[name] + sum(name in text for text in self._templates)


class _Uses:
    """The names where the variables of a statement can be used: in its bracket, or its rule.

    Each rule and each bracket is counted once, however many statements are in it.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._rules: dict[int, _Names] = {}
        self._brackets: dict[int, _Names] = {}

    def around(self, each: Statement) -> _Names:
        found = self._source.tokens
        before = each.inside - 1
        while before > 0 and found[before].kind == "newline":
            before -= 1
        if "if" in (found[each.inside].text, found[before].text):
            rule = self._source.statement_at(found[each.start].start)
            if rule[0].start not in self._rules:
                self._rules[rule[0].start] = _Names(rule)
            return self._rules[rule[0].start]
        if each.inside not in self._brackets:
            row = found[each.inside : after_bracket(found, each.inside)]
            self._brackets[each.inside] = _Names(row)
        return self._brackets[each.inside]
