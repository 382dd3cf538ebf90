"""The statements of rule bodies, found in tokens."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.rego.tokens import CLOSING, OPENING, Token, after_bracket, ends_term

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTINUES: Final = frozenset((
    "with", "as", ".", "[", "(", ",", "==", "!=", "<", ">", "<=", ">=", "in", "+", "-", "*", "/",
    "%", "|", "&", "=", ":=",
))  # fmt: skip
"""Words and marks after which a statement goes on in the next line."""


@dataclass(slots=True)
class Statement:
    """One statement of a body: its tokens from `start` up to `end`.

    `inside` is the bracket that opens its body; `bare` tells that it is a whole body without
    braces, `comprehension` that its body is that of one. `apart` are the ranges of tokens in it
    that have bodies of their own (comprehensions, and what follows `every`), `every` is the range
    of the latter; `enclosing` tells that something in that has a body of its own, or is negated.
    """

    start: int
    end: int = 0
    bare: bool = False
    comprehension: bool = False
    inside: int = -1
    apart: list[tuple[int, int]] = field(default_factory=list)
    every: tuple[int, int] | None = None
    enclosing: bool = False


@dataclass(slots=True)
class _Frame:
    """An open bracket, the module, or a bare body; `body` while statements stand in it."""

    opened: int
    body: bool = False
    bare: bool = False
    comprehension: bool = False
    statement: Statement | None = None


def statements(found: Sequence[Token]) -> list[Statement]:
    """Return the statements of all bodies in a module, by where they start."""
    return _Reader(found).read()


class _Reader:
    def __init__(self, found: Sequence[Token]) -> None:
        self.found = found
        self.made: list[Statement] = []
        self.open = [_Frame(0)]

    def read(self) -> list[Statement]:
        for index, token in enumerate(self.found):
            self.token(index, token)
        while len(self.open) > 1:
            self.close(len(self.found))
        self.made.sort(key=lambda statement: statement.start)
        self.compare_every()
        return self.made

    def compare_every(self) -> None:
        """Find the `every` whose bodies hold others."""
        starts = [statement.start for statement in self.made]
        for outer in self.made:
            if outer.every is not None:
                first, last = (bisect.bisect(starts, place) for place in outer.every)
                inner = self.made[first:last]
                outer.enclosing = any(
                    each.apart or self.found[each.start].text == "not" for each in inner
                )
                for each in inner if outer.enclosing else ():
                    # It becomes a comprehension (rewrite.py).
                    each.comprehension = each.comprehension or each.inside == outer.every[0]

    def token(self, index: int, token: Token) -> None:
        top = self.open[-1]
        if token.kind == "newline":
            if top.body and not self.goes_on(index):
                self.end(index)
        elif token.kind == "mark" and token.text in CLOSING:
            if top.bare:
                self.close(index)
            if len(self.open) > 1:
                self.close(index)
        elif token.text == ";" and top.body:
            self.end(index)
        elif token.text == "|" and top.comprehension and not top.body:
            top.body = True
        else:
            self.part(index, token)

    def part(self, index: int, token: Token) -> None:
        """Take a token that is a part of a statement, or of a rule's head."""
        if self.open[-1].bare and token.text == "else":
            self.close(index)
        self.begin(index)
        if token.kind == "mark" and token.text in OPENING:
            self.push(index, token)
        elif token.text == "if" and token.kind == "name" and len(self.open) == 1:
            following = self.beyond(index)
            if following is not None and following.text != "{":
                self.open.append(_Frame(index, body=True, bare=True))

    def begin(self, index: int) -> None:
        top = self.open[-1]
        if top.body and top.statement is None:
            top.statement = Statement(
                index, bare=top.bare, comprehension=top.comprehension, inside=top.opened
            )

    def end(self, index: int) -> None:
        """End the statement of the innermost body before `index`."""
        top = self.open[-1]
        if top.statement is not None:
            end = index
            while self.found[end - 1].kind == "newline":
                end -= 1
            top.statement.end = end
            self.made.append(top.statement)
            top.statement = None
        if top.bare:
            self.open.pop()

    def close(self, index: int) -> None:
        """Close the innermost bracket, whose closing one stands at `index`."""
        top = self.open[-1]
        if top.body:
            self.end(index)
        if top.bare:
            return
        self.open.pop()
        around = self.innermost()
        if top.body and around is not None:
            around.apart.append((top.opened, index + 1))
            if not top.comprehension:
                around.every = (top.opened, index)

    def innermost(self) -> Statement | None:
        """Return the statement that the next token is in."""
        return next((frame.statement for frame in reversed(self.open) if frame.body), None)

    def push(self, index: int, token: Token) -> None:
        before = self.before(index)
        subscript = (
            token.text == "["
            and ends_term(self.found[index - 1] if index else None)
            and self.found[index - 1].end == token.start
        )
        self.open.append(
            _Frame(
                index,
                body=token.text == "{" and self.is_body(index, before),
                comprehension=token.text != "(" and not subscript and self.has_bar(index),
            )
        )

    def is_body(self, index: int, before: Token | None) -> bool:
        if before is not None and before.text == "if":
            return True
        statement = self.open[-1].statement  # of a body: what follows `every` stands in no bracket
        return (
            statement is not None
            and self.found[statement.start].text == "every"
            and statement.start < index
            and ends_term(before)
        )

    def has_bar(self, index: int) -> bool:
        """Whether a bracket holds a `|` of its own, and so a comprehension."""
        position, end = index + 1, after_bracket(self.found, index) - 1
        while position < end:
            token = self.found[position]
            if token.kind == "mark" and token.text == "|":
                return True
            opens = token.kind == "mark" and token.text in OPENING
            position = after_bracket(self.found, position) if opens else position + 1
        return False

    def before(self, index: int) -> Token | None:
        while index and self.found[index - 1].kind == "newline":
            index -= 1
        return self.found[index - 1] if index else None

    def beyond(self, index: int) -> Token | None:
        following = range(index + 1, len(self.found))  # a slice would copy the rest of the module
        return next((self.found[i] for i in following if self.found[i].kind != "newline"), None)

    def goes_on(self, index: int) -> bool:
        """Whether a statement goes on behind the newline at `index`."""
        last, following = self.before(index), self.beyond(index)
        if last is not None and last.text in CONTINUES:
            return True
        if self.open[-1].bare and last is not None and last.text == "if":
            return True
        return following is not None and following.text in ("with", "as")
