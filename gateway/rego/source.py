"""Policy source before compilation: its tokens, and the faults that only the text shows.

The compiler accepts some text that is no valid Rego (rules in the old form, a variable assigned
twice, a rule named `input`), and refuses some that is. The first is refused here, the second
rewritten where that is simple; places in the rewritten text are translated back.
"""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.rego.errors import RegoProblem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

MAX_SOURCE: Final = 4 << 20
"""Longest module, in characters."""

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
WHOLE_INPUT: Final = "whole_input__"
"""Below `input`, stands for all of it in what the compiler gets."""
_INPUT_AS: Final = ["input", "as"]
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
    """A replacement of original text: `start` to `end` becomes `text`.

    Of edits at one place the one of lower `order` comes first.
    """

    start: int
    end: int
    text: str
    order: int = 0


def _enclosed(first: Token, last: Token, opening: str, closing: str) -> Iterator[Edit]:
    """Put text before and after a row of tokens; what was opened last closes first."""
    yield Edit(first.start, first.start, opening)
    yield Edit(last.end, last.end, closing, -1 - first.start)


class Source:
    """One module: its name, its text as written, and its text as the compiler gets it.

    `known` are the names that all modules define: see `_enclosed_value`.
    """

    def __init__(self, name: str, text: str, known: Names | None = None) -> None:
        self.name = name
        self.text = text.removeprefix("\ufeff")
        split = tokens(self.text)
        self.tokens = [token for token in split if token.kind != "comment"]
        self._comments = [token for token in split if token.kind == "comment"]
        self._known = known or Names(frozenset(), frozenset())
        found = _edits(self.text, self.tokens, self._known)
        self.edits = sorted(found, key=lambda edit: (edit.start, edit.order))
        self.prepared = self._rewritten()
        self._prepared_lines = self.prepared.split("\n")
        self._line_starts = _line_starts(self.text)

    def _rewritten(self) -> str:
        """Return the text with its edits, and blanks for comments.

        The compiler refuses a comment on the line of the package or at the very end.
        """
        text = self.text
        parts: list[str] = []
        position = 0
        for token in self._comments:
            parts += (text[position : token.start], " " * (token.end - token.start))
            position = token.end
        text = "".join((*parts, text[position:]))
        parts, position = [], 0
        for edit in self.edits:
            parts += (text[position : edit.start], edit.text)
            position = edit.end
        return "".join((*parts, text[position:]))

    @property
    def package(self) -> tuple[str, ...]:
        """The path of the module's package; empty where none is declared."""
        first = next(self.statements(), [])
        if not first or first[0].text != "package":
            return ()
        names = [token for token in first[1:] if token.kind in ("name", "string")]
        return tuple(t.text if t.kind == "name" else t.text[1:-1] for t in names)

    @property
    def references(self) -> frozenset[tuple[str, ...]]:
        """The paths below `data` that the module names; the empty one is all of `data`."""
        found: set[tuple[str, ...]] = set()
        for index, token in enumerate(self.tokens):
            before = self.tokens[index - 1].text if index else ""
            if token.kind == "name" and token.text == "data" and before != ".":
                found.add(_constant_path(self.tokens, index + 1))
            elif token.kind == "string" and token.text[0] == "$" and "data" in token.text:
                found.add(())  # an expression inside of a template string
        return frozenset(found)

    def statements(self) -> Iterator[list[Token]]:
        """Yield the statements at the top of the module: package, imports, rules."""
        statement: list[Token] = []
        depth = 0
        broken = False
        for token in self.tokens:
            if token.kind == "newline":
                broken = bool(statement) and depth <= 0
                continue
            if broken and statement[-1].text not in _UNFINISHED and token.text not in _GOES_ON:
                yield statement
                statement = []
            broken = False
            if token.kind == "mark":
                depth += (token.text in OPENING) - (token.text in CLOSING)
            statement.append(token)
        if statement:
            yield statement

    def replacements(self, statement: list[Token]) -> list[Token]:
        """Return each `with` of a statement that replaces a part of input or data."""
        found: list[Token] = []
        for index, token in enumerate(statement):
            if token.text == "with" and token.kind == "name" and statement[index - 1].text != ".":
                end = _end_of_reference(statement, index + 1)
                target = [part.text for part in statement[index + 1 : end]]
                if target and target[0] in RESERVED and not self._known.is_function(target):
                    found.append(token)
        return found

    def place(self, offset: int) -> tuple[int, int]:
        """Return the row and column, from 1, of an offset into the text as written."""
        row = bisect.bisect_right(self._line_starts, offset) - 1
        return row + 1, offset - self._line_starts[row] + 1

    def place_prepared(self, row: int, col: int) -> tuple[int, int]:
        """Translate a row and byte column, from 1, of the compiler's text to the original's."""
        if not 1 <= row <= len(self._prepared_lines):
            return 0, 0
        line = self._prepared_lines[row - 1]
        start = (
            sum(len(above) + 1 for above in self._prepared_lines[: row - 1]) if self.edits else 0
        )
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


