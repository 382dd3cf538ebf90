"""Running the tests of policies."""

import pytest

from gateway.rego import CompileError, compile as compile_rego
from gateway.rego.compiler import Unit, all_good, compile_all
from gateway.rego.testing import run_tests, suites
from tests.support.rego import NOW

POLICY = {
    "authz.rego": """package authz
default allow := false
allow if input.user == "root"
allow if input.user in data.admins
number := to_number(input.text)
"""
}
TESTS = {
    "authz_test.rego": """package authz_test

import data.authz

test_root if authz.allow with input as {"user": "root"}

test_admin if authz.allow with input.user as "ann" with data.admins as ["ann"]
test_data if authz.allow with input as mallory with data.admins as none

mallory := {"user": "mallory"}
none := []
test_error if authz.number with input as {"text": "x"}
test_cases[name] := seen if {
	some name, user in {"root": "root", "eve": "eve"}
	seen := authz.allow with input as {"user": user}
}
test_printed if { print("user", input); false }
todo_test_later if false
test_no_input if not input
test_value := 1
helper if true
""",
    "other_test.rego": "package other\ntest_one if true\ntest_loop if {\n\tsome x in numbers.range(1, 900000)\n\tx < 0\n}\n",
}


@pytest.fixture(scope="module")
def results():
    return {test.full_name: test for test in outcomes(POLICY, TESTS)}


def outcomes(policy, tests):
    found = suites(policy, tests)
    programs = all_good(compile_all([Unit(modules=suite.modules) for suite in found]))
    for suite, program in zip(found, programs, strict=True):
        yield from run_tests(program, suite.tests, {"admins": []}, now=NOW)


@pytest.mark.parametrize(
    ("name", "row", "outcome", "message"),
    [
        ("test_root", 5, "pass", ""),
        ("test_admin", 7, "pass", ""),
        ("test_data", 8, "fail", "undefined"),
        ("test_error", 12, "error", "eval_builtin_error: "),
        ("test_cases", 13, "fail", "not true: eve"),
        ("test_printed", 17, "fail", "undefined"),
        ("todo_test_later", 18, "skip", ""),
        ("test_no_input", 19, "pass", ""),
        ("test_value", 20, "fail", "not true"),
    ],
)
def test_outcome(results, name, row, outcome, message):
    test = results[f"data.authz_test.{name}"]
    assert (test.file, test.row, test.outcome) == ("authz_test.rego", row, outcome)
    assert test.message.startswith(message)
    assert bool(test.message) is bool(message)


ALIKE = {
    "one holds": ("test_x if false\ntest_x if true", "a_test.rego:3"),
    "the other holds": ("test_x if true\ntest_x if input.x", "a_test.rego:4"),
    "values": ("test_x := 1\ntest_x := true if false", "a_test.rego:3, a_test.rego:4"),
    "bodies": ("test_x if {\n\ttrue\n} {\n\tfalse\n}", "a_test.rego:5"),
    "below a name": ("q.test_x if true\nq.test_x if false", "a_test.rego:4"),
    "else": ("test_x := false if false\nelse := true\ntest_x if false", "a_test.rego:5"),
    "both hold": ("test_x if true\ntest_x if 1 == 1", ""),
}


@pytest.mark.parametrize("name", ALIKE)
def test_each_rule_of_a_name_is_a_test(name):
    rules, places = ALIKE[name]
    (found,) = outcomes({}, {"a_test.rego": f"package a\n\n{rules}\n"})
    said = found.message.replace("the rule of this name in ", "")
    assert said == (f"not true: {places}" if places else "")
    assert found.outcome == ("fail" if places else "pass")


def test_rules_of_a_name_in_several_modules():
    tests = {
        "a_test.rego": "package a\ntest_x if a == 1\na := 1\nb := 2\n",
        "b_test.rego": "package a\ntest_x if b == 1\n",
    }
    (found,) = outcomes({}, tests)
    assert found.message == "not true: the rule of this name in b_test.rego:2"


@pytest.mark.parametrize(
    "rule", ['test_x := {"a": true}', 'test_x["a"] := true', "test_x.a if true"]
)
def test_an_object_is_no_table_of_cases(rule):
    (found,) = outcomes({}, {"a_test.rego": f"package a\n{rule}\n"})
    assert (found.outcome, found.cases) == ("fail", ())


