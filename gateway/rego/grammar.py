"""The grammar of Rego v1: a module's text as a tree, or the place where it is no Rego.

Where a text can be read in two ways the order of trial is OPA's: what stands behind `if` is one
expression, if it can be, and not a body; `{a | b}` is a comprehension, and not a union.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gateway.rego.tokens import KEYWORDS, Token, braces_end, tokens
from gateway.rego.tree import Branch, Import, Literal, Module, Node, Rule

if TYPE_CHECKING:
    from collections.abc import Sequence

_ESCAPE: Final = re.compile(r'\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})|(?P<wrong>\\.)', re.DOTALL)
_RELATIONS: Final = ("==", "!=", "<", ">", "<=", ">=")
_INFIX: Final = {
    operator: level
    for level, row in enumerate((_RELATIONS, ("|",), ("&",), ("+", "-"), ("*", "/", "%")))
    for operator in row
}
"""Operators and how strongly they bind; all are read from the left."""

_LONG_HEAD: Final = (
    "put it into parentheses: `[(x + 1) | …]`, or assign it in the body",
    "a comprehension's head is one term, without operators",
)
_SIGNS: Final = (":=", "=", ";")
_CONSTANTS: Final = frozenset(("true", "false", "null"))
_HEADS: Final = frozenset(("var", "array", "set", "object", "call", "comprehension"))
"""Terms that a reference can start with."""


class NoRego(Exception):  # noqa: N818  it is an answer
    """The text is no Rego at `token`, or at its end: a message, if there is one, and a remedy."""

    def __init__(self, token: Token | None, message: str, remedy: str) -> None:
        super().__init__(message, remedy)
        self.token = token
        self.message = message
        self.remedy = remedy


def read_module(text: str, found: Sequence[Token]) -> Module:
    """Return what the tokens of a module say, or raise NoRego."""
    return _Parser(text, found).module()


class _Parser:
    def __init__(self, text: str, found: Sequence[Token]) -> None:
        self.text = text
        self.found = [token for token in found if token.kind not in ("newline", "comment")]
        self.at = 0
        self.worst = -1, "", ""
        self.bodies_of_not = False
        self.terms: dict[int, tuple[Node | NoRego, int]] = {}

    # --- tokens

    def token(self) -> Token | None:
        return self.found[self.at] if self.at < len(self.found) else None

    def is_mark(self, text: str) -> bool:
        token = self.token()
        return token is not None and token.kind == "mark" and token.text == text

    def is_word(self, text: str) -> bool:
        """Whether a keyword stands here; directly before `.` or `[` all but `if` are names."""
        token = self.token()
        return (
            token is not None
            and token.kind == "name"
            and token.text == text
            and not self.touches(self.at, "." if text == "if" else ".[")
        )

    def touches(self, index: int, marks: str) -> bool:
        """Whether one of some marks follows a token without a blank."""
        if index + 1 >= len(self.found):
            return False
        token, following = self.found[index], self.found[index + 1]
        return following.kind == "mark" and following.text in marks and following.start == token.end

    def take(self, mark: str) -> bool:
        taken = self.is_mark(mark)
        self.at += taken
        return taken

    def take_word(self, word: str) -> bool:
        taken = self.is_word(word)
        self.at += taken
        return taken

    def need(self, mark: str) -> None:
        if not self.take(mark):
            raise self.wrong(f"`{mark}`")

    def wrong(self, expected: str, message: str = "") -> NoRego:
        """Return the fault that was found farthest behind; with a message the remedy is given."""
        if self.at > self.worst[0] or (self.at == self.worst[0] and not self.worst[1]):
            remedy = expected if message else f"what can stand here is {expected}"
            self.worst = self.at, message, remedy
        at, message, remedy = self.worst
        return NoRego(self.found[at] if at < len(self.found) else None, message, remedy)

    def start(self) -> int:
        token = self.token()
        return len(self.text) if token is None else token.start

    def end(self) -> int:
        """Return the end of the token before."""
        return self.found[self.at - 1].end if self.at else 0

    def newline(self) -> bool:
        """Whether what follows stands on another line."""
        return self.at >= len(self.found) or "\n" in self.text[self.end() : self.start()]

    # --- modules

    def module(self) -> Module:
        if not self.take_word("package"):
            raise self.wrong("`package`")
        made = Module(self.package())
        while self.token() is not None:
            if self.is_word("import"):
                made.imports.append(self.imported())
            else:
                made.rules.append(self.rule())
        return made

    def package(self) -> Node:
        if not (self.found[self.at :] and self.is_name()):
            raise self.wrong("write it behind the word", "a name is missing")
        path = self.path()
        for part in path.parts[1:]:
            if part.kind != "name" and not _is_text(part):
                raise self.wrong("a name, or a text in brackets")
        return path

    def path(self) -> Node:
        """Read a reference; a plain name makes one of one part."""
        made = self.term()
        if made.kind == "var":
            return Node("ref", made.start, made.end, parts=[made])
        if made.kind != "ref" or made.parts[0].kind != "var":
            raise self.wrong("a name")
        return made

    def imported(self) -> Import:
        start = self.start()
        self.at += 1
        try:
            path = self.path()
        except NoRego:
            path = None
        if path is None or not all(
            part.kind == "name" or _is_text(part) for part in path.parts[1:]
        ):
            remedy = "write `import data.package` or `import data.package as name`"
            raise self.wrong(remedy, "this import is malformed")
        names = [part.text for part in path.parts]
        self.bodies_of_not |= names == ["future", "keywords", "not"]
        name = names[-1].strip('"`')
        if self.take_word("as"):
            name = self.variable().text
        if name in KEYWORDS and path.parts[0].text != "future":
            remedy = "give it another name: `import … as name`"
            raise self.wrong(remedy, f"an import named `{name}`, which is a word of Rego")
        return Import(start, self.end(), path, name)

    # --- rules

    def rule(self) -> Rule:
        start = self.start()
        default = self.take_word("default")
        made = Rule(start, start, self.head_name(), default=default)
        if self.is_mark("(") and self.end() == self.start():
            self.at += 1
            made.arguments = self.list_of(")")
        branch = Branch(start)
        made.branches.append(branch)
        if self.take_word("contains") and made.arguments is None and not default:
            made.member = self.relation()
        else:
            branch.value = self.value()
        if default:
            if branch.value is None:
                raise self.wrong("`:=`")
        else:
            self.bodies(branch)
            if not (made.member or branch.value or branch.bodies):
                raise self.wrong("`if`, `:=` or `contains`")
            while self.is_word("else"):
                made.branches.append(self.otherwise(made))
        made.end = self.end()
        return made

    def value(self) -> Node | None:
        if not (self.take(":=") or self.take("=")):
            return None
        if self.token() is None:
            raise self.wrong("write `name := value`", "nothing is assigned here")
        return self.relation()

    def head_name(self) -> Node:
        token = self.token()
        if token is None or token.kind != "name" or not self.is_name() or self.is_word("contains"):
            if self.is_mark(":"):
                remedy = "write `{key: value}` for an object, `:=` to assign"
                raise self.wrong(remedy, "a colon stands outside of an object")
            raise self.wrong("a rule's name")
        self.at += 1
        made = Node("var", token.start, token.end, token.text)
        if self.touches(self.at - 1, ".["):
            return self.reference(made, calls=False)
        return Node("ref", token.start, token.end, parts=[made])

    def bodies(self, branch: Branch) -> None:
        branch.condition = self.start()
        if not self.take_word("if"):
            return
        branch.starts.append(self.start())
        branch.bodies.append(self.condition())
        while self.is_mark("{"):
            branch.starts.append(self.start())
            branch.bodies.append(self.block())

    def condition(self) -> list[Literal]:
        """Read what follows `if`: one literal, if it is no set; else a body in braces."""
        if not self.is_mark("{"):
            made = self.literal()
            made.bare = True
            return [made]
        before = self.at
        try:
            made = self.literal()
            made.bare = True
            if not _is_set(made):
                return [made]
        except NoRego:
            pass
        self.at = before
        return self.block()

    def block(self) -> list[Literal]:
        self.need("{")
        body = self.body("}")
        self.need("}")
        return body

    def otherwise(self, rule: Rule) -> Branch:
        if rule.member is not None or not all(map(_is_constant, rule.head.parts[1:])):
            remedy = "write another rule `… if { … }` for the other case"
            raise self.wrong(remedy, "a set or an object of rules has no `else`")
        if not rule.branches[-1].bodies:
            remedy = "write `name := value if { … } else := other`"
            raise self.wrong(remedy, "`else` follows no body")
        branch = Branch(self.start())
        self.at += 1
        branch.value = self.value()
        if self.take_word("if"):
            branch.starts.append(self.start())
            branch.bodies.append(self.condition())
        elif branch.value is None:
            raise self.wrong("write `else := value if { … }`", "this `else` is malformed")
        return branch

    # --- bodies

    def body(self, closing: str) -> list[Literal]:
        if self.is_mark(closing):
            raise self.wrong("a condition")
        made = [self.literal()]
        while True:
            if self.take(";"):
                made.append(self.literal())
            elif self.is_mark(closing):
                return made
            elif self.newline() and self.token() is not None:
                made.append(self.literal())
            elif self.is_mark(","):
                remedy = "put each condition on a line of its own, or write `;` between them"
                raise self.wrong(remedy, "a comma between conditions")
            else:
                raise self.wrong(f"an operator, a new line, `;` or `{closing}`")

    def literal(self) -> Literal:
        start = self.start()
        negated = self.take_word("not")
        if self.is_word("some") or self.is_word("every"):
            if negated:
                raise self.wrong("a condition without `some` or `every`")
            made = self.some() if self.is_word("some") else self.every()
        elif negated and self.bodies_of_not and self.is_mark("{"):
            made = self.none(start)
        else:
            left = self.relation()
            kind = {":=": "assign", "=": "unify"}.get(self.mark(), "term")
            terms = [left]
            if kind != "term":
                self.at += 1
                terms.append(self.relation())
            made = Literal(kind, start, self.end(), terms, negated)
        while self.take_word("with"):
            target = self.target()
            made.replaced.append((target, self.relation()))
        made.end = self.end()
        return made

    def none(self, start: int) -> Literal:
        """Read `{ … }` behind `not`: a body that has no solution."""
        opened = self.start()
        body = self.block()
        end = self.end()
        inner = Node("comprehension", opened, end, "[", [], body)
        return Literal("none", start, end, [inner], body_start=opened, body_end=end)

    def target(self) -> Node:
        remedy = "write `with input.x as value`"
        token = self.token()
        if token is None or token.kind != "name" or token.text in KEYWORDS:
            raise self.wrong(remedy, "`with` replaces input, data, or a function")
        made = self.path()
        if not self.take_word("as"):
            raise self.wrong(remedy, "this `with` is malformed")
        return made

    def mark(self) -> str:
        token = self.token()
        return token.text if token is not None and token.kind == "mark" else ""

    def some(self) -> Literal:
        start = self.start()
        self.at += 1
        before = self.at
        try:
            term = self.relation()
        except NoRego:
            term = None
        if term is not None and term.kind == "infix":
            if term.text != "in":
                raise self.wrong("`in`")
            return Literal("in", start, self.end(), term.parts)
        self.at = before
        names = [self.variable()]
        while self.take(","):
            names.append(self.variable())
        return Literal("some", start, self.end(), names)

    def every(self) -> Literal:
        start = self.start()
        self.at += 1
        term = self.relation()
        if term.kind != "infix" or term.text != "in":
            raise self.wrong("`x in xs { … }` or `k, x in xs { … }`")
        if any(part.kind != "var" for part in term.parts[:-1]):
            raise self.wrong("a variable")
        opened = self.start()
        body = self.block()
        end = self.end()
        return Literal("every", start, end, term.parts, body=body, body_start=opened, body_end=end)

    # --- terms

    def relation(self, *, keyed: bool = True) -> Node:
        """Read an expression; `keyed` allows `key, value in collection`."""
        made = self.infix(0)
        if keyed and self.is_mark(","):
            before = self.at
            self.at += 1
            try:
                value = self.infix(0)
            except NoRego:
                value = None
            if value is not None and self.take_word("in"):
                made = self.joined("in", made, value, self.infix(0))
            else:
                self.at = before
        while self.take_word("in"):
            made = self.joined("in", made, self.infix(0))
        return made

    def joined(self, operator: str, *parts: Node) -> Node:
        return Node("infix", parts[0].start, parts[-1].end, operator, list(parts))

    def infix(self, level: int) -> Node:
        made = self.term()
        while (binding := _INFIX.get(operator := self.mark(), -1)) >= level:
            self.at += 1
            if self.token() is None or self.mark() in ("}", "]", ")"):
                remedy = f"an operator has a value on each side: `left {operator} right`"
                raise self.wrong(remedy, "a side is missing")
            if operator == "|" and any(map(self.is_word, ("some", "every", "not"))):
                raise self.wrong(*_LONG_HEAD)
            made = self.joined(operator, made, self.infix(binding + 1))
        return made

    def term(self) -> Node:
        """Read a term without operators; what is tried again costs nothing."""
        start = self.at
        if start not in self.terms:
            try:
                made = self.new_term()
            except NoRego as error:
                self.terms[start] = error, start
                raise
            self.terms[start] = made, self.at
        found, self.at = self.terms[start]
        if isinstance(found, NoRego):
            raise found
        return found

    def new_term(self) -> Node:
        token = self.token()
        if token is None:
            raise self.wrong("a value")
        made = self.simple(token)
        if self.touches(self.at - 1, ".[(") and made.kind != "minus":
            made = self.reference(made)
        return made

    def simple(self, token: Token) -> Node:  # noqa: C901  one case for each kind of term
        start, end = token.start, token.end
        match token.kind, token.text:
            case "name", word if word in _CONSTANTS and not self.touches(self.at, ".["):
                self.at += 1
                return Node("scalar", start, end, word)
            case "name", word if self.is_name():
                self.at += 1
                return Node("var", start, end, word)
            case "number", _:
                return self.number(start)
            case "string", text if text[0] == "$":
                self.at += 1
                return Node("template", start, end, parts=self.inserted(token))
            case "string", text:
                if text[0] == '"' and wrong_escape(text) is not None:
                    raise self.wrong("a text without this backslash")
                self.at += 1
                return Node("scalar", start, end, text)
            case "mark", "-":
                return self.negative(start)
            case "mark", "." if self.at + 1 < len(self.found) and self.is_fraction():
                self.at += 1
                return self.number(start)
            case "mark", "[":
                return self.array(start)
            case "mark", "{":
                return self.braces(start)
            case "mark", "(":
                self.at += 1
                inner = self.relation()
                self.need(")")
                return Node("paren", start, self.end(), parts=[inner])
            case _:
                raise self.wrong("a value")

    def is_name(self) -> bool:
        """Whether a name stands here that is no keyword."""
        word = self.found[self.at].text
        return word not in KEYWORDS or word == "contains" or self.touches(self.at, ".[")

    def is_fraction(self) -> bool:
        dot, digits = self.found[self.at : self.at + 2]
        return digits.kind == "number" and digits.start == dot.end

    def number(self, start: int) -> Node:
        digits = self.found[self.at].text
        self.at += 1
        if (digits[0] == "0" and digits[1:2].isdigit()) or self.touches(self.at - 1, "."):
            raise self.wrong(
                "a number, with no zero before it and digits on both sides of its point"
            )
        following = self.token()
        if following is not None and following.kind == "name" and following.start == self.end():
            raise self.wrong("a blank behind the number")
        return Node("scalar", start, self.end(), self.text[start : self.end()])

    def negative(self, start: int) -> Node:
        self.at += 1
        token = self.token()
        if token is None or token.kind not in ("number", "name") or token.text in KEYWORDS:
            raise self.wrong("a number or a name")
        if token.kind == "number":
            return self.number(start)
        inner = self.term()
        return Node("minus", start, inner.end, parts=[inner])

    def inserted(self, token: Token) -> list[Node]:
        """Read the expressions in a template string."""
        return [
            self.inner(_shifted(self.text, start, end)).whole()
            for start, end in template_parts(token)
        ]

    def inner(self, found: Sequence[Token]) -> _Parser:
        made = _Parser(self.text, found)
        made.bodies_of_not = self.bodies_of_not
        return made

    def whole(self) -> Node:
        made = self.relation(keyed=False)
        if self.token() is not None:
            raise self.wrong("`}`")
        return made

    def variable(self) -> Node:
        token = self.token()
        if token is None or token.kind != "name" or not self.is_name():
            raise self.wrong("a variable")
        self.at += 1
        return Node("var", token.start, token.end, token.text)

    # --- references and calls

    def reference(self, head: Node, *, calls: bool = True) -> Node:
        if head.kind not in _HEADS:
            raise self.wrong("an operator")
        parts = [head]
        while self.touches(self.at - 1, ".[("):
            mark = self.mark()
            if mark == "(" and not calls:
                break
            self.at += 1
            if mark == ".":
                token = self.token()
                if token is None or token.kind != "name" or token.start != self.end():
                    raise self.wrong("a name behind the dot")
                self.at += 1
                parts.append(Node("name", token.start, token.end, token.text))
            elif mark == "[":
                parts.append(self.relation())
                self.need("]")
            else:
                return self.called(parts)
        return Node("ref", head.start, self.end(), parts=parts)

    def called(self, operator: list[Node]) -> Node:
        name = operator[0]
        if name.kind != "var":
            raise self.wrong("an operator")
        if len(operator) > 1:
            name = Node("ref", name.start, operator[-1].end, parts=operator)
        arguments = self.list_of(")")
        made = Node("call", name.start, self.end(), parts=[name, *arguments])
        return self.reference(made) if self.touches(self.at - 1, ".[") else made

    def list_of(self, closing: str) -> list[Node]:
        """Read elements up to a bracket; a comma may follow the last one."""
        made: list[Node] = []
        while not self.take(closing):
            made.append(self.relation(keyed=False))
            if self.take(closing):
                break
            if self.mark() in _SIGNS and made[-1].text == "|":
                raise self.wrong(*_LONG_HEAD)
            if not self.take(","):
                raise self.wrong(f"an operator, `,` or `{closing}`")
        return made

    # --- collections

    def array(self, start: int) -> Node:
        self.at += 1
        found = self.comprehension(start, "[", "]")
        if found is not None:
            return found
        parts = self.list_of("]")
        return Node("array", start, self.end(), parts=parts)

    def comprehension(self, start: int, opening: str, closing: str) -> Node | None:
        """Read `head | body` and a bracket; a head is a term without operators."""
        before = self.at
        try:
            head = [self.term()]
            if opening == "{" and self.take(":"):
                head.append(self.term())
            if self.take("|"):
                body = self.body(closing)
                self.need(closing)
                return Node("comprehension", start, self.end(), opening, head, body)
        except NoRego:
            pass
        self.at = before
        if self.take(",") and self.is_mark(closing):  # else OPA skips a comma before the first
            raise self.wrong("a value")
        return None

    def braces(self, start: int) -> Node:
        self.at += 1
        if self.take("}"):
            return Node("object", start, self.end())
        found = self.comprehension(start, "{", "}")
        if found is not None:
            return found
        first = self.relation(keyed=False)
        parts = self.pairs(first) if self.is_mark(":") else None
        if parts is not None:
            return Node("object", start, self.end(), parts=parts)
        parts = [first]
        if not self.take("}"):
            if self.mark() in _SIGNS and first.text == "|":
                raise self.wrong(*_LONG_HEAD)
            if not self.take(","):
                raise self.wrong("an operator, `,`, `:` or `}`")
            parts += self.list_of("}")
        return Node("set", start, self.end(), parts=parts)

    def pairs(self, key: Node) -> list[Node]:
        """Read the rest of an object, behind its first key."""
        parts: list[Node] = []
        while True:
            self.need(":")
            parts += (key, self.relation(keyed=False))
            if self.take("}"):
                return parts
            if not self.take(","):
                raise self.wrong("an operator, `,` or `}`")
            if self.take("}"):
                return parts
            key = self.relation(keyed=False)


def _is_constant(node: Node) -> bool:
    return node.kind in ("name", "scalar")


def wrong_escape(text: str) -> int | None:
    """Return where in a string is an escape that there is not."""
    return next((each.start() for each in _ESCAPE.finditer(text) if each["wrong"]), None)


def _is_text(node: Node) -> bool:
    return node.kind == "scalar" and node.text[0] in '"`'


def _is_set(literal: Literal) -> bool:
    return literal.kind == "term" and literal.terms[0].kind == "set" and not literal.negated


def template_parts(token: Token) -> list[tuple[int, int]]:
    """Return where the expressions in a template string start and end."""
    made: list[tuple[int, int]] = []
    text, raw = token.text, token.text[1] == "`"
    position = 2
    while position < len(text):
        if text[position] == "\\" and (not raw or text[position + 1 : position + 2] in "{}"):
            position += 2
        elif text[position] == "{":
            end = braces_end(text, position + 1)
            made.append((token.start + position + 1, token.start + end - 1))
            position = end
        else:
            position += 1
    return made


def _shifted(text: str, start: int, end: int) -> list[Token]:
    return [
        Token(token.kind, token.text, token.start + start, token.end + start)
        for token in tokens(text[start:end])
    ]
