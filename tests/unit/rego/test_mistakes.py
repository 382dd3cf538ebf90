"""What people write who come from other languages: refused in place, with what to write."""

import pytest

from gateway.rego import CompileError, compile as compile_rego
from gateway.rego.compiler import Unit, compile_all

# A module's text below its package; the place of the fault; a part of its message or remedy.
MISTAKES = {
    "and": ("p if { input.a == 1 && input.b }", (2, 21), "no `&&` .*line of its own"),
    "and, a word": ("p if {\n\tinput.a and input.b\n}", (3, 10), "no `and` .*line of its own"),
    "or": ("p if input.a || input.b", (2, 14), r"no `\|\|` .*another rule"),
    "or, a word": ("p if input.a or input.b", (2, 14), "no `or` .*another rule"),
    "not": ("p if { !input.a }", (2, 8), "no `!` .*write `not …`"),
    "not in": ('p if "a" not in input.xs', (2, 10), "no `not in` .*write `not x in xs`"),
    "not not": ("p if not not input.x", (2, 10), "no `not not` .*a rule of its own"),
    "single quotes": ("p if input.a == 'x && y'", (2, 17), "double quotes .*write"),
    "curly quotes": ("p := “a”", (2, 6), "straight double quotes"),
    "an open string": ('p := "a\nq := 1', (2, 6), "not closed on its line .*close it"),
    "an open raw string": ("p := `a", (2, 6), "never closed .*backquote"),
    "an unknown escape": (r'p if regex.match("^\d+", input.x)', (2, 20), r"no `\\d` .*backquotes"),
    "a comma between conditions": ("p if {\n\tinput.a,\n\tinput.b\n}", (3, 9), "comma .*`;`"),
    "===": ("p if input.a === 1", (2, 14), "no `===` .*write `==`"),
    "<>": ("p if input.a <> 1", (2, 14), "no `<>` .*write `!=`"),
    "=>": ("p if input.a => 1", (2, 14), "no `=>` .*write `>=`"),
    "=~": ('p if input.a =~ "x"', (2, 14), "no `=~` .*regex.match"),
    "+=": ("p if { x := 1; x += 1 }", (2, 18), r"no `\+=` .*y := x \+ 1"),
    "?": ("p := input.a ? 1 : 2", (2, 14), r"no `\? :` .*else := b"),
    "//": ("p := 1 // don't", (2, 8), "no `//` .*starts with `#`"),
    "/*": ("/* hello */\np := 1", (2, 1), r"no `/\*` .*starts with `#`"),
    "two dots": ("p if input..a", (2, 11), "name is missing"),
    "1.": ("p := 1.", (2, 6), "both sides .*`1.0`"),
    "01": ("p := 01", (2, 6), "no zero"),
    "== in a head": ("p == 1", (2, 3), "`==` compares.*name := value"),
    "== in a default": ("default p == false", (2, 11), "`==` compares.*name := value"),
    "conditions without braces": ("p if\n\tinput.a\n\tinput.b == 2", (4, 10), r"if \{ … \}"),
    "conditions and a semicolon": ("p if input.a; input.b", (2, 13), r"need braces .*if \{ …; … \}"),
    "no if": ("p input.a == 1", (2, 3), "nothing stands between .*write `if`"),
    "no if behind a value": ("p := 1 input.a", (2, 8), "nothing stands between .*write `if`"),
    "iff": ("p iff input.a", (2, 3), "did you mean `if`"),
    "defualt": ("defualt p := false", (2, 9), "`defualt` .*did you mean `default`"),
    "contains if": ("p contains if input.x", (2, 3), "what the set contains is missing"),
    "elif, no value": ("p if {\n\tinput.a\n} elif {\n\tinput.b\n}", (4, 3), "no `elif` .*else :="),
    "function": ("function f(x) {\n\tx == 1\n}", (2, 1), r"no `function` .*name\(x\) := value"),
    "def": ("def f(x):\n\tx", (2, 1), r"no `def` .*name\(x\) := value"),
    "return": ("f(x) if {\n\treturn x == 1\n}", (3, 2), "no `return` .*in the head"),
    "return a constant": ("f(x) if { return 1 }", (2, 11), "no `return` .*in the head"),
    "let": ("p if { let x := 1 }", (2, 8), "no `let` .*x := value"),
    "for": ("p if {\n\tfor x in input.xs { x }\n}", (3, 2), "no `for` .*some x in xs"),
    "from": ("from data import x", (2, 1), "no `from` .*import data"),
    "some with a body": ("p if { some x in input.xs { x } }", (2, 27), "no body of its own .*below"),
    "if in a body": ("p if {\n\tif input.x == 1\n}", (3, 2), "a body holds no `if`"),
    "is": ("p if input.x is null", (2, 14), "no `is` .*write `==`"),
    "a builtin between": ('p if input.x startswith "a"', (2, 14), r"a function .*startswith\(…, …\)"),
    "contains between": ('p if input.x contains "a"', (2, 14), r"a function .*contains\(…, …\)"),
    "no comma": ("p := [1 2]", (2, 9), "nothing stands between .*write `,`"),
    "no operator": ("p if { input.a input.b }", (2, 16), "nothing stands between .*operator"),
    "two words": ("p if { input.x y }", (2, 16), "nothing stands between"),
    "a bracket too many": ("p if {\n\tinput.a\n}\n}", (5, 1), "closes nothing"),
    "another bracket": ("p := [1, 2)", (2, 11), "cannot close the `\\[` of line 2"),
    "a hyphen": ("p-q := 1", (2, 2), "a name has no `-`"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(name):
    body, place, said = MISTAKES[name]
    with pytest.raises(CompileError, match=said) as caught:
        compile_rego({"a.rego": f"package a\n{body}\n"})
    (problem,) = caught.value.problems
    assert (problem.row, problem.col) == place
    assert problem.remedy


def test_a_second_mistake_is_told_too():
    with pytest.raises(CompileError) as caught:
        compile_rego({"a.rego": "package a\np if input.a && input.b\nq := 'x'\n"})
    assert [problem.row for problem in caught.value.problems] == [2, 3]


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("package a-b\n", (1, 10), "a name has no `-`"),
        ("import data.x\npackage a\n", (2, 1), "the package comes first"),
        ("package\np := 1\n", (2, 3), "`:=` cannot stand here"),
    ],
)
def test_mistake_in_a_package(text, place, said):
    with pytest.raises(CompileError, match=said) as caught:
        compile_rego({"a.rego": text})
    assert [(problem.row, problem.col) for problem in caught.value.problems] == [place]


