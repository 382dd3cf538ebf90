"""The grammar: what is read, what is refused where, and the work that it takes."""

import sys

import pytest

from gateway.rego.grammar import NoRego, read_module
from gateway.rego.tokens import tokens


def read(text):
    return read_module(text, tokens(text))


READ = [
    "p := 1 q := 2",
    "p if true q if true",
    "p contains 1 p contains 2",
    "p if { true } { false }",
    "p if {}",
    'p if { "a": 1 }',
    "p if {1, 2} == {1, 2}",
    "p := {x | x := {1} | {2}}",
    "p := [{1} | {2}]",
    "p := {1 | 2, 3}",
    "p := [, 1]",
    "p := f(1,)",
    "p := .5",
    "p := -x.y",
    "p := input.if.in",
    "p if { some 1, x in xs }",
    "p if { 1 < 2 < 3 }",
    "p if(true)",
    "if.x := 1",
    "import.x := 1",
]


@pytest.mark.parametrize("text", READ)
def test_read(text):
    assert read(f"package t\n{text}").rules


REFUSED = {
    "p := [x + 1 | x := 1]": ":=",
    "p := {x + 1 | some x in xs}": "some",
    "p if { a; }": "}",
    "p if { ;a }": ";",
    "p if { a, b }": ",",
    "p := 1;": ";",
    "p := 1if": "if",
    "p := 01": "",
    "p := -(1)": "(",
    "p := f (1)": "(",
    "p := input [0]": "[",
    "p := input. a": "a",
    "p := input\n.a": ".",
    'p := "a"[0]': "[",
    "p if { a := b := c }": ":=",
    "p if { not some x in xs }": "some",
    "p if { not every x in xs { x } }": "every",
    "p if { every [x] in xs { x } }": "{",
    "p := every(1)": "every",
    'p := $"{}"': "",
    "p contains 1 := 2": ":=",
    "p := 1 else := 2": "else",
    "p contains 1 if { a } else := 2": "else",
    "p[x] := 1 if { a } else := 2": "else",
    "default p := 1 else := 2": "else",
    "default p": "",
    "p": "",
    "contains := 1": "contains",
    "x in xs": "in",
    "p := [,]": "]",
}


@pytest.mark.parametrize("text", REFUSED)
def test_refused_at(text):
    with pytest.raises(NoRego) as caught:
        read(f"package t\n{text}")
    token = caught.value.token
    assert ("" if token is None else token.text) == REFUSED[text]
    assert caught.value.remedy


@pytest.mark.parametrize("opening", ["[", "{", "(", "{1:", "[1|", "f("])
@pytest.mark.parametrize("middle", ["1", "1 2", ""])
def test_nesting_takes_no_more_work_than_its_depth(opening, middle):
    closing = {"[": "]", "{": "}", "(": ")"}
    steps = []
    for depth in (20, 80):
        text = f"package t\np := {opening * depth}{middle}"
        text += "".join(closing[mark] for mark in (opening * depth)[::-1] if mark in closing)
        steps.append(_calls(text))
    assert steps[1] < steps[0] * 20


def _calls(text):
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += 1

    found = tokens(text)
    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        read_module(text, found)
    except NoRego:
        pass
    finally:
        sys.setprofile(before)
    return count
