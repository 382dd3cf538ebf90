"""What OPA refuses and the compiler takes, without effect or with another one."""

from __future__ import annotations

import difflib
import itertools
from typing import TYPE_CHECKING, Final

from gateway.rego.hints import CONSTANTS
from gateway.rego.tokens import (
    OPENING,
    RESERVED,
    Token,
    after_bracket,
    end_of_reference,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.rego.errors import RegoProblem
    from gateway.rego.source import Source
    from gateway.rego.tree import Node, Rule

_FUTURE: Final = ("in", "every", "if", "contains", "not")


def unaccepted(source: Source) -> Iterator[RegoProblem]:
    """Yield what a module holds that OPA does not take."""
    yield from _imports(source)
    for rule in source.module.rules if source.module is not None else ():
        if rule.default:
            yield from _default(source, rule)
    yield from _targets(source)


def _imports(source: Source) -> Iterator[RegoProblem]:
    named: dict[str, Token] = {}
    for statement in source.statements:
        if statement[0].text != "import" or len(statement) == 1 or statement[1].text == ".":
            continue
        end = end_of_reference(statement, 1)
        path = [token.text for token in statement[1:end]]
        if path[:1] == ["future"] and end < len(statement):
            message = f"`{''.join(path)}` gets no other name"
            yield source.problem_at(statement[end], "import", message, "leave `as …` out")
            continue
        yield from _import(source, statement[1], path)
        name = statement[-1]
        if name.kind == "string":
            continue
        shown = name.text if path[:1] and path[0] in RESERVED else "".join(path)
        if shown in named:
            row, _ = source.place(named[shown].start)
            message = f"`{shown}` is imported already, in line {row}"
            remedy = "remove one, or give it another name: `import … as name`"
            yield source.problem_at(name, "imported-twice", message, remedy)
        named[shown] = name


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


def _default(source: Source, rule: Rule) -> Iterator[RegoProblem]:
    """Find a default whose value is not constant, or whose parameters are no variables."""
    seen: set[str] = set()
    for given in rule.arguments or ():
        if given.kind != "var" or given.text in seen - {"_"}:
            at = source.place(given.start)
            message = "the parameters of a default are variables, each another one"
            yield source.problem(
                at, "default", message, f"write `default {rule.head.parts[0].text}(_) := …`"
            )
            return
        seen.add(given.text)
    keys = (part for part in rule.head.parts[1:] if part.kind not in _CONSTANT)
    value = rule.branches[0].value
    node = next(itertools.chain(keys, _variable(value) if value is not None else ()), None)
    if node is None:
        return
    shown = source.text[node.start : node.end]
    shown = shown if len(shown) <= _SHOWN else "…"
    close = CONSTANTS.get(shown)
    name = source.text[rule.head.start : rule.head.end]
    remedy = f"write `{close}`" if close else f"write a rule `{name} := … if {{ … }}` instead"
    at = source.place(node.start)
    message = f"the name and value of a default are constant, `{shown}` is not"
    yield source.problem(at, "default", message, remedy)


_CONSTANT: Final = frozenset(("name", "scalar"))


def _variable(node: Node) -> Iterator[Node]:
    """Yield the parts of a value that are not constant; a comprehension may hold anything."""
    if node.kind in ("var", "ref", "infix", "minus") or (
        node.kind == "call" and node.parts[0].text != "set"
    ):
        yield node
    elif node.kind not in ("comprehension", "call"):
        for part in node.parts:
            yield from _variable(part)


_SHOWN: Final = 60
"""Longest piece of source that a message repeats."""


def empty_bodies(source: Source) -> Iterator[RegoProblem]:
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


_FIXED: Final = ("walk", "internal.")
"""What the names of functions start with that have several results, or are no functions."""


def _targets(source: Source) -> Iterator[RegoProblem]:
    """Find `with x as …` for an x that is nothing to replace."""
    for _, node, target in source.replaced:
        first, *keys = node.parts
        if target is not None:
            if target.kind == "function" and target.shown.startswith(_FIXED):
                message = f"`{target.shown}` cannot be replaced"
                remedy = "replace its input, or the rule that calls it"
                yield source.problem(source.place(node.start), "with-target", message, remedy)
        elif any(key.kind != "name" for key in keys):
            message = "what `with` replaces has names and texts for keys, nothing computed"
            remedy = "replace the whole collection: `with input.x as value`"
            yield source.problem(source.place(node.start), "with-target", message, remedy)
        else:
            close = difflib.get_close_matches(first.text, RESERVED, n=1)
            message = "`with` replaces what is below input or data, or a function"
            remedy = f"did you mean `{close[0]}`?" if close else "write `with input.x as value`"
            yield source.problem(source.place(node.start), "with-target", message, remedy)
