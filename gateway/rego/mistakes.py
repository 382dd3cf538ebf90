"""What people write who come from other languages: no Rego, found in the tokens.

Everything here is an error in any place, so it is refused before the compiler sees it, which
would say no more than that something is invalid.
"""

from __future__ import annotations

import difflib
import itertools
import re
from typing import TYPE_CHECKING, Final

from gateway.rego.tokens import CLOSING, KEYWORDS, OPENING, Token, end_of_reference, ends_term

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from gateway.rego.errors import RegoProblem
    from gateway.rego.source import Source

Said = tuple[str, str]
"""A message and its remedy."""

_ALL: Final = "put each condition on a line of its own, or write `;` between them: all must hold"
_EITHER: Final = "write another rule of the same name for the other case"
_QUOTES: Final = 'write "…", or `…` where backslashes stand for themselves'
_ONE_VALUE: Final = "a variable has one value: assign the result to another, `y := x + 1`"
_COMMENT: Final = "a comment starts with `#`"

_SIGNS: Final[Mapping[tuple[str, ...], Said]] = {
    ("&", "&"): ("Rego has no `&&`", _ALL),
    ("|", "|"): ("Rego has no `||`", _EITHER),
    ("!",): ("Rego has no `!`", "write `not …`"),
    ("'",): ("a string has double quotes", _QUOTES),
    ("“",): ("a string has straight double quotes", _QUOTES),
    ("”",): ("a string has straight double quotes", _QUOTES),
    ("\u2018",): ("a string has straight double quotes", _QUOTES),
    ("\u2019",): ("a string has straight double quotes", _QUOTES),
    ('"',): ("a string is not closed on its line", "close it, or write a text of lines in `…`"),
    ("`",): ("a raw string is never closed", "close it with a backquote"),
    ("==", "="): ("Rego has no `===`", "write `==`"),
    ("!=", "="): ("Rego has no `!==`", "write `!=`"),
    ("<", ">"): ("Rego has no `<>`", "write `!=`"),
    ("=", "!"): ("Rego has no `=!`", "write `!=`, or `= not …` as a rule of its own"),
    ("=", ">"): ("Rego has no `=>`", "write `>=` to compare, `if` before a body"),
    ("=", "<"): ("Rego has no `=<`", "write `<=`"),
    ("-", ">"): ("Rego has no `->`", "write `:=` before a value, `if` before a body"),
    ("=", "~"): ("Rego has no `=~`", "write `regex.match(pattern, text)`"),
    ("~",): ("Rego has no `~`", "write `regex.match(pattern, text)`"),
    ("+", "="): ("Rego has no `+=`", _ONE_VALUE),
    ("-", "="): ("Rego has no `-=`", _ONE_VALUE),
    ("*", "="): ("Rego has no `*=`", _ONE_VALUE),
    ("+", "+"): ("Rego has no `++`", _ONE_VALUE),
    ("/", "/"): ("Rego has no `//`", _COMMENT),
    ("/", "*"): ("Rego has no `/*`", _COMMENT),
    ("?",): ("Rego has no `? :`", "write `name := a if { … } else := b`"),
    ("$",): ("a name has no `$`", 'write the name alone, or `$"… {name} …"` for a text'),
    ("@",): ("Rego has no `@`", "leave it out"),
    ("^",): ("Rego has no `^`", "call `bits.xor`, or multiply"),
    ("\\",): ("Rego has no `\\`", "leave it out: an expression goes on behind an operator"),
    (".", "."): ("a name is missing between two dots", "write `a.b`, or `a[_]` for each member"),
}

_FIRST_SIGNS: Final = frozenset(signs[0] for signs in _SIGNS)

_HIDES_THE_LINE: Final = frozenset("'\"`“”\u2018\u2019/")
"""After a sign that starts with one of these, the rest of the line is no code."""

_FUNCTION: Final = "write `name(x) := value if { … }`, or `name(x) if { … }` for true"
_ASSIGNMENT: Final = "write `x := value`"
_LOOP: Final = "write `some x in xs` for any of them, `every x in xs { … }` for all"
_ELSE: Final = "write `else := value if { … }`"

_OPENERS: Final[Mapping[str, Said]] = {
    "return": ("Rego has no `return`", "write the value in the head: `name(x) := value if { … }`"),
    "function": ("Rego has no `function`", _FUNCTION),
    "func": ("Rego has no `func`", _FUNCTION),
    "def": ("Rego has no `def`", _FUNCTION),
    "let": ("Rego has no `let`", _ASSIGNMENT),
    "var": ("Rego has no `var`", _ASSIGNMENT),
    "const": ("Rego has no `const`", _ASSIGNMENT),
    "for": ("Rego has no `for`", _LOOP),
    "foreach": ("Rego has no `foreach`", _LOOP),
    "while": ("Rego has no `while`", _LOOP),
    "elif": ("Rego has no `elif`", _ELSE),
    "elsif": ("Rego has no `elsif`", _ELSE),
    "elseif": ("Rego has no `elseif`", _ELSE),
    "from": ("Rego has no `from`", "write `import data.package.name`"),
}
"""Words that start a statement elsewhere; something else than an operator follows them."""

