"""The search for the rule that a fault without a place is about."""

import math
import time

from gateway.rego import source
from gateway.rego.compiler import SEARCH_SECONDS
from gateway.rego.complaints import unplaced
from gateway.rego.culprit import culprits
from gateway.rego.source import read_modules

PROBLEM = unplaced("Empty body")
TEXT = """package a
import input.x
p if every y in [1] { y > 0 }
q := "é" if p with input.z as input.y
s contains 1 if p
s contains 2
f(v) := v
"""


def _asked(text, until=math.inf):
    asked = []

    def tried(alone):
        asked.extend(text for _, text in alone)
        return [[] for _ in asked]

    assert culprits([PROBLEM], read_modules({"a.rego": text}, ()), until, tried) == [PROBLEM]
    return asked


def test_each_rule_is_tried_as_the_compiler_gets_it_with_those_that_it_names_true():
    nothing, p, q, *sets, f, both = _asked(TEXT)
    assert nothing.rstrip() == "package a"
    assert p.split("\n")[2].startswith("p if { every__")
    assert "y := each__" in p
    blank, own, *_, true, _ = q.split("\n")[2:]
    assert not blank.strip()
    assert own == 'q := "é" if { data.a.p with input.z as [input.y][0] }'
    assert true == "p := true"
    assert ["s contains 1" in text for text in sets] == [True, False]
    assert "s contains 1 if data.a.p\ns contains 2\n" in both
    assert f.split("\n")[6] == "f(v) := v"


def test_no_rule_is_added_once_the_time_is_over():
    assert len(_asked(TEXT, until=time.monotonic())) == 1
    assert len(_asked(TEXT, until=time.monotonic() + SEARCH_SECONDS)) == 7


def test_no_module_is_read_again_for_a_rule(monkeypatch):
    modules = read_modules({"a.rego": TEXT}, ())
    assert modules[0].prepared
    monkeypatch.setattr(source, "tokens", None)
    monkeypatch.setattr(source, "edits_of", None)
    asked = []
    culprits([PROBLEM], modules, math.inf, lambda alone: asked.extend(alone) or [])
    assert len(asked) == 7


def test_the_rule_that_has_the_problem_by_itself_is_named():
    modules = read_modules({"a.rego": TEXT}, ())
    (found,) = culprits([PROBLEM], modules, math.inf, lambda _: [[], [], [PROBLEM], [PROBLEM]])
    assert (found.file, found.row, found.message) == ("a.rego", 4, PROBLEM.message)
    (always,) = culprits([PROBLEM], modules, math.inf, lambda _: [[PROBLEM], [PROBLEM]])
    assert always == PROBLEM
