"""A module's text as a tree; `start` and `end` are offsets in the text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class Node:
    """A term: `start` and `end` are its offsets in the text.

    `kind` is one of: var, name (behind a dot), scalar, template, array, set, object (its `parts`
    are keys and values in turn), comprehension (`parts` are its head, `text` its opening
    bracket), ref, call (the function comes first), infix (`text` is the operator), minus, paren.
    """

    kind: str
    start: int
    end: int
    text: str = ""
    parts: list[Node] = field(default_factory=list)
    body: list[Literal] = field(default_factory=list)


@dataclass(slots=True)
class Literal:
    """One statement of a body.

    `kind` is one of: term, assign (`:=`), unify (`=`), some (which declares `terms`), in (`some …
    in`), every, whose `terms` are key, if there is one, value and domain, and none (`not { … }`),
    whose term is a comprehension without a head.
    """

    kind: str
    start: int
    end: int
    terms: list[Node] = field(default_factory=list)
    negated: bool = False
    body: list[Literal] = field(default_factory=list)
    body_start: int = 0
    body_end: int = 0
    replaced: list[tuple[Node, Node]] = field(default_factory=list)
    bare: bool = False


@dataclass(slots=True)
class Branch:
    """The value and the bodies of a rule, or of one `else` of it; `start` is where it begins.

    Each of several bodies behind one head is a rule of its own.
    """

    start: int
    value: Node | None = None
    bodies: list[list[Literal]] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    """Where each body starts, with its brace."""
    condition: int = 0
    """Where `if` stands."""


@dataclass(slots=True)
class Rule:
    """A rule or a default."""

    start: int
    end: int
    head: Node
    default: bool = False
    arguments: list[Node] | None = None
    member: Node | None = None
    branches: list[Branch] = field(default_factory=list)


@dataclass(slots=True)
class Import:
    """An import: its path, and the name that it gives."""

    start: int
    end: int
    path: Node
    name: str


@dataclass(slots=True)
class Module:
    """What a module's text says."""

    package: Node
    imports: list[Import] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)

    @property
    def rows(self) -> list[Import | Rule]:
        """The imports and rules, as they stand."""
        rows: list[Import | Rule] = [*self.imports, *self.rules]
        return sorted(rows, key=lambda row: row.start)


def parts_of(rule: Rule) -> Iterator[Node | Literal]:
    """Yield the terms and statements of a rule, and those in them."""
    terms = (*rule.head.parts, *(rule.arguments or ()), rule.member)
    pending: list[Node | Literal] = [term for term in terms if term is not None]
    for branch in rule.branches:
        pending += [branch.value] if branch.value is not None else []
        pending += (literal for body in branch.bodies for literal in body)
    while pending:
        part = pending.pop()
        yield part
        pending += part.body
        if isinstance(part, Node):
            pending += part.parts
        else:
            pending += (*part.terms, *(value for _, value in part.replaced))
