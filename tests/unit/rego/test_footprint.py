"""What a decision can read of its input."""

import pytest

from tests.support.rego import program

CASES = {
    "paths": ("p if { input.a.b == 1; input.c }", {("a", "b"), ("c",)}),
    "existence": ("p if { _ = input.a.b }", {("a", "b")}),
    "copies": ("p if { x := input.a; y := x.b; y.c == 1 }", {("a", "b", "c")}),
    "scan": ("p if { some x in input.a.b; x.c }", {("a", "b")}),
    "dynamic key": ("p if { input.a[input.k] }", {("a",), ("k",)}),
    "key into data": ("p if { data.d[input.k] }", {("k",)}),
    "whole": ("p if { x := input; count(x) > 1 }", {()}),
    "prefix covers": ("p if { count(input.a) > 0; input.a.b }", {("a",)}),
    "function": ("p if f(input.a)\nf(x) if x.b.c == 1", {("a", "b", "c")}),
    "function of all": ("p if f(input)\nf(x) if x.b.c == 1", {("b", "c")}),
    "rule": ("p if q\nq if input.x.y == 1", {("x", "y")}),
    "not": ("p if not input.x", {("x",)}),
    "comprehension": ("p if count([x | x := input.a[_]]) > 0", {("a",)}),
    "with data": ("p if q with data.d as input.v\nq if data.d", {("v",)}),
    "with input": ("p if q with input.a as 1\nq if input.a", {()}),
    "dynamic rule": ("p if data.t.k[input.x]\nk.a := 1", {()}),
    "nothing": ("p := 1", set()),
    "returned": ("p := input.a.b", {("a", "b")}),
    "returned by a rule": ("p if q.c\nq := input.a", {("a",)}),
}


@pytest.mark.parametrize("name", CASES)
def test_paths(name):
    body, expected = CASES[name]
    found = program(f"package t\n{body}\n", "t/p").footprints["t/p"]
    assert found.paths == expected
    assert found.impure == frozenset()


@pytest.mark.parametrize("call", ["time.now_ns()", 'rand.intn("x", 3)', 'uuid.rfc4122("k")'])
def test_impure_builtins_are_named(call):
    found = program(f"package t\np if q\nq if {call}\n", "t/p").footprints["t/p"]
    assert found.impure == {call.split("(")[0]}


def test_impure_builtins_that_a_dynamic_call_can_reach_are_named():
    found = program("package t\np if data.t.k[input.x]\nk.a if time.now_ns() > 1\n", "t/p")
    assert found.footprints["t/p"].impure == {"time.now_ns"}


def test_paths_have_places():
    source = "package t\n\np if {\n\tf(input.a)\n\tinput.d\n}\n\nf(x) if x.b.c == 1\n"
    places = program(source, "t/p").footprints["t/p"].places
    assert {path: (site.row, site.col) for path, site in places.items()} == {
        ("a", "b", "c"): (8, 9),
        ("d",): (5, 2),
    }
