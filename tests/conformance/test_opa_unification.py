"""Both sides of `=` mean what they mean for OPA, in rules, functions and bodies inside of others."""

from __future__ import annotations

from pathlib import Path

from gateway.rego.compiler import Unit, compile_all
from tests.support.agreement import difference
from tests.support.opa import needs_opa, opa

pytestmark = needs_opa

BODIES = (Path(__file__).parent / "opa_unification.txt").read_text().splitlines()
"""`value | body`, with locals `v1`, `v2`, `o` and `k` of the body around it."""

MODULE = """package t

scanned := [{made}] if {{ some v1; v2 := input.b[v1]; o := input.o; k := input.k }}
assigned := [{made}] if {{ o := input.o; k := input.k; v1 := input.v1; v2 := input.v2 }}
plain if {{ o := input.o; k := input.k; v1 := input.v1; v2 := input.v2; {body} }}
negated if {{ o := input.o; k := input.k; not called(input.v1, input.v2, o, k) }}
called(v1, v2, o, k) if {{ {body} }}
f(x) := x
rr := {{"a": 10}}
"""
INPUTS = [
    {"b": {"b": 0}, "o": {"a": 10}, "k": "a", "v1": "b", "v2": 10, "q": {"b": 10}},
    {"b": {"b": 10}, "o": {"a": 0}, "k": "a", "v1": "c", "v2": 0},
    {"b": ["b"], "o": {"a": "b"}, "k": "a", "v1": 10, "v2": "b"},
]
DATA = {"xs": [1, 10], "o": {"a": {"z": 10}, "b": 10}}


def test_opa_agrees() -> None:
    texts = [MODULE.format(made=each, body=each.partition(" | ")[2]) for each in BODIES]
    made = compile_all([Unit(modules={"a.rego": text}) for text in texts])
    with opa() as process:
        found = [
            difference(process, {"a.rego": text}, program, INPUTS, DATA)
            for text, program in zip(texts, made, strict=True)
        ]
    assert not {each: why for each, why in zip(BODIES, found, strict=True) if why}
