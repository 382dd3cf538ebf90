"""Faults of policies: each is found where it is, and what is valid is taken."""

import pytest

from gateway.rego import UNDEFINED, CompileError, EvalError, Policy, compile as compile_rego
from tests.support.rego import NOW, decide, program

FAULTS = {
    "unsafe variable": ("p if not typo", [(2, 10, "unsafe-variable")]),
    "unsafe after é": ('p if {\n\tinput.x == "é"; zz\n}', [(3, 18, "unsafe-variable")]),
    "unsafe in the head": ("p contains x if input.y", [(2, 12, "unsafe-variable")]),
    "bound only inside not": ("p if { not y = 1; y == 1 }", [(2, 12, "unsafe-variable")]),
    "unknown function": ("p if counts([1]) == 1", [(2, 6, "unknown-function")]),
    "unknown function of data": ("p if data.x.f(1)", [(2, 6, "unknown-function")]),
    "unsupported builtin": ('p if http.send({"url": "x"})', [(2, 6, "unsupported-builtin")]),
    "too few arguments": ("p if count()", [(2, 6, "arity")]),
    "too many arguments": ("p if count([1], 2, 3)", [(2, 6, "arity")]),
    "arity of a function": ("f(x, y) := x\np if f(1)", [(3, 6, "arity")]),
    "recursion": ("p if q\nq if p", [(2, 6, "recursion")]),
    "recursive function": ("f(x) := f(x)", [(2, 9, "recursion")]),
    "recursion by a key": ("a.b := a[input.k]", [(2, 10, "recursion")]),
    "recursion by two keys": ("p := a[input.k]\na.b.c := p", [(3, 1, "recursion")]),
    "with far above": ("p if q.r.s with q as {}\nq.r.s := 1", [(2, 17, "with-target")]),
    "with all data": ("p if q with data as {}\nq := 1", [(2, 13, "with-target")]),
    "with a part of an import": (
        "import data.t.q as own\np if q.a with own.a as 1\nq := 1",
        [(3, 15, "with-target")],
    ),
    "with a part of a rule": (
        'p if q.a with data.t.q.a as 2\nq := {"a": 1}',
        [(2, 15, "with-target")],
    ),
    "with a part of a set": ("p if q.a with q.a as 2\nq contains 1", [(2, 15, "with-target")]),
    "with walk": ("p if walk(1) with walk as 2", [(2, 19, "with-target")]),
    "assigned twice": ("p if {\n\ty := 1\n\ty := 2\n}", [(4, 2, "declared-twice")]),
    "declared twice": ("p if { some x in [1]; some x in [2] }", [(2, 28, "declared-twice")]),
    "body without if": ("allow { true }", [(2, 7, "v0-body")]),
    "set of v0": ("deny[x] { x := 1 }", [(2, 9, "v0-body")]),
    "value of v0": ("p = 1 { true }", [(2, 7, "v0-body")]),
    "else of v0": ("p := 1 if { true } else := 2 { input.x }", [(2, 30, "v0-body")]),
    "rule of v0": ('deny["x"]', [(2, 1, "v0-rule")]),
    "rule named data": ("data := 1", [(2, 1, "shadowed")]),
    "rule named input": ("default input := 1", [(2, 9, "shadowed")]),
    "variable named input": ("p if { input := 1 }", [(2, 8, "shadowed")]),
    "argument named data": ("f(data) := 1", [(2, 3, "shadowed")]),
    "some input": ("p if { some input; input = 1 }", [(2, 13, "shadowed")]),
    "import as input": ("import data.b as input", [(2, 18, "shadowed")]),
    "rule hides a builtin": ('glob if glob.match("a", [], "a")', [(2, 9, "hidden-builtin")]),
    "rule hides count": ("count := 1\np if count([1])", [(3, 6, "hidden-builtin")]),
    "two defaults": ("default p := 1\ndefault p := 2", [(3, 9, "two-defaults")]),
    "NUL": ('p := "a\0b"', [(2, 8, "nul")]),
    "nested too deeply": ("p := " + "[" * 20_000, [(2, 106, "too-deep")]),
    "unclosed": ("p if {{\n\tx := 1\n}", [(2, 6, "no-rego")]),
    "malformed array": ("p if {\n\n  x := [1,,2]\n}", [(4, 11, "no-rego")]),
    "cycle": ("p := x if { x = x }", [(2, 13, "compile")]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault(name):
    body, expected = FAULTS[name]
    with pytest.raises(CompileError) as caught:
        compile_rego({"dir/some.rego": f"package t\n{body}\n"})
    found = caught.value.problems
    assert {(p.row, p.col, p.code) for p in found} >= set(expected)
    for problem in found:
        assert problem.file == "dir/some.rego"
        assert str(problem).startswith(f"dir/some.rego:{problem.row}:{problem.col}: ")
        line, _, caret = problem.excerpt.partition("\n")
        assert caret == " " * (problem.col - 1) + "^" or len(line) == 200
        assert "\n" not in line
        assert "\0" not in problem.excerpt


def test_all_faults_are_reported_at_once_by_file():
    with pytest.raises(CompileError) as caught:
        compile_rego(
            {
                "a.rego": "package a\np if typo\nq if nothing(1)\n",
                "b.rego": "package b\nr if count()\n",
            },
            ["a/nope"],
        )
    assert [(p.file, p.row, p.code) for p in caught.value.problems] == [
        ("", 0, "unknown-entrypoint"),
        ("a.rego", 2, "unsafe-variable"),
        ("a.rego", 3, "unknown-function"),
        ("b.rego", 2, "arity"),
    ]


@pytest.mark.parametrize("text", ["", "# only\n", "x := 1\n", "\n\n"])
def test_a_module_without_package_is_refused(text):
    with pytest.raises(CompileError, match="declares no package"):
        compile_rego({"a.rego": text})


def test_an_unknown_entrypoint_gets_a_suggestion():
    with pytest.raises(CompileError, match="no rule `t/alow` .did you mean `t/allow`"):
        compile_rego({"a.rego": "package t\nallow := true\n"}, ["t/alow"])


# What OPA takes and the compiler alone refuses, or gets wrong.
REPAIRED = {
    "comment at the end": ("p := 1\n# end", 1),
    "comment after the package": (None, None),
    "no newline at the end": ("p := 1", 1),
    "else if, no braces": ("p if input.no\nelse if 1 == 1", True),
    "else if, in braces": ("p := 1 if { input.no } else if { 1 == 1 }", True),
    "import of data": ("import data\nimport input\np := data.t.q\nq := 1", 1),
    "array of a pair": ("p := [x | some k, x in [5, 6]; k > 0]", [6]),
    "array of a pair over lines": ("p := [x |\n\tsome _, x in [5, 6]\n\tx > 5\n]", [6]),
    "array of keys": ("p := [k | some k, _ in [5, 6]]", [0, 1]),
    "count of a set of a pair": ("p := count({x | some k, x in {5, 6}})", 2),
    "sum in the head": ("p := [(x + 1) | some x in [1, 2]]", [2, 3]),
    "comparison in the head": ("p := [(x == 2) | some x in [1, 2]]", [False, True]),
    "sum in an object": ("p := {x: (x * 2) | some x in [1]}", {1: 2}),
    "nested heads": ("p := [[(y - 1) | some y in [x]] | some x in [1]]", [[0]]),
    "union of sets": ("p := count({1} | {2})", 2),
    "not with, no braces": ("p if not q with input.x as 2\nq if input.x == 1", True),
    "with over lines": ("p if q with input.x as 1\n\twith input.y as 2\nq if input.y == 2", True),
    "with an object": ('p if q with input as {"a": [1]} with data.b as {}\nq if input.a', True),
    "every, no braces": ("p if every x in [1, 2] { x > 0 }", True),
    "with as a reference": ("p := y if { y := q with input.x as input.y }\nq := input.x", 7),
    "with as a rule": ('p := y if { y := q with input as r }\nq := input.x\nr := {"x": 3}', 3),
    "with data as a rule": ("p := y if { y := q with data.d as r }\nq := data.d\nr := 4", 4),
    "with as a local reference": (
        'p := y if { v := {"a": 5}; y := q with input.x as v.a }\nq := input.x',
        5,
    ),
    "with as an undefined reference": ("p if q with input.x as input.no\nq := 1", UNDEFINED),
    "function for a function": (
        "p := y if { y := q with f as g }\nq := f(1)\nf(x) := x\ng(x) := 8",
        8,
    ),
    "rule for a function": ("p := y if { y := q with f as r }\nq := f(1)\nf(x) := x\nr := 9", 9),
    "rule for a builtin": ("p := y if { y := q with count as r }\nq := count([])\nr := 9", 9),
    "function for a function of data": (
        "p := y if { y := q with data.t.f as g }\nq := f(1)\nf(x) := x\ng(x) := 8",
        8,
    ),
    "data named as a function elsewhere": (
        "p := y if { y := q with data.roles as r }\nq := data.roles\nroles(x) := x\nr := 4",
        4,
    ),
    "rules named as keywords": ("p := 1\ndefault.x := 2\n", 1),
}


UNASSIGNED = {
    "a value of else": (
        "default y := 1\n\ny := 2 if false else := zed\n",
        "",
        ("a.rego", 4, 25, "zed"),
    ),
    "a body of else": (
        "default allow := false\n\nallow if input.x else := false if { y }\n",
        "",
        ("a.rego", 4, 37, "y"),
    ),
    "in another file than the default": (
        "default allow := false\n",
        "allow if input.x else := false if { y }\n",
        ("b.rego", 2, 37, "y"),
    ),
    "not in a rule of another name": (
        "default y := 1\nq.r := 2\ny := 2 if false else := zed\n",
        "",
        ("a.rego", 4, 25, "zed"),
    ),
}


@pytest.mark.parametrize("name", UNASSIGNED)
def test_a_variable_that_nothing_assigns_is_named_where_the_rule_has_a_default(name):
    first, second, expected = UNASSIGNED[name]
    with pytest.raises(CompileError, match="is used but never assigned") as caught:
        compile_rego({"a.rego": f"package t\n{first}", "b.rego": f"package t\n{second}"})
    (problem,) = caught.value.problems
    assert (problem.file, problem.row, problem.col, problem.message.split("`")[1]) == expected


@pytest.mark.parametrize("name", REPAIRED)
def test_repaired(name):
    body, expected = REPAIRED[name]
    source = f"package t\n{body}"
    if body is None:
        source, expected = "package t # note\n\np := 1 # é", 1
    assert decide(source, "t/p", {"x": 1, "y": 7}) == expected


def test_places_are_those_of_the_text_as_written():
    source = "package t\np := [x | some k, x in input.xs; count(x, 1, 2)]"
    with pytest.raises(CompileError) as caught:
        compile_rego({"a.rego": source})
    assert [(p.row, p.col, p.code) for p in caught.value.problems] == [(2, 34, "arity")]


def test_a_byte_order_mark_and_line_ends_of_windows():
    assert decide("\ufeffpackage t\r\np if {\r\n\tinput.x\r\n}\r\n", "t/p", {"x": 1}) is True


def test_valid_heads_are_taken():
    source = """package t
import rego.v1
import data.lib.helper as input_helper
p["a b"] := 1
q[x] if some x in [1, 2]
r.s[t] contains u if { t := "k"; u := 1 }
default s := {"a": [1]}
f([x, _], {"k": y}) := x + y
every_ok if every x in input.xs {
	x > 0
}
set_ok := {
	1,
	2,
}
obj := {"a": {"b": 1}} if { {"a": 1} == {"a": 1} }
"""
    made = program(source)
    assert made.defines("t/s")
    assert made.defines("t/every_ok")
    assert not made.defines("t/f")
    assert not made.defines("t/none")


LATE_IMPORTS = {
    "a package": ("x := 1\nimport data.lib\np := lib.x", 1),
    "by another name": ("x := 1\nimport data.lib as l # é\np := l.x", 1),
    "of the input": ("p := [x, y]\nimport input.x\nimport input.y", [3, 4]),
    "all of the input": ("p := given.x\nimport input as given", 3),
    "in brackets": ('p := b\nimport data["lib"].x as b', 1),
    "between": ("import data.lib\nq if {\n\tx == 3\n}\nimport input.x\np := lib.x if q", 1),
    "over lines": ("p := lib.x\nimport\n\tdata.lib", 1),
    "without effect": ("x := 1\nimport rego.v1\nimport input\np := x", 1),
}


@pytest.mark.parametrize("name", LATE_IMPORTS)
def test_an_import_may_stand_behind_rules(name):
    body, expected = LATE_IMPORTS[name]
    program = compile_rego({"lib.rego": "package lib\nx := 1\n", "t.rego": f"package t\n{body}\n"})
    assert Policy(program).decide("t/p", {"x": 3, "y": 4}, now=NOW) == expected


def test_places_behind_a_moved_import_are_those_as_written():
    text = "package t\nx := 1\nimport data.lib\np := lib.x + count(1, 2)\n"
    with pytest.raises(CompileError) as caught:
        compile_rego({"lib.rego": "package lib\nx := 1\n", "t.rego": text})
    assert [(p.row, p.col, p.code) for p in caught.value.problems] == [(4, 14, "arity")]


@pytest.mark.parametrize("wrong", ["data.lib as", "data.lib as if", "data[x].y", "data.lib.*"])
def test_a_malformed_import_is_refused_where_it_stands(wrong):
    with pytest.raises(CompileError) as caught:
        compile_rego({"t.rego": f"package t\nx := 1\nimport {wrong}\n"})
    assert {problem.row for problem in caught.value.problems} == {3}


PACKAGES = {"lib.rego": "package lib\nx := 1\n", "deep.rego": "package g.deep\nx := 1\n"}
TAKEN = {
    "a sibling": ("package b\nq := lib.x\n", (2, 6)),
    "below its own": ("package g\nq := deep.x\n", (2, 6)),
    "below one above": ("package g.h.i\nq := deep.x\n", (2, 6)),
}


@pytest.mark.parametrize("name", TAKEN)
def test_no_name_is_a_package_without_an_import(name):
    text, place = TAKEN[name]
    with pytest.raises(CompileError) as caught:
        compile_rego({**PACKAGES, "b.rego": text})
    (problem,) = caught.value.problems
    assert (problem.file, (problem.row, problem.col), problem.code) == (
        "b.rego",
        place,
        "unsafe-variable",
    )


DECLARED = {
    "import": "import data.lib\nq := lib.x",
    "other import": "import data.g.deep as lib\nq := lib.x",
    "some": "q := y if { some lib in [1]; y := lib }",
    "assignment": "q := y if { lib := 1; y := lib }",
    "unification": "q := y if { lib = 1; y := lib }",
    "parameter": "q := f(1)\nf(lib) := lib",
    "rule": "q := lib\nlib := 1",
    "member": 'q := {"lib": 1}.lib',
    "of another package": "q := data.lib.x",
}


@pytest.mark.parametrize("name", DECLARED)
def test_a_declared_name_may_be_that_of_a_package(name):
    program = compile_rego({**PACKAGES, "b.rego": f"package b\n{DECLARED[name]}\n"})
    assert Policy(program).decide("b/q", {}, now=NOW) == 1


UNTYPED = {
    'p := 1 + "a"': "operand 2 must be number",
    "p := count(1)": "operand 1 must be one of",
    "p := q.name\nq := 1": None,
    "p if q == input.name\nq := 1": None,
}


@pytest.mark.parametrize("body", UNTYPED)
def test_types_are_not_checked_before_a_decision(body):
    policy = Policy(compile_rego({"a.rego": f"package t\n{body}\n"}))
    if UNTYPED[body] is None:
        assert policy.decide("t/p", {"name": "a"}, now=NOW) is UNDEFINED
    else:
        with pytest.raises(EvalError, match=UNTYPED[body]):
            policy.decide("t/p", {"name": "a"}, now=NOW)


def test_what_faults_hide():
    text = "package t\nimport foo\np := zed\n"

    def places(first):
        with pytest.raises(CompileError) as caught:
            compile_rego({"a.rego": first, "b.rego": text})
        return [(problem.file, problem.row) for problem in caught.value.problems]

    # What is no Rego hides the rest of its file; any fault of a text what is found in the plan.
    assert places("package t\nimport foo\nq := 1 && 2\n") == [("a.rego", 3), ("b.rego", 2)]
    text = "package t\np := zed\n"
    assert places("package t\nimport foo\nq := zed\n") == [("a.rego", 2)]
    assert places("package t\nq := zed\n") == [("a.rego", 2), ("b.rego", 2)]


@pytest.mark.parametrize(
    "module",
    [
        "package builtins__\n\nf636f756e74(a) := 77\n",
        "package t\n\nr if data.builtins__.f636f756e74([1, 2]) == 2\n",
        "package t\n\nimport data.builtins__ as b\n\nr if b.f636f756e74([1, 2]) == 2\n",
    ],
)
def test_nobody_else_names_what_stands_for_builtins(module):
    with pytest.raises(CompileError, match="is the engine's own"):
        compile_rego({"a.rego": module})