def test_order_output_and_limit(results):
    assert list(results)[-2:] == ["data.other.test_one", "data.other.test_loop"]
    assert len(results) == 11
    assert results["data.authz_test.test_printed"].output == ("user <undefined>",)
    assert results["data.other.test_loop"].message.startswith("eval_step_limit")


def test_selection():
    program = compile_rego({**POLICY, **TESTS})
    found = run_tests(program, TESTS, {}, now=NOW, selected=lambda name: name.endswith("root"))
    assert [test.name for test in found] == ["test_root"]


def test_the_served_program_has_no_tests():
    assert not any("test" in "/".join(path) for path in compile_rego(POLICY).rules)


MODULES = {
    "a.rego": "package a\np := 1\n",
    "more_a.rego": "package a\nq := p\n",
    "b.rego": "package b\nimport data.a\np := a.p\n",
    "c.rego": "package c\np := data.b.p\n",
    "below.rego": "package a.below\np := 1\n",
    "words.rego": 'package words\np := data["a"].p\n',
}
ALL = set(MODULES)
A = {"a.rego", "more_a.rego", "below.rego"}
BEYOND = {
    "of its own package": ("package a\ntest_x if p", A),
    "by import": ("package t\nimport data.a.q as z\ntest_x if z", A),
    "by reference": ("package t\ntest_x if data.a.below.p", A),
    "over two": ("package t\ntest_x if data.c.p", {"c.rego", "b.rego", *A}),
    "by text": ('package t\ntest_x if data["words"]["p"]', {"words.rego", *A}),
    "up to what is not written out": ("package t\ntest_x if data.a[k].p", A),
    "on all data": ("package t\ntest_x if data[k].p", ALL),
    "on all data, handed on": ("package t\ntest_x if count(data) > 1", ALL),
    "replaced": ("package t\ntest_x if input.b with data.b.p as 1", {"b.rego", *A}),
    "in a template string": ('package t\ntest_x if $"{data.c.p}" == "1"', ALL),
    "on a document of data only": ("package t\ntest_x if data.users.x", set()),
    "on no module": ("package t\ntest_x if input.data.a", set()),
}


@pytest.mark.parametrize("name", BEYOND)
def test_a_suite_holds_what_its_tests_depend_on(name):
    text, expected = BEYOND[name]
    (suite,) = suites(MODULES, {"t_test.rego": text})
    assert set(suite.modules) - {"t_test.rego"} == expected


def test_test_modules_that_depend_on_the_same_stand_together():
    tests = {
        "a_test.rego": "package t\ntest_a if data.a.p",
        "a_too_test.rego": "package t\ntest_q if data.a.q",
        "none_test.rego": "package u\ntest_none if true",
        "helped_test.rego": "package v\ntest_helped if data.u.test_none",
    }
    found = suites(MODULES, tests)
    assert {suite.tests for suite in found} == {
        frozenset({"a_test.rego", "a_too_test.rego"}),
        frozenset({"none_test.rego"}),
        frozenset({"helped_test.rego"}),
    }
    changed = suites({**MODULES, "b.rego": "package b\np := 2\n"}, tests)
    assert {s.digest for s in changed} == {s.digest for s in found}
    changed = suites({**MODULES, "a.rego": "package a\np := 2\n"}, tests)
    assert len({s.digest for s in changed} - {s.digest for s in found}) == 1


def test_suites_have_the_outcomes_of_all_modules_together(results):
    found = suites(POLICY, TESTS)
    programs = all_good(compile_all([Unit(modules=suite.modules) for suite in found]))
    apart = [
        test
        for suite, program in zip(found, programs, strict=True)
        for test in run_tests(program, suite.tests, {"admins": []}, now=NOW)
    ]
    assert len(found) == 2
    assert {test.full_name: test for test in apart} == results


def test_faults_of_all_units_are_found_each_once():
    broken = Unit(modules={"b_test.rego": "package b\ntest_x if { not typo }\n"})
    good, other = Unit(modules=POLICY), Unit(modules={"c.rego": "package c\np := nothing(1)\n"})
    made = compile_all([broken, good, other, broken])
    assert not isinstance(made[1], CompileError)
    with pytest.raises(CompileError) as caught:
        all_good(made)
    assert [(p.file, p.row) for p in caught.value.problems] == [("b_test.rego", 2), ("c.rego", 2)]
