"""Policy source before compilation: its tokens, and the faults that only the text shows.

The compiler accepts some text that is no valid Rego (rules in the old form, a variable assigned
twice, a rule named `input`), and refuses some that is. The first is refused here, the second
rewritten where that is simple; places in the rewritten text are translated back.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.rego.errors import RegoProblem

MAX_SOURCE: Final = 4 << 20
"""Longest module, in characters."""

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
    "as contains default else every false if import in not null package some true with".split()
)
RESERVED: Final = frozenset(("input", "data"))


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of source: `name`, `number`, `string`, `mark` or `newline`, and where it is."""

    kind: str
    text: str
    start: int
    end: int


def tokens(text: str) -> list[Token]:
    """Split source into tokens; blanks and comments are left out. Never fails."""
    made: list[Token] = []
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        assert found is not None and found.lastgroup is not None  # noqa: PT018  `.` takes all
        kind, end = found.lastgroup, found.end()
        if kind == "template":
            end = _template_end(text, end)
            kind = "string"
        if kind not in ("space", "comment"):
            made.append(Token(kind, text[position:end], position, end))
        position = end
    return made


def _template_end(text: str, position: int) -> int:
    """Return the end of a template string whose first quote ends at `position`."""
    quote = text[position - 1]
    while position < len(text):
        mark = text[position]
        if mark == "\\" and quote == '"':
            position += 2
        elif mark == quote:
            return position + 1
        elif mark == "{":
            position = _braces_end(text, position + 1)
        else:
            position += 1
    return len(text)


def _braces_end(text: str, position: int) -> int:
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


@dataclass(frozen=True, slots=True)
class Edit:
    """A replacement of original text: `start` to `end` becomes `text`."""

    start: int
    end: int
    text: str


class Source:
    """One module: its name, its text as written, and its text as the compiler gets it."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text.removeprefix("\ufeff")
        self.tokens = tokens(self.text)
        self.edits = sorted(_edits(self.text, self.tokens), key=lambda edit: edit.start)
        self.prepared = self._rewritten()
        self._prepared_lines = self.prepared.split("\n")
        self._line_starts = _line_starts(self.text)

    def _rewritten(self) -> str:
        parts: list[str] = []
        position = 0
        for edit in self.edits:
            parts += (self.text[position : edit.start], edit.text)
            position = edit.end
        return "".join((*parts, self.text[position:]))

    @property
    def package(self) -> tuple[str, ...]:
        """The path of the module's package; empty where none is declared."""
        path: list[str] = []
        significant = [token for token in self.tokens if token.kind != "newline"]
        if not significant or significant[0].text != "package":
            return ()
        end = next((t.start for t in self.tokens if t.kind == "newline" and path_began(t, significant)), len(self.text))
        for token in significant[1:]:
            if token.start > end:
                break
            if token.kind == "name":
                path.append(token.text)
            elif token.kind == "string":
                path.append(token.text[1:-1])
            elif token.text not in ".[]":
                break
        return tuple(path)

    def place(self, offset: int) -> tuple[int, int]:
        """Return the row and column, from 1, of an offset into the text as written."""
        row = bisect.bisect_right(self._line_starts, offset) - 1
        return row + 1, offset - self._line_starts[row] + 1

    def place_prepared(self, row: int, col: int) -> tuple[int, int]:
        """Translate a row and byte column, from 1, of the compiler's text to the original's."""
        if not 1 <= row <= len(self._prepared_lines):
            return 0, 0
        line = self._prepared_lines[row - 1]
        start = sum(len(above) + 1 for above in self._prepared_lines[: row - 1]) if self.edits else 0
        column = len(line.encode()[: col - 1].decode(errors="ignore"))
        if not self.edits:
            return row, column + 1
        return self.place(self._original(start + column))

    def byte_place(self, offset: int) -> tuple[int, int]:
        """Return the place as written of a byte offset into the compiler's text."""
        character = len(self.prepared.encode()[:offset].decode(errors="ignore"))
        return self.place(min(self._original(character), max(len(self.text) - 1, 0)))

    def _original(self, offset: int) -> int:
        """Translate an offset into the compiler's text to one into the text as written."""
        shift = 0
        for edit in self.edits:
            start = edit.start + shift
            if offset < start:
                break
            if offset < start + len(edit.text):
                return edit.start
            shift += len(edit.text) - (edit.end - edit.start)
        return offset - shift

    def excerpt(self, row: int, col: int) -> str:
        """Return a line of the source with a caret under a column; empty if there is none."""
        if not 1 <= row <= len(self._line_starts):
            return ""
        line = self.text[self._line_starts[row - 1] :].split("\n", 1)[0].rstrip("\r")
        clean = "".join(mark if mark.isprintable() else " " for mark in line)[:200]
        return f"{clean}\n{' ' * (max(col, 1) - 1)}^" if col <= len(clean) + 1 else clean

    def problem(
        self, at: tuple[int, int], code: str, message: str, remedy: str = ""
    ) -> RegoProblem:
        """Return a problem of this module at a (row, column) as written."""
        row, col = at
        return RegoProblem(
            file=self.name,
            row=row,
            col=col,
            code=code,
            message=message,
            remedy=remedy,
            excerpt=self.excerpt(row, col),
        )

    def problem_at(self, token: Token, code: str, message: str, remedy: str = "") -> RegoProblem:
        """Return a problem of this module at a token."""
        return self.problem(self.place(token.start), code, message, remedy)


