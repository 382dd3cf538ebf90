"""The rule index picks few bodies, and never changes what comes out."""

import pytest

from gateway.rego import UNDEFINED, EvalError, Policy
from tests.support.rego import NOW, program

BODIES = {
    "equality": 'p if {{\n\tinput.path == "/{n}"\n}}',
    "reversed": 'p if {{\n\t"/{n}" == input.path\n}}',
    "second condition": 'p if {{\n\tinput.method == "GET"\n\tinput.path == "/{n}"\n}}',
    "membership": 'p if {{\n\tinput.path in {{"/{n}", "/x{n}"}}\n}}',
    "prefix": 'p if {{\n\tstartswith(input.path, "/{n}/")\n}}',
    "glob": 'p if {{\n\tglob.match("/{n}/*", ["/"], input.path)\n}}',
    "values": 'p := {n} if {{\n\tinput.path == "/{n}"\n}}',
    "set": 'p contains "{n}" if {{\n\tinput.path == "/{n}"\n}}',
    "object": 'p["{n}"] := 1 if {{\n\tinput.path == "/{n}"\n}}',
    "function": 'f(x, y) := {n} if {{\n\tx == "/{n}"\n\ty\n}}\n',
    "function constant": 'f("/{n}", y) := {n} if y',
    "function field": 'f(x, y) := {n} if {{\n\tx.path == "/{n}"\n\ty\n}}\n',
    "function membership": 'f(x, y) := {n} if {{\n\tx in {{"/{n}", "/x{n}"}}\n\ty\n}}\n',
    "function prefix": 'f(x, y) := {n} if {{\n\tstartswith(x, "/{n}/")\n\ty\n}}\n',
    "array membership": 'p if input.path in ["/{n}", "/x{n}"]',
    "set reference": 'p if {{"/{n}", "/x{n}"}}[input.path]',
    "object reference": 'p if {{ {{"/{n}": true}}[input.path] }}',
    "set membership": 'p contains "{n}" if input.path in {{"/{n}", "/x{n}"}}',
    "set prefix": 'p contains "{n}" if startswith(input.path, "/{n}/")',
    "local": 'p if {{\n\tpath := input.path\n\tpath == "/{n}"\n}}',
    "local of a local": 'p if {{\n\tx := input.path\n\ty := x\n\ty in {{"/{n}"}}\n}}',
    "unification": 'p if {{\n\tinput.path = "/{n}"\n}}',
    "segment": 'p if input.segments[0] == "{n}"',
    "pattern": 'p if {{\n\t["{n}", _] = input.segments\n}}',
    "glob without delimiters": 'p if glob.match("/{n}/**", [], input.path)',
    "glob with null": 'p if glob.match("/{n}/**", null, input.path)',
    "after a comparison": 'p if {{\n\tinput.method != "PUT"\n\tinput.path == "/{n}"\n}}',
    "after a negation": 'p if {{\n\tnot input.method == "PUT"\n\tinput.path == "/{n}"\n}}',
}
HEADS = {
    "function": "p := f(input.path, true)\n",
    "function constant": "p := f(input.path, true)\n",
    "function field": "p := f(input, true)\n",
    "function membership": "p := f(input.path, true)\n",
    "function prefix": "p := f(input.path, true)\n",
}


def _source(name, count):
    bodies = "\n".join(BODIES[name].format(n=n) for n in range(count))
    return f"package t\n{HEADS.get(name, '')}{bodies}\n"


@pytest.mark.parametrize("name", BODIES)
def test_few_bodies_are_tried(name):
    policy = Policy(program(_source(name, 200)))
    assert len(policy.program.indexes) == 1
    path = "/150/x" if "prefix" in name or "glob" in name else "/150"
    document = {"path": path, "method": "GET", "segments": ["150", "x"]}
    seen = policy.decide("t/p", document, now=NOW, steps=150)
    assert seen is not UNDEFINED
    assert seen == Policy(program(_source(name, 200), indexed=False)).decide(
        "t/p", document, now=NOW
    )


def test_few_rules_have_no_index():
    assert not program(_source("equality", 5)).indexes


OTHERS = {
    "default and else": """default p := "none"
p := "odd" if { input.path == "/odd"; input.no } else := "else" if input.path == "/odd"
""",
    "body without condition": "p if input.always\n",
    "two at once": 'p if { input.path in {"/1", "/2"}; input.kind == "b" }\n',
    "not text": "p if input.path == 7\np if input.path == true\np if input.path == null\n",
    "an error first": 'p if { to_number(input.word) == 1; input.path == "/never" }\n',
    "an error behind": 'p if { input.path == "/1"; to_number(input.word) == 1 }\n',
    "a conflict first": 'p if { not {1: v | some v in input.word}; input.path == "/never" }\n',
    "prefix of what is no text": 'p if { startswith(input.path, "/9"); input.method == "PUT" }\n',
}
DOCUMENTS = [
    {"path": path, **rest}
    for path in ("/1", "/2", "/1/x", "/odd", "/none", "", 7, 1, True, None, 1.0, ["/1"], {"a": 1})
    for rest in (
        {},
        {"always": True},
        {"kind": "b", "method": "PUT"},
        {"word": "no", "method": "GET"},
        {"word": "1"},
        {"word": [1, 2]},
        {"segments": ["1", "x"]},
        {"segments": {0: "1"}},
        {"segments": "1"},
    )
] + [{}, None, "text", {"method": "PUT"}]


def _outcome(policy, document):
    try:
        return policy.decide("t/p", document, now=NOW)
    except EvalError as error:
        return (error.code, str(error))


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize(
    "name",
    [
        *("equality", "prefix", "glob", "second condition", "membership", "set reference"),
        *("object reference", "segment", "pattern", "after a comparison", "after a negation"),
    ],
)
def test_the_index_changes_nothing(name, other):
    source = _source(name, 12) + OTHERS[other]
    with_index, without = Policy(program(source)), Policy(program(source, indexed=False))
    assert with_index.program.indexes
    assert not without.program.indexes
    for document in DOCUMENTS:
        assert _outcome(with_index, document) == _outcome(without, document), document


def test_conflicts_are_found_among_picked_bodies():
    bodies = "\n".join(f'p := {n} if input.path == "/{n}"' for n in range(20))
    source = f'package t\n{bodies}\np := "x" if input.path == "/3"\n'
    policy = Policy(program(source))
    assert policy.program.indexes
    assert policy.decide("t/p", {"path": "/4"}, now=NOW) == 4
    with pytest.raises(EvalError, match="multiple outputs"):
        policy.decide("t/p", {"path": "/3"}, now=NOW)


def test_the_first_of_equal_bodies_decides():
    """The order of bodies is that of the source, whatever the index puts them in."""
    bodies = "\n".join(
        f'p if {{ startswith(input.path, "{"/a" * n}"); print({n}); input.last == {n} }}\n'
        f'p if {{ startswith(input.path, "/b{n}"); print("b", {n}) }}'
        for n in range(1, 15)
    )
    policy = Policy(program(f"package t\n{bodies}\n"))
    assert policy.program.indexes
    output = []
    assert policy.decide("t/p", {"path": "/a" * 14, "last": 14}, now=NOW, output=output) is True
    assert output == [str(n) for n in range(1, 15)]