_BETWEEN: Final[Mapping[str, Said]] = {
    "and": ("Rego has no `and` between conditions", _ALL),
    "or": ("Rego has no `or` between conditions", _EITHER),
    "is": ("Rego has no `is`", "write `==`, or call `is_string` and the like"),
    "then": ("Rego has no `then`", "a body stands in braces: `name := value if { … }`"),
    "elif": _OPENERS["elif"],
    "elsif": _OPENERS["elsif"],
    "elseif": _OPENERS["elseif"],
}
"""Words behind a term."""

_ESCAPE: Final = re.compile(r'\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})|(?P<wrong>\\.)', re.DOTALL)


def mistakes(source: Source, builtins: Collection[str]) -> Iterator[RegoProblem]:
    """Yield what is no Rego anywhere; `builtins` are the names that can be called."""
    yield from _signs(source)
    yield from _strings(source)
    yield from _numbers(source)
    yield from _brackets(source)
    for statement in source.statements:
        yield from _head(source, statement)
        yield from _Words(source, statement, builtins).faults()


def _signs(source: Source) -> Iterator[RegoProblem]:
    found = source.tokens
    position = 0
    while position < len(found):
        for length in (2, 1) if found[position].text in _FIRST_SIGNS else ():
            row = found[position : position + length]
            said = _SIGNS.get(tuple(token.text for token in row))
            if said and row[-1].kind == "mark" and _adjacent(row):
                yield source.problem_at(row[0], "no-rego", *said)
                position += length - 1
                if row[0].text in _HIDES_THE_LINE:
                    while position + 1 < len(found) and found[position + 1].kind != "newline":
                        position += 1
                break
        position += 1


def _adjacent(row: Sequence[Token]) -> bool:
    return all(left.end == right.start for left, right in itertools.pairwise(row))


def _numbers(source: Source) -> Iterator[RegoProblem]:
    found = source.tokens
    for index, token in enumerate(found):
        if token.kind != "number":
            continue
        if token.text[0] == "0" and token.text[1:2].isdigit():
            message, remedy = "a number starts with no zero", "leave it out, or write a string"
        elif any(
            mark.text == "." and mark.kind == "mark" and gap == 0
            for mark, gap in _neighbours(found, index)
        ):
            message, remedy = "a number has digits on both sides of its point", "write `0.5`, `1.0`"
        else:
            continue
        yield source.problem_at(token, "no-rego", message, remedy)


def _neighbours(found: Sequence[Token], index: int) -> Iterator[tuple[Token, int]]:
    """Yield the tokens beside one, and how far away they are."""
    if index:
        yield found[index - 1], found[index].start - found[index - 1].end
    if index + 1 < len(found):
        yield found[index + 1], found[index + 1].start - found[index].end


def _brackets(source: Source) -> Iterator[RegoProblem]:
    """Find the first bracket that closes none, or one of another kind."""
    opened: list[Token] = []
    for token in source.tokens:
        if token.kind != "mark":
            continue
        if token.text in OPENING:
            opened.append(token)
        elif token.text in CLOSING:
            last = opened.pop() if opened else None
            if last is not None and OPENING[last.text] == token.text:
                continue
            message, remedy = f"this `{token.text}` closes nothing", "remove it"
            if last is not None:
                row, _ = source.place(last.start)
                message = f"`{token.text}` cannot close the `{last.text}` of line {row}"
                remedy = f"write `{OPENING[last.text]}` before it"
            yield source.problem_at(token, "no-rego", message, remedy)
            return


def _strings(source: Source) -> Iterator[RegoProblem]:
    for token in source.tokens:
        if token.kind != "string" or token.text[0] != '"':
            continue
        for escape in _ESCAPE.finditer(token.text):
            if escape["wrong"]:
                at = source.place(token.start + escape.start())
                message = f"a string has no `{escape['wrong']}`"
                remedy = "write a pattern in backquotes, or each backslash twice"
                yield source.problem(at, "no-rego", message, remedy)
                break


def _head(source: Source, statement: list[Token]) -> Iterator[RegoProblem]:
    """Find `name == value` where a rule stands, names with a hyphen, and bodies without braces."""
    word = statement[0].text
    start = 1 if word in ("package", "default") else 0
    end = end_of_reference(statement, start)
    if not start < end < len(statement):
        return
    if statement[end].text == "==":
        message = "`==` compares, and defines no rule"
        remedy = "write `name := value`, or put the conditions into `if { … }`"
        yield source.problem_at(statement[end], "no-rego", message, remedy)
    elif statement[end].text == "-":
        remedy = 'write `_`, or `package a["b-c"]`' if word == "package" else "write `_`"
        yield source.problem_at(statement[end], "no-rego", "a name has no `-`", remedy)


