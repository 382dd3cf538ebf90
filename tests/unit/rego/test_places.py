"""An error while deciding says which rule, and the line in it."""

import pytest

from gateway.rego import EvalError, Policy, compile as compile_rego
from tests.support.rego import NOW

SOURCE = """package t

divided := 1 / n if {
	true
	n := count(input.none)
}

conflict := 1 if input.yes
conflict := 2 if input.yes

f(x) := to_number(x)

called if {
	true
	f("z") == 1
}

keys[k] := v if {
	some v in [1, 2]
	k := "a"
}

members contains x if {
	some x in [1]
	x < to_number("z")
}

nested := [y |
	some x in ["1"]
	y := [to_number(z) | z := concat("", [x, "z"])]
]

mocked if called with f as g
g(_) := to_number("g")

long := count([1 | some a in numbers.range(1, 3000); some b in numbers.range(1, 3000)])
"""
PLACES = {
    "divided": ("data.t.divided", 3),
    "conflict": ("data.t.conflict", 9),
    "called": ("data.t.f", 11),
    "keys": ("data.t.keys", 19),
    "members": ("data.t.members", 25),
    "nested": ("data.t.nested", 30),
    "mocked": ("data.t.g", 34),
    "long": ("data.t.long", 36),
}


@pytest.fixture(scope="module")
def policy():
    return Policy(compile_rego({"a.rego": "package a\np := 1\n", "dir/t.rego": SOURCE}))


@pytest.mark.parametrize("name", PLACES)
def test_place(policy, name):
    rule, row = PLACES[name]
    with pytest.raises(EvalError) as caught:
        policy.decide(f"t/{name}", {"yes": 1, "none": []}, now=NOW)
    error = caught.value
    assert (error.rule, error.file, error.row) == (rule, "dir/t.rego", row)
    assert error.told == f"{error.code}: {error} (in {rule}, dir/t.rego:{row})"


def test_place_in_an_index():
    bodies = "".join(
        f'p if {{\n\tinput.x == "{n}"\n\tto_number(input.x) > 0\n}}\n' for n in "abcdefghij"
    )
    policy = Policy(compile_rego({"t.rego": f"package t\n{bodies}"}))
    assert policy.program.indexes
    with pytest.raises(EvalError) as caught:
        policy.decide("t/p", {"x": "c"}, now=NOW)
    assert (caught.value.rule, caught.value.row) == ("data.t.p", 12)


def test_no_rule_is_named_where_none_was_run(policy):
    with pytest.raises(EvalError) as caught:
        policy.decide("t/nothing", {}, now=NOW)
    assert caught.value.told == "eval_internal_error: unknown entrypoint 't/nothing'"
    deep = [[]]
    for _ in range(200):
        deep = [deep]
    with pytest.raises(EvalError) as caught:
        policy.decide("t/divided", deep, now=NOW)
    assert caught.value.told.startswith("eval_input_limit: the input is nested")
    assert not caught.value.rule
