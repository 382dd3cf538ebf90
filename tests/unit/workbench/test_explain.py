"""The tree of a decision: names of variables and parameters, and which body gave a value."""

import pytest

from gateway.rego import Policy, compile as compile_rego
from gateway.workbench.explain import as_json, as_lines

CASES = {
    "a variable has its name": (
        'p if { some role in input.roles; role == "admin" }',
        {"roles": ["a"]},
        ['`role == "admin"` does not hold', 'role is "a"'],
    ),
    "two variables have none": (
        "p if { some x in [1]; some y in [2]; x == y }",
        {},
        ["`x == y` does not hold", "a value is 1", "a value is 2"],
    ),
    "constants are not told": (
        'p if input.x in {"a", "b"}',
        {"x": "c"},
        ['`input.x in {"a", "b"}` does not hold', 'input.x is "c"'],
    ),
    "a global is no variable": (
        "p if q == 2\nq := 1",
        {},
        ["data.t.q is 1", "body holds", "`q == 2` does not hold", "data.t.q is 1"],
    ),
    "parameters have their names": (
        'p if f(input.x, "k")\nf(a, "k") if a > 1',
        {"x": 1},
        [
            'data.t.f(a: 1, "k") is undefined',
            "body",
            "`a > 1` does not hold",
            "a is 1",
            '`f(input.x, "k")` does not hold',
            "input.x is 1",
        ],
    ),
    "what `not` is about": (
        "p if { not input.x; input.y }",
        {"x": False},
        ["`not input.x` holds", "input.x is false", "`input.y` does not hold"],
    ),
    "an expression over lines": (
        "p if {\n\tinput.x ==\n\t\t1\n}",
        {"x": 2},
        ["`input.x == 1` does not hold", "input.x is 2"],
    ),
    "a false answer of a builtin says nothing": (
        'p if startswith(input.x, "a")',
        {"x": "b"},
        ['`startswith(input.x, "a")` does not hold', 'input.x is "b"'],
    ),
    "a number of a builtin does": (
        "p if count(input.x) == 2",
        {"x": []},
        ["`count(input.x) == 2` does not hold", "input.x is []", "count is 0"],
    ),
}


def traced(source, document):
    policy = Policy(compile_rego({"t.rego": source}, observe="trace"))
    trace = policy.trace()
    policy.decide("t/p", document, now=0.0, observer=trace)
    return trace


@pytest.mark.parametrize("name", CASES)
def test_lines(name):
    rules, document, expected = CASES[name]
    source = f"package t\n\n{rules}\n"
    lines = [
        line.partition("  [")[0].strip()
        for line in as_lines(traced(source, document), {"t.rego": source})
    ]
    assert lines[0] == "data.t.p is undefined"
    assert lines[2:] == expected


def test_the_body_that_holds_is_told():
    source = "package t\n\np if input.x == 1\n\np if input.x == 2\n\np if input.x == 3\n"
    bodies = [
        (body["row"], body["holds"])
        for body in as_json(traced(source, {"x": 2}), {"t.rego": source})["evaluations"][0][
            "bodies"
        ]
    ]
    assert bodies == [(3, False), (5, True)]
    source = "package t\n\np contains 1 if input.x == 1\n\np contains 2 if input.x == 2\n"
    lines = list(as_lines(traced(source, {"x": 2}), {"t.rego": source}))
    assert lines[-1] == "  body holds  [t.rego:5]"
