"""What `with` replaces, compared with OPA itself: rules, functions, builtins, by whatever way."""

from __future__ import annotations

import pytest

from gateway.rego.compiler import Unit, compile_all
from tests.support.agreement import difference
from tests.support.opa import needs_opa, opa

pytestmark = needs_opa

EXPRESSIONS = """
data.a.x with data.a.b as 9
a.x with a.b as a.c
a.x with a.b as input.k
a.x with a.b as input.nope
data.flat.x with data.flat as {"b": 100}
[data.flat.b, data.flat.h(2), data.flat] with data.flat as {"b": 100}
a[input.j] with a.b as 9
[v | some v in a] with a.b as 9
a.n[input.k] with a.n.c as 9
a.n with a.n.c as 9
a.n with a.n as {"q": 1}
a.n.c with a.n as {"q": 1}
[a.d, a.ss, a.o] with a.d as 8 with a.ss as {1} with a.o as {"z": 3}
a.o[input.k] with a.o as {"a": 3}
a.ss with a.x as 12
a.d with input.k as "a"
a.d with input as {}
inner with a.b as 9
outer with a.b as 9
outer with a.f as local
called with a.c as 7
[called, outer] with a.f as other
a.h(1) with a.f as 9
a.h(1) with a.f as local
a.h(input.nope) with a.f as 9
a.h(1) with a.f as a.c
a.h(1) with a.f as undefined_
a.h(1) with a.f as a.f
a.h(inner) with a.f as local with a.b as 3
[local(a.b), a.h(1)] with a.f as local with local as 30
[x | x := a.h(1) with a.f as local]
a.z with count as 7
a.z with count as local
a.z with a.c as [1] with count as sum
a[input.y] with count as 7 with input.y as "z"
startswith(input.k, "zz") with startswith as endswith
[upper("x"), lower("X")] with upper as lower with lower as upper
json.unmarshal("{") with json.unmarshal as json.is_valid
time.clock(time.now_ns()) with time.now_ns as 3600000000000
picked with startswith as false
picked with startswith as true
picked with input.k as "k7x"
http.send({"a": 1}) with http.send as {"status": 200}
http.send({"a": 1}) with http.send as local
1 + 2 with plus as 5
data.base with data.base["cfg"]["x-y"] as 11
input["a-b"].c with input["a-b"].c as 7
input with input.if as 7
input.key__61 with input.key__61 as 7
input with input.xs as input.xs[_]
count(input.xs) with input.xs as [1, 2, 3]
"""
MODULE = """package t
import data.a
p := value if value := {}
local(x) := ["local", x]
other(x) := [a.h(x), outer]
undefined_ if false
inner := [a.x, a.b, a.c, a[input.j], a.n]
outer := v if v := [inner, called] with data.a.c as 5
called := v if v := [a.h(1), a.b] with data.a.b as 4
"""
PICKED = "".join(f'picked if startswith(input.k, "k{number}")\n' for number in range(10))
OTHER = """package a
b := 1
c := 2
x := b
f(y) := y + 1
h(y) := f(y)
z := count([b, c])
n.b := b
n.c := 4
ss contains "q"
ss contains x
o[k] := v if some k, v in {"i": 1, "j": 2}
default d := 0
d := 3 if input.k == "a"
"""
FLAT = "package flat\nb := 1\nx := b\nh(y) := [y, x]\n"
INPUTS = [
    {"k": "a", "j": "b", "c": 1},
    {"k": "c", "j": "x", "xs": ["a", "b"]},
    {"k": "b", "j": "f", "a-b": {"c": 1}},
]
DATA = {"base": {"cfg": {"lim": 10}}}


def test_with_replaces_what_it_replaces_for_opa() -> None:
    expressions = EXPRESSIONS.strip().splitlines()
    texts = [MODULE.replace("{}", each) + PICKED for each in expressions]
    modules = [{"a.rego": text, "b.rego": OTHER, "c.rego": FLAT} for text in texts]
    made = compile_all([Unit(modules=each) for each in modules])
    with opa() as process:
        found = [
            difference(process, each, program, INPUTS, DATA)
            for each, program in zip(modules, made, strict=True)
        ]
    assert not {each: why for each, why in zip(expressions, found, strict=True) if why}


@pytest.mark.parametrize(
    "target",
    [
        "input.xs[0]",
        "input.a[input.k]",
        "data.base.cfg[input.k]",
        "inptu.x",
        "walk",
        "a.x.y",
        "data",
    ],
)
def test_what_cannot_be_replaced_is_refused(target: str) -> None:
    text = MODULE.replace("{}", f"a.x with {target} as 1")
    (made,) = compile_all([Unit(modules={"a.rego": text, "b.rego": OTHER})])
    assert isinstance(made, Exception)
    assert [problem.code for problem in made.problems] == ["with-target"]
