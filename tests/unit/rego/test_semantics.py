"""What policies mean: one module of many rules, each with the value that OPA gives."""

import pytest

from gateway.rego import UNDEFINED, EvalError, Policy
from gateway.rego.errors import ConflictError
from gateway.rego.values import RegoSet, make_set, to_json
from gateway.rego.compiler import Unit
from tests.support.rego import NOW, compile_all, decide, program, rules

SOURCE = """
package t

default fallback := "none"
fallback := "some" if input.absent

undefined_input if input.absent
nested := input.user.name
array_item := input.items[1]
no_item if input.items[7]
false_is_defined := input.no
negated if not input.absent
negated_false if not input.no
not_null if not input.nothing == 1

some_found if { some x in input.items; x > 2 }
every_true if { every x in input.items { x > 0 } }
every_false if { every x in input.items { x > 1 } }
every_empty if { every x in [] { x > 1 } }
comprehension := [y | some x in input.items; y := x * 2]
object_comprehension := {k: v | some k, v in input.user}
set_comprehension := {(x % 2) | some x in input.items}

chained := "first" if { input.absent } else := "second" if { input.user } else := "third"

contains_rule contains x if some x in input.items
contains_rule contains "extra"
partial[k] := v if some k, v in {"a": 1, "b": 2}
nested_partial.x.y := 1
nested_partial.x.z := 2
double(x) := x * 2
is_even(x) if x % 2 == 0
called := double(21)
matched := [double(x) | some x in input.items; is_even(x)]
const_function("a") := 1
const_function("b") := 2
picked := const_function("b")

with_input := y if { y := nested with input.user.name as "bob" }
with_keeps := [nested, other] if { other := nested with input as {"user": {"name": "eve"}} }
with_data := y if { y := data.numbers[0] with data.numbers as [7] }
with_mock := y if { y := called with double as mock }
mock(_) := "mocked"
with_builtin := y if { y := counted with count as 5 }
counted := count(input.items)

one_is_not_true if 1 == true
set_of_one := {1, true, 1.0}
big := 123456789012345678901234567890 + 1
decimal := 0.1 + 0.2
unified := [a, b] if { [a, {"k": b}] = [1, {"k": 2}] }
in_set if "GET" in {"GET", "PUT"}
in_values := [x | x := 2 in input.items]
pair if "name", "alice" in input.user
escaped := "a\\nb\\u00e9\\"\\\\"
counted_escape := count("a\\nb")
ordered_mixed := [x | some x in {null, true, 2, "s", [1], {"o": 1}}]
greater := max([9, 10])
rank if 100 > false
template := $"{input.user.name} has {count(input.items)}"
"""

INPUT = {"user": {"name": "alice"}, "items": [1, 2, 3], "no": False, "nothing": None}

EXPECTED = {
    "fallback": "none",
    "undefined_input": UNDEFINED,
    "nested": "alice",
    "array_item": 2,
    "no_item": UNDEFINED,
    "false_is_defined": False,
    "negated": True,
    "negated_false": True,
    "not_null": True,
    "some_found": True,
    "every_true": True,
    "every_false": UNDEFINED,
    "every_empty": True,
    "comprehension": [2, 4, 6],
    "object_comprehension": {"name": "alice"},
    "set_comprehension": [0, 1],
    "chained": "second",
    "contains_rule": [1, 2, 3, "extra"],
    "partial": {"a": 1, "b": 2},
    "nested_partial/x/y": 1,
    "nested_partial/x/z": 2,
    "called": 42,
    "matched": [4],
    "picked": 2,
    "with_input": "bob",
    "with_keeps": ["alice", "eve"],
    "with_data": 7,
    "with_mock": "mocked",
    "with_builtin": 5,
    "counted": 3,
    "one_is_not_true": UNDEFINED,
    "set_of_one": [True, 1],
    "big": 123456789012345678901234567891,
    "decimal": 0.3,
    "unified": [1, 2],
    "in_set": True,
    "in_values": [True],
    "pair": True,
    "escaped": 'a\nbé"\\',
    "counted_escape": 3,
    "ordered_mixed": [None, True, 2, "s", [1], {"o": 1}],
    "greater": 10,
    "rank": True,
    "template": "alice has 3",
}


@pytest.fixture(scope="module")
def values():
    return rules(SOURCE, INPUT, {"numbers": [1]})


