"""No input and no policy can crash, hang, or get out of the engine."""

import ast
import pickle
import threading

import pytest

from gateway.rego import (
    CompileError,
    EvalError,
    Policy,
    StepLimitExceeded,
    UNDEFINED,
    compile as compile_rego,
)
from gateway.rego.errors import InputLimitError
from tests.support.rego import NOW, decide, program

ECHO = """package t
default allow := false
allow if input.sub == "root"
sub := input.sub
whole := input
"""


@pytest.mark.parametrize(
    "text",
    [
        'x"},"allow":true,"z":{"a":"',
        "nul\0nul",
        "\ud800",
        "a\nb\\u0022",
        "{}%s{0}",
        "root\0",
        "'''\"\"\"",
    ],
)
def test_text_of_the_input_is_only_text(text):
    assert decide(ECHO, "t/allow", {"sub": text}) is False
    assert decide(ECHO, "t/sub", {"sub": text}) == text


def test_numbers_of_the_input_are_exact():
    big = 2**64 + 1
    assert decide(ECHO, "t/sub", {"sub": big}) == big
    assert decide(ECHO, "t/sub", {"sub": 10**5000}) == 10**5000


def _deep(depth):
    made = 1
    for _ in range(depth):
        made = {"a": [made]}
    return made


@pytest.mark.parametrize(
    "document", [_deep(20_000), _deep(51), [0] * 200_001, {"a": [[0] * 100_000] * 3}]
)
def test_input_too_deep_or_too_large_is_refused(document):
    with pytest.raises(InputLimitError):
        decide(ECHO, "t/whole", document)


def test_input_within_the_limits_is_taken():
    document = _deep(49)
    assert decide(ECHO, "t/whole", document) == document


RUNAWAYS = {
    "nested scans": "p if { some x in input.xs; some y in input.xs; some z in input.xs; x+y+z<0 }",
    "scans of constants": "p if { "
    + " ".join(f"some x{n} in [1,2,3,4,5,6,7,8,9,10];" for n in range(9))
    + " + ".join(f"x{n}" for n in range(9))
    + " < 0 }",
    "calls that multiply": "\n".join(
        ["p := f9(1)", "f0(x) := x"]
        + [f"f{n}(x) := sum([f{n - 1}(y) | some y in input.ten])" for n in range(1, 10)]
    ),
    "comparing large values": "p if { some x in input.xs; some y in input.rows; y == input.rows[0]; x + count(y) < 0 }",
    "large keys": "p := {[x, input.rows]: 1 | some x in input.xs}",
    "sorting large members": "p := [z | some x in input.xs; some z in {input.rows[0], input.rows[1], [x]}]",
    "with in a loop": "q := count([1 | some r in input.rows; some c in r])\np := [y | some x in input.xs; y := q with input.n as x]",
    "range": "p := count(numbers.range(1, 1000000000))",
    "replace of nothing": 'p := count(replace(concat("", [s | some x in input.xs; s := "xxxxxxxx"]), "", concat("", ["yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy" | some x in input.xs])))',
}


@pytest.mark.parametrize("name", RUNAWAYS)
def test_work_is_bounded(name):
    document = {
        "xs": list(range(1, 1001)),
        "ten": list(range(10)),
        "rows": [[[n, "x"] for n in range(200)] for _ in range(50)],
    }
    policy = Policy(program(f"package t\n{RUNAWAYS[name]}\n"))
    with pytest.raises(StepLimitExceeded):
        policy.decide("t/p", document, now=NOW)


def test_a_limit_is_given_and_exact():
    policy = Policy(program("package t\np := sum([x | some x in input.xs])\n"))
    assert policy.decide("t/p", {"xs": [1] * 100}, now=NOW, steps=1000) == 100
    with pytest.raises(StepLimitExceeded, match="more than 100 steps"):
        policy.decide("t/p", {"xs": [1] * 100}, now=NOW, steps=100)


def test_an_unknown_entrypoint_is_an_error():
    with pytest.raises(EvalError, match="unknown entrypoint"):
        decide(ECHO, "t/none", {})


def test_what_goes_wrong_inside_is_an_evaluation_error():
    policy = Policy(program(ECHO))
    with pytest.raises(EvalError, match="internal error: TypeError"):
        policy.decide("t/allow", {"sub": 1}, now=NOW, steps="many")  # type: ignore[arg-type]


