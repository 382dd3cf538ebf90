"""What names mean where rules, packages, imports, locals and builtins share them, as for OPA."""

from __future__ import annotations

import pytest

from gateway.rego import CompileError
from gateway.rego.compiler import Unit, compile_all
from tests.support.agreement import difference
from tests.support.opa import needs_opa, opa

INPUTS = [
    {"s": "a", "k": "b", "xs": ["p", "q"], "n": 1},
    {"s": "c", "k": "x", "xs": []},
    {"s": "k", "k": "z", "xs": ["z"]},
]
DATA = {"base": {"cfg": {"lim": 10}}, "m": {"k": {"z": 1}}, "x": {"y": 5}}
U = "package u\nv := 9\ns := {1, 2}\nt := 5\nf(x) := x\n"

MODULES = [
    # A rule below a rule's name, beside one of that name.
    ["package t\na.b.e := a[input.s]\na.a.c := 1\na.s := 2"],
    ["package t\nx.a := 1\ny := 2\na.b := y\na.y := 3\na.c := x\na.d := x.a\na.x := 4"],
    ["package t\nb.c.d := e\ne := 2\nb.e := 3\nb.c.e := 4\nb.f := b.e\nb.c.g := b.c.e"],
    ["package t\nf(x) := x\na.f(x) := x + 1\na.b := f(1)\na.c := a.f(1)\nb := f(1)"],
    ["package t\nx.y[z] := 1 if some z in input.xs\np := x.y[z] if { z := input.k }\nx.z := 5"],
    ["package t\nx.y contains z if some z in input.xs\np if x.y[input.k]\nz := 5\nx.z := z"],
    [
        'package t\np := $"{q} {f(1)}"\nq := 1\nf(x) := x\na.q := 7\na.f(x) := 4\na.b := $"{q} {f(1)}"'
    ],
    # A rule named like its package, or a part of it.
    ["package p\np.q := 1\ns := p.q\nr := p"],
    ["package p.q\np.q := 1\ns := p.q\nq := 3\nr := q"],
    ["package a.b\nc := 1\na.b.c := 2\nd := a.b.c\ne := data.a.b.c\nf := c"],
    ["package t.u\nv := t\nt := 4\nw := u\nu := 5", "package t\nv := 2"],
    ["package t\nt.t := 5\np := t.t\nr := data.t.t.t"],
    ["package system.x\nsystem := 3\np := system\nx := 4\nq := x"],
    # Locals named like a rule below another one.
    ["package t\na.x := 1\na.b.c := x if { x := input.s }"],
    ["package t\na.x := 1\na.b.c := x if { some x in input.xs }"],
    ["package t\na.i := 1\na.b.c contains i if input.xs[i]"],
    ["package t\na.b.i := 1\na.b.c := [i | input.xs[i]]"],
    ["package t\na.x := 1\na.f(x) := y if { y := x }\na.y := 7\np := a.f(2)"],
    # Imports.
    ["package t\nimport data.u\na := u.v\nb.u.v := 3\nb.c := u.v", U],
    ["package t\nimport data.u as v\na := v.v\nv := 3", U],
    ["package t\nimport data.u.f\na := f(1)\nb.f(x) := x + 100\nb.c := f(1)", U],
    ["package t\nimport input.s\na := s\nb.s := 3\nb.c := s"],
    ["package t\nimport input.s as count\na := count\nb := x if { x := count }"],
    ["package t\nimport data.u\nu := 4\np := u", U],
    ["package t\nimport data.u\np := v if v := u.s with u.s as u.t", U],
    ["package t\nimport data.u\np := u.f(1)\nq := [x | x := u.f(y); some y in [1, 2]]", U],
    ['package t\nimport data.m.k\np := k.z\nq := [k | some k in input.xs]\nf(k) := k\nr := f("x")'],
    ["package t\nimport input as i\nimport data as d\np := i.s\nq := d.base.cfg.lim"],
    ["package t\np := base.cfg.lim\nimport data.base"],
    [
        "package t\nimport rego.v1\nimport future.keywords.in\nv1 := 3\nq := v1\nrego := 1\nr := rego"
    ],
    # Parameters and locals that have the name of a function.
    ["package t\nf(x) := x\ng(f) := y if { y := k(1) with k as f }\nk(x) := x\np := g(9)"],
    ["package t\nr := 3\np if {\n\tv := r\n\tinput.n, input.s in [`a`]\n}"],
    # Builtins.
    ["package t\na.count(x) := 7\na.b := count([1, 2])\na.c.d := count([1, 2])\nb := count([1])"],
    ["package t.u\nb := count([1])\nd.e := count([1, 2])", "package t\ncount(x) := 7"],
    ["package t.u\nb := count([1])", "package count\nz := 7"],
    ["package t.u\nb := json.unmarshal(`1`)", "package t\njson.unmarshal(x) := 7"],
    ["package t.u\nb := json.unmarshal(`1`)", "package t.json\nunmarshal(x) := 7"],
    ["package t\ncount(x) := 7\nb := count([1])\nd.e := count([1, 2])"],
    ["package t\njson.unmarshal(x) := 7\nb := json.unmarshal(`1`)\nd.e := json.unmarshal(`2`)"],
    [
        "package t\nimport data.u.json\nb := json.unmarshal(`1`)",
        "package u.json\nunmarshal(x) := 7",
    ],
    ["package t\nimport data.u.json\nb := json.marshal(1)", "package u.json\nunmarshal(x) := 7"],
    ["package json\nx := json.unmarshal(`1`)\ny if not json.is_valid(input.s)"],
    ["package t.time\nx := time.weekday(0)"],
    [
        "package app\nimport data.lib.time as clock\np if clock.late with time.now_ns as 9\n"
        "q if clock.late\nr := v if v := clock.twice(3) with clock.late as 1",
        "package lib.time\nlate if time.now_ns() < 10\ntwice(x) := y if { late; y := abs(x) * 2 }",
        "package abs\nx := 1",
    ],
    ["package t\na.internal := 3\na.b := 1 in [1]\na.c := $`{1}`"],
    [
        "package t\nf(count) := count\np := f(3)\nq := x if { sum := 3; x := sum }\nr := [max | some max in [1]]"
    ],
]


@needs_opa
def test_names_mean_what_they_mean_to_opa() -> None:
    modules = [{f"{number}.rego": text for number, text in enumerate(each)} for each in MODULES]
    made = compile_all([Unit(modules=each) for each in modules])
    with opa() as process:
        found = [
            difference(process, each, program, INPUTS, DATA)
            for each, program in zip(modules, made, strict=True)
        ]
    assert not {each[0]: why for each, why in zip(MODULES, found, strict=True) if why}


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ("minus(x, y) := 4\nq := 3 - 1", "hidden-builtin"),
        ("internal.member_2(x, y) := false\nq if 1 in [1]", "hidden-builtin"),
        ("glob.x := 1\nq if glob.match(`a`, [], `a`)", "hidden-builtin"),
        ("q := [x | data[x].limit == 3]", "variable-package"),
        ("q if data[input.xs[_]].limit == 3", "variable-package"),
        ("f(x) := data[x].limit", "variable-package"),
        ("import data.base.if\nq := 1", "no-rego"),
        ("import data.base as contains\nq := 1", "no-rego"),
        ("import data.input\nq := 1", "shadowed"),
    ],
)
def test_names_that_would_mean_something_else_are_refused(rules: str, code: str) -> None:
    (made,) = compile_all([Unit(modules={"a.rego": f"package t\n{rules}\n"})])
    assert isinstance(made, CompileError)
    assert [problem.code for problem in made.problems] == [code]