@pytest.mark.parametrize("name", EXPECTED)
def test_rule(values, name):
    seen = values[name]
    assert (seen if seen is UNDEFINED else to_json(seen)) == EXPECTED[name]
    assert type(seen) is not bool or seen is EXPECTED[name]


def test_every_rule_is_judged(values):
    assert set(values) == set(EXPECTED)


def test_a_set_is_a_set(values):
    assert isinstance(values["contains_rule"], RegoSet)
    assert values["contains_rule"] == make_set([1, 2, 3, "extra"])


@pytest.mark.parametrize(
    "source",
    [
        "p := x if some x in [1, 2]",
        "p := 1 if input.a\np := 2 if input.a",
        'p[k] := v if { some v in [1, 2]; k := "same" }',
        "f(x) := 1\nf(x) := 2 if input.a\np := f(1)",
    ],
)
def test_two_values_are_a_conflict(source):
    with pytest.raises(ConflictError):
        decide(f"package t\n{source}\n", "t/p", {"a": True})


def test_equal_values_are_no_conflict():
    assert decide("package t\np := 1 if true\np := 1.0 if true\n", "t/p") == 1


def test_an_error_of_a_builtin_refuses_where_strict_and_is_undefined_otherwise():
    source = "package t\np if to_number(input.x) == 1\nq if not to_number(input.x)\n"
    with pytest.raises(EvalError, match="parsing") as caught:
        decide(source, "t/q", {"x": "no number"})
    assert caught.value.code == "eval_builtin_error"
    loose = Policy(program(source, strict=False))
    assert loose.decide("t/q", {"x": "no number"}, now=NOW) is True


def test_data_is_read_and_never_changed():
    source = """package t
p := object.union(data.base, {"b": 2})
q := array.concat(data.list, [3])
r contains x if some x in data.list
"""
    data = {"base": {"a": 1}, "list": [1, 2]}
    seen = rules(source, None, data)
    assert seen["p"] == {"a": 1, "b": 2}
    assert seen["q"] == [1, 2, 3]
    assert data == {"base": {"a": 1}, "list": [1, 2]}


def test_data_below_a_package_joins_its_rules():
    source = "package a.b\nrule := 1\n"
    policy = Policy(
        program(source, "a"),
        {"a": {"b": {"fact": 2}, "other": 3}},
    )
    assert policy.decide("a", None, now=NOW) == {"b": {"fact": 2, "rule": 1}, "other": 3}
    assert Policy(program(source, "a")).decide("a", None, now=NOW) == {"b": {"rule": 1}}


def test_a_dynamic_reference_finds_rules_and_data():
    source = """package t
p := data.t.kinds[input.kind].value
kinds.a.value := 1
kinds.b := {"value": 2}
"""
    assert decide(source, "t/p", {"kind": "a"}) == 1
    assert decide(source, "t/p", {"kind": "b"}) == 2
    assert decide(source, "t/p", {"kind": "c"}) is UNDEFINED
    assert decide(source, "t/p", {"kind": 1}) is UNDEFINED


BELOW = """package t
a.b.c if input.n == 3
a.b.d contains "x"
a.e[k] := v if some k, v in {"k1": 1, "k2": 2}
a.f(x) := x
a.g.h.i := 5
a.g.h.none if input.nope
mixed[k] := 1 if some k in ["y", "z"]
mixed.b.c := 2
"""


@pytest.mark.parametrize(
    ("reference", "given", "expected"),
    [
        ("a[input.k]", {"n": 3, "k": "b"}, {"c": True, "d": ["x"]}),
        ("data.t.a[input.k]", {"n": 3, "k": "b"}, {"c": True, "d": ["x"]}),
        ("a[input.k]", {"k": "b"}, {"d": ["x"]}),
        ("a[input.k].c", {"n": 3, "k": "b"}, True),
        ("a[input.k].c", {"k": "b"}, UNDEFINED),
        ("a[input.k]", {"k": "e"}, {"k1": 1, "k2": 2}),
        ("a[input.k][input.m]", {"k": "e", "m": "k2"}, 2),
        ("a[input.k][input.m]", {"k": "g", "m": "h"}, {"i": 5}),
        ("a[input.k]", {"k": "g"}, {"h": {"i": 5}}),
        ("a[input.k]", {"k": "f"}, UNDEFINED),
        ("a[input.k]", {"k": 1}, UNDEFINED),
        ("a[input.k]", {"k": "more"}, {"z": 1}),
        ("a.g[input.k]", {"k": "h"}, {"i": 5, "base": 6}),
        ("mixed[input.k]", {"k": "b"}, {"c": 2}),
        ("count(a[input.k])", {"k": "b"}, 1),
        ("{k: v | some k in input.k; v := a[k]}", {"k": ["b", "x"]}, {"b": {"d": ["x"]}}),
    ],
)
def test_a_dynamic_reference_finds_all_rules_below(reference, given, expected):
    data = {"t": {"a": {"more": {"z": 1}, "g": {"h": {"base": 6}}}}}
    if "g[" not in reference:
        del data["t"]["a"]["g"]
    value = decide(f"{BELOW}p := {reference}\n", "t/p", given, data)
    assert value is expected or to_json(value) == expected


