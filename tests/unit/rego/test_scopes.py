"""Variables: which are locals of what, and declarations that contradict one another."""

import pytest

from gateway.rego import UNDEFINED, CompileError, Policy, compile as compile_rego
from gateway.rego.values import to_json
from tests.support.rego import NOW, decide

REFUSED = {
    "p if { x := 1; x := 2 }": (15, "declared-twice"),
    "p if { x := 1; some x; x = 2 }": (20, "declared-twice"),
    "p if { some x; x := 1 }": (15, "declared-twice"),
    "p if { x == 1; x := 1 }": (15, "declared-twice"),
    "p if { x := x }": (7, "declared-twice"),
    "p if { max := max([1]) }": (7, "declared-twice"),
    "p if { x := 1; [x, y] := [1, 2]; y == 2 }": (16, "declared-twice"),
    "p if { x := 1; some [x, y] in [[1, 2]]; y == 2 }": (21, "declared-twice"),
    "p if { every x in [1] { x := 2; x == 2 } }": (24, "declared-twice"),
    "f(x) if { x := 1 }": (10, "declared-twice"),
    "p if { [x, 2] := [1, 2]; x == 1 }": (11, "assigned-value"),
    "p if { not x := 1 }": (11, "assigned-value"),
    "p if { some x; count([x | x := 1]) == 1 }": (12, "unused-variable"),
    "p if { every x in [1] { true } }": (13, "unused-variable"),
    "p if { every k, v in [1] { v == 1 } }": (13, "unused-variable"),
    "p if { some x; not input.xs[x] }": (28, "unsafe-variable"),
    'p if { not input.xs[i] == "a" }': (20, "unsafe-variable"),
    "p if { z := [y | y := i]; i := 0; z == [0] }": (17, "unsafe-variable"),
    "p if { every k in [1] { k < n }; n := 2 }": (24, "unsafe-variable"),
    "p if { not x = 1 }": (11, "unsafe-variable"),
    "p if { not[false] == [true] }": (7, "unsafe-variable"),
    "p if { x[x] }": (7, "unsafe-variable"),
    "p if { x[y]; y[x] }": (7, "unsafe-variable"),
    "p if { some x; x[x] = 1 }": (15, "unsafe-variable"),
    "p if { count(x[x]) == 1 }": (13, "unsafe-variable"),
    "p := [1 | x[y] == y[x]]": (10, "unsafe-variable"),
    'p := $"{input.xs[_]}"': (17, "unsafe-variable"),
    "p if { some z in k; k = z }": (17, "unsafe-variable"),
    "f(input.a) := 1": (2, "parameter"),
    "f(1 + 2) := 1": (2, "parameter"),
    "p if { data := 1 }": (7, "shadowed"),
    "f(input) := 1": (2, "shadowed"),
}


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text):
    with pytest.raises(CompileError) as caught:
        compile_rego({"a.rego": f"package t\n{text}\n"})
    column, code = REFUSED[text]
    assert (2, column + 1, code) in {(p.row, p.col, p.code) for p in caught.value.problems}
    assert all(problem.remedy for problem in caught.value.problems)


INPUT = {"d": {"a": 1, "b": 2}, "xs": ["a", "b"]}
VALUES = {
    "p := z if { some y in input.xs; z := [[y, x] | some x in [1]]; y == input.xs[1] }": [["b", 1]],
    "p := z if { some y in [1]; z := [y | input.xs] }": [1],
    "p := z if { some y in [1]; z := {y: {y} | not input.no} == {1: {1}} }": True,
    "p := z if { some y in [1]; z := [[1 | not x == y] | some x in [1, 2]] }": [[], [1]],
    "p := [f(3), f(4)]\nf(x) := [1 | x = 3]": [[1], []],
    "p := {k: v | k := input.d[z]; v := [1 | z = 3]}": {1: [], 2: []},
    'p := z if { some y in ["b"]; z := [x | y = input.xs[x]] }': [1],
    "p if { some y in [3, 4]; every x in [3] { y = x } }": True,
    "p if { z = o; z.a == 1 }\no.a := 1": True,
    'p if { some r; input.xs[r] == "b" }': True,
    "p := {r: s | some r, s in input.d}": {"a": 1, "b": 2},
    "p := [r | r := 5]": [5],
    "p := f(5)\nf(r) := r": 5,
    "p := f(5)\nf(x) := [x, y] if { y := [x | x := 3] }": [5, [3]],
    "p if { every r in [1] { r == 1 } }": True,
    "p if { r := 2; r == 2 }": True,
    "p if { some [r, s] in [[7, 8]]; r + s == 15 }": True,
    "p if { some t in [1]; t == 1 }": True,
    "p := [u | some u in [1]]": [1],
    "p if { x := 1; y := [x | x := 2]; y == [2]; x == 1 }": True,
    "p := 1 if { r := r2; r == 9 } else := 2 if { r == [] }\nr2 := 8": 2,
    "p if { z := [y | y := i]; i = 0; z == [0] }": True,
    "p if { every k in [1] { k < n; k > m }; m = 0; n = 2 }": True,
    'p if { z := [y | y := input.xs[i]]; i := 0; z == ["a", "b"] }': True,
    'p := $"{r}" if { r := 3 }': "3",
}