def _constant_path(found: Sequence[Token], index: int) -> tuple[str, ...]:
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


def _line_starts(text: str) -> list[int]:
    return [0, *(match.end() for match in re.finditer("\n", text))]


@dataclass(frozen=True, slots=True)
class Names:
    """What the modules define.

    `functions` are the last names of functions, their whole names (`data.package.name`) and the
    builtins; `rules` the first and last names of rules and imports.
    """

    functions: frozenset[str]
    rules: frozenset[str]

    def is_function(self, name: Sequence[str]) -> bool:
        """Tell whether a reference, as its tokens, names a function."""
        if name[0] == "input":
            return False
        return "".join(name) in self.functions or (name[0] != "data" and name[-1] in self.functions)


def read_modules(modules: Mapping[str, str], builtins: Iterable[str]) -> list[Source]:
    """Return modules (name to text) as sources."""
    functions = set(builtins)
    rules: set[str] = set()
    for name, text in modules.items():
        source = Source(name, text)
        for statement in source.statements():
            if statement[0].text == "import" and statement[-1].kind == "name":
                rules.add(statement[-1].text)
                continue
            head, is_function = _head_name(statement)
            if is_function:
                functions |= {head[-1], ".".join(("data", *source.package, *head))}
            else:
                rules.update((*head[:1], *head[-1:]))
    known = Names(frozenset(functions), frozenset(rules))
    return [Source(name, text, known) for name, text in modules.items()]


def _head_name(statement: list[Token]) -> tuple[list[str], bool]:
    """Return the names of a rule's head, and whether it is a function's."""
    parts = statement[1:] if _default_name(statement) is not None else statement
    end = 0
    while end < len(parts) and (parts[end].kind == "name" or parts[end].text == "."):
        end += 1
    names = [part.text for part in parts[:end] if part.kind == "name"]
    return names, end < len(parts) and parts[end].text == "("


# --- what is rewritten


def _edits(text: str, found: Sequence[Token], known: Names) -> Iterator[Edit]:
    if text and not text.endswith("\n"):
        yield Edit(len(text), len(text), "\n")
    if _too_deep(found) is not None:
        return  # it is refused, and each bracket would be followed to its end
    for index, token in enumerate(found):
        after = found[index + 1].text if index + 1 < len(found) else ""
        match token.text:
            case "with" if not index or found[index - 1].text != ".":
                yield from _enclosed_value(found, index + 1, known)
                if [part.text for part in found[index + 1 : index + 3]] == _INPUT_AS:
                    # The compiler aborts on a new input for a rule that calls a function, but
                    # not on a new value inside it; the plan's reader makes this the whole.
                    yield Edit(found[index + 1].end, found[index + 1].end, f".{WHOLE_INPUT}")
            case "[" | "{" if _opens_term(found, index):
                yield from _enclosed_head(found, index + 1)
            case "some":
                yield from _unrolled_some(found, index)
            case "if" if after == "every":
                yield from _braced(found, index + 1, "every")
            case "if" if after != "{":
                yield from _braced(found, index + 1, "with")


