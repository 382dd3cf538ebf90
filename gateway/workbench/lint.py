"""Doubts about policies that are no faults: each has a code, and can be switched off in place.

`# gateway:ignore CODE …` on the line that a doubt is about, or on the line above, takes it back.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.errors import Problem
from gateway.rego.index import SMALLEST, Test
from gateway.rego.source import Source
from gateway.rego.testing import suites

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gateway.bundle.folder import PolicySources
    from gateway.rego import Footprint, Program
    from gateway.rego.trace import Site
    from gateway.rego.tree import Node, Rule

CODES: Final[Mapping[str, str]] = {
    "unknown-field": "a deciding rule reads a field that no request has",
    "missing-default": "a deciding rule can be undefined",
    "reason-without-code": "a reason is an object without a code",
    "body-without-index": "a body of a large rule is tried for every input",
    "impure-call": "a deciding rule does not depend on its input alone",
    "untested-package": "no test module depends on a package",
    "never-holds": "a body held in no test and no scenario",
}
"""All doubts, and what each says."""

_IGNORE: Final = re.compile(r"#\s*gateway:ignore\s+(?P<codes>[a-z][a-z, -]*)")


@dataclass(frozen=True, slots=True)
class Doubt:
    """A doubt of a kind in CODES."""

    code: str
    problem: Problem


class Lint:
    """Looks for doubts in policies; `asked` are the rules that decide, and what they read."""

    def __init__(
        self, sources: PolicySources, program: Program, asked: Mapping[str, Footprint]
    ) -> None:
        self._policies = sources
        self._program = program
        self._asked = asked
        self._sources = {name: Source(name, text) for name, text in sources.modules.items()}
        self._rules: dict[tuple[str, ...], list[tuple[Source, Rule]]] = defaultdict(list)
        for source in self._sources.values():
            for rule in source.module.rules if source.module else ():
                self._rules[*source.package, *_names(rule)].append((source, rule))

    def doubts(self) -> Iterator[Doubt]:
        """Yield what the sources and the program show."""
        yield from self._defaults()
        yield from self._reasons()
        yield from self._bodies()
        yield from self._impure()
        yield from self._packages()

    def never(self, held: Iterable[Site]) -> Iterator[Doubt]:
        """Yield the bodies that are not among those that held."""
        rows = {(site.file, site.row) for site in held}
        for found in self._rules.values():
            for source, rule in found:
                for start, end in _conditional(rule):
                    first, last = source.place(start)[0], source.place(max(start, end - 1))[0]
                    if not any((source.name, row) in rows for row in range(first, last + 1)):
                        message = "this held in no test and no scenario"
                        remedy = "add a case for it, or take it out"
                        yield _doubt("never-holds", source, start, message, remedy)

    # --- kinds of doubts

    def _defaults(self) -> Iterator[Doubt]:
        for name in self._asked:
            path = tuple(name.split("/"))
            for each in dict.fromkeys((path, *self._parts(path))):
                found = self._rules.get(each, [])
                if found and not _covered(found):
                    source, rule = found[0]
                    message = f"`{each[-1]}` is undefined where none of its bodies holds"
                    remedy = f"add `default {each[-1]} := …`"
                    yield _doubt("missing-default", source, rule.start, message, remedy)

    def _parts(self, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        """Yield the rules that the value of a rule names, in whose absence it is undefined."""
        for _, rule in self._rules.get(path, ()):
            for branch in rule.branches:
                for node in _nodes(branch.value):
                    if node.kind == "var":
                        yield *path[:-1], node.text

    def _reasons(self) -> Iterator[Doubt]:
        packages = {tuple(name.split("/"))[:-1] for name in self._asked}
        for package in packages:
            for source, rule in self._rules.get((*package, "reasons"), ()):
                member = rule.member
                if member is not None and member.kind == "object":
                    keys = {key.text.strip('"`') for key in member.parts[::2]}
                    if "code" not in keys:
                        message = "this reason has no code, so no answer can be given for it"
                        remedy = 'add `"code": "…"`'
                        yield _doubt("reason-without-code", source, member.start, message, remedy)

    def _bodies(self) -> Iterator[Doubt]:
        for path, found in self._rules.items():
            bodies = [
                (source, start)
                for source, rule in found
                if not rule.default
                for start, _ in _bodies(rule)
            ]
            if len(bodies) < SMALLEST:
                continue
            number = self._program.rules.get(path, (-1, 0))[0]
            if number not in self._program.indexes:
                source, start = bodies[0]
                message = f"`{path[-1]}` has {len(bodies)} bodies, all tried for every input"
                remedy = "begin each with `input.… == constant`, so that they can be looked up"
                yield _doubt("body-without-index", source, start, message, remedy)
                continue
            test, count = self._program.indexes[number]
            # The plan has the bodies of one module in its order; of several nothing is known.
            if count == len(bodies) and len({source.name for source, _ in bodies}) == 1:
                for position in _rest(test):
                    source, start = bodies[position]
                    message = "this body is tried for every input, beside those of the index"
                    remedy = "begin it with a comparison as the others have it"
                    yield _doubt("body-without-index", source, start, message, remedy)

    def _impure(self) -> Iterator[Doubt]:
        for name in sorted({name for each in self._asked.values() for name in each.impure}):
            for source in self._sources.values():
                for node in _calls(source, name):
                    message = f"`{name}` makes the decision depend on more than its input"
                    remedy = (
                        "read input.time.unix"
                        if name == "time.now_ns"
                        else "it is evaluated anew for each request; replay may decide otherwise"
                    )
                    yield _doubt("impure-call", source, node.start, message, remedy)

    def _packages(self) -> Iterator[Doubt]:
        if not self._policies.modules:
            return
        tested = {
            name
            for suite in suites(self._policies.modules, self._policies.tests)
            for name in suite.modules
        }
        covered = {source.package for name, source in self._sources.items() if name in tested}
        known = set(covered)
        for source in self._sources.values():
            if source.package not in known and source.module and source.module.rules:
                known.add(source.package)
                message = f"no test module depends on package {'.'.join(source.package)}"
                remedy = "add one, such as authz_test.rego"
                yield _doubt("untested-package", source, 0, message, remedy)


def unknown_fields(found: Iterable[Problem]) -> Iterator[Doubt]:
    """Yield the doubts of fields that no request has."""
    for problem in found:
        yield Doubt("unknown-field", problem)


def kept(doubts: Iterable[Doubt], modules: Mapping[str, str]) -> list[Doubt]:
    """Return the doubts that no comment takes back, each once, by where they are."""
    ignored = {name: _ignored(text) for name, text in modules.items()}
    left = [
        each
        for each in dict.fromkeys(doubts)
        if not any(
            each.code in ignored.get(each.problem.file, {}).get(each.problem.line - above, ())
            for above in (0, 1)
        )
    ]
    return sorted(left, key=lambda each: (each.problem.file, each.problem.line, each.code))


def _ignored(text: str) -> dict[int, frozenset[str]]:
    """Return the codes that comments take back, by row."""
    if "gateway:ignore" not in text:
        return {}
    source = Source("", text)
    found = {}
    for token in source.comments:
        match = _IGNORE.match(token.text)
        if match is not None:
            found[source.place(token.start)[0]] = frozenset(re.split(r"[, ]+", match["codes"]))
    return found


def _doubt(code: str, source: Source, offset: int, message: str, remedy: str) -> Doubt:
    row, col = source.place(offset)
    problem = Problem(message, file=source.name, line=row, column=col, remedy=remedy)
    return Doubt(code, problem)


# --- rules


def _names(rule: Rule) -> Iterator[str]:
    for part in rule.head.parts:
        if part.kind not in ("var", "name"):
            return
        yield part.text


def _bodies(rule: Rule) -> list[tuple[int, int]]:
    """Return where each body of a rule begins, with its head if it is the first, and ends."""
    found: list[tuple[int, int]] = []
    for branch in rule.branches:
        if not branch.bodies:
            found.append((branch.start, branch.value.end if branch.value else branch.start + 1))
        for number, body in enumerate(branch.bodies):
            start = branch.start if number == 0 else branch.starts[number]
            found.append((start, body[-1].end))
    return found


def _conditional(rule: Rule) -> list[tuple[int, int]]:
    """Return where bodies begin and end; those of `else` count as one with what they follow."""
    bodies = _bodies(rule) if any(branch.bodies for branch in rule.branches) else []
    return [(bodies[0][0], bodies[-1][1])] if len(rule.branches) > 1 and bodies else bodies


def _covered(found: Sequence[tuple[Source, Rule]]) -> bool:
    """Whether a rule always has a value: a body without condition, or a name and its `not`.

    The operands of other negations can be undefined, and then both are.
    """
    conditions = {
        (literal.negated, source.text[literal.terms[0].start : literal.terms[-1].end])
        for source, rule in found
        for branch in rule.branches
        for body in branch.bodies
        if len(body) == 1 and not (literal := body[0]).replaced
        if [term.kind for term in literal.terms] in (["var"], ["ref"])
    }
    opposite = any((not negated, text) in conditions for negated, text in conditions)
    return opposite or any(_always(rule) for _, rule in found)


def _always(rule: Rule) -> bool:
    """Whether a rule has a value for every input, as far as its bodies go."""
    sets = rule.member is not None or any(part.kind != "name" for part in rule.head.parts[1:])
    unconditional = any(not branch.bodies for branch in rule.branches)
    return rule.default or sets or unconditional or rule.arguments is not None


def _rest(node: Test) -> Iterator[int]:
    """Yield the numbers of the bodies that an index cannot leave out."""
    below = node.rest
    if isinstance(below, Test):
        yield from _rest(below)
    else:
        yield from (number for number, _ in below)


def _nodes(node: Node | None) -> Iterator[Node]:
    """Yield a term and those in it, but for what is in comprehensions and calls."""
    if node is None or node.kind in ("comprehension", "call"):
        return
    yield node
    for part in node.parts[:1] if node.kind == "ref" else node.parts:
        yield from _nodes(part)


def _calls(source: Source, name: str) -> Iterator[Node]:
    """Yield the calls of a builtin."""
    pending: list[Node] = []
    literals = []
    for rule in source.module.rules if source.module else ():
        pending += [node for node in (rule.member, *rule.head.parts[1:]) if node is not None]
        for branch in rule.branches:
            pending += [branch.value] if branch.value else []
            literals += [literal for body in branch.bodies for literal in body]
    while pending or literals:
        while literals:
            literal = literals.pop()
            pending += [*literal.terms, *(value for _, value in literal.replaced)]
            literals += literal.body
        if not pending:
            return
        node = pending.pop()
        literals += node.body
        pending += node.parts
        if node.kind == "call" and ".".join(_called(node.parts[0])) == name:
            yield node


def _called(node: Node) -> list[str]:
    return [part.text for part in node.parts] if node.kind == "ref" else [node.text]
