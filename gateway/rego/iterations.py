"""Iterations inside of other expressions: `startswith(input.xs[_], "a")`, `input.xs[i] in ys`.

The compiler takes `[_]` and unbound variables as keys only where a reference stands by itself.
Elsewhere the reference is assigned to a variable in a statement before, which is what it means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.rego.tokens import (
    CLOSING,
    KEYWORDS,
    OPENING,
    Token,
    after_bracket,
    end_of_reference,
    ends_term,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.rego.statements import Statement

Range = tuple[int, int]
"""From a token up to another one."""


class Iterations:
    """Finds the iterating references of one module; `known` are names that other modules bind."""

    def __init__(self, text: str, found: Sequence[Token], known: frozenset[str]) -> None:
        self.text = text
        self.found = found
        self.bound = known | _bound(found)

    def lifted(self, statement: Statement) -> tuple[list[str], list[tuple[Range, str]]]:
        """What to write before a statement, and the names that replace references in it."""
        definitions: list[str] = []
        replaced: list[tuple[Range, str]] = []
        first = self.found[statement.start].text
        if first == "not" or any(token.text == "with" for token in self._own(statement)):
            return [], []
        for start, end, depth in self.references(statement):
            if depth or self._stands_inside(statement, start, end):
                name, needed = self._defined(start, end)
                definitions += needed
                replaced.append(((start, end), name))
        return definitions, replaced

    def unbound_in_negation(self, statement: Statement) -> Iterator[Token]:
        """Yield each `_` of a negated statement: nothing can bind it there."""
        if self.found[statement.start].text != "not":
            return
        for start, end, _ in self.references(statement):
            for index in self._keys(start, end):
                if self.found[index].text == "_":
                    yield self.found[index]

    def references(self, statement: Statement) -> Iterator[tuple[int, int, int]]:
        """Yield the iterating references of a statement, and how many brackets are round them."""
        apart = dict(statement.apart)
        depth, position = 0, statement.start
        while position < statement.end:
            if position in apart:
                position = apart[position]
                continue
            token = self.found[position]
            if token.kind == "mark":
                depth += (token.text in OPENING) - (token.text in CLOSING)
            elif self._starts(position):
                end = end_of_reference(self.found, position)
                if any(True for _ in self._keys(position, end)):
                    yield position, end, depth
                    position = end
                    continue
            position += 1

    def _own(self, statement: Statement) -> Iterator[Token]:
        apart = dict(statement.apart)
        position = statement.start
        while position < statement.end:
            if position in apart:
                position = apart[position]
            else:
                yield self.found[position]
                position += 1

    def _starts(self, position: int) -> bool:
        token = self.found[position]
        before = self.found[position - 1].text if position else ""
        return token.kind == "name" and token.text not in KEYWORDS and before != "."

    def _keys(self, start: int, end: int) -> Iterator[int]:
        """Yield the tokens that are a key of the reference and bound by nothing else."""
        position = start + 1
        while position < end:
            if self.found[position].text == "[" and self.found[position].kind == "mark":
                beyond = after_bracket(self.found, position)
                if beyond == position + 3:
                    key = self.found[position + 1]
                    if key.kind == "name" and key.text not in KEYWORDS | self.bound:
                        yield position + 1
                position = beyond
            else:
                position += 1

    def _stands_inside(self, statement: Statement, start: int, end: int) -> bool:
        """Whether a reference outside of brackets is an operand that the compiler refuses."""
        first = self.found[statement.start].text
        before = self.found[start - 1].text
        if first in ("some", "every"):
            return before != "in"
        if start == statement.start:
            named = any(self.found[key].text != "_" for key in self._keys(start, end))
            return end < statement.end and (named or self.found[end].text not in _COMPARISONS)
        # `x := xs[_]` would do, but the compiler does not survive that x is then used as a key.
        return before != "=" or end < statement.end

    def _defined(self, start: int, end: int) -> tuple[str, list[str]]:
        """Return a name for a reference, and the assignments that it needs, inner ones first."""
        needed: list[str] = []
        parts: list[str] = []
        cursor, position = self.found[start].start, start + 1
        while position < end:
            if self._starts(position) and not ends_term(self.found[position - 1]):
                beyond = end_of_reference(self.found, position)
                if any(True for _ in self._keys(position, beyond)):
                    name, inner = self._defined(position, beyond)
                    needed += inner
                    parts += (self.text[cursor : self.found[position].start], name)
                    cursor = self.found[beyond - 1].end
                    position = beyond
                    continue
            position += 1
        parts.append(self.text[cursor : self.found[end - 1].end])
        name = f"each__{start}__"
        return name, [*needed, f"{name} = {''.join(parts)}"]


_COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">="))


def _bound(found: Sequence[Token]) -> frozenset[str]:
    """Return the names that a module binds anywhere in a way that the compiler understands."""
    bound = {*_of_heads(found), *_of_lists(found)}
    for before, token, after in zip(found, found[1:], found[2:], strict=False):
        if token.kind == "name" and (after.text in (":=", "=") or before.text == "="):
            bound.add(token.text)
    return frozenset(bound - {"_"})


def _of_heads(found: Sequence[Token]) -> Iterator[str]:
    """Yield the names of rules and imports, and the parameters of functions."""
    depth = 0
    imports = False
    for index, token in enumerate(found):
        if token.kind == "mark":
            depth += (token.text in OPENING) - (token.text in CLOSING)
        if depth == 0 and token.kind == "name":
            starts = not index or found[index - 1].kind == "newline"
            imports = _binds(found, index) if starts else imports
            ends = index + 1 == len(found) or found[index + 1].kind == "newline"
            if starts or (imports and ends):
                yield token.text
            if starts and index + 1 < len(found) and found[index + 1].text == "(":
                head = found[index + 1 : after_bracket(found, index + 1)]
                yield from (part.text for part in head if part.kind == "name")


def _binds(found: Sequence[Token], index: int) -> bool:
    """Whether an import starts here that gives something a name; `rego.v1` gives none."""
    return [token.text for token in found[index : index + 2]] in (
        ["import", "data"],
        ["import", "input"],
    )


def _of_lists(found: Sequence[Token]) -> Iterator[str]:
    """Yield the variables of `some … in` and `every`; `some x` alone only declares."""
    declared: list[str] | None = None
    for token in found:
        if token.kind == "name" and token.text in ("some", "every"):
            declared = []
        elif declared is not None and token.text == "in":
            yield from declared
            declared = None
        elif token.kind == "newline" or token.text == ";":
            declared = None
        elif declared is not None and token.kind == "name":
            declared.append(token.text)
