"""Which cases a test rule has begun, and which rules of one name hold: each is a test in OPA.

Of `test_x[name] if { some name, tc in {…}; … }` a case whose body fails leaves nothing in the
value. OPA notes a case where the body has bound its name. Here rules beside the tests tell the
same: `noted` sets have the keys of all bodies up to that place, and where several rules share a
name, `done` sets those of the whole bodies.

Of test rules without cases that share a name, `alone` rules are the same one by one.
"""

from __future__ import annotations

import hashlib
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


def module_of_cases(
    source: Source, rules_of_package: AbstractSet[str], shared_names: Container[tuple[str, ...]]
) -> str:
    """Return a module that tells the cases of a test module, or nothing.

    `shared_names` are the paths in the package of tests without cases that several rules have.
    """
    module = source.module
    if module is None:
        return ""
    tables = [table for rule in module.rules for table in _tables(rule)]
    alone = [
        _alone(source, path, start, text)
        for path, start, text in plain_tests(source)
        if path in shared_names
    ]
    if not tables and not alone:
        return ""
    head = [f"package {source.text[module.package.start : module.package.end]}"]
    head += [source.text[each.start : each.end] for each in module.imports]
    globals_ = rules_of_package | {each.name for each in module.imports}
    shared = Counter(table.path for table in tables)
    number: Counter[tuple[str, ...]] = Counter()
    rules: list[str] = alone
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


def plain_tests(source: Source) -> Iterator[tuple[tuple[str, ...], int, str]]:
    """Yield the test rules without cases: path in the package, where one begins, what it is.

    What it is, is its text behind the name. Each of several bodies of one rule is a rule.
    """
    text = source.text
    for rule in source.module.rules if source.module else ():
        parts = rule.head.parts
        path = tuple(_static(part) or part.text for part in parts)
        if (
            rule.default
            or rule.arguments is not None
            or rule.member is not None
            or not path[-1].startswith(PREFIX)
            or any(_static(part) is None for part in parts[1:])
        ):
            continue
        branch = rule.branches[0]
        if len(branch.bodies) < 2:
            yield path, rule.start, text[rule.head.end : rule.end]
            continue
        value = "" if branch.value is None else text[branch.value.start : branch.value.end]
        for start, body in zip(branch.starts, branch.bodies, strict=True):
            conditions = text[body[0].start : body[-1].end]
            yield path, start, f" := {value or 'true'} if {{ {conditions}\n}}"


def _alone(source: Source, path: Sequence[str], start: int, text: str) -> str:
    """Return a rule that is the one at a place alone, and one that tells whether it is true."""
    mark = hashlib.sha256(source.name.encode()).hexdigest()[:8]
    name = rule_name(f"alone_{mark}", path, start)
    member = f"[{json.dumps(source.name)}, {source.place(start)[0]}, held]"
    told = f"{rule_name('alone', path, 0)} contains {member}"
    return f"{name}{text}\n{told} if {{ held := count([1 | {name} == true]) }}"


def rule_of_alone(path: tuple[str, ...], rules: Container[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the path of the rule that tells which rules of a test's name are true, or nothing.

    Its value is a set of [file, row, 1 or 0].
    """
    for length in range(len(path)):
        found = (*path[:length], rule_name("alone", path[length:], 0))
        if found in rules:
            return found
    return ()


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
