"""Doubts about policies: what each finds, what it leaves alone, and how it is switched off."""

import pytest

from gateway.bundle.folder import parse_files, read_files
from gateway.errors import Problem
from gateway.rego import compile as compile_rego
from gateway.workbench.lint import CODES, Lint, kept, unknown_fields
from gateway.workbench.session import Session

MANY = "".join(f'big if input.request.path == "/{n}"\n' for n in range(9))
TEST = "package t_test\n\nimport data.t\n\ntest_t if t.allow with input as {}\n"

CASES = {
    "no default": ("allow if input.x\n", [("missing-default", 3)]),
    "a default": ("default allow := false\nallow if input.x\n", []),
    "an unconditional body": ("allow := input.x\n", []),
    "an `else` for the rest": ("allow := 1 if input.x\nelse := 2\n", []),
    "what the value names": (
        'allow := {"allow": ok, "n": count(xs)}\nok if input.x\nxs contains 1 if input.y\n',
        [("missing-default", 4)],
    ),
    "reasons": (
        'default allow := false\nreasons contains {"message": "m"}\n'
        'reasons contains {"code": "c"}\nreasons contains "c"\n',
        [("reason-without-code", 4)],
    ),
    "no index": (
        "default allow := false\n" + "".join(f"big if input.x > {n}\n" for n in range(8)),
        [("body-without-index", 4)],
    ),
    "a body beside the index": (
        f'default allow := false\n{MANY}big if contains(input.request.path, "x")\n',
        [("body-without-index", 13)],
    ),
    "few bodies": ("default allow := false\nbig if input.x > 1\nbig if input.x > 2\n", []),
    "an index for all": (f"default allow := false\n{MANY}", []),
    "impure": (
        "default allow := false\nallow if {\n\tsome x in [1]\n\ttime.now_ns() > x\n}\n",
        [("impure-call", 6)],
    ),
    "impure, but not asked": ("default allow := false\nother if time.now_ns() > 1\n", []),
    "a name and its not": (
        "default ok := false\nallow := true if ok\nallow := false if not ok\n",
        [],
    ),
    "a comparison and its not": (
        "allow := true if input.x > 1\nallow := false if not input.x > 1\n",
        [("missing-default", 3)],
    ),
    "taken back above": ("# gateway:ignore missing-default\nallow if input.x\n", []),
    "taken back in its line": (
        "allow if input.x # gateway:ignore impure-call, missing-default\n",
        [],
    ),
    "another taken back": (
        "# gateway:ignore impure-call\nallow if input.x\n",
        [("missing-default", 4)],
    ),
    "taken back too far above": (
        "# gateway:ignore missing-default\n\nallow if input.x\n",
        [("missing-default", 5)],
    ),
}


def sources_of(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.rego").write_text(text)
    return parse_files(read_files((folder,)), (folder,))


def lint(sources):
    program = compile_rego(sources.modules, ("t/allow",))
    return Lint(sources, program, program.footprints)


def said(doubts, sources):
    return [(each.code, each.problem.line) for each in kept(doubts, sources.modules)]


@pytest.mark.parametrize("name", CASES)
def test_doubts(name, tmp_path):
    text, expected = CASES[name]
    sources = sources_of(tmp_path, t=f"package t\n\n{text}", t_test=TEST)
    doubts = list(lint(sources).doubts())
    assert said(doubts, sources) == expected
    assert {each.code for each in doubts} <= CODES.keys()


def test_packages_without_a_test(tmp_path):
    sources = sources_of(
        tmp_path,
        t="package t\nimport data.used\nallow := used.x\n",
        used="package used\nx := 1\n",
        alone="# gateway:\npackage alone\nx := 1\n",
        t_test=TEST,
    )
    (doubt,) = lint(sources).doubts()
    assert (doubt.code, doubt.problem.message) == (
        "untested-package",
        "no test module depends on package alone",
    )


def test_what_never_held(tmp_path):
    text = """package t
default allow := false
allow if input.a
allow if {
	input.b
}
x := "1" if {
	input.c
} else := "2" if {
	input.d
}
s contains 1 if input.a
s contains 2 if input.e
o[k] := 1 if some k in input.f
f(y) := 1 if y == 1
f(y) := 2 if y == 2
always := 1
"""
    tests = """package t_test
import data.t
test_a if t.allow with input as {"a": 1}
test_c if t.x == "2" with input as {"d": 1}
test_s if t.s == {1} with input as {"a": 1}
test_f if t.f(2) == 2
test_error if to_number("x")
"""
    sources = sources_of(tmp_path, t=text, t_test=tests)
    doubts = list(lint(sources).never(Session(sources=sources).held()))
    assert said(doubts, sources) == [("never-holds", row) for row in (4, 13, 14, 15)]


def test_fields():
    problem = Problem("no request has input.x", file="t.rego", line=2)
    (doubt,) = unknown_fields([problem])
    assert kept([doubt], {"t.rego": "package t\np if input.x\n"}) == [doubt]
    assert (
        kept([doubt], {"t.rego": "package t # gateway:ignore unknown-field\np if input.x\n"}) == []
    )
