"""Policy source before compilation: what a module says, and its text as the compiler gets it.

The compiler accepts some text that is no valid Rego (faults.py refuses it), and refuses or
misreads some that is (rewrite.py rewrites it); places in the rewritten text are translated back.
"""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from gateway.rego.annotations import valued_calls
from gateway.rego.errors import RegoProblem
from gateway.rego.grammar import NoRego, read_module
from gateway.rego.lifting import Lifting
from gateway.rego.replacements import Scope, replacements_in
from gateway.rego.rewrite import edits_of
from gateway.rego.scopes import Scopes
from gateway.rego.tokens import (
    CLOSING,
    KEYWORDS,
    OPENING,
    RESERVED,
    Token,
    after_bracket,
    constant_path,
    tokens,
    too_deep,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gateway.rego.edits import Edit
    from gateway.rego.replacements import Target
    from gateway.rego.tree import Module, Node, Rule

_GOES_ON: Final = frozenset(("with", "as", "else", ")", "]", "}"))

_UNFINISHED: Final = frozenset(
    ("if", "contains", ":=", "=", "default", "else", "package", "import", ".", ",")
)

_LONGEST_EXCERPT: Final = 200

_OF_NAMES: Final = frozenset(("scopes", "edits", "prepared"))
"""What is found by the names that other modules define."""


class Source:
    """One module: its name, its text as written, and its text as the compiler gets it."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text.removeprefix("\ufeff")
        self.faults: Sequence[RegoProblem] = ()
        self._known = NO_NAMES
        self._valued: Sequence[Edit] = ()

    def __getstate__(self) -> dict[str, Any]:
        """Pickle what plans are read with; the rest is found again when it is asked for."""
        names = ("name", "text", "faults", "_known", "_valued", "edits", "prepared", "package")
        return {name: getattr(self, name) for name in names}

    def among(self, known: Names, valued: Sequence[Edit], wrong: Sequence[RegoProblem]) -> Source:
        """Return the module among others.

        `known` are the names that all define, `valued` the values in the place of its calls that
        are constant, `wrong` what is wrong with others.
        """
        made = object.__new__(Source)
        made.__dict__ |= {name: v for name, v in self.__dict__.items() if name not in _OF_NAMES}
        made.faults, made._known, made._valued = wrong, known, valued
        return made

    @cached_property
    def _split(self) -> list[Token]:
        return tokens(self.text)

    @cached_property
    def tokens(self) -> list[Token]:
        """The tokens of the text, without comments."""
        return [token for token in self._split if token.kind != "comment"]

    @cached_property
    def comments(self) -> list[Token]:
        """The comments of the text."""
        return [token for token in self._split if token.kind == "comment"]

    @property
    def module(self) -> Module | None:
        """What the text says, if it is Rego."""
        return self._parsed[0]

    @property
    def no_rego(self) -> NoRego | None:
        """Why the text is no Rego."""
        return self._parsed[1]

    @cached_property
    def _parsed(self) -> tuple[Module | None, NoRego | None]:
        if too_deep(self.tokens) is not None:
            return None, None
        try:
            return read_module(self.text, self.tokens), None
        except NoRego as error:
            return None, error

    @cached_property
    def scopes(self) -> Scopes | None:
        """The variables of the module, if its text is Rego."""
        if self.module is None:
            return None
        imported = {
            each.name for each in self.module.imports if each.path.parts[0].text in RESERVED
        }
        is_function = Scope(self.module, self._known).function
        return Scopes(self.module, self._known.globals_of(self.package) | imported, is_function)

    @cached_property
    def edits(self) -> list[Edit]:
        """What the compiler gets in other words, by where it is."""
        if self.module is None or self.scopes is None or self._known is NO_NAMES:
            return []
        names, functions = Scope(self.module, self._known), self.scopes.functions
        taken = self._known.inner | self.scopes.globals
        edits = [*edits_of(self.text, self.tokens, self.module, names, functions), *self._valued]
        made = Lifting(self.text, self.module, self.scopes, taken, edits, names).edits()
        return sorted(made, key=lambda edit: (edit.start, edit.order))

    @cached_property
    def _line_starts(self) -> list[int]:
        return _line_starts(self.text)

    @cached_property
    def _prepared_lines(self) -> list[str]:
        return self.prepared.split("\n")

    @cached_property
    def _prepared_starts(self) -> list[int]:
        return _line_starts(self.prepared)

    @cached_property
    def prepared(self) -> str:
        """The text with its edits, and blanks for comments.

        The compiler refuses a comment on the line of the package or at the very end.
        """
        text = self.text
        parts: list[str] = []
        position = 0
        for token in self.comments:
            parts += (text[position : token.start], " " * (token.end - token.start))
            position = token.end
        text = "".join((*parts, text[position:]))
        parts, position = [], 0
        for edit in self.edits:
            parts += (text[position : edit.start], edit.text)
            position = edit.end
        return "".join((*parts, text[position:]))

    @cached_property
    def package(self) -> tuple[str, ...]:
        """The path of the module's package; empty where none is declared."""
        first = self.statements[0] if self.statements else []
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
                found.add(constant_path(self.tokens, index + 1))
            elif token.kind == "string" and token.text[0] == "$" and "data" in token.text:
                found.add(())  # an expression inside of a template string
        return frozenset(found)

    @cached_property
    def statements(self) -> tuple[list[Token], ...]:
        """The statements at the top of the module: package, imports, rules."""
        return tuple(self._divided())

    @cached_property
    def _statement_starts(self) -> list[int]:
        return [statement[0].start for statement in self.statements]

    def statement_at(self, offset: int) -> list[Token]:
        """Return the statement at the top that an offset is in, or behind; empty before all."""
        index = bisect.bisect_right(self._statement_starts, offset)
        return self.statements[index - 1] if index else []

    def statement_below(self, offset: int) -> list[Token]:
        """Return the first statement at the top below the line of an offset; empty if none is."""
        end = self.text.find("\n", offset)
        index = bisect.bisect_left(self._statement_starts, end)
        return self.statements[index] if end >= 0 and index < len(self.statements) else []

    @cached_property
    def defined(self) -> frozenset[str]:
        """The names that the module defines, imports or declares anywhere."""
        return frozenset(_defined(self))

    def _divided(self) -> Iterator[list[Token]]:
        if self.module is not None:
            yield from self._rows(self.module)
            return
        statement: list[Token] = []
        depth = 0
        broken = False
        for index, token in enumerate(self.tokens):
            if token.kind == "newline":
                broken = bool(statement) and depth <= 0
                continue
            if broken and statement[-1].text not in _UNFINISHED and not self._goes_on(index):
                yield statement
                statement = []
            broken = False
            if token.kind == "mark":
                depth += (token.text in OPENING) - (token.text in CLOSING)
            statement.append(token)
        if statement:
            yield statement

    def _rows(self, module: Module) -> Iterator[list[Token]]:
        """Yield the tokens of what stands at the top, by the grammar."""
        found = [token for token in self.tokens if token.kind != "newline"]
        starts = [token.start for token in found]
        position = 0
        for row in module.rows:
            index = bisect.bisect_left(starts, row.start)
            yield found[position:index]
            position = index
        yield found[position:]

    def _goes_on(self, index: int) -> bool:
        """Whether a statement can go on with a token; `else.x` is a name."""
        following = self.tokens[index + 1].text if index + 1 < len(self.tokens) else ""
        return self.tokens[index].text in _GOES_ON and following != "."

    @property
    def replaced(self) -> Iterator[tuple[Rule, Node, Target | None]]:
        """What each `with` replaces, if it can be replaced, the reference to it and the rule."""
        if self.module is None or "with" not in self.text:
            return
        scope = Scope(self.module, self._known)
        for rule in self.module.rules:
            for node, _ in replacements_in(rule):
                yield rule, node, scope.target(node)

    def calls(self, name: str) -> bool:
        """Whether a function has a whole name."""
        return name in self._known.functions

    def parted(self, left: Token, right: Token) -> bool:
        """Whether two tokens stand on different lines."""
        return "\n" in self.text[left.end : right.start]

    def place(self, offset: int) -> tuple[int, int]:
        """Return the row and column, from 1, of an offset into the text as written."""
        row = bisect.bisect_right(self._line_starts, offset) - 1
        return row + 1, offset - self._line_starts[row] + 1

    def offset(self, place: tuple[int, int]) -> int:
        """Return the offset into the text as written of a row and column, from 1, in it."""
        row, col = place
        return self._line_starts[row - 1] + col - 1

    def place_prepared(self, row: int, col: int) -> tuple[int, int]:
        """Translate a row and byte column, from 1, of the compiler's text to the original's."""
        if not 1 <= row <= len(self._prepared_lines):
            return 0, 0
        line = self._prepared_lines[row - 1]
        column = len(line.encode()[: col - 1].decode(errors="ignore"))
        if not self.edits:
            return row, column + 1
        return self.place(self._original(self._prepared_starts[row - 1] + column))

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

    def prepared_span(self, start: int, end: int) -> tuple[int, int]:
        """Translate offsets into the text as written to the compiler's: what is put there counts.

        No edit may reach over one of them.
        """
        before = bisect.bisect_left(self._edit_starts, start)
        behind = bisect.bisect_right(self._edit_starts, end)
        return start + self._growth[before], end + self._growth[behind]

    @cached_property
    def _edit_starts(self) -> list[int]:
        return [edit.start for edit in self.edits]

    @cached_property
    def _growth(self) -> list[int]:
        """How much longer the text is behind the first edits: none of them, one, two …."""
        grown = (len(edit.text) - (edit.end - edit.start) for edit in self.edits)
        return list(accumulate(grown, initial=0))

    def excerpt(self, row: int, col: int) -> str:
        """Return a line of the source with a caret under a column; empty if there is none."""
        if not 1 <= row <= len(self._line_starts):
            return ""
        start = self._line_starts[row - 1]
        line = self.text[start : start + _LONGEST_EXCERPT].split("\n", 1)[0].rstrip("\r")
        clean = "".join(mark if mark.isprintable() else " " for mark in line)
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


def _line_starts(text: str) -> list[int]:
    return [0, *(match.end() for match in re.finditer("\n", text))]


@dataclass(frozen=True, slots=True)
class Names:
    """What the modules define.

    `functions` are the whole names of functions (`data.package.name`) and the builtins; `inner`
    the parts of the names of packages and rules; `heads` the first names of the rules of each
    package.
    """

    functions: frozenset[str]
    inner: frozenset[str] = frozenset()
    heads: Mapping[tuple[str, ...], frozenset[str]] = field(default_factory=dict)

    def globals_of(self, package: tuple[str, ...]) -> frozenset[str]:
        """Return the names of a package's rules."""
        return self.heads.get(package, frozenset())


NO_NAMES: Final = Names(frozenset())


def read_modules(modules: Mapping[str, str], builtins: Iterable[str]) -> list[Source]:
    """Return modules (name to text) as sources."""
    functions = set(builtins)
    heads: dict[tuple[str, ...], set[str]] = {}
    first = [Source(name, text) for name, text in modules.items()]
    for source in first:
        own = heads.setdefault(source.package, set())
        for statement in source.statements:
            if statement[0].text == "import" and statement[1:] and statement[1].text != ".":
                continue
            head, is_function = head_name(statement)
            own.update(head[:1])
            if is_function and head:
                functions.add(".".join(("data", *source.package, *head)))
    packages = (part for source in first for part in source.package)
    named = (part.text.strip('"`') for source in first for part in _head_parts(source.module))
    known = Names(
        frozenset(functions),
        frozenset((*packages, *named)),
        {package: frozenset(names) for package, names in heads.items()},
    )
    return [
        source.among(known, valued, wrong)
        for source, (valued, wrong) in zip(first, valued_calls(first), strict=True)
    ]


def _head_parts(module: Module | None) -> Iterator[Node]:
    for rule in module.rules if module is not None else ():
        first, *keys = rule.head.parts
        yield first
        yield from (key for key in keys if key.kind != "var")


def head_name(statement: list[Token]) -> tuple[list[str], bool]:
    """Return the names of a rule's head, and whether it is a function's."""
    parts = statement[1:] if default_name(statement) is not None else statement
    end = 1
    while end + 1 < len(parts) and parts[end].text == "." and parts[end + 1].kind == "name":
        end += 2  # two names in a row are no reference: `p if count(x) > 1`
    names = [part.text for part in parts[:end] if part.kind == "name"]
    return names, end < len(parts) and parts[end].text == "("


def default_name(statement: list[Token]) -> str | None:
    """Return the reference that a `default` statement is for; a rule may be named `default`."""
    if statement[0].text != "default" or len(statement) < 2 or statement[1].text == ".":
        return None
    end = next((i for i, t in enumerate(statement) if t.text in (":=", "=")), len(statement))
    return "".join(token.text for token in statement[1:end])


def _defined(source: Source) -> Iterator[str]:
    yield from KEYWORDS | RESERVED | {"_"}
    for statement in source.statements:
        first = statement[1] if default_name(statement) is not None else statement[0]
        yield first.text
        if first.text == "import":
            yield statement[-1].text
        yield from _parameters(statement)
        listing = False
        for index, token in enumerate(statement):
            following = statement[index + 1].text if index + 1 < len(statement) else ""
            if token.text in ("some", "every"):
                listing = True
            elif token.text == "in":
                listing = False
            elif listing or following in (":=", "=", "(") or statement[index - 1].text == "=":
                yield token.text


def _parameters(statement: Sequence[Token]) -> Iterator[str]:
    """Yield the names in the parentheses of a function's head."""
    head, is_function = head_name(list(statement))
    if not head or not is_function:
        return
    start = next(index for index, token in enumerate(statement) if token.text == "(")
    for token in statement[start : after_bracket(statement, start)]:
        if token.kind == "name":
            yield token.text
