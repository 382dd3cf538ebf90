"""What OPA refuses and the compiler takes: refused in place; what OPA takes stays valid."""

import re
import sys

import pytest

from gateway.rego import CompileError, compile as compile_rego
from gateway.rego.compiler import Unit, compile_all, read_sources

REFUSED = {
    "some alone": ("p if { some x }", (2, 13, "unused-variable")),
    "some alone, no braces": ("p if some x", (2, 11, "unused-variable")),
    "the second of some": ("p if { some x, y; input.a[x] }", (2, 16, "unused-variable")),
    "some in a comprehension": ("p if { x := 1; [1 | some x] == [x] }", (2, 26, "unused-variable")),
    "import of nothing": ("import foo.bar", (2, 8, "import")),
    "import of inptu": ("import inptu.x", (2, 8, "import")),
    "rego.v2": ("import rego.v2", (2, 8, "import")),
    "rego": ("import rego", (2, 8, "import")),
    "an unknown keyword": ("import future.keywords.foo", (2, 8, "import")),
    "one name for two imports": ("import data.b.x\nimport input.x", (3, 14, "imported-twice")),
    "one alias for two imports": ("import data.b as x\nimport data.c as x", (3, 18, "imported-twice")),
    "an import twice": ("import data.b.x\nimport data.b.x", (3, 15, "imported-twice")),
    "a reference assigned": ("p if { input.a := 1 }", (2, 8, "assigned-value")),
    "a reference assigned, no braces": ("p if input.a := 1", (2, 6, "assigned-value")),
    "a number assigned": ("p if { 1 := x; x > 0 }", (2, 8, "assigned-value")),
    "a call assigned": ("p if { count(x) := 1 }", (2, 8, "assigned-value")),
    "a default without a value": ("default p", (2, 9, "no-rego")),
    "a default from the input": ("default p := input.x", (2, 14, "default")),
    "a default from a rule": ("q := 1\ndefault p := [q]", (3, 15, "default")),
    "a default with a body": ("default p := true if input.x", (2, 19, "no-rego")),
    "with for a keyword": ("p if input.a with if.a as 1", (2, 19, "no-rego")),
    "with for a typo": ("p if q with inptu as 1\nq if input", (2, 13, "with-target")),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    body, expected = REFUSED[name]
    with pytest.raises(CompileError) as caught:
        compile_rego({"a.rego": f"package t\n{body}\n"})
    assert [(p.row, p.col, p.code) for p in caught.value.problems] == [expected]
    assert caught.value.problems[0].remedy


CONFLICTS = {
    "a set and a value": ("s contains 1\ns := 2", (3, 1)),
    "a value and a set": ("s := 2\ns contains 1", (3, 1)),
    "a set and a default": ("s contains 1\ndefault s := {}", (3, 9)),
    "a set and an object": ('s contains 1\ns["a"] := 1', (3, 1)),
    "a function and a value": ("f(x) := x\nf := 2", (3, 1)),
    "a function of one and of two": ("f(x) := x\nf(x, y) := [x, y]", (3, 1)),
    "a value and what is below it": ("p := {}\np.q := 1", (3, 1)),
    "what is below it comes first": ("p.q.r := 1\np.q := {}", (2, 1)),
    "an object of rules and a value": ("p[x] := 1 if some x in [1]\np := {}", (3, 1)),
}


@pytest.mark.parametrize("name", CONFLICTS)
def test_conflicting_rules(name):
    body, place = CONFLICTS[name]
    with pytest.raises(CompileError, match="conflicts with the rule at a.rego:") as caught:
        compile_rego({"a.rego": f"package t\n{body}\n"})
    (problem,) = caught.value.problems
    assert (problem.row, problem.col, problem.code) == (*place, "conflicting-rules")


def test_a_package_below_a_rule_of_another_module_conflicts():
    with pytest.raises(CompileError, match="`data.t.p` is a value") as caught:
        compile_rego({"a.rego": "package t\np := {}\n", "b.rego": "package t.p\nq := 1\n"})
    assert [(p.file, p.row) for p in caught.value.problems] == [("b.rego", 2)]


DEFAULT = "package t\ndefault p := 1\n"
TWO_DEFAULTS = {
    "a copied file": ([DEFAULT, DEFAULT], (2, 9), "remove one of the two files"),
    "two files": ([DEFAULT, f"{DEFAULT}p := 2 if input.x\n"], (2, 9), "remove one$"),
    "one file": ([f"{DEFAULT}default p := 2\n"], (3, 9), "remove one$"),
    "a function": (
        ["package t\n\ndefault f(x) := 1\n", "package t\ndefault f(_) := 2\n"],
        (2, 9),
        "remove one$",
    ),
    "other ways to write it": (
        ["package t\ndefault p.q := 1\n", 'package t\n\ndefault p["q"] := 1\n'],
        (3, 9),
        "remove one$",
    ),
    "other packages": (
        ["package t\ndefault p.q := 1\n", "package t.p\n\ndefault q := 1\n"],
        (3, 9),
        "remove one$",
    ),
}


@pytest.mark.parametrize("name", TWO_DEFAULTS)
def test_two_defaults_are_named_with_both_places(name):
    texts, place, remedy = TWO_DEFAULTS[name]
    with pytest.raises(CompileError, match=r"a second default for `.`, also in m0:[23] ") as caught:
        compile_rego({f"m{number}": text for number, text in enumerate(texts)})
    (problem,) = caught.value.problems
    assert problem.file == f"m{len(texts) - 1}"
    assert (problem.row, problem.col, problem.code) == (*place, "two-defaults")
    assert re.search(remedy, problem.remedy)


VALID = [
    "p if { some x; input.a[x] == 1 }",
    "p contains x if { some x; input.a[x] }",
    "p[x] := 1 if { some x; input.a[x] }",
    "p := [x | some x; input.a[x]]",
    "p if some x in input.a",
    'p if { some x; x = 1; $"{x}" == "1" }',
    "import rego.v1\nimport future.keywords\nimport future.keywords.in\nimport future.keywords.if",
    "import data\nimport input\np if input.x\nq := data.z",
    'import data.b\nimport data.c as d\nimport input.x as y\nimport data["e-f"].g\np := [b, d, y, g]',
    'p if { {"a": 1} == input.x }',
    "p if { {x: 1 | some x in [1]} == input.x }",
    "p if { x := {}; x == input.x }",
    "p if { [x, y] := [1, 2]; x < y }",
    'p if { {"a": x} := {"a": 1}; x == 1 }',
    "default p := [x | some x in [1]]",
    'default p := {"a": [-1, "x", {true, null}]}',
    "default f(_) := 1\nf(x) := 2 if x > 1",
    "p if q with input as 1 with r as 2 with f as 3 with count as 4\nq := 1\nr := 2\nf(x) := x",
    "p := 1 if input.x\np := 2 if input.y\ndefault p := 3",
    's contains 1\ns contains "x" if input.x',
    "f(x) := 1 if x > 1\nf(x) := 2 if x < 1",
    'p.a := 1\np.b contains 2\np[x] := 3 if some x in ["c"]\np.d.e(x) := x',
    'p["a"] := 1\np["b"] := 2',
]


def test_valid():
    units = [Unit(modules={"m.rego": f"package t\n{text}\n"}) for text in VALID]
    for text, made in zip(VALID, compile_all(units), strict=True):
        assert not isinstance(made, CompileError), (text, made)


MANY = {
    "rules": ("{}", "p{0} if {{ some x; input.a[x] == {0} }}\n"),
    "statements of one rule": ("p if {{\n{}}}\n", "some x{0}; input.a[x{0}] == 1\n"),
    "bodies of one rule": ("p := 0 if input.a\n{}", "else := {0} if {{ some x; input.a[x] }}\n"),
    "comprehensions of one rule": ("p := [{}]\n", "[1 | some x; input.a[x] == {0}],\n"),
    "replacements": ("{}q := 1\n", "p{0} if q with input.x as {0}\n"),
}


def _lines_run(modules):
    """How many lines of Python it takes to read modules."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        read_sources(Unit(modules=modules))
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("name", MANY)
def test_the_work_of_reading_grows_as_the_text_does(name):
    around, each = MANY[name]
    few, many = (
        _lines_run({"a.rego": "package a\n" + around.format("".join(map(each.format, range(n))))})
        for n in (40, 160)
    )
    assert many < few * 5
