"""The faults that only the text of a module shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.rego.hints import hint
from gateway.rego.mistakes import mistakes
from gateway.rego.replacements import BUILTINS_
from gateway.rego.safety import unbound
from gateway.rego.source import Source, default_name
from gateway.rego.strict import empty_bodies, unaccepted
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
from gateway.rego.tree import Node, parts_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from gateway.rego.errors import RegoProblem
    from gateway.rego.grammar import NoRego

MAX_SOURCE: Final = 4 << 20
"""Longest module, in characters."""


def faults(source: Source, builtins: Collection[str]) -> Iterator[RegoProblem]:
    """Yield the faults that a module's text shows by itself; `builtins` can be called."""
    unreadable = _unreadable(source)
    if unreadable is not None:
        yield unreadable
        return
    if source.module is None or source.scopes is None:
        yield from _no_rego(source, builtins)
        return
    yield from source.faults
    if any(path[:1] == (BUILTINS_,) for path in (source.package, *source.references)):
        message = f"`data.{BUILTINS_}` is the engine's own"
        yield source.problem((1, 1), "reserved-package", message, "rename the package")
    yield from unaccepted(source)
    for statement in source.statements:
        yield from _head_faults(source, statement)
    for fault in source.scopes.faults:
        at = source.place(fault.at)
        yield source.problem(at, fault.code, fault.message, fault.remedy)


def unbound_variables(source: Source) -> Iterator[RegoProblem]:
    """Yield the variables that get no value, some of which the plan does not show."""
    if source.module is None or source.scopes is None:
        return
    tokens = {token.start: token for token in source.tokens}
    for number, node in enumerate(unbound(source.module, source.scopes)):
        token = tokens.get(node.start)
        remedy = token and hint(source, token, number)  # none inside of a template string
        yield source.problem(
            source.place(node.start),
            "unsafe-variable",
            f"the variable `{node.text}` is used but never assigned",
            remedy or "assign it, or declare it with `some … in …`",
        )


def _no_rego(source: Source, builtins: Collection[str]) -> Iterator[RegoProblem]:
    """Say what is wrong with a text that is no Rego: as people mean it, or else as it is read."""
    said = list(mistakes(source, builtins))
    if not said:
        said = [
            problem
            for statement in source.statements
            for problem in (*_head_faults(source, statement), *_old_form(source, statement))
        ]
    if not said:
        said = [*unaccepted(source), *empty_bodies(source)]
    if said or source.no_rego is None:
        yield from said
        return
    token, message, remedy = _as_read(source, source.no_rego)
    shown = token.text if len(token.text) <= _SHOWN else "…"
    message = message or f"`{shown}` cannot stand here"
    yield source.problem_at(token, "no-rego", message, remedy)


def _as_read(source: Source, error: NoRego) -> tuple[Token, str, str]:
    """Return the place of a fault, a message and a remedy; a bracket that is open comes first."""
    opened: list[Token] = []
    for token in source.tokens:
        if token.kind == "mark" and token.text in OPENING:
            opened.append(token)
        elif token.kind == "mark" and token.text in CLOSING and opened:
            opened.pop()
    if opened:
        closing = OPENING[opened[-1].text]
        return opened[-1], "an opening bracket is never closed", f"close it with `{closing}`"
    if error.token is not None:
        return error.token, error.message, error.remedy
    last = next(token for token in reversed(source.tokens) if token.kind != "newline")
    return last, error.message or "the module ends too early", error.remedy


_SHOWN: Final = 40
"""Longest word that a message repeats."""


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
            own = ".".join(("data", *source.package, name))
            if name in known and token.text in hiding and not source.calls(own):
                yield source.problem_at(
                    token,
                    "hidden-builtin",
                    f"the rule `{token.text}` hides the builtin `{name}`",
                    "rename the rule",
                )


def hidden_operators(sources: Sequence[Source]) -> Iterator[RegoProblem]:
    """Yield functions that are named like an operator of their package: it would call them."""
    for source in sources:
        package = ".".join(("data", *source.package))
        hiding = {sign for sign, name in _OPERATORS.items() if source.calls(f"{package}.{name}")}
        for rule in source.module.rules if hiding and source.module is not None else ():
            for part in parts_of(rule):
                if isinstance(part, Node) and part.kind == "infix" and part.text in hiding:
                    message = f"the function `{_OPERATORS[part.text]}` hides the operator"
                    at = source.place(part.start)
                    yield source.problem(at, "hidden-builtin", message, "rename the function")


_OPERATORS: Final[Mapping[str, str]] = {
    "+": "plus",
    "-": "minus",
    "*": "mul",
    "/": "div",
    "%": "rem",
    "==": "equal",
    "!=": "neq",
    "<": "lt",
    "<=": "lte",
    ">": "gt",
    ">=": "gte",
    "&": "and",
    "|": "or",
    "in": "internal.member_2",
}
"""The functions that OPA calls for operators."""


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
        if (
            first.text == "import"
            and statement[-1].text in RESERVED
            and statement[-2].text in ("as", ".")
        ):
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