# Names that nothing defines, and what is told about them.
NAMES = {
    "p if inptu.a == 1": "did you mean `input`",
    "p if dta.a == 1": "did you mean `data`",
    "p if { subject := input.s; sbject == 1 }": "did you mean `subject`",
    "p := True": "write `true`",
    "p if input.a == False": "write `false`",
    "p if input.a == None": "write `null`",
    "p if input.a == nil": "write `null`",
    "default p := False": "write `false`",
    "p if { x in input.xs }": "write `some x in …`",
    'p := {sub: 1}': 'write `"sub":`',
    'p if input.headers.x-api-key == "a"': r'write `\["x-api-key"\]`',
}  # fmt: skip


@pytest.mark.parametrize("body", NAMES)
def test_a_name_that_nothing_defines(body):
    with pytest.raises(CompileError, match=NAMES[body]) as caught:
        compile_rego({"m.rego": f"package m\n{body}\n"})
    assert all(problem.row == 2 and problem.col for problem in caught.value.problems)


VALID = [
    "p := `it's \\d && !x`",
    'p := "it\'s ! 01 && \\u00e9\\n\\"\\\\"',
    "p := 1 # don't // do",
    'p := $"a {input.x} && \'b\'"',
    "p := 1 - -1",
    "p := 0.5",
    "p := 1e5",
    "p if { input.a; input.b }",
    "p := \"a\tb\"",
    "p := .5",
    "p := -x if x := 1",
    "p if { input.a } elif := 2 if { input.b }",
    "p := 1 q := 2",
    "p if {\n\tinput.a ==\n\t\t1\n}",
    "p if {\n\tsome x in [1]; every y in [x] { y > 0 }\n}",
    "p if every x in [1] { x > 0; x < 3 }",
    "p := 1 if input.a\nelse := 2 if { input.b } else := 3",
    "p if input.a\nelse if input.b",
    "let := 1\nfor := 2\nreturn := 3\np if { let == 1; for == 2; return == 3 }",
    "function(x) := x\np := function(1)",
    "p := or({1}, {2})",
    "p if input.and.or.not.if.in == 1",
    "p contains x if { some x in [1]; contains(x, 1) }",
    "if.foo contains 1\nelse.foo contains 2\nwith.foo contains 3\np if {\n\tif.foo == {1}\n}",
    'p if not "a" in input.xs',
    "p if input.x == {\n\t\"a\": 1,\n}",
    "p := [x |\n\tsome x in input.xs\n\tx > 1\n]",
    "p := {1, 2,}",
    "f(x) := x\np := f(1,)",
]  # fmt: skip


def test_valid_text_is_no_mistake():
    units = [Unit(modules={"m.rego": f"package m\n{text}\n"}) for text in VALID]
    for text, made in zip(VALID, compile_all(units), strict=True):
        assert not isinstance(made, CompileError), (text, made)


# What only the compiler finds: its own words are replaced by what to write.
COMPLAINTS = {
    "p if { 1 + }": "a side is missing",
    "p if { 1 == }": "a side is missing",
    "p :=": "nothing is assigned here",
    "p := ({1}, {2})": r"`,` cannot stand here .*`\)`",
    "p := {: x | some x in [1]}": "`:` cannot stand here .*a value",
    "p := [x + 1 | some x in [1]]": r"head is one term.*\[\(x \+ 1\) \|",
    "p := {x - 1 | x := 1}": "head is one term",
    "p := 1 if input.a else 2": "this `else` is malformed",
    "p := 1 else := 2": "`else` follows no body",
    "s contains 1 if { true } else := 2": "a set or an object of rules has no `else`",
    "p if input.a : 1": "a colon stands outside of an object",
    "p if q with 1 as 2\nq := 1": "`with` replaces input, data, or a function",
    "p if q with input[x] as 1\nq := 1": "what `with` replaces has names and texts",
    "import data.x.*": "this import is malformed",
    'import "data.x"': "this import is malformed",
    "p if { x = [x] }": "variables here depend on one another",
    "p if {\n\tinput.a": "an opening bracket is never closed",
    "p if { every x in [1] { } }": "what can stand here is a condition",
    "p if { count() == 1 }": "`count` takes 1 argument, not 0",
    "p if len(input.xs) > 1": "did you mean `count`",
    "p if nothing_like_it(1)": "define it, or import its package",
}


@pytest.mark.parametrize("body", COMPLAINTS)
def test_a_complaint_of_the_compiler_is_explained(body):
    with pytest.raises(CompileError, match=COMPLAINTS[body]) as caught:
        compile_rego({"a.rego": f"package a\n{body}\n"})
    for problem in caught.value.problems:
        assert problem.row >= 2
        assert problem.col
        assert problem.remedy