def test_what_stands_for_a_rule_is_found_by_a_dynamic_reference():
    source = BELOW + "p := v if { v := q with a.b.c as 9 }\nq := a[input.k]\n"
    assert to_json(decide(source, "t/p", {"k": "b"})) == {"c": 9, "d": ["x"]}


def test_the_object_below_a_dynamic_reference_takes_steps():
    below = "".join(f"a.b.r{number} := {number}\n" for number in range(500))
    policy = Policy(program(f"package t\n{below}p := count(a[input.k])\n"))
    assert policy.decide("t/p", {"k": "b"}, now=NOW) == 500
    with pytest.raises(EvalError, match="steps"):
        policy.decide("t/p", {"k": "b"}, now=NOW, steps=500)


def test_memos_do_not_leak_out_of_with():
    source = """package t
base := input.x
p := [base, inner, base] if { inner := base with input.x as 2 }
"""
    assert decide(source, "t/p", {"x": 1}) == [1, 2, 1]


def test_deeply_nested_expressions_are_divided():
    depth = 40
    body = " ".join(f"some x{n} in input.xs;" for n in range(depth))
    source = f"package t\np := sum([x0, x{depth - 1}]) if {{ {body} x{depth - 1} == 1 }}\n"
    assert decide(source, "t/p", {"xs": [1]}) == 2
    inner = "1"
    for n in range(30):
        inner = f"count([y{n} | some y{n} in input.xs; not not_there; y{n} == {inner}])"
    source = f"package t\nnot_there if input.no\np := {inner}\n"
    assert decide(source, "t/p", {"xs": [1]}) == 1


def test_now_is_given_and_constant():
    source = "package t\np := [time.now_ns(), time.now_ns()]\n"
    assert decide(source, "t/p") == [1_700_000_000 * 10**9] * 2


def test_print_reaches_the_caller():
    output = []
    policy = Policy(program('package t\np if { print("seen", input.x, input.none) }\n'))
    assert policy.decide("t/p", {"x": [1, "a"]}, now=NOW, output=output) is True
    assert output == ['seen [1, "a"] <undefined>']


def test_a_query_gives_its_bindings():
    from gateway.rego import compile as compile_rego

    made = compile_rego({"a.rego": "package a\nxs := [1, 2]\n"}, query="some x in data.a.xs; y = x")
    rows = Policy(made).run(made.query, None, now=NOW)
    assert [row["result"]["bindings"] for row in rows] == [{"x": 1, "y": 1}, {"x": 2, "y": 2}]


NEGATIONS = {  # with what OPA makes of each where `input.zz` is undefined
    "input.zz": True,
    "input.zz.y": True,
    "input.zz == 1": True,
    "input.zz = [1]": True,
    "input.b == input.zz": True,
    "g(1)": True,
    "f(1, 2)": True,
    "f(1, 3)": True,
    "data.t.none == 1": True,
    "none.x": True,
    "input.o.k with input.o as {}": True,
    "f({x | x := input.zz}) == 3": True,
    "input.zz > 1": UNDEFINED,
    "1 != input.zz": UNDEFINED,
    'startswith(input.zz, "a")': UNDEFINED,
    'glob.match("a", [], input.zz)': UNDEFINED,
    "count(input.zz) == 0": UNDEFINED,
    "input.zz + 1 == 2": UNDEFINED,
    "input.zz in {1}": UNDEFINED,
    "1 in input.zz": UNDEFINED,
    "f(input.zz)": UNDEFINED,
    "f(none)": UNDEFINED,
    "f(g(1))": UNDEFINED,
    "g(1) == 1": UNDEFINED,
    "g(1) = 1": UNDEFINED,
    "input.b[input.zz]": UNDEFINED,
    "input.b[g(1)] == 1": UNDEFINED,
    "[input.zz] == [1]": UNDEFINED,
    "{1: input.zz} in [1]": UNDEFINED,
    "input.o == {1: [input.zz]}": UNDEFINED,
    "f(input.zz) with input.b as 1": UNDEFINED,
    "f(input.zz) with input.zz as false": True,
    "input.o.k with input.o as input.zz": UNDEFINED,
}


