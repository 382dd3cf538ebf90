"""Cases of test rules: one that was begun and did not end is a failed one, as `opa test` has it."""

from __future__ import annotations

import pytest

from gateway.rego import CompileError
from gateway.rego.compiler import Unit, all_good, compile_all
from gateway.rego.testing import run_tests, suites
from tests.support.rego import NOW

HEAD = 'package t\n\nimport data.lib as l\n\nxs := ["a", "b"]\n\n'
LIBRARY = {"lib.rego": "package lib\n\nf(x) := x + 1\n\nlimit := 2\n"}

RULES = {
    "a body fails": (
        'test_x[name] if { some name, tc in {"a": 1, "b": 3}; tc < l.limit }',
        {"a": True, "b": False},
    ),
    "all end": ('test_x[name] if { some name, tc in {"a": 1}; tc < 2 }', {"a": True}),
    "none is begun": ("test_x[name] if { some name in []; name }", {}),
    "none is begun before the key is bound": (
        'test_x[name] if { l.limit == 3; some name in ["a"]; true }',
        {},
    ),
    "a key with names": (
        'test_x[tc.note] if { some tc in [{"note": "n", "x": 1}, {"note": "m", "x": 2}]; '
        "got := l.f(tc.x); got == 2 }",
        {"n": True, "m": False},
    ),
    "nested": (
        'test_x[a][b] if { some a in ["a", "c"]; some b in [1, 2]; b < 2 }',
        {"a/1": True, "a/2": False, "c/1": True, "c/2": False},
    ),
    "a name behind the key": (
        'test_x[a].n if { some a in ["a", "b"]; a == "a" }',
        {"a/n": True, "b/n": False},
    ),
    "declared before": (
        'test_x[name] if { some name, other; {"a": 1, "b": 2}[name] = other; y := other; y == 1 }',
        {"a": True, "b": False},
    ),
    "declared and bound later": (
        'test_x[name] if { some later; some name in ["a"]; later = 1; later == 2 }',
        {"a": False},
    ),
    "bound by a reference": ("test_x[xs[i]] if { xs[i]; i == 0 }", {"a": True, "b": False}),
    "bound by `=`": ('test_x[name] if { [name, x] = ["a", 1]; x == 2 }', {"a": False}),
    "read above": (
        "test_x[name] if { ys := [y | y := l.f(1)]; name = ys[_]; false }",
        {"2": False},
    ),
    "bound after all": ('test_x[name] if { name = x; x = xs[_]; x == "a" }', {"a": True}),
    "several bodies": (
        'test_x[name] if { name := "a"; false } { name := "b"; true }',
        {"a": False, "b": True},
    ),
    "one name twice": (
        'test_x[name] if { name := "a"; false }\ntest_x[name] if { name := "a"; true }',
        {"a": False},
    ),
    "values": (
        'test_x[name] := value if { some name, value in {"a": true, "b": false, "c": 1} }',
        {"a": True, "b": False, "c": False},
    ),
    "keys that are no texts": (
        "test_x[name] if { some name in [1, [2]]; name == 1 }",
        {"1": True, "[2]": False},
    ),
    "with": (
        'test_x[name] if { some name in ["a"]; l.limit == 3 with data.lib.limit as 3; input.x with '
        'input as {"x": false} }',
        {"a": False},
    ),
    "inside of `every`": (
        'test_x[name] if { every name in [1] { name > 0 }; some name in ["a"]; false }',
        {"a": False},
    ),
    "comments": (
        'test_x[name] if {\n# one\nsome name in xs # two\nname == "a"\n}',
        {"a": True, "b": False},
    ),
}


def results(text):
    (suite,) = suites(LIBRARY, {"t_test.rego": text})
    (program,) = all_good(compile_all([Unit(modules=suite.modules)]))
    return list(run_tests(program, suite.tests, {}, now=NOW))


def flat(cases, before=""):
    for case in cases:
        if case.cases:
            yield from flat(case.cases, f"{before}{case.name}/")
        else:
            yield before + case.name, case.passed


@pytest.mark.parametrize("name", RULES)
def test_cases(name):
    text, expected = RULES[name]
    (found,) = results(HEAD + text + "\n")
    assert dict(flat(found.cases)) == expected
    assert found.outcome == ("pass" if all(expected.values()) else "fail")


def test_what_fails_is_told():
    (found,) = results(HEAD + RULES["nested"][0] + "\n")
    assert found.message == "not true: a/2, c/2"


def test_an_error_is_one():
    (found,) = results(HEAD + "test_x[name] if { some name in xs; to_number(name) }\n")
    assert (found.outcome, found.cases) == ("error", ())


def test_faults_are_told_once_and_where_they_are():
    with pytest.raises(CompileError) as caught:
        results(HEAD + "test_x[name] if { some name in xs; y == 1; nothing(name) }\n")
    assert {problem.file for problem in caught.value.problems} == {"t_test.rego"}
