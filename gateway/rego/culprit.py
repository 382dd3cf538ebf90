"""Which rule a fault is about that the compiler gives no place: each is compiled by itself.

The modules keep their lines; what is left out becomes blanks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.rego.source import Source, head_name, read_modules

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from gateway.rego.errors import RegoProblem
    from gateway.rego.tokens import Token

MOST_RULES: Final = 500
MOST_TEXT: Final = 20 << 20
"""In more rules, or more characters over all of them, none is searched."""

_ENTRANCE: Final = frozenset(("package", "import"))


@dataclass(frozen=True, slots=True)
class Suspect:
    """A part of a module by itself, and the token where it starts; `several` rules, or one."""

    source: Source
    token: Token
    alone: Source
    several: bool


def culprits(
    problems: Sequence[RegoProblem],
    sources: Sequence[Source],
    known: Collection[str],
    tried: Callable[[Sequence[Source]], Iterable[Sequence[RegoProblem]]],
) -> list[RegoProblem]:
    """Return problems with the place of the first rule that has the same one by itself.

    Rules are tried one by one, then all those of a name together. `tried` compiles each source
    by itself, and yields its problems; `known` are the names of builtins.
    """
    rules = sum(1 for source in sources for _ in source.statements)
    if rules > MOST_RULES or rules * max(len(source.text) for source in sources) > MOST_TEXT:
        return list(problems)
    suspects = [suspect for source in sources for suspect in _of(source, known)]
    suspects.sort(key=lambda suspect: suspect.several)
    nothing = _alone(sources[0], list(_rules(sources[0])), [], [], known)
    answers = iter(tried([nothing, *(each.alone for each in suspects)]))
    always = {_kind(problem) for problem in next(answers, ())}  # that is no rule's fault
    found: dict[tuple[str, str], Suspect] = {}
    for suspect, said in zip(suspects, answers, strict=False):
        for kind in {_kind(problem) for problem in said} - always:
            found.setdefault(kind, suspect)
    return [_at(problem, found.get(_kind(problem))) for problem in problems]


def _kind(problem: RegoProblem) -> tuple[str, str]:
    """Return what makes two problems the same; a crash says each time something else."""
    return problem.code, "" if problem.code == "compiler-crash" else problem.message


def _at(problem: RegoProblem, suspect: Suspect | None) -> RegoProblem:
    if problem.row or suspect is None:
        return problem
    return suspect.source.problem_at(suspect.token, problem.code, problem.message, problem.remedy)


def _rules(source: Source) -> Iterator[list[Token]]:
    return (each for each in source.statements if each[0].text not in _ENTRANCE)


def _of(source: Source, known: Collection[str]) -> Iterator[Suspect]:
    rules = list(_rules(source))
    named: dict[str, list[list[Token]]] = {}
    for rule in rules:
        named.setdefault(".".join(head_name(rule)[0]), []).append(rule)
    groups = [*([rule] for rule in rules), *(group for group in named.values() if len(group) > 1)]
    for group in groups:
        own = head_name(group[0])[0][:1]
        alone = _alone(source, rules, group, own, known)
        yield Suspect(source, group[0][0], alone, several=len(group) > 1)


def _alone(
    source: Source,
    rules: Sequence[list[Token]],
    kept: Sequence[list[Token]],
    own: list[str],
    known: Collection[str],
) -> Source:
    """Return a module with only the rules `kept`; others that those name are true."""
    text = source.text
    for rule in rules:
        if not any(rule is one for one in kept):
            start, end = rule[0].start, rule[-1].end
            text = text[:start] + re.sub(r"[^\n]", " ", text[start:end]) + text[end:]
    used = {token.text for rule in kept for token in rule} - {*own}
    others = {
        name[0] for name, function in map(head_name, rules) if len(name) == 1 and not function
    }
    lines = [f"{name} := true" for name in sorted(others & used)]
    (made,) = read_modules({source.name: "\n".join((text, *lines, ""))}, known)
    return made
