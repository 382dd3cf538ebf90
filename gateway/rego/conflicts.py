"""Rules that cannot stand beside one another: what OPA calls conflicting rules.

The compiler merges some of them in silence, does not survive others, and names no place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.rego.source import default_name
from gateway.rego.tokens import CLOSING, KEYWORDS, OPENING, Token, after_bracket

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.rego.errors import RegoProblem
    from gateway.rego.source import Source

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Rule:
    """The head of a rule: its path up to the first part that is no constant, and what it makes.

    `partial` tells that there is such a part, `default` that it is the default of a rule.
    """

    path: Path
    kind: str
    partial: bool
    default: bool
    token: Token
    source: Source


def conflicts(sources: Sequence[Source]) -> Iterator[RegoProblem]:
    """Yield the rules that conflict with one before them, or hold others though they cannot."""
    rules = _rules(sources)
    yield from _second_defaults(rule for rule in rules if rule.default and not rule.partial)
    first: dict[Path, _Rule] = {}
    for rule in rules:
        other = first.setdefault(rule.path, rule)
        # Of sets, OPA leaves it to the decision whether one below a variable key fits.
        mixed = rule.partial != other.partial and rule.kind != "set"
        if rule.kind != other.kind or mixed:
            yield _conflict(rule, other, f"it is {_kind(rule)}, and {_kind(other)}")
    for rule in rules:
        for length in range(1, len(rule.path)):
            above = first.get(rule.path[:length])
            if above is not None and not above.partial:
                yield _conflict(rule, above, f"`{_shown(above)}` is {_kind(above)}")
                break


def partial_replacements(sources: Sequence[Source]) -> Iterator[RegoProblem]:
    """Yield each `with` that replaces a part of a rule, or all of data or of nested objects."""
    rules = {rule.path for rule in _rules(sources)}
    # Of an object of rules in another one the compiler leaves an empty object where it is replaced.
    nested = {path[:length] for path in rules for length in range(1, len(path) - 1)}
    for source in sources:
        for _, node, target in source.replaced:
            if target is None or target.kind != "data":
                continue
            path, at = target.path, source.place(node.start)
            below = next((path[:end] for end in range(len(path)) if path[:end] in rules), None)
            if below is not None:
                message = f"`with {target.shown}` replaces a part of `{'.'.join(('data', *below))}`"
                yield source.problem(at, "with-target", message, "replace the whole rule")
            elif path in nested:
                message = f"`with {target.shown}` replaces more than the rules of one package"
                remedy = "replace what is needed by its own name"
                yield source.problem(at, "with-target", message, remedy)
            elif not path:
                message = "`with data` would replace the very rule that it stands in"
                remedy = "replace what is needed by its own name"
                yield source.problem(at, "with-target", message, remedy)


def _rules(sources: Iterable[Source]) -> list[_Rule]:
    return [
        rule
        for source in sources
        for statement in source.statements
        if (rule := _rule(source, statement)) is not None
    ]


def _second_defaults(defaults: Iterable[_Rule]) -> Iterator[RegoProblem]:
    first: dict[Path, _Rule] = {}
    for rule in defaults:
        other = first.setdefault(rule.path, rule)
        if other is rule:
            continue
        row, _ = other.source.place(other.token.start)
        message = f"a second default for `{rule.path[-1]}`, also in {other.source.name}:{row}"
        copied = rule.source is not other.source and rule.source.text == other.source.text
        remedy = "remove one of the two files: they are the same" if copied else "remove one"
        yield rule.source.problem_at(rule.token, "two-defaults", message, remedy)


def _conflict(rule: _Rule, other: _Rule, why: str) -> RegoProblem:
    row, _ = other.source.place(other.token.start)
    return rule.source.problem_at(
        rule.token,
        "conflicting-rules",
        f"`{_shown(rule)}` conflicts with the rule at {other.source.name}:{row}: {why}",
        "rename one of them",
    )


def _shown(rule: _Rule) -> str:
    return ".".join(("data", *rule.path))


def _kind(rule: _Rule) -> str:
    if rule.kind == "value":
        return "an object of rules" if rule.partial else "a value"
    return "a set" if rule.kind == "set" else rule.kind


def _rule(source: Source, statement: list[Token]) -> _Rule | None:
    default = default_name(statement) is not None
    if default:
        statement = statement[1:]
    token = statement[0]
    if token.kind != "name" or token.text in KEYWORDS or not source.package:
        return None
    path, end, partial = [token.text], 1, False
    while end < len(statement) and statement[end].text in (".", "["):
        if statement[end].text == "[":
            part, beyond = _constant(statement, end)
        else:
            name = statement[end + 1] if end + 1 < len(statement) else token
            part, beyond = name.text, end + 2
        partial = partial or part is None
        if part is not None and not partial:
            path.append(part)
        end = beyond
    kind = _made(statement, end)
    return _Rule((*source.package, *path), kind, partial, default, token, source)


def _constant(statement: Sequence[Token], index: int) -> tuple[str | None, int]:
    """Return the constant that a bracket holds, if it does, and the index behind it."""
    beyond = after_bracket(statement, index)
    part = statement[index + 1] if index + 1 < len(statement) else statement[index]
    if beyond != index + 3 or part.kind not in ("string", "number"):
        return None, beyond
    return part.text[1:-1] if part.text[0] == '"' else part.text, beyond


def _made(statement: Sequence[Token], index: int) -> str:
    """Return what a head makes whose name ends before `index`."""
    following = statement[index].text if index < len(statement) else ""
    if following == "contains":
        return "set"
    if following != "(":
        return "value"
    count, depth = 0, 0
    for token in statement[index : after_bracket(statement, index)]:
        if token.kind == "mark":
            depth += (token.text in OPENING) - (token.text in CLOSING)
        count += depth == 1 and token.text == ","
    empty = index + 1 < len(statement) and statement[index + 1].text == ")"
    number = 0 if empty else count + 1
    return f"a function of {number} argument{'' if number == 1 else 's'}"