@pytest.mark.parametrize("text", VALUES)
def test_a_local_hides_rules_and_packages(text):
    """In a package of rules `r` and `s`, below `t`, beside an import `u`."""
    source = f"package t.s\nimport data.u\n{text}\nr := []\nq := u\n"
    assert decide(source, "t/s/p", INPUT) == VALUES[text]


ABOVE = (
    "p if q",
    "p if not q",
    "p if q.x",
    "p := [q | true]",
    "p if { every x in [1] { x == q } }",
    'p := $"{q}"',
    "p if { input.d[x] == q }",
)


@pytest.mark.parametrize("text", ABOVE)
def test_a_rule_of_a_package_above_is_no_rule_of_this_one(text):
    below = f"package a.b\n{text}\n"
    with pytest.raises(CompileError) as caught:
        compile_rego({"below.rego": below, "above.rego": "package a\nq := 1\n"})
    assert {p.code for p in caught.value.problems} == {"unsafe-variable"}


@pytest.mark.parametrize("text", ["p[q] if some q in input.xs", "p contains q if input.d[q]"])
def test_a_local_hides_a_rule_of_a_package_above(text):
    modules = {"below.rego": f"package a.b\n{text}\n", "above.rego": 'package a\nq := "a"\n'}
    policy = Policy(compile_rego(modules), {})
    assert set(to_json(policy.decide("a/b/p", INPUT, now=NOW))) == {"a", "b"}


NEGATED = {
    "not input.none": True,
    "not input.none == 1": True,
    "not input.none = 1": True,
    "not r": True,
    "not r == 1": True,
    "not input.none != 1": UNDEFINED,
    "not input.none > 1": UNDEFINED,
    "not input.none + 1 == 2": UNDEFINED,
    "not count(input.none) == 0": UNDEFINED,
    'not startswith(input.none, "a")': UNDEFINED,
    "not f(r)": UNDEFINED,
    "not 1 in input.none": UNDEFINED,
    "not input.d[input.none]": UNDEFINED,
    "not input.d[input.none] == 1": UNDEFINED,
    "not [input.none] == [1]": UNDEFINED,
    "not (input.none > 1)": UNDEFINED,
    "not [1 | input.none] == [1]": True,
    "not input.d.a > 1": True,
    "not input.d.b > 1": UNDEFINED,
    'not startswith(input.xs[0], "b")': True,
    "not input.none > 1 with input.none as 0": True,
    "not input.none > 1 with input.none as 2": UNDEFINED,
}


@pytest.mark.parametrize("text", NEGATED)
def test_what_is_negated_must_be_there(text):
    source = f"package t\np if {{ {text} }}\np2 if {text}\nf(x) if x == 1\nr if false\n"
    assert decide(source, "t/p", INPUT) is NEGATED[text]
    assert decide(source, "t/p2", INPUT) is NEGATED[text]


def test_the_import_makes_negation_exact():
    source = "package t\nimport future.keywords.not\np if not input.none > 1\n"
    assert decide(source, "t/p", INPUT) is True


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("[u, a] = [input.u, [1 | data.users[u]]]; count(a) == 1", "unsafe-variable"),
        ("data[lower(input.xs[_])].q", "variable-package"),
        ("data[lower(input.xs[i])].q", "variable-package"),
    ],
)
def test_what_has_another_meaning_for_the_compiler_is_refused(body, code):
    with pytest.raises(CompileError) as caught:
        compile_rego({"a.rego": f"package t\np if {{ {body} }}\n"})
    assert code in {problem.code for problem in caught.value.problems}
