"""Queries, beside OPA's own answers to them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.record.encode import encode
from gateway.rego import CompileError, EvalError
from gateway.rego.query import Query
from gateway.rego.values import to_json
from tests.support.opa import needs_opa
from tests.support.opa_query import opa_answers

MODULES = {
    "a.rego": """package a
p if true
n := false
q contains 1
q contains 3
f(x) := x + 1
g(x, y) if x < y
set contains "a"
table[key] := value if some key, value in {"u": 1, "v": 2}
"""
}
DATA = {
    "a": {"extra": 1},
    "x": {"z": 1},
    "users": [{"name": "ann", "age": 3}, {"name": "bob", "age": 5}],
}
INPUT = {"a": 1, "list": [1, 2, 2]}

QUERIES = (
    """
1 == 2
1 == 1
false
true
null
x := 1
x := [1, 2][_]
[1, 2][_]
[1, 1][_]
[1, 2][i]
[false, 2][i]
data.x.y
data.x
data
x := data
count(data)
[data, 1]
d = data; d.x
data[k]
data[_].z
x := "x"; data[x]
[k | data[k].z]
data.a
input
input.a
input.nothing
input.list[_] == 2
x := 1; y := 2; x < y
some x in [1, 2]
some x in [1, 2]; y := x + 1
some k, v in {"a": 1}
some i; [3, 4][i]
some x; x = 1
some x in [1, 2]; x == 2
some x in [1]; false
{1, 2}
{1, 2}[_]
{"b": 1, "a": 2}[k]
{{1}: {2}}
x = {1, 2}
not false
not true
not data.a.p
not data.a.none
x := false
x := 1; x == 2
1; false; 2
1; null; 2
every x in [1] { x > 0 }
every x in [0] { x > 0 }
data.a.p
data.a.n
data.a.q
data.a.q[x]
data.a.q[_] == 3
data.a.table[k]
data.a.table.u
data.a.f(2)
data.a.f(2, x)
data.a.f([1, 2][_])
data.a.g(1, 2)
data.a.g(2, 1)
f := 1; f
x := 1; x
[x | x := 1]
[x | x := [1, 2][_]; x > 1]
{x: y | some x, y in {"a": 1}}
_ = 1
x := 1 with input as 2
input with input as 3
input.a with input.a as 5
data.a.p with data.a.p as 7
x = 1
1 = x
[x, y] = [1, 2]
[x, y] := [1, 2]
{"a": x} = {"a": 1}
[1, x] = [y, 2]
plus(1, 2, x)
plus(1, 2)
numbers.range(1, 3, x)
count([1])
startswith("a", "a")
startswith("a", "b")
contains("ab", "a")
array.concat([1], [2])
walk([1], [p, v])
walk([1, [2]])
"a" in ["a"]
1 in [2]
0, "a" in ["a"]
-1
1 + 1
1 + 1 == 2
(1 == 2)
(1 + 2) * 3
$"a{input.a}"
x := data.users[_].name
data.users[i].name == "bob"
data.users[i].age > 3; n := data.users[i].name
u := data.users[_]; u.age > 4
print(1)
print("a", input.a); true
x := 1 # a comment
  x  :=  1
1 < 2; 2 > 1; "<&>"
x := "é"; y := x
every k, v in {"a": 1} { k == "a"; v == 1 }; w := 2
walk(input, [path, 2])
data.a[rule]
data.a.q & {1}
input[k] == 1
{"a": input.a, "b": [input.list[_]]}
[input.list[i], i]
x := {1, 2}[_]; y := {"c": x}
some i, x in input.list; i > 0
not 1 == 2; x := 3
""".strip("\n").split("\n")
    + ["x := 1\n y := 2", "x := [\n1,\n2\n]; x[i]", "# above\n\n true"]
)

REFUSED = """
x + 1
x := y
1,2
x
import rego.v1
true } other if { true
true } { false
x := 1] | true
p if true
some x
x := 1; x := 2
x > 1; x := [1, 2, 3][_]
not x
data.a.nofunction(1)
""".strip("\n").split("\n")


def ours(query: str) -> Any:
    asked = Query(query, MODULES, DATA)
    rows = []
    for row in asked.ask(INPUT, now=0.0):
        told = [
            {"value": value, "text": each.text, "location": {"row": each.row, "col": each.col}}
            for each, value in zip(asked.expressions, map(to_json, row.values), strict=True)
        ]
        bound = {name: to_json(value) for name, value in row.bindings.items()}
        rows.append({"expressions": told} | ({"bindings": bound} if bound else {}))
    return json.loads(encode(rows)) or None


@needs_opa
def test_answers() -> None:
    """All queries have the rows, values, texts, places and variables that OPA has."""
    said = opa_answers(QUERIES, MODULES, DATA, INPUT)
    assert {query: ours(query) for query in QUERIES} == dict(zip(QUERIES, said, strict=True))


@needs_opa
def test_no_queries() -> None:
    """What OPA refuses is refused, at a place in the query where it is known."""
    said = opa_answers(REFUSED, MODULES, DATA, INPUT)
    assert all(each.startswith("prepare_error") for each in said)
    for query in REFUSED:
        with pytest.raises(CompileError) as caught:
            Query(query, MODULES, DATA)
        assert all(problem.row <= 1 for problem in caught.value.problems), query


def test_strictness() -> None:
    """An error of a builtin ends a strict query, and makes its expression undefined else."""
    assert Query("1 / 0", {}, strict=False).ask({}, now=0.0) == []
    with pytest.raises(EvalError, match="divide by zero"):
        Query("1 / 0", {}).ask({}, now=0.0)
