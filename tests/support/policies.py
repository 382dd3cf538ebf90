"""Random policies with data and inputs: what the engine is compared on.

Everything is drawn from one `random.Random`, so a seed stands for a policy. Values are few, so
that they meet; variables are used where they are bound, and rules refer to earlier ones only, so
that most policies load.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGES = ("low.deep", "low", "high", "top")
"""In the order in which they may refer to each other."""

SHARED = ("a", "xs", "low", "deep", "lib", "shown", "high", "top", "b", "base")
"""Names of rules, fields and packages that variables may have, too."""
KEYS = ("a", "b", "c", "xs", "o")
NUMBERS = (0, 1, 2, 3, -1, 0.5, 2.5, 10, 100, 12345678901234567890)
STRINGS = ("", "a", "b", "ab", "a/b", "é")
"""None is the text of a number or boolean: as keys of one JSON object they could not be told apart,
and below `data` OPA finds `"1"` at `1`, too (tests/conformance/known_issues.yaml)."""
SCALARS = (None, True, False, *NUMBERS, *STRINGS)
NUMBER_TEXTS = ("0", "1", "2", "3", "-1", "1.0", "0.5", "2.50", "1e2", "12345678901234567890")


@dataclass(frozen=True, slots=True)
class Made:
    """Modules by name, the data document, inputs, and the rules to ask (dotted, below data)."""

    modules: dict[str, str]
    data: dict[str, Any]
    inputs: list[Any]
    asks: list[str]


def document(random: Random, depth: int = 3) -> Any:
    """Return a random JSON value."""
    kind = random.random()
    if depth == 0 or kind < 0.45:
        return random.choice(SCALARS)
    if kind < 0.7:
        return [document(random, depth - 1) for _ in range(random.randrange(4))]
    return {random.choice(KEYS): document(random, depth - 1) for _ in range(random.randrange(4))}


def fields(random: Random) -> dict[str, Any]:
    """Return a document as policies expect it: some of the keys that they read."""
    made = {
        "a": random.choice(SCALARS),
        "b": document(random, 1),
        "c": document(random),
        "xs": [document(random, 1) for _ in range(random.randrange(5))],
        "o": {random.choice(KEYS): document(random, 2) for _ in range(random.randrange(4))},
    }
    for key in KEYS:
        if random.random() < 0.12:
            del made[key]
    return made


def inputs(random: Random, count: int) -> list[Any]:
    """Return inputs, most of them with the fields that policies read."""
    odd = (None, 1, "a", [1, 2], {})
    return [random.choice(odd) if random.random() < 0.1 else fields(random) for _ in range(count)]


def policy(random: Random, *, packages: int = 3, rules: int = 4, simple: bool = False) -> Made:
    """Return a random policy.

    A simple one calls no builtins, replaces nothing, and names its variables like nothing else.
    """
    return _Maker(random, simple=simple).policy(packages, rules)


def _without_unused(text: str) -> str:
    """Write `_` for declared variables that nothing uses, which Rego refuses."""
    used = Counter(re.findall(r"\bv[0-9]+\b", text))

    def blank(found: re.Match[str]) -> str:
        return re.sub(r"\bv[0-9]+\b", lambda v: "_" if used[v[0]] == 1 else v[0], found[0])

    return re.sub(r"\b(?:some|every) [^\n]*? in ", blank, text)


@dataclass(slots=True)
class _Rule:
    """A rule that others may refer to: `kind` is value, set, object, tree or function."""

    package: str
    name: str
    kind: str
    arity: int = 0

    @property
    def path(self) -> str:
        return f"data.{self.package}.{self.name}"


_CALLING = ("walked", "mocked", "printed", "member")
"""Literals that a simple policy does not have: `in` is a builtin, too."""


@dataclass(slots=True)
class _Maker:
    random: Random
    rules: list[_Rule] = field(default_factory=list)
    package: str = ""
    bound: list[str] = field(default_factory=list)
    count: int = 0
    depth: int = 0
    negated: bool = False
    simple: bool = False
    used: set[str] = field(default_factory=set)

    # --- modules

    def policy(self, packages: int, rules: int) -> Made:
        texts: dict[str, str] = {}
        for name in PACKAGES[-packages:]:
            self.package = name
            parts = [f"package {name}\n"]
            if not self.rules:
                parts += [*self.constant_rule("r0"), ""]
            for _ in range(self.random.randint(2, rules)):
                parts += self.rule()
            texts[f"{name}.rego"] = "\n".join(parts) + "\n"
        asks = [rule.path.removeprefix("data.") for rule in self.rules if rule.kind != "function"]
        shown = self.random.choice(asks)
        texts["lib.rego"] = "package lib\n\nany(x) := x\n"
        texts["shown.rego"] = (
            "package shown\n\n"
            f"kinds := [[path, type_name(x)] | walk(data.{shown}, [path, x])]\n\n"
            f"list := [[k, x] | some k, x in data.{shown}]\n"
        )
        data = fields(self.random) | {"low": {"base": document(self.random)}}
        return Made(
            texts,
            data,
            inputs(self.random, 3),
            [*asks, "shown.kinds", "shown.list", *PACKAGES[-packages:]],
        )

    def rule(self) -> list[str]:
        kind = self.random.choices(
            ["complete", "set", "object", "tree", "function", "constant"], [5, 3, 3, 2, 4, 1]
        )[0]
        name = f"r{len(self.rules)}"
        made: list[str] = getattr(self, f"{kind}_rule")(name)
        self.bound = []
        self.used.clear()
        return [*map(_without_unused, made), ""]

    def known(self, name: str, kind: str, arity: int = 0) -> None:
        self.rules.append(_Rule(self.package, name, kind, arity))

    def constant_rule(self, name: str) -> list[str]:
        text = f"{name} := {self.value(3)}"
        self.known(name, "value")
        return [text]

    def complete_rule(self, name: str) -> list[str]:
        made = []
        if self.chance(0.4):
            made.append(f"default {name} := {self.scalar()}")
        same = self.chance(0.5) and self.value(1)
        for _ in range(self.random.choice((1, 1, 2, 3))):
            made.append(self.clause(f"{name} := ", same or None))
        self.known(name, "value")
        return made

    def clause(self, head: str, value: str | None) -> str:
        text = self.one_clause(head, value)
        while self.chance(0.15):
            text += self.one_clause(" else := ", value if self.chance(0.3) else None)
        return text

    def one_clause(self, head: str, value: str | None) -> str:
        with self.scope():
            body = self.body()
            return f"{head}{value or self.term(2)} if {{\n{body}\n}}"

    def set_rule(self, name: str) -> list[str]:
        made = []
        for _ in range(self.random.choice((1, 1, 2))):
            with self.scope():
                body = self.body()
                made.append(f"{name} contains {self.term(2)} if {{\n{body}\n}}")
        self.known(name, "set")
        return made

    def object_rule(self, name: str) -> list[str]:
        made = []
        for _ in range(self.random.choice((1, 1, 2))):
            with self.scope():
                body = self.body()
                key = self.variable() or self.value(1)
                value = key if self.chance(0.3) else self.term(2)
                made.append(f"{name}[{key}] := {value} if {{\n{body}\n}}")
        self.known(name, "object")
        return made

    def tree_rule(self, name: str) -> list[str]:
        made = []
        sets = self.chance(0.4)
        # Not both in one rule: OPA leaves a named branch without members out beside a variable.
        named = self.chance(0.5)
        for _ in range(self.random.choice((1, 2, 2))):
            with self.scope():
                body = self.body()
                head = f"{name}.{self.random.choice(KEYS)}"
                if not named:
                    key = self.bind(self.new())
                    body += f"\n\tsome {key} in input.xs"
                    head = f"{name}[{key}]"
                if self.chance(0.6):
                    last = self.variable()
                    head += f"[{self.scalar() if named or not last else last}]"
                end = f" contains {self.term(1)}" if sets else f" := {self.term(1)}"
                made.append(f"{head}{end} if {{\n{body}\n}}")
        self.known(name, "tree")
        return made

    def function_rule(self, name: str) -> list[str]:
        arity = self.random.choice((1, 1, 2))
        made = []
        if self.chance(0.25):
            made.append(f"default {name}({', '.join('_' * arity)}) := {self.scalar()}")
        same = self.chance(0.4) and self.value(1)
        for _ in range(self.random.choice((1, 2, 3))):
            with self.scope():
                parameters = ", ".join(self.pattern() for _ in range(arity))
                made.append(self.clause(f"{name}({parameters}) := ", same or None))
        self.known(name, "function", arity)
        return made

    def pattern(self) -> str:
        """Return a parameter: a variable, a constant, or a composite of them."""
        kind = self.random.random()
        if kind < 0.6:
            return self.bind(self.new())
        if kind < 0.75:
            return self.scalar()
        if kind < 0.9:
            return f"[{self.bind(self.new())}, {self.bind(self.new())}]"
        return f'{{"{self.random.choice(KEYS)}": {self.bind(self.new())}}}'

    # --- bodies

    def body(self, least: int = 1) -> str:
        return "\n".join(
            f"\t{literal}"
            for _ in range(self.random.randint(least, 3))
            for literal in self.literal()
        )

    def inline(self) -> str:
        return "; ".join(
            literal for _ in range(self.random.choice((1, 1, 2))) for literal in self.literal()
        )

    def literal(self) -> list[str]:
        kinds: dict[str, int] = {
            "assigned": 4, "some_in": 4, "compared": 6, "unified": 3, "plain": 4, "negation": 3,
            "every": 2, "member": 2, "walked": 1, "mocked": 3, "printed": 1, "iterated": 3,
        }  # fmt: skip
        if self.depth > 2:
            kinds = {"assigned": 3, "some_in": 2, "compared": 6, "plain": 3, "member": 2}
        if self.simple:
            kinds = {kind: weight for kind, weight in kinds.items() if kind not in _CALLING}
        kind = self.random.choices(list(kinds), list(kinds.values()))[0]
        self.depth += 1
        try:
            made = getattr(self, kind)()
        finally:
            self.depth -= 1
        return made if isinstance(made, list) else [made]

    def assigned(self) -> str:
        term = self.term(2)
        return f"{self.bind(self.new())} := {term}"

    def some_in(self) -> str:
        collection = self.collection()
        if self.chance(0.4):
            key = self.new()
            value = self.new()
            self.bind(key)
            return f"some {key}, {self.bind(value)} in {collection}"
        if self.chance(0.15):
            left = self.new()
            right = self.new()
            self.bind(left)
            return f"some [{left}, {self.bind(right)}] in {collection}"
        return f"some {self.bind(self.new())} in {collection}"

    def compared(self) -> str:
        operators = ("==", "==", "!=", "<", "<=", ">", ">=")
        operator = "==" if self.simple else self.random.choice(operators)
        left, right = self.loose(1), self.loose(1) if self.bound else self.term(0)
        if self.chance(0.3):
            left, right = right, left
        return f"{left} {operator} {right}"

    def unified(self) -> str:
        kind = self.random.random()
        source = self.loose(1)
        if kind < 0.3:
            return f"{self.bind(self.new())} = {source}"
        if kind < 0.5:
            other, third = self.variable() or self.scalar(), self.term(1)
            return f"[{other}, {self.bind(self.new())}] = [{source}, {third}]"
        if kind < 0.7:
            return f"[{self.bind(self.new())}, {self.bind(self.new())}] = {source}"
        if kind < 0.85:
            key = self.random.choice(KEYS)
            return f'{{"{key}": {self.bind(self.new())}}} = {source}'
        third = self.term(1)
        return (
            f'{{"a": [{self.bind(self.new())}], "b": {self.scalar()}}} '
            f'= {{"a": {source}, "b": {third}}}'
        )

    def plain(self) -> str:
        return self.call() if self.chance(0.3) else self.reference(2)

    def negation(self) -> str:
        with self.scope():
            kind = self.random.random()
            if kind < 0.4:
                return f"not {self.reference(2)}"
            if kind < 0.7:
                return f"not {self.compared()}"
            if kind < 0.85 and not self.simple:
                return f"not {self.member()}"
            return f"not {self.call()}"

    def every(self) -> str:
        collection = self.collection()
        with self.scope():
            names = self.bind(self.new())
            if self.chance(0.3):
                names += f", {self.bind(self.new())}"
            return f"every {names} in {collection} {{ {self.inline()} }}"

    def member(self) -> str:
        if self.chance(0.2):
            return f"{self.loose(0)}, {self.term(1)} in {self.collection()}"
        return f"{self.term(1)} in {self.collection()}"

    def walked(self) -> str:
        source = self.reference(1)
        return f"walk({source}, [{self.bind(self.new())}, {self.bind(self.new())}])"

    def mocked(self) -> str:
        rules = [rule for rule in self.rules if rule.kind != "function"]
        if not rules:
            return self.compared()
        target = self.random.choice(rules).path
        if self.chance(0.3):
            target = f"data.{self.random.choice(KEYS)}"
        functions = [rule for rule in self.rules if rule.kind == "function"]
        if functions and self.chance(0.3):
            called = self.random.choice(functions)
            target = f"{called.path}({', '.join(self.term(1) for _ in range(called.arity))})"
        changes = "".join(
            f" with {self.replaced()} as {self.term(1)}"
            for _ in range(self.random.choice((1, 1, 2)))
        )
        if self.chance(0.3):
            changes += self.replaced_function()
        if self.chance(0.3):
            return f"not {target}{changes}"
        if self.chance(0.2):
            return f"{target}{changes}"
        return f"{self.bind(self.new())} := {target}{changes}"

    def replaced(self) -> str:
        kind = self.random.random()
        if kind < 0.25:
            return "input"
        if kind < 0.55:
            return f"input.{self.random.choice(KEYS)}"
        if kind < 0.65:
            return f"input.{self.random.choice(KEYS)}.{self.random.choice((*KEYS, 'new'))}"
        if kind < 0.8:
            return f"data.{self.random.choice((*KEYS, 'a.b', 'low.base'))}"
        rules = [rule for rule in self.rules if rule.kind != "function"]
        return self.random.choice(rules).path

    def replaced_function(self) -> str:
        functions = [rule for rule in self.rules if rule.kind == "function"]
        if functions and self.chance(0.6):
            called = self.random.choice(functions)
            others = [rule for rule in functions if rule.arity == called.arity]
            value = self.random.choice(others).path if self.chance(0.4) else self.scalar()
            return f" with {called.path} as {value}"
        values = (self.scalar(), self.scalar(), "json.marshal", "data.lib.any")
        return f" with {self.random.choice(('count', 'type_name'))} as {self.random.choice(values)}"

    def printed(self) -> str:
        return f'print("seen", {self.reference(1)})'

    def iterated(self) -> list[str]:
        source = self.random.choice((self.reference(1), self.place()))
        key = self.new()
        names = [key]
        text = f"{source}[{key}]"
        if self.chance(0.2):
            names.append(self.new())
            text += f"[{names[1]}]"
        elif self.chance(0.2):
            text += f".{self.random.choice(KEYS)}"
        declared = f"some {', '.join(names)}"
        kind = self.random.random()
        compared = self.place()
        self.bound += names
        if kind < 0.4:
            return [declared, text]
        if kind < 0.7:
            return [declared, f"{text} == {compared}"]
        return [declared, f"{self.bind(self.new())} := {text}"]

    # --- terms

    def term(self, depth: int) -> str:
        kind = self.random.random()
        if kind < 0.35 and self.bound:
            return self.random.choice(self.bound)
        if kind < 0.6:
            return self.reference(depth)
        if depth and kind < 0.72 and self.depth < 3:
            return self.call()
        if depth and kind < 0.85 and self.depth < 3:
            return self.comprehension()
        if depth and kind < 0.9 and not self.simple:
            operator = self.random.choice("+-*/%-|&")
            return f"({self.loose(depth - 1)} {operator} {self.loose(depth - 1)})"
        return self.value(depth)

    def loose(self, depth: int) -> str:
        """Return a term whose type OPA does not know."""
        if self.bound and self.chance(0.3):
            return f"data.lib.any({self.random.choice(self.bound)})"
        if depth and self.chance(0.3):
            return f"data.lib.any({self.term(depth - 1)})"
        return self.place()

    def collection(self) -> str:
        kind = self.random.random()
        if kind < 0.5:
            return self.random.choice(("input.xs", "data.xs", "input.o", "data.o", "input.c"))
        if kind < 0.75:
            rules = [rule for rule in self.rules if rule.kind in ("set", "object", "tree")]
            if rules:
                return self.random.choice(rules).path
        if kind < 0.85 and self.bound:
            return self.random.choice(self.bound)
        if kind < 0.93 and self.depth < 3:
            return self.comprehension()
        return self.random.choice((self.array(1), self.set(1), self.object(1)))

    def place(self) -> str:
        root = self.random.choice(("input", "input", "data"))
        text = f"{root}.{self.random.choice(KEYS)}"
        if self.chance(0.25):
            text += self.random.choice((".a", ".b", "[0]", "[1]", '["xs"]', "[-1]", "[1.0]"))
        return text

    def reference(self, depth: int) -> str:
        kind = self.random.random()
        values = [rule for rule in self.rules if rule.kind != "function"]
        if kind < 0.5 or not values:
            return self.place()
        if kind < 0.58:
            packages = PACKAGES[: PACKAGES.index(self.package)]
            lower = [rule.package for rule in self.rules if rule.package in packages]
            if lower:
                package = self.random.choice(lower)
                if self.chance(0.3):
                    return f"data.{package}"
                names = [rule.name for rule in self.rules if rule.package == package]
                keys = (self.place(), f'data.lib.any("{self.random.choice(names)}")')
                return f"data.{package}[{self.random.choice(keys)}]"
        rule = self.random.choice(values)
        text = rule.name if rule.package == self.package and self.chance(0.7) else rule.path
        if rule.kind == "value" and self.chance(0.8):
            return text
        while self.chance(0.4):
            key = f"data.lib.any({self.variable() or self.scalar()})"
            if self.chance(0.5):
                key = self.place()
            text += f"[{key}]"
        return text

    def call(self) -> str:
        functions = [rule for rule in self.rules if rule.kind == "function"]
        if functions and self.chance(0.6):
            called = self.random.choice(functions)
            return f"{called.path}({', '.join(self.loose(1) for _ in range(called.arity))})"
        if self.simple:
            return self.reference(1)
        name, arity = self.random.choice(
            (
                ("count", 1), ("type_name", 1), ("sort", 1), ("is_string", 1), ("is_number", 1),
                ("max", 1), ("min", 1), ("is_set", 1), ("is_array", 1), ("json.marshal", 1),
                ("object.get", 3), ("startswith", 2), ("sum", 1), ("object.keys", 1),
            )
        )  # fmt: skip
        return f"{name}({', '.join(self.loose(1) for _ in range(arity))})"

    def comprehension(self) -> str:
        self.depth += 1
        try:
            with self.scope():
                body = self.inline()
                term = self.term(1)
                kind = self.random.randrange(3)
                if kind == 0:
                    return f"[{self.bare(term)} | {body}]"
                if kind == 1:
                    return f"{{{self.bare(term)} | {body}}}"
                key = self.variable() or self.scalar()
                return f"{{{key}: {self.bare(key if self.chance(0.4) else term)} | {body}}}"
        finally:
            self.depth -= 1

    def bare(self, term: str) -> str:
        return f"({term})" if " | " in term or " in " in term else term

    def scalar(self) -> str:
        if self.chance(0.4):
            return self.random.choice(NUMBER_TEXTS)
        return json.dumps(self.random.choice(SCALARS), ensure_ascii=False)

    def value(self, depth: int) -> str:
        """Return a constant."""
        kind = self.random.random()
        if depth == 0 or kind < 0.55:
            return self.scalar()
        make = self.random.choice((self.array, self.set, self.object))
        return make(depth - 1)

    def array(self, depth: int) -> str:
        return f"[{', '.join(self.value(depth) for _ in range(self.random.randrange(4)))}]"

    def set(self, depth: int) -> str:
        members = [self.value(depth) for _ in range(self.random.randrange(4))]
        return f"{{{', '.join(members)}}}" if members else "set()"

    def object(self, depth: int) -> str:
        count = self.random.randrange(4)
        keys = [self.value(1) if self.chance(0.2) else self.scalar() for _ in range(count)]
        pairs = {key: self.value(depth) for key in keys}
        return f"{{{', '.join(f'{key}: {value}' for key, value in pairs.items())}}}"

    # --- variables

    def new(self) -> str:
        self.count += 1
        if self.simple:
            return f"v{self.count}"
        name = self.random.choice(SHARED)
        if name in self.used or self.chance(0.7):
            return f"v{self.count}"
        self.used.add(name)
        return name

    def bind(self, name: str) -> str:
        self.bound.append(name)
        return name

    def variable(self) -> str | None:
        return self.random.choice(self.bound) if self.bound and self.chance(0.7) else None

    @contextmanager
    def scope(self) -> Iterator[None]:
        kept = list(self.bound)
        try:
            yield
        finally:
            self.bound = kept

    def chance(self, part: float) -> bool:
        return self.random.random() < part