def path_began(newline: Token, significant: Sequence[Token]) -> bool:
    """Whether a line end comes after the name of the package has begun."""
    return len(significant) > 1 and newline.start > significant[1].start


def _line_starts(text: str) -> list[int]:
    return [0, *(match.end() for match in re.finditer("\n", text))]


# --- what is rewritten


def _edits(text: str, found: Sequence[Token]) -> Iterator[Edit]:
    if text and not text.endswith("\n"):
        yield Edit(len(text), len(text), "\n")
    for index, token in enumerate(found):
        if token.text == "some" and token.kind == "name":
            yield from _unrolled_some(text, found, index)
        elif token.text == "if" and index + 1 < len(found) and found[index + 1].text == "not":
            yield from _braced_not(found, index + 1)


def _unrolled_some(text: str, found: Sequence[Token], index: int) -> Iterator[Edit]:
    """Rewrite `some k, v in xs` directly inside `[…|…]` or `{…|…}`.

    The compiler takes the comma there for one between elements.
    """
    parts = found[index + 1 : index + 5]
    if [part.kind for part in parts] != ["name", "mark", "name", "name"]:
        return
    key, comma, value, word = parts
    if comma.text != "," or word.text != "in" or not _in_plain_comprehension(found, index):
        return
    end = _end_of_term(found, index + 5)
    if end is None:
        return
    collection = f"collection__{index}__"
    declared = "" if key.text == "_" else f"some {key.text}; "
    yield Edit(found[index].start, found[index + 5].start, f"{declared}{collection} := ")
    closing = f"; {value.text} := {collection}[{key.text}]" if value.text != "_" else (
        f"; {collection}[{key.text}] = _"
    )
    yield Edit(found[end - 1].end, found[end - 1].end, closing)


def _in_plain_comprehension(found: Sequence[Token], index: int) -> bool:
    """Whether the token stands in the body of an array or set comprehension."""
    depth = 0
    bar = colon = False
    for token in reversed(found[:index]):
        if token.text in CLOSING:
            depth += 1
        elif token.text in OPENING:
            if depth == 0:
                return bar and token.text in "[{" and not (colon and token.text == "{")
            depth -= 1
        elif depth == 0 and token.text == "|":
            bar = True
        elif depth == 0 and bar and token.text == ":":
            colon = True
        elif depth == 0 and token.text in (":=", "if"):
            return False
    return False


def _end_of_term(found: Sequence[Token], index: int) -> int | None:
    """Return the index after the expression that starts at `index` inside a comprehension."""
    depth = 0
    for position in range(index, len(found)):
        token = found[position]
        if token.text in OPENING:
            depth += 1
        elif token.text in CLOSING:
            if depth == 0:
                return position if position > index else None
            depth -= 1
        elif depth == 0 and (token.kind == "newline" or token.text == ";"):
            return position if position > index else None
    return None


_CONTINUES: Final = frozenset(("with", "as", ".", "[", "(", ",", "==", "!=", "<", ">", "<=", ">=", "in", "+", "-", "*", "/", "%", "|", "&", "="))


def _braced_not(found: Sequence[Token], index: int) -> Iterator[Edit]:
    """Put braces round the body of `if not … with …`, which the compiler refuses without."""
    depth = 0
    last = index
    has_with = False
    for position in range(index, len(found)):
        token = found[position]
        if token.text in OPENING:
            depth += 1
        elif token.text in CLOSING:
            depth -= 1
        elif depth == 0 and token.text == "with":
            has_with = True
        if depth == 0 and token.kind == "newline":
            following = next((t for t in found[position:] if t.kind != "newline"), None)
            if found[last].text not in _CONTINUES and (
                following is None or following.text not in ("with", "as")
            ):
                break
        elif depth == 0 and token.text in (";", "else"):
            break
        elif token.kind != "newline":
            last = position
    if has_with:
        yield Edit(found[index].start, found[index].start, "{ ")
        yield Edit(found[last].end, found[last].end, " }")


# --- what is refused


def faults(source: Source) -> Iterator[RegoProblem]:
    """Yield the faults that a module's text shows by itself."""
    if len(source.text) > MAX_SOURCE:
        yield source.problem((0, 0), "too-large", f"the module is longer than {MAX_SOURCE}")
        return
    if "\0" in source.text:
        at = source.place(source.text.index("\0"))
        yield source.problem(at, "nul", "a NUL character", "remove it")
        return
    if not source.package:
        yield source.problem(
            (1, 1), "no-package", "the module declares no package", "start it with `package …`"
        )
        return
    for statement in _statements(source.tokens):
        yield from _head_faults(source, statement)
    yield from _body_faults(source)


