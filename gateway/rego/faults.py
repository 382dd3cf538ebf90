"""The faults that only the text of a module shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.rego.hints import hint
from gateway.rego.iterations import Iterations
from gateway.rego.mistakes import mistakes
from gateway.rego.source import Source, default_name
from gateway.rego.strict import unaccepted
from gateway.rego.tokens import (
    CLOSING,
    KEYWORDS,
    MAX_NESTING,
    OPENING,
    RESERVED,
    Token,
    end_of_reference,
    ends_term,
    too_deep,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from gateway.rego.errors import RegoProblem

MAX_SOURCE: Final = 4 << 20
"""Longest module, in characters."""


def faults(source: Source, builtins: Collection[str]) -> Iterator[RegoProblem]:
    """Yield the faults that a module's text shows by itself; `builtins` can be called."""
    unreadable = _unreadable(source)
    if unreadable is not None:
        yield unreadable
        return
    wrong = list(mistakes(source, builtins))
    if wrong:  # the rest of the text would be misread
        yield from wrong
        return
    yield from source.faults
    yield from unaccepted(source)
    for statement in source.statements:
        yield from _head_faults(source, statement)
    yield from _Bodies(source).faults()
    iterations = Iterations(source.text, source.tokens, frozenset())
    for each in source.parts:
        for token in iterations.unbound_in_negation(each):
            message = "`_` inside of `not` is never bound"
            remedy = "put what is negated into a rule of its own, and negate that"
            yield source.problem_at(token, "unsafe-variable", message, remedy)


def _unreadable(source: Source) -> RegoProblem | None:
    if len(source.text) > MAX_SOURCE:
        message = f"the module is longer than {MAX_SOURCE} characters"
        return source.problem((0, 0), "too-large", message)
    if "\0" in source.text:
        at = source.place(source.text.index("\0"))
        return source.problem(at, "nul", "a NUL character", "remove it")
    deep = too_deep(source.tokens)
    if deep is not None:
        return source.problem_at(deep, "too-deep", f"nested more than {MAX_NESTING} deep")
    if not source.package:
        late = next((line[0] for line in source.statements if line[0].text == "package"), None)
        if late is not None and source.place(late.start) != (1, 1):
            message, remedy = "the package comes first", "move this line above the others"
            return source.problem_at(late, "no-package", message, remedy)
        message, remedy = "the module declares no package", "start it with `package …`"
        return source.problem((1, 1), "no-package", message, remedy)
    return None


def hidden_builtins(sources: Sequence[Source], names: Iterable[str]) -> Iterator[RegoProblem]:
    """Yield calls of the builtins `names` where a rule of the package has the name's first part.

    The compiler does not survive them.
    """
    rules: dict[tuple[str, ...], set[str]] = {}
    for source in sources:
        heads = rules.setdefault(source.package, set())
        for first, *rest in source.statements:
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
        rules.setdefault(source.package, set()).update(source.defined)
    for source in sources:
        above = (source.package[:depth] for depth in range(len(source.package) + 1))
        names = set[str]().union(*(below.get(path, ()) for path in above))
        names -= rules[source.package]
        for statement in source.statements if names else ():
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
                remedy = hint(source, token)
                remedy = remedy or "import the package, or declare the variable with `some`"
                yield source.problem_at(token, "undeclared", message, remedy)


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


def _head_faults(source: Source, statement: list[Token]) -> Iterator[RegoProblem]:
    first = statement[0]
    if default_name(statement) is not None:
        statement = statement[1:]
        first = statement[0]
    if first.kind != "name" or first.text in KEYWORDS - {"else"}:
        if first.text == "import" and statement[-1].text in RESERVED and statement[-2].text == "as":
            yield _shadowed(source, statement[-1])
        return
    if first.text in RESERVED:
        end = end_of_reference(statement, 0)
        if end < len(statement) and statement[end].text in ("if", ":=", "contains", "(", "{"):
            yield _shadowed(source, first)
        else:
            message = "a condition stands outside of a rule's body"
            remedy = "put the conditions behind `if` into `{ … }`"
            yield source.problem_at(first, "shadowed", message, remedy)
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
            if token.text == "{" and depth == 0 and ends_term(before):
                if not loop:
                    yield source.problem_at(
                        token, "v0-body", "a rule body without `if`", _remedy(statement, token)
                    )
                    return
                loop = False  # this is the body of the `every`
            depth += 1
        elif token.kind == "mark" and token.text in CLOSING:
            depth -= 1
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
        elif depth == 0 and token.text != "." and (token.kind != "name" or token.text in KEYWORDS):
            return False
    return True


def _remedy(statement: list[Token], at: Token | None = None) -> str:
    name = statement[0].text
    if at is not None and any(token.text == "if" for token in statement[: statement.index(at)]):
        last = next(t for t in reversed(statement[: statement.index(at)]) if t.kind == "name")
        if last.text == "else":
            return "write `else := value if { … }`"
        return "put all conditions into the one pair of braces behind `if`"
    if len(statement) > 1 and statement[1].text == "(":
        name = f"{name}(…)"
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