def _enclosed_value(found: Sequence[Token], index: int, known: Names) -> Iterator[Edit]:
    """Rewrite `with x as reference` to `with x as [reference][0]`.

    The compiler takes every reference for the name of a function, and where there is none of
    that name it leaves the `with` out or crashes. A function is replaced by a function or a rule
    as it stands, and a variable needs nothing.
    """
    as_ = _end_of_reference(found, index)
    if as_ >= len(found) or found[as_].text != "as":
        return
    end = _end_of_reference(found, as_ + 1)
    if end == as_ + 1 or (end < len(found) and found[end].text == "("):
        return
    value = [token.text for token in found[as_ + 1 : end]]
    target = [token.text for token in found[index:as_]]
    if known.is_function(value):
        return
    is_rule, is_single = value[-1] in known.rules, len(value) == 1
    if (is_rule or is_single) if known.is_function(target) else (is_single and not is_rule):
        return
    yield from _enclosed(found[as_ + 1], found[end - 1], "[", "][0]")


def _end_of_reference(found: Sequence[Token], index: int) -> int:
    """Return the index after the reference that starts at `index`; `index` if there is none."""
    if index >= len(found) or found[index].kind != "name" or found[index].text in KEYWORDS:
        return index
    end = index + 1
    while end < len(found):
        if found[end].text == "." and end + 1 < len(found) and found[end + 1].kind == "name":
            end += 2
        elif found[end].text == "[" and found[end].start == found[end - 1].end:
            end = _after_bracket(found, end)
        else:
            break
    return end


def _after_bracket(found: Sequence[Token], index: int) -> int:
    """Return the index after the bracket that closes the one at `index`."""
    depth = 0
    for position in range(index, len(found)):
        if found[position].kind == "mark":
            depth += (found[position].text in OPENING) - (found[position].text in CLOSING)
        if depth == 0:
            return position + 1
    return len(found)


def _opens_term(found: Sequence[Token], index: int) -> bool:
    """Whether a bracket starts a collection: not a rule's body, nor a subscript."""
    before = found[index - 1] if index else None
    if before is None or before.kind == "newline" or before.text in ("if", "else", ";"):
        return False
    return not _ends_term(before)


_INFIX: Final = frozenset(("+", "-", "*", "/", "%", "==", "!=", "<", ">", "<=", ">=", "&", "in"))


def _enclosed_head(found: Sequence[Token], index: int) -> Iterator[Edit]:
    """Put `x + 1` of `[x + 1 | …]` into parentheses, which the compiler refuses without."""
    start, infix = index, False
    edits: list[Edit] = []
    position = index
    while position < len(found):
        token = found[position]
        if token.kind == "mark" and token.text in OPENING:
            position = _after_bracket(found, position)
            continue
        if token.kind == "mark" and token.text in (":", "|"):
            if infix and position > start:
                edits += _enclosed(found[start], found[position - 1], "(", ")")
            if token.text == "|":
                yield from edits
                return
            start, infix = position + 1, False
        elif token.text in ("]", "}", ")", ",", ";", ":=") or token.kind == "newline":
            return
        elif token.text in _INFIX and position > start:
            infix = True
        position += 1