def _statements(found: Sequence[Token]) -> Iterator[list[Token]]:
    """Yield the statements at the top of a module: rules, imports, defaults."""
    statement: list[Token] = []
    depth = 0
    for token in found:
        if token.text in OPENING and token.kind == "mark":
            depth += 1
        elif token.text in CLOSING and token.kind == "mark":
            depth -= 1
        elif token.kind == "newline":
            if depth <= 0 and statement and statement[-1].text not in _UNFINISHED:
                yield statement
                statement = []
            continue
        statement.append(token)
    if statement:
        yield statement


_UNFINISHED: Final = frozenset(
    ("if", "contains", ":=", "=", "default", "else", "package", "import", ".", ",")
)


def _head_faults(source: Source, statement: list[Token]) -> Iterator[RegoProblem]:
    first = statement[0]
    if first.text == "default" and len(statement) > 1:
        statement = statement[1:]
        first = statement[0]
    if first.kind != "name" or first.text in KEYWORDS - {"else"}:
        if first.text == "import" and statement[-1].text in RESERVED and statement[-2].text == "as":
            yield _shadowed(source, statement[-1])
        return
    if first.text in RESERVED:
        yield _shadowed(source, first)
        return
    yield from _argument_faults(source, statement)
    yield from _old_form(source, statement)


def _shadowed(source: Source, token: Token) -> RegoProblem:
    return source.problem_at(
        token, "shadowed", f"`{token.text}` is a document and cannot be redefined", "rename it"
    )


def _argument_faults(source: Source, statement: list[Token]) -> Iterator[RegoProblem]:
    depth = 0
    for before, token, after in zip(statement, statement[1:], statement[2:], strict=False):
        if before.text == "(":
            depth += 1
        if depth == 0 and token.text in ("if", ":=", "=", "{"):
            return
        if depth == 1 and token.text in RESERVED and before.text in "(," and after.text in "),":
            yield _shadowed(source, token)
        if token.text == ")":
            return


def _old_form(source: Source, statement: list[Token]) -> Iterator[RegoProblem]:
    """Find bodies without `if`, and rules that only a subscript makes."""
    depth = 0
    before: Token | None = None
    loop = False
    for token in statement:
        if token.kind == "mark" and token.text in OPENING:
            if token.text == "{" and depth == 0 and before is not None and not loop:
                ends_term = before.kind in ("number", "string") or before.text in CLOSING
                named = before.kind == "name" and before.text not in KEYWORDS - {"else"}
                if ends_term or named or before.text in ("true", "false", "null"):
                    yield source.problem_at(
                        token, "v0-body", "a rule body without `if`", _remedy(statement)
                    )
                    return
            depth += 1
        elif token.kind == "mark" and token.text in CLOSING:
            depth -= 1
            if token.text == "}" and depth == 0:
                loop = False
        elif depth == 0 and token.text == "every":
            loop = True
        before = token
    if statement[-1].text == "]" and _is_reference(statement):
        yield source.problem_at(
            statement[0], "v0-rule", "a rule in the form of Rego v0", _remedy(statement)
        )


def _is_reference(statement: list[Token]) -> bool:
    depth = 0
    for token in statement:
        if token.text == "[":
            depth += 1
        elif token.text == "]":
            depth -= 1
        elif depth == 0 and token.kind != "name" and token.text != ".":
            return False
        elif depth == 0 and token.text in KEYWORDS:
            return False
    return True


def _remedy(statement: list[Token]) -> str:
    name = statement[0].text
    if len(statement) > 1 and statement[1].text == "[":
        return f"write `{name} contains … if {{ … }}` or `{name}[…] := … if {{ … }}`"
    return f"write `{name} … if {{ … }}`"


def _body_faults(source: Source) -> Iterator[RegoProblem]:
    """Find variables assigned twice in one body, and local variables named input or data."""
    scopes: list[set[str]] = [set()]
    declaring = False
    significant: Token | None = None
    for index, token in enumerate(source.tokens):
        if token.kind == "mark" and token.text in OPENING:
            scopes.append(set())
        elif token.kind == "mark" and token.text in CLOSING:
            if len(scopes) > 1:
                scopes.pop()
        elif token.kind == "name" and token.text == "some":
            declaring = True
        elif declaring and (token.kind == "newline" or token.text in (";", "in")):
            declaring = False
        elif declaring and token.text in RESERVED:
            yield _shadowed(source, token)
        if token.text == ":=" and significant is not None and significant.kind == "name":
            if significant.text in RESERVED and _starts(source.tokens, index - 1):
                if len(scopes) > 1:
                    yield _shadowed(source, significant)
            elif len(scopes) > 1 and _starts(source.tokens, index - 1):
                if significant.text in scopes[-1]:
                    yield source.problem_at(
                        significant,
                        "assigned-twice",
                        f"`{significant.text}` is assigned twice in one body",
                        "use another name, or `==` to compare",
                    )
                if significant.text != "_":
                    scopes[-1].add(significant.text)
        if token.kind != "newline":
            significant = token


def _starts(found: Sequence[Token], index: int) -> bool:
    """Whether a token starts a statement of a body."""
    while index > 0 and found[index].kind == "newline":
        index -= 1
    before = found[index - 1]
    return before.kind == "newline" or before.text in ("{", "[", ";", "|", "if")
