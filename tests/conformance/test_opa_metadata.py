"""Random annotations mean what they mean to OPA: `rego.metadata.rule` and `.chain`."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from gateway.rego import CompileError, EvalError, Policy, Program
from gateway.rego.compiler import Unit, compile_all
from gateway.rego.values import UNDEFINED, dumps, to_json
from tests.support.opa import needs_opa, opa
from tests.support.rego import NOW

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = needs_opa

MODULES = 60

PACKAGES = ("a", "a.b", "a.b.c", 'a["b"].d', "e")
CALLS = """
1
rego.metadata.rule()
rego.metadata.chain()
rego.metadata.chain( )
object.get(rego.metadata.rule(), "custom", 1)
rego.metadata.chain()[0].path
count(rego.metadata.rule())
rego.metadata.rule() == {}
[x | x := rego.metadata.chain()[_].path]
{k: v | some k, v in rego.metadata.rule()}
[[y | y := x.path] | some x in rego.metadata.chain()]
concat("/", rego.metadata.chain()[0].path)
{rego.metadata.rule(): rego.metadata.chain()}
""".strip().split("\n")
CONDITIONS = """
true
rego.metadata.rule()
"x" == object.get(rego.metadata.rule(), "title", 1)
not "x" in rego.metadata.rule()
"a" in rego.metadata.chain()[_].path
every z in rego.metadata.chain() { z.path; not z.path == rego.metadata.rule() }
input == {} with input as rego.metadata.rule()
count(rego.metadata.chain()) > 1
some i; rego.metadata.chain()[i].path == rego.metadata.chain()[0].path
walk(rego.metadata.rule(), [_, "x"])
v := rego.metadata.chain()[_]; startswith(v.path[_], rego.metadata.chain()[_].path[0])
""".strip().split("\n")
FIELDS = r"""
title: x
title: 'x: "`{}'
title: 1.50
title: ~
description: |¶  a¶¶  b
organizations: [a, 1, yes, null]
authors:¶- A B <a@b>¶- name: C
entrypoint: false
related_resources:¶- https://x/y?z
related_resources: [{ref: '/a/b%20c#d', description: d}]
schemas:¶- input: schema.x¶- data.y: {type: string}
unknown: [1]
custom: {a: 1.50, b: [yes, true, ~, 0x1F, 1e3], c: {}, 2: "\0\u00e9"}
custom:¶  a: &a [1]¶  b: *a¶  <<: {c: 2020-01-02}
custom: {}
""".strip().split("\n")
MALFORMED = """
[
- x
custom: 1
custom: {a: {1: 2}}
title: [x]
authors: ['']
title: x¶title: y
""".strip().split("\n")
"""In these and the FIELDS, ¶ is the end of a line."""
RULE = ("", "rule")
DOCUMENT = ("document",)
PACKAGE = ("", "package", "subpackages")


def annotation(choose: random.Random, scopes: Sequence[str]) -> str:
    """Write one comment block, or none."""
    if choose.random() < 0.3:
        return ""
    names = {
        field.split(":")[0]: field for field in choose.sample(FIELDS, choose.choice((1, 1, 3)))
    }
    if choose.random() < 0.01:
        names["?"] = choose.choice(MALFORMED)
    scope = choose.choice(scopes)
    lines = [f"scope: {scope}"] * bool(scope) + "¶".join(names.values()).split("¶")
    return "".join(f"# {line}\n" for line in ("METADATA", *lines)) + "\n" * choose.randint(0, 1)


def rule(choose: random.Random, name: str) -> str:
    """Write the rule p (a value), q (a set) or r (an object)."""
    value, other = choose.choice(CALLS), choose.choice(CALLS)
    condition = choose.choice(CONDITIONS)
    body = f"{{ {condition}; {choose.choice(CONDITIONS)} }}"
    if name == "q":
        return f"q contains {value} if {body}\n"
    if name == "r":
        return choose.choice((f"r.k := {value} if {body}\n", f'r[x] := {value} if x := "k"\n'))
    return choose.choice(
        (
            f"p := {value}\n",
            f"p := {value} if {condition}\n" if ";" not in condition else f"p := {value}\n",
            f"p := [{value}, {other}] if {{\n  {condition}\n  false\n}} else := {other}\n",
            f"f(x) := [x, {value}] if {body} else := {other}\np := f({other})\n",
            f"default p := 0\n{annotation(choose, DOCUMENT)}p := {value} if {body}\n",
        )
    )


def module(choose: random.Random) -> str:
    """Write a module of up to four rules."""
    parts = [annotation(choose, PACKAGE), f"package {choose.choice(PACKAGES)}\n"]
    parts += ["import data.a\n"] * choose.choice((0, 0, 1))
    for name in choose.sample("pqr", choose.randint(1, 3)):
        wrong = choose.random() < 0.01
        parts += [
            *(
                annotation(choose, PACKAGE if wrong else RULE)
                for _ in range(choose.choice((1, 1, 3)))
            ),
            annotation(choose, DOCUMENT) if choose.random() < 0.5 else "",
            rule(choose, name),
        ]
    return "".join(parts)


def modules(choose: random.Random) -> dict[str, str]:
    """Write up to three modules."""
    return {f"{name}.rego": module(choose) for name in "xyz"[: choose.choice((1, 1, 2, 3))]}


def answer(made: Program | CompileError, path: str) -> tuple[str, object]:
    """Return what we say, as OPA says it."""
    if isinstance(made, CompileError):
        return "refused", None
    try:
        value = Policy(made).decide(path.replace(".", "/"), {}, now=NOW)
    except EvalError:
        return "error", None
    return ("undefined", None) if value is UNDEFINED else ("value", dumps(to_json(value)))


def compared(seed: int, count: int) -> tuple[Counter[str], list]:
    """Return how often each kind of answer came, and what differs."""
    choose = random.Random(seed)  # noqa: S311  test data
    sets = [modules(choose) for _ in range(count)]
    kinds: Counter[str] = Counter()
    different = []
    with opa() as oracle:
        programs = compile_all([Unit(modules=texts) for texts in sets])
        for texts, made in zip(sets, programs, strict=True):
            rules = made.rules if isinstance(made, Program) else [("a", "p")]
            paths = [".".join(path) for path in rules if path[-1] in ("p", "q", "r")]
            said = oracle.ask(texts, [(path, {}) for path in paths])
            for path, (kind, value, text) in zip(paths, said, strict=True):
                if "panic:" in text:  # OPA does not survive schemas of some shapes
                    continue
                ours = answer(made, path)
                kinds[kind] += 1
                if ours != (kind, dumps(value) if kind == "value" else None):
                    different.append((texts, path, (kind, value, text), ours, made))
    return kinds, different


@pytest.mark.parametrize("seed", range(2))
def test_random_annotations(seed):
    kinds, different = compared(seed, MODULES)
    assert not different
    assert kinds["value"] > MODULES
    assert kinds["refused"]
