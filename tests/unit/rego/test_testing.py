"""Running the tests of policies."""

import pytest

from gateway.rego import CompileError, compile as compile_rego
from gateway.rego.testing import compile_tests, run_tests
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
    program = compile_tests(POLICY, TESTS)
    return {test.full_name: test for test in run_tests(program, TESTS, {"admins": []}, now=NOW)}


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


def test_order_output_and_limit(results):
    assert list(results)[-2:] == ["data.other.test_one", "data.other.test_loop"]
    assert len(results) == 11
    assert results["data.authz_test.test_printed"].output == ("user <undefined>",)
    assert results["data.other.test_loop"].message.startswith("eval_step_limit")


def test_selection():
    program = compile_tests(POLICY, TESTS)
    found = run_tests(program, TESTS, {}, now=NOW, selected=lambda name: name.endswith("root"))
    assert [test.name for test in found] == ["test_root"]


def test_the_served_program_has_no_tests():
    assert not any("test" in "/".join(path) for path in compile_rego(POLICY).rules)


def test_faults_of_tests_are_found():
    with pytest.raises(CompileError, match="b_test.rego:2:17"):
        compile_tests(POLICY, {"b_test.rego": "package b\ntest_x if { not typo }\n"})
