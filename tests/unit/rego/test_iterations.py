"""Iterations inside of other expressions, which the compiler refuses or does not survive."""

import pytest

from gateway.rego import UNDEFINED, CompileError, EvalError, Policy, compile as compile_rego
from gateway.rego.source import read_modules
from tests.support.rego import NOW, decide

INPUT = {
    "xs": ["a", "b"],
    "ys": ["b", "c"],
    "m": {"k": ["a"], "l": ["z"]},
    "d": {"a": 1, "b": 2},
    "grants": {"a": [{"path": "/x"}]},
}
HOLDS = [
    "input.xs[_] in input.ys",
    '"a" in input.m[_]',
    "input.xs[i] in input.ys",
    "input.xs[_] in input.m[_]",
    'startswith(input.xs[_], "b")',
    'startswith(input.m[_][_], "z")',
    'some i; startswith(input.xs[i], "b")',
    "some i, j; input.xs[i] == input.ys[j]",
    "input.xs[_] == input.ys[_]",
    'input.ys[i] == "c"; startswith(input.xs[i], "b")',
    "count(input.m[_]) == 1",
    'y := [input.xs[_]]; y == ["b"]',
    'y := {"k": input.xs[_]}; y.k == "b"',
    'y := {input.xs[_]}; "b" in y',
    "input.d[input.xs[_]] == 2",
    "x := input.d[input.xs[_]]; x == 2",
    "h := input.xs[_]; x := input.d[h]; x == 2",
    "h := input.xs[i]; x = input.d[h]; x == 2",
    'role := input.xs[_]; grant := input.grants[role][_]; grant.path == "/x"',
    'role := input.xs[_]; some grant in input.grants[role]; grant.path == "/x"',
    'sprintf("%s", [input.xs[_]]) == "b"',
    "f(input.xs[_]) == 7",
    "x := f(input.xs[_]) + 1; x == 8",
    "input.d[_] + 1 == 3",
    '(input.xs[_] == "b")',
    '[x | startswith(input.xs[_], "b"); x := 1] == [1]',
    '{x | x := input.xs[_]; x in input.ys} == {"b"}',
    '{x: y | y := input.d[x]; f(x)} == {"b": 2}',
    "count([x | x := lower(input.xs[_])]) == 2",
    'every x in input.m[_] { startswith(x, "z") }',
    'some x in input.m[_]; x == "z"',
    'not startswith(input.xs[0], "q"); input.xs[_] in input.ys',
    "not any_q",
    'words[_] in ["z"]',
    'data.t.words[_] in ["z"]',
    'x := words[_]; x == "z"',
    "object.get(input.d, input.xs[_], 0) == 2",
]
SOURCE = """package t

p if {{
\t{body}
}}

f(x) := 7 if x == "b"

words contains "z"

any_q if startswith(input.xs[_], "q")
"""


@pytest.mark.parametrize("body", HOLDS)
def test_holds(body):
    assert decide(SOURCE.format(body=body), "t/p", INPUT) is True
    one_a_line = SOURCE.format(body=body.replace("; ", "\n\t"))
    if "[x |" not in body and "{x" not in body and "every" not in body:
        assert decide(one_a_line, "t/p", INPUT) is True


WITHIN_EVERY = [
    'every x in input.xs { not x in ["z"] }',
    'every x in input.xs { not x == "z"; count([y | y := x]) == 1 }',
    "every i, x in input.xs { not i == 7; {x | some z in [x]} == {x} }",
    "every k, x in input.d { not input.m[k] == x }",
    "every _, x in input.d { not x == 3 }",
    'every x in input.m { every y in x { y in ["a", "z"]; count(x) == 1 } }',
    'every x in input.m { every y in x { not y == "q"; not x == [] } }',
    'every x in input.m { {i | some i, y in x; not y == "q"} == {0} }',
    'every x in {"a", "b"} { not x == "c" }',
    "every x in [] { not x == x }",
    'every x in input.m[_] { not x == "z" }',
    "some y in input.xs; every x in input.ys { not x == y }",
]
BROKEN_EVERY = [
    "every x in input.xs[0] { not x == 1 }",
    "every x in 7 { not x == 1 }",
    "every x in input.nothing { not x == 1 }",
    "every x in input.xs { not x in input.ys }",
    "every x in input.none { not x == 1 }",
    'every x in input.m { every y in x { not y == "a" } }',
]


@pytest.mark.parametrize("form", ["{}", "if every"])
@pytest.mark.parametrize("body", [*WITHIN_EVERY, *BROKEN_EVERY])
def test_bodies_within_every_see_its_variables(body, form):
    source = SOURCE.format(body=body)
    if form == "if every":
        source = f"package t\np if {body}\n" if body.startswith("every") else source
    assert decide(source, "t/p", INPUT) is (True if body in WITHIN_EVERY else UNDEFINED)