def _unrolled_some(found: Sequence[Token], index: int) -> Iterator[Edit]:
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
    closing = (
        f"; {value.text} := {collection}[{key.text}]"
        if value.text != "_"
        else (f"; {collection}[{key.text}] = _")
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


_CONTINUES: Final = frozenset(
    (
        "with",
        "as",
        ".",
        "[",
        "(",
        ",",
        "==",
        "!=",
        "<",
        ">",
        "<=",
        ">=",
        "in",
        "+",
        "-",
        "*",
        "/",
        "%",
        "|",
        "&",
        "=",
    )
)


def _braced(found: Sequence[Token], index: int, needing: str) -> Iterator[Edit]:
    """Put braces round a body of one expression, if the word `needing` is in it.

    The compiler refuses most of `if … with …`, and `if every …`, without.
    """
    depth = 0
    last = index
    needed = False
    for position in range(index, len(found)):
        token = found[position]
        if token.text in OPENING:
            depth += 1
        elif token.text in CLOSING:
            depth -= 1
        elif depth == 0 and token.text == needing:
            needed = True
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
    if needed:
        yield from _enclosed(found[index], found[last], "{ ", " }")


# --- what is refused


def faults(source: Source) -> Iterator[RegoProblem]:
    """Yield the faults that a module's text shows by itself."""
    unreadable = _unreadable(source)
    if unreadable is not None:
        yield unreadable
        return
    defaults: set[str | None] = set()
    for statement in source.statements():
        yield from _head_faults(source, statement)
        name = _default_name(statement)
        if name is not None and name in defaults:
            message = f"a second default for `{name}`"
            yield source.problem_at(statement[1], "two-defaults", message, "remove one")
        defaults.add(name)
    yield from _Bodies(source).faults()


def _default_name(statement: list[Token]) -> str | None:
    """Return the reference that a `default` statement is for; a rule may be named `default`."""
    if statement[0].text != "default" or len(statement) < 2 or statement[1].text == ".":
        return None
    end = next((i for i, t in enumerate(statement) if t.text in (":=", "=")), len(statement))
    return "".join(token.text for token in statement[1:end])


def _unreadable(source: Source) -> RegoProblem | None:
    if len(source.text) > MAX_SOURCE:
        message = f"the module is longer than {MAX_SOURCE} characters"
        return source.problem((0, 0), "too-large", message)
    if "\0" in source.text:
        at = source.place(source.text.index("\0"))
        return source.problem(at, "nul", "a NUL character", "remove it")
    deep = _too_deep(source.tokens)
    if deep is not None:
        return source.problem_at(deep, "too-deep", f"nested more than {MAX_NESTING} deep")
    if not source.package:
        message, remedy = "the module declares no package", "start it with `package …`"
        return source.problem((1, 1), "no-package", message, remedy)
    return None


def _too_deep(found: Iterable[Token]) -> Token | None:
    """Return the first bracket that is nested too deeply."""
    depth = 0
    for token in found:
        if token.kind == "mark":
            depth += (token.text in OPENING) - (token.text in CLOSING)
        if depth > MAX_NESTING:
            return token
    return None


def hidden_builtins(sources: Sequence[Source], names: Iterable[str]) -> Iterator[RegoProblem]:
    """Yield calls of the builtins `names` where a rule of the package has the name's first part.

    The compiler does not survive them.
    """
    rules: dict[tuple[str, ...], set[str]] = {}
    for source in sources:
        heads = rules.setdefault(source.package, set())
        for first, *rest in source.statements():
            if first.text == "default" and rest:
                first, *rest = rest  # noqa: PLW2901  the name is what counts
            if first.kind == "name" and not (rest and rest[0].text == "("):
                heads.add(first.text)
    known = frozenset(names)
    for source in sources:
        hiding = rules[source.package] - KEYWORDS
        for name, token in _calls(source.tokens):
            if name in known and token.text in hiding:
                yield source.problem_at(
                    token,
                    "hidden-builtin",
                    f"the rule `{token.text}` hides the builtin `{name}`",
                    "rename the rule",
                )


def taken_for_packages(sources: Sequence[Source]) -> Iterator[RegoProblem]:
    """Yield names that nothing declares and that the compiler takes for a package.

    It looks a name up among the packages that lie below its own one, or below any above it; in
    Rego only an import does that, and without one the name is a variable.
    """
    below: dict[tuple[str, ...], set[str]] = {}
    for source in sources:
        for depth, name in enumerate(source.package):
            below.setdefault(source.package[:depth], set()).add(name)
    rules: dict[tuple[str, ...], set[str]] = {}
    for source in sources:
        rules.setdefault(source.package, set()).update(defined_names(source))
    for source in sources:
        above = (source.package[:depth] for depth in range(len(source.package) + 1))
        names = set[str]().union(*(below.get(path, ()) for path in above))
        names -= rules[source.package]
        for statement in source.statements() if names else ():
            if statement[0].text in ("package", "import"):
                continue
            for before, token, after in zip(
                [None, *statement], statement, [*statement[1:], None], strict=False
            ):
                if token.kind != "name" or token.text not in names:
                    continue
                if (before and before.text == ".") or (after and after.text == "("):
                    continue
                message = f"`{token.text}` is a package, and no variable that anything declares"
                remedy = "import the package, or declare the variable with `some`"
                yield source.problem_at(token, "undeclared", message, remedy)


def defined_names(source: Source) -> frozenset[str]:
    """Return the names that a module defines, imports or declares anywhere."""
    defined = set(KEYWORDS | RESERVED | {"_"})
    for statement in source.statements():
        first = statement[1] if statement[0].text == "default" else statement[0]
        defined.add(first.text)
        if first.text == "import":
            defined.add(statement[-1].text)
        defined.update(_parameters(statement))
        listing = False
        for index, token in enumerate(statement):
            following = statement[index + 1].text if index + 1 < len(statement) else ""
            if token.text in ("some", "every"):
                listing = True
            elif token.text == "in":
                listing = False
            elif listing or following in (":=", "=", "(") or statement[index - 1].text == "=":
                defined.add(token.text)
    return frozenset(defined)


def _parameters(statement: Sequence[Token]) -> Iterator[str]:
    """Yield the names in the parentheses of a function's head."""
    head, is_function = _head_name(list(statement))
    if not head or not is_function:
        return
    start = next(index for index, token in enumerate(statement) if token.text == "(")
    for token in statement[start : _after_bracket(statement, start)]:
        if token.kind == "name":
            yield token.text


def _calls(found: Sequence[Token]) -> Iterator[tuple[str, Token]]:
    """Yield the dotted name of each call, with its first token."""
    for index, token in enumerate(found):
        if token.text != "(" or token.kind != "mark":
            continue
        start = index
        while start > 0 and (found[start - 1].kind == "name" or found[start - 1].text == "."):
            if found[start - 1].kind == found[start].kind == "name":
                break
            start -= 1
        if start < index:
            yield "".join(part.text for part in found[start:index]), found[start]


_GOES_ON: Final = frozenset(("with", "as", "else", ")", "]", "}"))

_UNFINISHED: Final = frozenset(
    ("if", "contains", ":=", "=", "default", "else", "package", "import", ".", ",")
)


def _head_faults(source: Source, statement: list[Token]) -> Iterator[RegoProblem]:
    first = statement[0]
    if _default_name(statement) is not None:
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
            if token.text == "{" and depth == 0 and not loop and _ends_term(before):
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


def _ends_term(token: Token | None) -> bool:
    """Whether a rule's head or value can end with the token, so that `{` starts its body."""
    if token is None:
        return False
    if token.kind == "name":
        return token.text not in KEYWORDS or token.text in ("else", "true", "false", "null")
    return token.kind in ("number", "string") or token.text in CLOSING


def _is_reference(statement: list[Token]) -> bool:
    depth = 0
    for token in statement:
        if token.text == "[":
            depth += 1
        elif token.text == "]":
            depth -= 1
        elif depth == 0 and token.text != "." and (token.kind != "name" or token.text in KEYWORDS):
            return False
    return True


def _remedy(statement: list[Token]) -> str:
    name = statement[0].text
    if len(statement) > 1 and statement[1].text == "[":
        return f"write `{name} contains … if {{ … }}` or `{name}[…] := … if {{ … }}`"
    return f"write `{name} … if {{ … }}`"


class _Bodies:
    """Finds variables declared twice in one body, and variables named input or data."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.tokens = source.tokens
        self.scopes: list[set[str]] = [set()]

    def faults(self) -> Iterator[RegoProblem]:
        for index, token in enumerate(self.tokens):
            if token.kind == "mark" and token.text in OPENING:
                self.scopes.append(set())
            elif token.kind == "mark" and token.text in CLOSING:
                if len(self.scopes) > 1:
                    self.scopes.pop()
            elif token.kind == "name" and token.text == "some":
                for name in self.declared(index + 1):
                    yield from self.declare(name)
            elif token.text == ":=" and len(self.scopes) > 1 and self.is_assigned(index - 1):
                yield from self.declare(self.tokens[index - 1])

    def declare(self, token: Token) -> Iterator[RegoProblem]:
        if token.text in RESERVED:
            yield _shadowed(self.source, token)
        elif token.text in self.scopes[-1]:
            message = f"`{token.text}` is declared twice in one body"
            remedy = "use another name, or `==` to compare"
            yield self.source.problem_at(token, "declared-twice", message, remedy)
        elif token.text != "_":
            self.scopes[-1].add(token.text)

    def declared(self, index: int) -> Iterator[Token]:
        """Yield the variables of a `some` whose names start at `index`."""
        while index < len(self.tokens) and self.tokens[index].kind == "name":
            yield self.tokens[index]
            if index + 1 == len(self.tokens) or self.tokens[index + 1].text != ",":
                return
            index += 2

    def is_assigned(self, index: int) -> bool:
        """Whether a name is the whole left side of an assignment in a body."""
        if self.tokens[index].kind != "name":
            return False
        before = self.tokens[index - 1]
        return before.kind == "newline" or before.text in ("{", "[", ";", "|", "if")
