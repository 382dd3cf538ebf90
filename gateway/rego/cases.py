"""Which cases a test rule has begun, whether or not they came to their end.

Of `test_x[name] if { some name, tc in {…}; … }` a case whose body fails leaves nothing in the
value. OPA notes a case where the body has bound its name. Here rules beside the tests tell the
same: `noted` sets have the keys of all bodies up to that place, and where several rules share a
name (each is a test of its own in OPA), `done` sets those of the whole bodies.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.rego.scopes import pattern_variables, variables_of

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence, Set as AbstractSet

    from gateway.rego.source import Source
    from gateway.rego.tree import Literal, Node, Rule

GENERATED: Final = " (cases)"
"""How the names of modules end that are made here."""

PREFIX: Final = "test_"


class _Table(NamedTuple):
    """One body of a test rule with keys, the path of which in the package is `path`."""

    path: tuple[str, ...]
    keys: Sequence[Node]
    body: Sequence[Literal]


def module_of_cases(source: Source, rules_of_package: AbstractSet[str]) -> str:
    """Return a module that tells the cases of a test module, or nothing."""
    module = source.module
    if module is None:
        return ""
    tables = [table for rule in module.rules for table in _tables(rule)]
    if not tables:
        return ""
    head = [f"package {source.text[module.package.start : module.package.end]}"]
    head += [source.text[each.start : each.end] for each in module.imports]
    globals_ = rules_of_package | {each.name for each in module.imports}
    shared = Counter(table.path for table in tables)
    number: Counter[tuple[str, ...]] = Counter()
    rules: list[str] = []
    for table in tables:
        at = number[table.path]
        number[table.path] += 1
        until = _noted_at(table, variables_of(table.body) - globals_)
        rules.append(_rule(source.text, rule_name("noted", table.path, at), table, until))
        if shared[table.path] > 1:
            done = rule_name("done", table.path, at)
            rules.append(_rule(source.text, done, table, len(table.body)))
    return "\n".join((*head, "", *rules, ""))


def rule_name(what: str, path: Sequence[str], number: int) -> str:
    """Return the name of the rule that tells `noted` or `done` cases of a body of a test."""
    return f"{what}__{number}__{'__'.join(path)}"


def rules_of_cases(
    path: tuple[str, ...], rules: Container[tuple[str, ...]]
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...] | None]]:
    """Yield for each body of a test the rule of its noted cases, and that of those done.

    There is none of those where no other rule has the test's name: they are in its value. All are
    paths below `data`, as `path` is.
    """
    for length in range(len(path)):
        package, name = path[:length], path[length:]
        for number in count():
            noted = (*package, rule_name("noted", name, number))
            if noted not in rules:
                break
            done = (*package, rule_name("done", name, number))
            yield noted, done if done in rules else None


def _tables(rule: Rule) -> Iterator[_Table]:
    """Yield the bodies of a test rule whose last names are found in its bodies."""
    if rule.default or rule.arguments is not None or rule.member is not None:
        return
    parts = rule.head.parts
    static = 1
    while static < len(parts) and _static(parts[static]) is not None:
        static += 1
    path = tuple(_static(part) or part.text for part in parts[:static])
    if static < len(parts) and path[-1].startswith(PREFIX):
        for body in rule.branches[0].bodies:
            yield _Table(path, parts[static:], body)


def _static(part: Node) -> str | None:
    """Return the text of a part of a head, if it is one."""
    if part.kind == "name":
        return part.text
    if part.kind == "scalar" and part.text[0] == '"':
        return str(json.loads(part.text))
    return None


def _rule(text: str, name: str, table: _Table, until: int) -> str:
    keys = ", ".join(
        json.dumps(key.text) if key.kind == "name" else text[key.start : key.end]
        for key in table.keys
    )
    body = table.body[:until]
    used = {*_names(table.keys), *(name for literal in body for name in _names_in(literal))}
    conditions: list[str] = []
    for literal in body:
        if literal.kind == "some":
            names = [node.text for node in literal.terms if node.text in used]
            conditions += [f"some {', '.join(names)}"] if names else []
        else:
            conditions.append(text[literal.start : literal.end])
    lines = ";\n".join(conditions)
    return f"{name} contains [{keys}]" + (f" if {{\n{lines}\n}}" if lines else "")


def _noted_at(table: _Table, own: AbstractSet[str]) -> int:
    """Return how many statements of a body bind the keys, and all that they need themselves.

    `own` are the variables of the body.
    """
    needed = own & set(_names(table.keys))
    bound: set[str] = set()
    for number, literal in enumerate(table.body):
        if needed <= bound:
            return number
        bound |= _bound_by(literal, own, bound)
        needed |= own & set(_names_in(literal)) if literal.kind != "some" else set()
    return len(table.body)


def _bound_by(literal: Literal, own: AbstractSet[str], bound: AbstractSet[str]) -> set[str]:
    """Return the variables that a statement binds for sure, where others are bound."""
    if literal.negated or literal.kind in ("some", "every"):
        return set()
    *patterns, last = literal.terms
    made = set(_keys_bound(literal.terms, own, bound))

    def known(node: Node) -> bool:
        return own & set(_names([node])) <= bound | made

    if literal.kind in ("in", "assign") and known(last):
        for pattern in patterns:
            made.update(node.text for node in pattern_variables(pattern))
    elif literal.kind == "unify":
        (left,) = patterns
        for one, other in ((left, last), (last, left)):
            if known(other):
                made.update(node.text for node in pattern_variables(one))
    return made


def _keys_bound(
    nodes: Sequence[Node], own: AbstractSet[str], bound: AbstractSet[str]
) -> Iterator[str]:
    """Yield the variables that are keys of what is known."""
    for node in nodes:
        if node.kind == "ref":
            known = set(bound)
            for part in node.parts[1:]:
                if own & set(_names(node.parts[:1])) <= known and part.kind == "var":
                    known.add(part.text)
                    yield part.text
        if node.kind != "comprehension":
            yield from _keys_bound(node.parts, own, bound)


def _names(nodes: Sequence[Node]) -> Iterator[str]:
    """Yield the names of all variables in terms, those of bodies in them among them."""
    for node in nodes:
        if node.kind == "var":
            yield node.text
        yield from _names(node.parts)
        for literal in node.body:
            yield from _names_in(literal)


def _names_in(literal: Literal) -> Iterator[str]:
    if literal.kind != "some":
        yield from _names(literal.terms)
    yield from _names([value for _, value in literal.replaced])
    for inner in literal.body:
        yield from _names_in(inner)
