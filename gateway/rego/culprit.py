"""Which rule a fault is about that the compiler gives no place: each is compiled by itself.

What the compiler gets keeps its lines; what is left out becomes blanks.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from gateway.rego.source import head_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gateway.rego.errors import RegoProblem
    from gateway.rego.source import Source
    from gateway.rego.tokens import Token

MOST_RULES: Final = 500
MOST_TEXT: Final = 20 << 20
"""In more rules, or more characters over all of them, none is searched."""

_ENTRANCE: Final = frozenset(("package", "import"))


@dataclass(frozen=True, slots=True)
class Suspect:
    """A part of a module by itself, as the compiler gets it, and the token where it starts."""

    source: Source
    token: Token
    alone: str


def culprits(
    problems: Sequence[RegoProblem],
    sources: Sequence[Source],
    until: float,
    tried: Callable[[Iterable[tuple[Source, str]]], Iterable[Sequence[RegoProblem]]],
) -> list[RegoProblem]:
    """Return problems with the place of the first rule that has the same one by itself.

    Rules are tried one by one, then all those of a name together. `tried` compiles each text by
    itself, and yields its problems; `until` is the monotonic time after which none is added.
    """
    if not sources:  # a query by itself
        return list(problems)
    modules = [_Module(source) for source in sources]
    rules = sum(len(module.rules) for module in modules)
    if rules > MOST_RULES or rules * max(len(source.text) for source in sources) > MOST_TEXT:
        return list(problems)
    # As many as there is time for; each is a copy of its module.
    suspects = list(takewhile(lambda _: time.monotonic() < until, _suspects(modules)))
    nothing = sources[0], modules[0].alone([])
    answers = iter(tried([nothing, *((each.source, each.alone) for each in suspects)]))
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


def _suspects(modules: Sequence[_Module]) -> Iterator[Suspect]:
    for module in modules:
        for rule in module.rules:
            yield module.suspect([rule])
    for module in modules:
        named: dict[str, list[list[Token]]] = {}
        for rule in module.rules:
            named.setdefault(".".join(head_name(rule)[0]), []).append(rule)
        for group in named.values():
            if len(group) > 1:
                yield module.suspect(group)


class _Module:
    """A module as the compiler gets it, with blanks for its rules."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.rules = [each for each in source.statements if each[0].text not in _ENTRANCE]
        heads = (head_name(rule) for rule in self.rules)
        self._values = {name[0] for name, function in heads if len(name) == 1 and not function}
        spans = [source.prepared_span(rule[0].start, rule[-1].end) for rule in self.rules]
        self._spans = {rule[0].start: span for rule, span in zip(self.rules, spans, strict=True)}
        text, parts, position = source.prepared, list[str](), 0
        for start, end in spans:
            parts += (text[position:start], re.sub(r"[^\n]", " ", text[start:end]))
            position = end
        self._blank = "".join((*parts, text[position:]))

    def suspect(self, kept: Sequence[list[Token]]) -> Suspect:
        return Suspect(self.source, kept[0][0], self.alone(kept))

    def alone(self, kept: Sequence[list[Token]]) -> str:
        """Return the module with only the rules `kept`; others that those name are true."""
        parts, position = list[str](), 0
        for rule in kept:
            start, end = self._spans[rule[0].start]
            parts += (self._blank[position:start], self.source.prepared[start:end])
            position = end
        own = {name for rule in kept for name in head_name(rule)[0][:1]}
        used = {token.text for rule in kept for token in rule} - own
        lines = [f"{name} := true" for name in sorted(self._values & used)]
        return "\n".join(("".join((*parts, self._blank[position:])), *lines, ""))