STOPS = {
    'every x in [0, "a"] { x > 0; not x + 1 == 5 }': UNDEFINED,
    "every x in input.xs { is_number(x); [y | y := x + 1] == [2] }": UNDEFINED,
    'every k, x in input.d { k != "a"; every y in [1] { not y + x == 9 } }': UNDEFINED,
    'every x in [1, "a"] { x > 0; not x + 1 == 5 }': None,
}


@pytest.mark.parametrize("body", STOPS)
def test_every_stops_at_the_first_that_does_not_hold(body):
    """What comes behind it could only fail."""
    source = SOURCE.format(body=body)
    if STOPS[body] is UNDEFINED:
        assert decide(source, "t/p", INPUT) is UNDEFINED
    else:
        with pytest.raises(EvalError):
            decide(source, "t/p", INPUT)


FAILS = [
    'input.xs[_] in ["q"]',
    'startswith(input.xs[_], "q")',
    "input.none[_] in input.ys",
    "f(input.m[_]) == 7",
    "input.xs[i] in input.ys; i == 0",
]


@pytest.mark.parametrize("body", FAILS)
def test_fails(body):
    assert decide(SOURCE.format(body=body), "t/p", INPUT) is UNDEFINED


HEADS = {
    "without braces": "p if input.xs[_] in input.ys",
    "without braces, over two lines": 'p if\n\tstartswith(input.xs[_],\n\t\t"b")',
    "else": 'p := 1 if input.xs[_] in ["q"]\nelse := 2 if input.xs[_] in input.ys',
    "else in braces": 'p := 1 if { input.xs[_] in ["q"] } else := 2 if { f(input.xs[_]) }',
    "contains": "p contains x if { x := lower(input.xs[_]) }",
    "function": 'p if g(1)\ng(y) if startswith(input.xs[_], "b")',
    "every": 'p if every x in lower_all(input.m[_]) { x in ["z"] }\nlower_all(xs) := [lower(x) | some x in xs]',
    "comprehension in the head": "p := [x | x := upper(input.xs[_])]",
}
VALUES = {
    "else": 2,
    "else in braces": 2,
    "contains": {"a", "b"},
    "comprehension in the head": ["A", "B"],
}


@pytest.mark.parametrize("name", HEADS)
def test_in_every_kind_of_rule(name):
    source = f'package t\n{HEADS[name]}\nf(x) := 7 if x == "b"\n'
    value = decide(source, "t/p", INPUT)
    expected = VALUES.get(name, True)
    assert (set(value.values()) if isinstance(expected, set) else value) == expected


@pytest.mark.parametrize(
    ("body", "column"),
    [
        ('not input.xs[_] == "q"', 15),
        ('not startswith(input.xs[_], "q")', 26),
        ("not words[_]", 12),
    ],
)
def test_nothing_binds_a_wildcard_inside_of_not(body, column):
    with pytest.raises(CompileError) as caught:
        compile_rego({"t.rego": SOURCE.format(body=body)})
    (problem,) = caught.value.problems
    assert (problem.row, problem.col, problem.code) == (4, column, "unsafe-variable")


def test_faults_keep_their_places():
    source = "package t\np if {\n\tstartswith(input.xs[_], nothing)\n\tunknown(input.xs[_])\n}\n"
    with pytest.raises(CompileError) as caught:
        compile_rego({"t.rego": source})
    assert {(p.row, p.code) for p in caught.value.problems} <= {
        (3, "unsafe-variable"),
        (4, "unknown-function"),
    }


def test_what_needs_nothing_stays_as_it_is():
    source = (
        'package t\np if {\n\tsome x in input.xs\n\tx == input.ys[0]\n\tinput.xs[_] == "a"\n'
        "\ty = input.m[k]\n\tcount(input.d[x]) == 1\n}\n"
    )
    (read,) = read_modules({"t.rego": source}, {"count"})
    assert read.prepared == source


def test_a_policy_that_people_write():
    """Roles, grants and paths as most examples on the web have them."""
    source = """package authz

default allow := false

allow if {
	role := input.user.roles[_]
	permission := data.grants[role][_]
	permission.action == input.action
	glob.match(permission.paths[_], ["/"], input.path)
	not denied[input.user.id]
}

denied contains id if {
	id := data.blocked[_].id
}
"""
    data = {
        "grants": {"reader": [{"action": "read", "paths": ["/a/*", "/b/*"]}]},
        "blocked": [{"id": "eve"}],
    }
    policy = Policy(compile_rego({"authz.rego": source}), data)
    for who, path, expected in (
        ("ann", "/b/1", True),
        ("ann", "/c/1", False),
        ("eve", "/b/1", False),
    ):
        asked = {"user": {"id": who, "roles": ["reader"]}, "action": "read", "path": path}
        assert policy.decide("authz/allow", asked, now=NOW) is expected


def test_the_imports_of_rego_v1_give_no_name():
    source = (
        "package t\nimport rego.v1 # a comment\nimport future.keywords.in\n"
        'p if { input.d[v1] == 2; v1 == "b" }\nq if { some keywords in input.xs; keywords == "a" }\n'
    )
    assert decide(source, "t/p", INPUT) is True
    assert decide(source, "t/q", INPUT) is True
