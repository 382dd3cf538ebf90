"""The tokens of policy source."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_NESTING: Final = 100
"""Deepest nesting of brackets: the compiler's own recursion has no limit but its stack."""

_TOKEN: Final = re.compile(
    r"""(?P<space>[ \t\r\f]+)
      | (?P<newline>\n)
      | (?P<comment>\#[^\n]*)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
      | (?P<template>\$["`])
      | (?P<mark>:=|==|!=|<=|>=|.)""",
    re.VERBOSE | re.DOTALL,
)

OPENING: Final = {"{": "}", "[": "]", "(": ")"}
CLOSING: Final = frozenset(OPENING.values())
KEYWORDS: Final = frozenset(
    (
        *("as", "contains", "default", "else", "every", "false", "if", "import", "in", "not"),
        *("null", "package", "some", "true", "with"),
    )
)
RESERVED: Final = frozenset(("input", "data"))


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of source, and where it is.

    `kind` is `name`, `number`, `string`, `mark`, `newline` or `comment`.
    """

    kind: str
    text: str
    start: int
    end: int


def tokens(text: str) -> list[Token]:
    """Split source into tokens, comments among them; blanks are left out. Never fails."""
    made: list[Token] = []
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        assert found is not None and found.lastgroup is not None  # noqa: PT018  `.` takes all
        kind, end = found.lastgroup, found.end()
        if kind == "template":
            end = _template_end(text, end)
            kind = "string"
        if kind != "space":
            made.append(Token(kind, text[position:end], position, end))
        position = end
    return made


def _template_end(text: str, position: int) -> int:
    """Return the end of a template string whose first quote ends at `position`."""
    quote = text[position - 1]
    while position < len(text):
        mark = text[position]
        if mark == "\\" and (quote == '"' or text[position + 1 : position + 2] in ("{", "}")):
            position += 2
        elif mark == quote:
            return position + 1
        elif mark == "{":
            position = braces_end(text, position + 1)
        else:
            position += 1
    return len(text)


def braces_end(text: str, position: int) -> int:
    """Return the end of braces that opened before `position`."""
    depth = 1
    while position < len(text) and depth:
        found = _TOKEN.match(text, position)
        assert found is not None
        position = found.end()
        if found.lastgroup == "template":
            position = _template_end(text, position)
        elif found.group() == "{":
            depth += 1
        elif found.group() == "}":
            depth -= 1
    return position


def end_of_reference(found: Sequence[Token], index: int) -> int:
    """Return the index after the reference that starts at `index`; `index` if there is none."""
    if index >= len(found) or found[index].kind != "name" or found[index].text in KEYWORDS:
        return index
    end = index + 1
    while end < len(found):
        if found[end].text == "." and end + 1 < len(found) and found[end + 1].kind == "name":
            end += 2
        elif found[end].text == "[" and found[end].start == found[end - 1].end:
            end = after_bracket(found, end)
        else:
            break
    return end


def after_bracket(found: Sequence[Token], index: int) -> int:
    """Return the index after the bracket that closes the one at `index`."""
    depth = 0
    for position in range(index, len(found)):
        if found[position].kind == "mark":
            depth += (found[position].text in OPENING) - (found[position].text in CLOSING)
        if depth == 0:
            return position + 1
    return len(found)


def ends_term(token: Token | None) -> bool:
    """Whether a rule's head or value can end with the token, so that `{` starts its body."""
    if token is None:
        return False
    if token.kind == "name":
        return token.text not in KEYWORDS or token.text in ("else", "true", "false", "null")
    return token.kind in ("number", "string") or token.text in CLOSING


def too_deep(found: Iterable[Token]) -> Token | None:
    """Return the first bracket that is nested too deeply."""
    depth = 0
    for token in found:
        if token.kind == "mark":
            depth += (token.text in OPENING) - (token.text in CLOSING)
        if depth > MAX_NESTING:
            return token
    return None


def constant_path(found: Sequence[Token], index: int) -> tuple[str, ...]:
    """Return the names of a reference from `index` on, up to the first that is not written out."""
    path: list[str] = []
    while index + 1 < len(found):
        mark, part = found[index], found[index + 1]
        if mark.text == "." and part.kind == "name":
            path.append(part.text)
            index += 2
        elif mark.text == "[" and part.kind == "string" and part.text[0] == '"':
            path.append(part.text[1:-1])
            index += 3
        else:
            break
    return tuple(path)
