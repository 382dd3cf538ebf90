"""What stands in the policy sources at the places that a trace names."""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from typing import TYPE_CHECKING

from gateway.rego.scopes import direct_variables
from gateway.rego.source import Source
from gateway.rego.tokens import RESERVED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.rego.trace import Site
    from gateway.rego.tree import Literal, Module, Node, Rule

MAX_EXCERPT = 200
"""Longest expression that is shown whole."""


class Excerpts:
    """The sources of a policy set, by the names of their modules."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self._texts = modules
        self._files: dict[str, _File] = {}

    def _file(self, site: Site) -> _File | None:
        if site.file not in self._texts or not site.row:
            return None
        if site.file not in self._files:
            self._files[site.file] = _File(Source(site.file, self._texts[site.file]))
        return self._files[site.file]

    def expression(self, site: Site) -> str:
        """Return the expression at a site on one line; what stands on its line where it is none."""
        file = self._file(site)
        return "" if file is None else file.expression(site)

    def variables(self, site: Site) -> Sequence[str]:
        """Return the names of the variables of the expression at a site, in their order."""
        file = self._file(site)
        return [] if file is None else file.variables(site)

    def parameters(self, site: Site) -> Sequence[str]:
        """Return the parameters of the function whose head is at a site, as they are written."""
        file = self._file(site)
        return [] if file is None else file.parameters(site)


class _File:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._lines = source.text.split("\n")

    def expression(self, site: Site) -> str:
        literal = self._at(site)
        if literal is None:
            return _shortened(self._lines[site.row - 1] if site.row <= len(self._lines) else "")
        return _shortened(self._source.text[literal.start : literal.end])

    def variables(self, site: Site) -> list[str]:
        literal = self._at(site)
        scopes = self._source.scopes
        if literal is None or scopes is None:
            return []
        found = sorted(direct_variables(literal), key=lambda node: node.start)
        names = [node.text for node in found if node.text not in RESERVED | {"_"}]
        return list(dict.fromkeys(name for name in names if name not in self._rules))

    def parameters(self, site: Site) -> list[str]:
        rule = self._rule(self._offset(site))
        if rule is None or rule.arguments is None:
            return []
        text = self._source.text
        return [_shortened(text[node.start : node.end]) for node in rule.arguments]

    def _offset(self, site: Site) -> int:
        return self._source.offset((site.row, site.col)) if site.row <= len(self._lines) else 0

    @cached_property
    def _rules(self) -> frozenset[str]:
        """The names of the module's rules and imports: they are no variables."""
        module = self._source.module
        if module is None:
            return frozenset()
        return frozenset(
            (
                *(rule.head.parts[0].text for rule in module.rules),
                *(each.name for each in module.imports),
            )
        )

    @cached_property
    def _starts(self) -> list[int]:
        return [rule.start for rule in self._module.rules] if self._module else []

    @property
    def _module(self) -> Module | None:
        return self._source.module

    def _rule(self, offset: int) -> Rule | None:
        index = bisect_right(self._starts, offset) - 1
        if index < 0 or self._module is None:
            return None
        rule = self._module.rules[index]
        return rule if offset < rule.end else None

    def _at(self, site: Site) -> Literal | None:
        """Return the innermost statement that a site is in."""
        offset = self._offset(site)
        rule = self._rule(offset)
        if rule is None:
            return None
        bodies = (body for branch in rule.branches for body in branch.bodies)
        return _innermost((literal for body in bodies for literal in body), offset)


def _innermost(literals: Iterator[Literal], offset: int) -> Literal | None:
    for literal in literals:
        if literal.start <= offset < literal.end:
            inner = [*literal.body, *_enclosed(literal.terms)]
            return _innermost(iter(inner), offset) or literal
    return None


def _enclosed(nodes: Sequence[Node]) -> Iterator[Literal]:
    """Yield the statements of the comprehensions in terms."""
    for node in nodes:
        yield from node.body
        yield from _enclosed(node.parts)


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MAX_EXCERPT else f"{text[:MAX_EXCERPT]}…"
