"""Bodies inside of others use the variables of those around them, as for OPA.

Of a parameter, or of what `=` gave a value, the compiler's own bodies know nothing.
"""

from __future__ import annotations

from pathlib import Path

from gateway.rego.compiler import Unit, compile_all
from tests.support.agreement import difference
from tests.support.opa import needs_opa, opa

pytestmark = needs_opa

RULES = (Path(__file__).parent / "opa_outer_variables.txt").read_text()
"""Functions `l` of one argument, and rules that use `input`, divided by empty lines."""

CALLS = 'p := l(input.u)\nq := [l(z) | some z in ["bob", "nobody"]]\n'
HEAD = "package t\nusers := data.users\n"
INPUTS = [
    {
        "u": "alice",
        "n": 1,
        "pairs": [["alice", 1], ["bob", 2], ["x", 3]],
        "o": {"alice": {"z": 1}, "bob": {"z": 2}},
        "xs": ["alice", "bob"],
    },
    {"u": "bob", "n": 0, "pairs": [], "o": {}, "xs": []},
    {"u": "x"},
]
DATA = {
    "roles": {"admin": {"level": 3}, "dev": {"level": 2}, "guest": {"level": 1}},
    "users": {
        "alice": {"roles": ["admin"], "team": "core", "active": True},
        "bob": {"roles": ["dev", "guest"], "team": "ops", "active": False},
        "eve": {"roles": [], "team": None, "active": True},
    },
    "acl": [{"roles": ["guest", "dev"]}, {"roles": ["dev"]}],
}


def test_bodies_use_the_variables_around_them() -> None:
    given = RULES.strip().split("\n\n")
    texts = [
        HEAD + each + "\n" + (CALLS if each.startswith(("l(", "default l")) else "")
        for each in given
    ]
    made = compile_all([Unit(modules={"a.rego": text}) for text in texts])
    with opa() as process:
        found = [
            difference(process, {"a.rego": text}, program, INPUTS, DATA)
            for text, program in zip(texts, made, strict=True)
        ]
    assert not {each: why for each, why in zip(given, found, strict=True) if why}
