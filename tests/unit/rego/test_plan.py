"""Plans are read strictly: what the compiler never writes is refused."""

import copy
import json

import pytest
from hypothesis import given, strategies as st

from gateway.rego.codegen import generate
from gateway.rego.compiler import Unit, ask, read_sources, request
from gateway.rego.plan import Const, PlanError, decode_string, read_plan

SOURCE = """package t
p contains x if { some x in input.xs; not x == input.y with input.y as 2 }
q := {"a": [1, 2.5, null]} if f(1) else := 3 if data.t.p[input.z]
f(x) := x + 1
"""


@pytest.fixture(scope="module")
def text():
    unit = Unit(modules={"a.rego": SOURCE}, entrypoints=("t",), query=None, strict=True)
    (answer,) = ask([request(unit, read_sources(unit))])
    return answer["plan"]


def test_a_plan_is_read_and_written(text):
    plan = read_plan(text)
    assert {item.path for item in plan.functions} == {("t", "p"), ("t", "q"), ("t", "f")}
    assert [item.name for item in plan.entries] == ["t"]
    compile(generate(plan).source, "<test>", "exec")


def _places(value, path=()):
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _places(item, (*path, index))


HOSTILE = ["1; import os", -1, 1 << 40, 1.5, True, None, [], {}, "x", "__import__('os')", [[]]]


def test_no_change_of_a_plan_gets_past_the_reader_as_anything_but_data(text):
    """Replace every value of a plan, one at a time; what still reads generates only literals."""
    plan = json.loads(text)
    read = 0
    for path in list(_places(plan)):
        if not path:
            continue
        for hostile in HOSTILE:
            changed = copy.deepcopy(plan)
            where = changed
            for key in path[:-1]:
                where = where[key]
            where[path[-1]] = hostile
            try:
                made = generate(read_plan(json.dumps(changed)))
            except PlanError:
                continue
            read += 1
            assert made.source.isascii()
            code = [line.split("#")[0] for line in made.source.splitlines()]
            assert not any("import" in _without_strings(line) for line in code)
    assert read > 0


def _without_strings(line):
    import re

    return re.sub(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", "''", line)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"static": {}, "plans": 1}',
        '{"static": {"strings": [{"value": 1}]}}',
        '{"static": {"strings": [{"value": "\\"\\\\x\\""}]}}',
        "[" * 100_000,
        '{"static": {}, "funcs": {"funcs": [{"name": "f", "path": ["g0"], "params": [0], '
        '"return": 2, "blocks": []}]}}',
        '{"static": {}, "plans": {"plans": [{"name": "a", "blocks": []}, '
        '{"name": "a", "blocks": []}]}}',
        '{"static": {}, "plans": {"plans": [{"name": "a", "blocks": [{"stmts": '
        '[{"type": "EvilStmt", "stmt": {}}]}]}]}}',
    ],
)
def test_what_is_no_plan(text):
    with pytest.raises(PlanError):
        read_plan(text)


def test_deep_nesting_is_refused():
    block = {"stmts": []}
    for _ in range(81):
        block = {"stmts": [{"type": "BlockStmt", "stmt": {"blocks": [block]}}]}
    text = json.dumps({"static": {}, "plans": {"plans": [{"name": "a", "blocks": [block]}]}})
    with pytest.raises(PlanError, match="too deeply"):
        read_plan(text)


@pytest.mark.parametrize(
    ("raw", "decoded"),
    [
        ("path", "path"),
        ('"/admin"', "/admin"),
        ('"\\"quoted\\""', '"quoted"'),
        ('\\"quoted\\"', '"quoted"'),
        ("a\\\\n", "a\\n"),
        ('""', ""),
        ("", ""),
        ('"', '"'),
        ("\\ud83d\\ude00", "\U0001f600"),
        ("\\ud800", "\ufffd"),
    ],
)
def test_strings_are_decoded(raw, decoded):
    assert decode_string(raw) == decoded


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_string_survives(text):
    assert decode_string(json.dumps(text)) == text
    assert decode_string(json.dumps(text)[1:-1]) == text or text[:1] == text[-1:] == '"'


def test_constants_are_not_locals():
    assert Const(1) != 1