HOSTILE = [
    'x"); import os; os.system("true") #',
    "__import__('os')",
    "a\nimport os",
    "\\N{DIGIT ONE}",
    "'''",
    '"""',
    "\u2028import os\u2028",
    "{0.__class__}",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_names_and_strings_of_a_policy_are_only_literals(text):
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    source = f"package t[{quoted}]\np[{quoted}] := x if {{ x := input[{quoted}]; x != {quoted} }}\n"
    made = program(source)
    assert made.source.isascii()
    names = {n.id for n in ast.walk(ast.parse(made.source)) if isinstance(n, ast.Name)}
    allowed = {"s", "m", "r", "U", "input", "data", "lookup", "same", "form", "dict", "str", "int"}
    allowed |= {"insert_once", "agree", "ordered_members", "len", "list", "rows"}
    assert {n for n in names if not n[0] in "vtfbCe" or not n[1:].isdigit()} <= allowed
    assert not any(
        isinstance(n, (ast.Import, ast.ImportFrom)) for n in ast.walk(ast.parse(made.source))
    )
    path = "/".join(("t", text))
    if "/" not in text:
        assert any(rule[:2] == ("t", text) for rule in made.rules), path


def test_numbers_of_a_policy_are_exact_and_safe():
    source = """package t
a := 9223372036854775808
b := 1e400
c := 1.10
d := -0.000000000000000000000000000001
e := 1e999999999
f := e > a
"""
    policy = Policy(program(source))
    assert policy.decide("t/a", None, now=NOW) == 9223372036854775808
    assert policy.decide("t/f", None, now=NOW) is True
    assert policy.decide("t/b", None, now=NOW) == 10**400


def test_one_policy_in_many_threads():
    source = """package t
p := [x, y, z] if {
	x := rule
	y := rule with input.x as input.y
	z := [a | some a in input.many; a == input.x]
}
rule := input.x
"""
    policy = Policy(program(source))
    wrong = []

    def work(number):
        document = {"x": number, "y": -number, "many": list(range(50))}
        for _ in range(300):
            seen = policy.decide("t/p", document, now=NOW)
            if seen != [number, -number, [number]]:
                wrong.append(seen)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_program_travels_over_a_pipe():
    made = program('package t\np := {x | some x in {1, 2.5, "a", 1e400, true}}\n')
    again = pickle.loads(pickle.dumps(made))
    assert again == made
    assert Policy(again).decide("t/p", None, now=NOW) == Policy(made).decide("t/p", None, now=NOW)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"t": {"allow": True}}, "data.t.allow is data and a rule too"),
        ({"t": 1}, "data.t is data and a path of rules too"),
        ({"t": {"sub": None}}, "data.t.sub is data and a rule too"),
        ([1], "not an object"),
        ("text", "not an object"),
    ],
)
def test_data_cannot_take_the_place_of_a_rule(data, message):
    with pytest.raises(CompileError, match=message):
        Policy(program(ECHO), data)
    with pytest.raises(CompileError, match=message):
        Policy(program(ECHO)).with_data(data)


def test_data_that_overlaps_has_the_place_of_the_rule():
    modules = {
        "a.rego": "package a.b\n\np := 1\nq := 2\nr[x] := 1 if some x in [1]\n",
        "b.rego": "package a.c\ns := 1\n",
    }
    policy = Policy(compile_rego(modules))

    def places(data):
        with pytest.raises(CompileError) as caught:
            policy.with_data(data)
        return [str(problem).split(" is ")[0] for problem in caught.value.problems]

    assert places({"a": {"b": {"q": 1, "r": {}}}}) == [
        "a.rego:4: data.a.b.q",
        "a.rego:5: data.a.b.r",
    ]
    assert places({"a": {"b": 1, "c": 2}}) == ["a.rego:3: data.a.b", "b.rego:2: data.a.c"]
    assert places({"a": 1}) == ["a.rego:3: data.a"]


def test_data_can_be_exchanged():
    policy = Policy(program("package t\np := data.x\n"), {"x": 1})
    assert policy.with_data({"x": 2}).decide("t/p", None, now=NOW) == 2
    assert policy.decide("t/p", None, now=NOW) == 1
    assert policy.with_data({}).decide("t/p", None, now=NOW) is UNDEFINED