@pytest.fixture(scope="module")
def negations():
    bodies = "\n".join(f"p{n} if {{ not {text} }}" for n, text in enumerate(NEGATIONS))
    return rules(
        f"package t\nf(x) := x\ng(x) := x if input.zz\nnone := input.none\n{bodies}\n",
        {"b": [1, 2], "o": {"k": 1}},
    )


@pytest.mark.parametrize("text", NEGATIONS)
def test_a_negation_covers_its_test_and_not_the_operands_of_that(negations, text):
    seen = negations[f"p{list(NEGATIONS).index(text)}"]
    assert seen is NEGATIONS[text]


@pytest.mark.parametrize(
    "body",
    [
        "not words",
        "every x in input.xs { to_number(x) == 3 }",
        "every x in input.xs { every y in input.xs { x == y; to_number(y) == 3 } }",
        "every _ in [1] { some x in input.xs; to_number(x) == 2 }; input.none",
        "every _ in [1] { some x in input.xs; some y in input.xs; to_number(x) == 2; x == y }; false",
    ],
)
def test_what_is_settled_looks_at_no_more_members(body):
    """The second member is one that `to_number` fails on."""
    source = f"package t\nwords if {{ some x in input.xs; to_number(x) == 2 }}\np if {{ {body} }}\n"
    assert decide(source, "t/p", {"xs": ["2", "two"]}) is UNDEFINED
    with pytest.raises(EvalError):
        decide(source, "t/p", {"xs": ["two", "2"]})


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("every owner in input.me { input.body.owner == owner }", UNDEFINED),
        ('every owner in input.me { input.body["owner"] == owner }', UNDEFINED),
        ("every role in input.roles { role == input.role }", True),
        ("every u in input.users { id := u.id; id == 1 }", True),
        ("every u in input.users { some id in [1]; u.id == id }", True),
        ('every v in [1] { {"v": v}.v == 1 }', True),
        ("every n in [1] { q with input.n as n }", True),
        ("every k, v in input.users[0] { input.users[0][k] == v; not input.k }", True),
    ],
)
def test_the_variables_of_every_are_no_fields(body, expected):
    """The compiler's own `every` renames fields, of which a client can give any."""
    document = {
        "me": ["mallory"],
        "body": {"owner": "victim", "owner$1": "mallory", "owner$3": "mallory"},
        "roles": ["x"],
        "role": "x",
        "users": [{"id": 1}],
    }
    source = f"package t\nq if input.n == 1\np if {{ {body} }}\n"
    assert decide(source, "t/p", document) is expected
    assert Policy(program(source, "t/p")).decide("t/p", document, now=NOW) is expected


