"""Which rules and conditions make two versions of a policy decide one input differently."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from gateway.rego.trace import Evaluation, Failure
from gateway.rego.values import UNDEFINED, dumps, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.rego.trace import Body, Site, Trace
    from gateway.rego.values import Value

Side = Literal["old", "new"]
What = Literal["holds", "fails", "rule"]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line that matters: a body that holds, a condition that fails, or a rule, on one side.

    `text` is the source line.
    """

    side: Side
    what: What
    rule: str
    file: str
    row: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """How one version decided: its trace, its sources, and the rules that are true by default."""

    trace: Trace
    modules: Mapping[str, str]
    granted: frozenset[str]


def contrast(old: Account, new: Account) -> tuple[Place, ...]:
    """Return the lines of the rules whose values differ, the innermost of those.

    They are bodies that hold on one side only and conditions that fail on one side only, compared
    by their text; the rules themselves where there are none (their defaults or values differ).
    """
    one, two = _Told("old", old), _Told("new", new)
    found: list[Place] = []
    rules: list[Place] = []
    for name in _innermost(one, two):
        for told, other in ((one, two), (two, one)):
            place = partial(_place, told, name)
            # Where the other stopped, later bodies say nothing of why.
            tried = max((len(each.bodies) for each in other.by_name.get(name, [])), default=0)
            held = told.without(told.held(name), other.held(name), other)
            found += [place("holds", site) for site in held]
            failed = told.without(told.failed(name, tried), other.failed(name), other)
            found += [place("fails", site) for site in failed]
            rules += [place("rule", each.site) for each in told.by_name.get(name, [])[:1]]
    return tuple(sorted(dict.fromkeys(found or rules)))


def _place(told: _Told, rule: str, what: What, site: Site) -> Place:
    return Place(told.side, what, rule, site.file, site.row, told.line(site))


def _innermost(one: _Told, two: _Told) -> list[str]:
    """Return the rules that come out differently though what they ask does not."""
    differ = [
        name
        for name in dict.fromkeys((*one.by_name, *two.by_name))
        if name in one.by_name and name in two.by_name and one.values(name) != two.values(name)
    ]
    inner = [
        name
        for name in differ
        if not any(
            below in differ and below != name
            for told in (one, two)
            for each in told.by_name[name]
            for below in _asked(each)
        )
    ]
    return inner or differ or [root.name for root in one.roots]


def _asked(found: Evaluation) -> Iterator[str]:
    for body in found.bodies:
        for step in body.steps:
            if isinstance(step, Evaluation):
                yield step.name
                yield from _asked(step)


class _Told:
    """What a trace tells, by the names of rules."""

    def __init__(self, side: Side, account: Account) -> None:
        self.side = side
        self.roots = account.trace.roots
        self.by_name: dict[str, list[Evaluation]] = {}
        self._granted = account.granted
        self._lines = {name: text.split("\n") for name, text in account.modules.items()}
        for root in self.roots:
            self._take(root)

    def _take(self, found: Evaluation) -> None:
        if not found.again:
            self.by_name.setdefault(found.name, []).append(found)
        for body in found.bodies:
            for step in body.steps:
                if isinstance(step, Evaluation):
                    self._take(step)

    def values(self, name: str) -> set[str]:
        """The values that a rule came out with, by arguments."""
        return {
            f"{[_text(argument) for argument in each.arguments]} {_text(each.value)}"
            for each in self.by_name[name]
        }

    def line(self, site: Site) -> str:
        lines = self._lines.get(site.file, [])
        return lines[site.row - 1].strip() if 0 < site.row <= len(lines) else ""

    def without(self, sites: list[Site], others: list[Site], other: _Told) -> list[Site]:
        """Return the sites for which the other version has none of the same text."""
        left = Counter(map(other.line, others))
        found: list[Site] = []
        for site in sites:
            text = self.line(site)
            left[text] -= 1
            if left[text] < 0:
                found.append(site)
        return found

    def held(self, name: str) -> list[Site]:
        """Bodies that hold: nothing in them failed, or it is the one that gave the value.

        A rule with one value stops at the first body that holds.
        """
        found: list[Site] = []
        for each in self.by_name.get(name, []):
            if each.value is not UNDEFINED:
                found += [body.site for body in each.bodies if not _failures(body)]
                if each.value is True and each.bodies and name not in self._granted:
                    found.append(each.bodies[-1].site)
        return [site for site in dict.fromkeys(found) if site.row]

    def failed(self, name: str, bodies: int | None = None) -> list[Site]:
        """Conditions that did not hold, in the first bodies of the rule."""
        found = [
            step.site
            for each in self.by_name.get(name, [])
            for body in each.bodies[:bodies]
            for step in _failures(body)
        ]
        return [site for site in dict.fromkeys(found) if site.row]


def _failures(body: Body) -> list[Failure]:
    return [step for step in body.steps if isinstance(step, Failure) and not step.negated]


def _text(value: Value) -> str:
    return "undefined" if value is UNDEFINED else dumps(to_json(value))