class _Words:
    """Finds words of one statement that stand where an operator or a new line is needed."""

    def __init__(self, source: Source, statement: list[Token], builtins: Collection[str]) -> None:
        self.source = source
        self.statement = statement
        self.builtins = builtins
        self.open: list[str] = []
        self.body = False
        self.bare = False
        self.valued = False
        self.opener = ""

    def faults(self) -> Iterator[RegoProblem]:
        """Yield the first one of each line: the others follow from it."""
        row = 0
        before: Token | None = None
        for token, after in zip(self.statement, [*self.statement[1:], None], strict=True):
            said = self.said(before, token, after)
            place = self.source.place(token.start) if said else (row, 0)
            if said and place[0] != row:
                row = place[0]
                yield self.source.problem(place, "no-rego", *said)
            if token.kind == "mark" and token.text in OPENING:
                self.open.append(token.text)
            elif token.kind == "mark" and token.text in CLOSING and self.open:
                self.open.pop()
            elif token.text == "if" and not self.open and before and before.text != ".":
                self.body = self.body or after is None or after.text != "."
                self.bare = after is not None and after.text not in ("{", ".")
            elif token.text == ":=" and not self.open:
                self.valued = True
            before = token

    def said(self, before: Token | None, token: Token, after: Token | None) -> Said | None:
        """Say what is wrong with a token; a word beside a dot is a name, whatever it is."""
        if (
            before is None
            or before.text in ("{", ";", "if", "|")
            or self.source.parted(before, token)
        ):
            self.opener = token.text
            return self.opening(before, token, after)
        dotted = before.text == "." or (after is not None and after.text == ".")
        word = "" if dotted else token.text
        if before.text == "}" and not self.open:
            return _BETWEEN.get(word)  # another rule may start on the line
        said = self.phrase(before.text, word, after) or (
            self.clause(before, token, after) if word else None
        )
        if said or token.kind not in ("name", "number", "string") or not ends_term(before):
            return said
        if before.text == "else" or word in KEYWORDS - {"contains"}:
            return None
        if word == "contains" and not self.body:
            return None
        return self.beside(before, token)

    def phrase(self, before: str, word: str, after: Token | None) -> Said | None:
        """Say what is wrong with words in a row."""
        following = "" if after is None else after.text
        if before == word == "not":
            return "Rego has no `not not`", "put what is negated into a rule of its own"
        if word == "contains" and following == "if" and not self.body:
            return "what the set contains is missing", "write `name contains value if { … }`"
        return None

    def clause(self, before: Token, token: Token, after: Token | None) -> Said | None:
        """Say what is wrong with a mark or word behind an expression."""
        if token.text == ";" and self.bare and not self.open:
            if after is not None and not self.source.parted(token, after):
                return "several conditions need braces", "write `if { …; … }`"
            return None
        if not ends_term(before):
            return None
        if token.text == "not" and after is not None and after.text == "in":
            return "Rego has no `not in`", "write `not x in xs`"
        if token.text == "{" and self.opener == "some":
            return "`some` has no body of its own", "write the conditions on lines below it"
        return None

    def opening(self, before: Token | None, token: Token, after: Token | None) -> Said | None:
        """Say what is wrong with a word that starts a statement."""
        if token.kind != "name" or after is None:
            return None
        inside = before is not None and (self.open or before.text == "if")
        if token.text == "if" and inside and after.text != ".":
            return "a body holds no `if`", f"write the condition alone; {_EITHER}"
        if self.source.parted(token, after) or after.text in ("if", "contains", "in", "."):
            return None
        operand = after.kind in ("name", "number", "string")
        return _OPENERS.get(token.text) if operand else None

    def beside(self, before: Token, token: Token) -> Said:
        """Say what is wrong with two terms side by side."""
        if token.text in _BETWEEN:
            return _BETWEEN[token.text]
        if token.text in self.builtins:
            return f"`{token.text}` is a function", f"write `{token.text}(…, …)`"
        for word in (before, token) if token.kind == "name" else ():
            close = difflib.get_close_matches(word.text, KEYWORDS, n=1, cutoff=0.75)
            if word.kind == "name" and close:
                return f"`{word.text}` is no word of Rego here", f"did you mean `{close[0]}`?"
        shown = token.text if len(token.text) <= _SHOWN else "…"
        message = f"nothing stands between `{shown}` and what is before it"
        if not self.open and not self.body:
            value = "" if self.valued else ", `:=` before its value"
            return message, f"write `if` before a rule's body{value}"
        if self.open and not (self.open[-1] == "{" and self.body):
            return message, "write `,` between elements, an operator between terms"
        return message, "write an operator, or put each condition on a line of its own"


_SHOWN: Final = 40
"""Longest word that a message repeats."""
