"""What fails, and what does not come to that: expressions stand where they are written."""

import pytest

from gateway.rego import UNDEFINED, EvalError
from gateway.rego.values import to_json
from tests.support.rego import decide

INPUT = {"s": "x", "xs": ["a", "b", "a"], "ns": [1, 2], "users": [{"name": "al"}]}

ANSWERS = {
    'p if { some x in input.xs; x == "q"; to_number(input.s) == 1 }': UNDEFINED,
    "p if { some x in input.none; y := to_number(input.s); y == 1 }": UNDEFINED,
    'p := y if { input.users[_].name == "q"; y := to_number(input.s) }': UNDEFINED,
    'p := to_number(input.s) if { some x in input.xs; x == "q" }': UNDEFINED,
    'p := to_number(x) if { some x in input.xs; x == "q" } else := 7': 7,
    'p := 1 if { some x in input.xs; x == "q" } else := input.s + 1 if input.xs[_] == "q"': UNDEFINED,
    'p contains to_number(x) if { some x in input.xs; x == "q"; to_number(input.s) }': [],
    "p := [to_number(x) | some x in input.xs; x > 0; false; y := to_number(input.s)]": [],
    'p if { some x in input.xs; x == "q"; not to_number(input.s) }': UNDEFINED,
    'p if { some x in input.xs; x == "q"; every y in [1] { to_number(input.s) == y } }': UNDEFINED,
    'p if { some x in input.xs; x == "q"; f(input.s) }\nf(s) if to_number(s)': UNDEFINED,
    'p[x] contains y if { some x in input.xs; x == "q"; y := to_number(input.s) }': {},
    "p := z if { some x in input.ns; y := x + 1; some z in input.ns; z == y; y / 2 == 1 }": 2,
    "p := [x | some x in input.ns; some y in input.ns; x + y == 3; y / x > 1]": [1],
    'p contains $"m {x}" if some x in input.ns': ["m 1", "m 2"],
    "p := [y | some x in input.ns; every w in [1] { w < x }; y := [x, upper(input.s)]]": [[2, "X"]],
    'p := [y | some z in ["b"]; a := {upper(input.s): z}; y := [a, abs(1)]]': [[{"X": "b"}, 1]],
    "p := {x: y | some x in input.ns; y := sum(input.ns) + x}": {"1": 4, "2": 5},
}  # fmt: skip


@pytest.mark.parametrize("text", ANSWERS)
def test_nothing_fails_behind_what_does_not_hold(text):
    value = decide(f"package t\n{text}\n", "t/p", INPUT)
    assert (value if value is UNDEFINED else to_json(value)) == ANSWERS[text]


FAILS = [
    'p if { to_number(input.s) == 1; some x in input.xs; x == "q" }',
    'p if { some x in input.xs; x == "b"; to_number(input.s) == 1 }',
    "p := to_number(input.s) if { some x in input.xs }",
    "p := [to_number(x) | some x in input.xs]",
    'p := 1 if { some x in input.xs; x == "q" } else := input.s + 1 if input.xs[_] == "b"',
]


@pytest.mark.parametrize("text", FAILS)
def test_it_fails_behind_what_holds(text):
    with pytest.raises(EvalError):
        decide(f"package t\n{text}\n", "t/p", INPUT)