@pytest.mark.parametrize("replaced", ['input as {"xs": XS}', "input.xs as XS", "data.xs as XS"])
@pytest.mark.parametrize(("xs", "expected"), [("[1, 2]", True), ("[1, -2]", UNDEFINED)])
def test_a_rule_with_every_can_be_asked_with_other_values(replaced, xs, expected):
    source = (
        'package t\nq if { every x in object.get(input, "xs", data.xs) { x > 0; not x < 0 } }\n'
        f"p if q with {replaced.replace('XS', xs)}\n"
    )
    assert Policy(program(source, "t/p"), {"xs": [0]}).decide("t/p", {}, now=NOW) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a - b & c", [1]),
        ("a & b - c", [2]),
        ("a | b - c", [1, 2]),
        ("a - c | b", [1, 2, 3]),
        ("a & b | c", [2, 3]),
        ("c | a & b", [2, 3]),
        ("(a - b) & c", []),
        ("a - (b & c)", [1, 2]),
        ("a - b - c", [1]),
    ],
)
def test_operators_of_sets_bind_as_in_opa(text, expected):
    sets = "a := {1, 2}\nb := {2, 3}\nc := {3}\n"
    if text == "a - b & c":
        sets = sets.replace("c := {3}", "c := {1, 3}")
    found = rules(f"package t\n{sets}p := {text}\nq if {text} == [({text})][_]\n")
    assert to_json(found["p"]) == expected
    assert found["q"] is True


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ('p if walk(input.o) == [["a"], 1]', True),
        ('p if walk(input.o) == [["a"], 2]', UNDEFINED),
        ("p := count([1 | walk(input.o)])", 4),
        ("p := count([1 | walk(input.o) != 1])", 4),
        ("p := count([1 | not walk(input.o)])", 0),
        ('p := count([1 | not walk(input.o) == [["a"], 1]])', 3),
        ("p := count([1 | not is_string(walk(input.o))])", 4),
        ("p := count([1 | walk(input.o)[_] == 2])", 1),
        ("p := {x | some x in walk(input.s)}", ["s", []]),
        ("p := {x | x := walk(input.o)[i]; i == 0}", [[], ["a"], ["b"], ["b", "c"]]),
        ("p if { every x in [1] { walk(input.o)[1] == x } }", True),
        ("p := walk(input.s)", [[], "s"]),
        ("p := 1 if { input.none } else := walk(input.s)", [[], "s"]),
        ("p := walk(input.s) if true else := 3", [[], "s"]),
        ("p := walk(input.none) if true else := 3", 3),
    ],
)
def test_walk_gives_each_of_its_results(rule, expected):
    given = {"o": {"a": 1, "b": {"c": 2}}, "s": "s"}
    value = decide(f"package t\n{rule}\n", "t/p", given)
    assert value is expected or to_json(value) == expected


def test_a_rule_of_several_results_of_walk_is_a_conflict():
    with pytest.raises(ConflictError):
        decide("package t\np := walk(input)\n", "t/p", {"a": 1})


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ('data.q.a with data.q as {"a": 9}', 9),
        ('data.q with data.q as {"c": 9}', {"c": 9}),
        ("data.q with data.q as 9", 9),
        ("above with data.q as {}", UNDEFINED),
        ('above with data.q as {"b": 9}', 9),
        ('dynamic with data.q as {"k": 9}', 9),
        ("dynamic with data.q as {}", UNDEFINED),
        ("other with data.q as {}", 5),
        ("data.q.a with data.q.a as 8 with data.q as {}", UNDEFINED),
        ('data.q.a with data.q as {"b": 1} with data.q.a as 8', 8),
    ],
)
@pytest.mark.parametrize("observe", ["", "coverage", "trace"])
def test_with_replaces_all_rules_of_a_package(statement, expected, observe):
    rules = "package q\na := 1\nb := 2\n"
    source = f"""package t
above := data.q.b
other := 5
dynamic := data.q[input]
p := [v, after] if {{
    v := {statement}
    after := above
}}
"""
    modules = {"a.rego": source, "q.rego": rules}
    (made,) = compile_all([Unit(modules=modules, observe=observe)])
    value = Policy(made).decide("t/p", "k", now=NOW)
    assert value is expected or value == [expected, 2]


@pytest.mark.parametrize(
    "body",
    [
        'role := input.role; role = "admin"',
        'role := input.role; "admin" = role',
        'some role in input.roles; role = "admin"',
        'some role in [input.role]; other := role; other = "admin"',
        'role := input.role; role = "admin"; role != "other"',
        "flag := is_admin(input.role); flag = true",
        'count([1 | is_role(input.role) = "admin"]) == 1',
        'role := input.role; count([1 | [is_role(role), x] = ["admin", 1]]) == 1',
        'every role in input.roles { role = "admin" }',
        'every role in input.roles { other := role; other = "admin" }',
        'roles := {input.role}; roles = {"admin"}',
    ],
)
@pytest.mark.parametrize("observe", ["", "coverage", "trace"])
def test_what_is_assigned_is_not_overwritten_by_a_comparison(body, observe):
    source = f"""package t
p if {{ {body} }}
q if not r
r if {{ {body} }}
is_admin(role) := role == "admin"
is_role(role) := role
"""
    (made,) = compile_all([Unit(modules={"a.rego": source}, observe=observe)])
    for role in ("admin", "guest"):
        given = {"role": role, "roles": [role]}
        holds = Policy(made).decide("t/p", given, now=NOW)
        fails = Policy(made).decide("t/q", given, now=NOW)
        assert (holds is True, fails is True) == (role == "admin", role != "admin")
