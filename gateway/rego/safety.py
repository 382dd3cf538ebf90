"""Variables that nothing gives a value: alone, or because they need one another for it.

The compiler leaves expressions out in which they need one another (`x[x]`, `x[y]; y[x]`), so that
only the text shows them. Where Rego's rules say more (which expression may give a value to which
other), this errs on the side of taking them; the check of the plan finds the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.rego.scopes import pattern_variables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.rego.scopes import Local, Scopes
    from gateway.rego.tree import Literal, Module, Node, Rule


def unbound(module: Module, scopes: Scopes) -> Iterator[Node]:
    """Yield the first use of each variable that never gets a value."""
    for rule in module.rules:
        yield from _Safety(scopes.of).unbound(rule)


class _Safety:
    """What gives values to the locals of one rule, as pairs: what is needed, what gets one."""

    def __init__(self, of: Mapping[int, Local]) -> None:
        self._of = of
        self._rules: list[tuple[frozenset[int], frozenset[int]]] = []
        self._locals: dict[int, Local] = {}

    def unbound(self, rule: Rule) -> Iterator[Node]:
        for term in (*rule.head.parts[1:], *(rule.arguments or ()), rule.member):
            if term is not None:
                self._term(term)
        for branch in rule.branches:
            if branch.value is not None:
                self._term(branch.value)
            for body in branch.bodies:
                self._body(body)
        bound = {key for key, local in self._locals.items() if local.how == "argument"}
        rules = self._rules
        while rules:
            left = [(needs, gives) for needs, gives in rules if not needs <= bound]
            if len(left) == len(rules):
                break
            bound.update(*(gives for needs, gives in rules if needs <= bound))
            rules = left
        for key, local in self._locals.items():
            if key not in bound and local.uses:
                yield local.uses[0]

    def _body(self, body: Sequence[Literal]) -> None:
        for literal in body:
            for _, value in literal.replaced:
                self._term(value)
            for term in literal.terms:
                self._term(term, binds=not literal.negated)
            self._body(literal.body)
            if not literal.negated:
                self._literal(literal)

    def _literal(self, literal: Literal) -> None:
        match literal.kind, literal.terms:
            case "assign", [left, right]:
                self._give(self._needs(right), left)
            case "unify", [left, right]:
                self._unify(left, right)
            case (("in" | "every"), [*patterns, domain]):
                for pattern in patterns:
                    self._give(self._needs(domain), pattern)
            case "term", [term] if term.kind == "call":
                self._give(frozenset(), term.parts[-1])  # it may be where the result goes

    def _unify(self, left: Node, right: Node) -> None:
        if left.kind == right.kind == "array" and len(left.parts) == len(right.parts):
            for one, other in zip(left.parts, right.parts, strict=True):
                self._unify(one, other)
        elif left.kind == right.kind == "object":
            self._give(frozenset(), left)
            self._give(frozenset(), right)
        else:
            self._give(self._needs(right), left)
            self._give(self._needs(left), right)

    def _give(self, needs: frozenset[int], pattern: Node) -> None:
        gives = frozenset(
            id(local) for node in pattern_variables(pattern) if (local := self._local(node))
        )
        if gives:
            self._rules.append((needs, gives))

    def _local(self, node: Node) -> Local | None:
        local = self._of.get(node.start)
        if local is not None:
            self._locals[id(local)] = local
        return local

    def _needs(self, node: Node) -> frozenset[int]:
        """Return the locals that a term is made of, those of bodies in it not among them.

        Bodies in it need what is mentioned before them.
        """
        found: set[int] = set()
        pending = [node]
        while pending:
            part = pending.pop()
            if part.kind == "var":
                local = self._local(part)
                if local is not None:
                    found.add(id(local))
            elif part.kind == "comprehension":
                inner = (self._local(each) for each in _variables(part))
                found.update(id(each) for each in inner if each and each.node.start < part.start)
            else:
                pending += part.parts[part.kind == "call" :]
        return frozenset(found)

    def _term(self, node: Node, *, binds: bool = True) -> None:
        """Read a term: the keys of a reference get values where it has one."""
        if node.kind == "comprehension":
            self._body(node.body)
            binds = True
        elif node.kind == "var":
            self._local(node)
        elif node.kind == "ref" and binds:
            head, *keys = node.parts
            needs = self._needs(head) if head.kind == "var" else frozenset()
            for key in keys:
                self._give(needs, key)
        for part in node.parts:
            if not (node.kind == "call" and part is node.parts[0]):
                self._term(part, binds=binds)


def _variables(node: Node) -> Iterator[Node]:
    """Yield the variables in a term and in its bodies."""
    if node.kind == "var":
        yield node
    for part in node.parts:
        yield from _variables(part)
    pending = [*node.body]
    while pending:
        literal = pending.pop()
        pending += literal.body
        for term in (*literal.terms, *(value for _, value in literal.replaced)):
            yield from _variables(term)
