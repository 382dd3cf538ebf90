"""`gateway policy eval`: what each format prints, and its exit codes."""

import json

import pytest
from click.testing import CliRunner

from gateway.commands import EXIT_USAGE, main

POLICY = """\
package a

p if input.x == 1

q contains x if some x in [1, 2]

lines if print("seen", input.x)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "a.rego").write_text(POLICY)
    (tmp_path / "rules" / "data.json").write_text('{"list": ["<a>", 1.5, 12345678901234567890123]}')
    (tmp_path / "input.json").write_text('{"x": 1}')


def evaluate(*arguments, **more):
    return CliRunner().invoke(main, ["policy", "eval", *arguments], **more)


def test_whole():
    result = evaluate("-d", "rules", "-i", "input.json", "x := data.a.q[_]; data.a.p; x > 1")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "result": [
            {
                "expressions": [
                    {"value": True, "text": "x := data.a.q[_]", "location": {"row": 1, "col": 1}},
                    {"value": True, "text": "data.a.p", "location": {"row": 1, "col": 19}},
                    {"value": True, "text": "x > 1", "location": {"row": 1, "col": 29}},
                ],
                "bindings": {"x": 2},
            }
        ]
    }


@pytest.mark.parametrize(
    ("query", "shape", "printed"),
    [
        ("data.none", "json", "{}\n"),
        ("data.none", "pretty", "undefined\n"),
        ("data.none", "discard", "{}\n"),
        ("data.none", "values", ""),
        ("data.a.p", "discard", '{\n  "result": "discarded"\n}\n'),
        ("data.list[1]; 2", "values", "[\n  1.5,\n  2\n]\n"),
        ("data.list[2]", "raw", "12345678901234567890123\n"),
        ("data.list[0]; [1]", "raw", "<a> [1]\n"),
        ("x := data.a.q[_]", "bindings", '{\n  "x": 1\n}\n{\n  "x": 2\n}\n'),
        ("data.a.p", "bindings", "null\n"),
        ("data.a.p", "pretty", "true\n"),
        ("true; false", "pretty", "undefined\n"),
        (
            "data.list[i]",
            "pretty",
            "+---+-------------------------+\n"
            "| i |       data.list[i]      |\n"
            "+---+-------------------------+\n"
            '| 0 | "<a>"                   |\n'
            "| 1 | 1.5                     |\n"
            "| 2 | 12345678901234567890123 |\n"
            "+---+-------------------------+\n",
        ),
    ],
)
def test_formats(query, shape, printed):
    result = evaluate("-d", "rules", "-i", "-", query, "-f", shape, input='{"x": 1}')
    assert (result.exit_code, result.stdout) == (0, printed)


@pytest.mark.parametrize(
    ("options", "query", "code"),
    [
        ((), "data.a.none", 0),
        (("--fail",), "data.a.none", 1),
        (("--fail",), "false", 0),
        (("--fail-defined",), "false", 1),
        (("--fail-defined",), "data.a.none", 0),
        ((), "1 / 0", 0),
        (("--strict-builtin-errors",), "1 / 0", 2),
        (("--steps", "10"), "count(numbers.range(1, 1000))", 2),
        ((), "x", 2),
        ((), "1 +", 2),
        (("-f", "pretty"), "1 +", 2),
        (("-f", "pretty", "--strict-builtin-errors"), "1 / 0", 2),
        (("-d", "absent"), "1", 2),
        (("-i", "absent.json"), "1", 2),
        (("--import", "data.a +"), "1", 2),
        (("--import", "data.a\nx := 1"), "1", 2),
        (("--package", "a b"), "1", 2),
    ],
)
def test_exit_codes(options, query, code):
    assert evaluate("-d", "rules", *options, query).exit_code == code


def test_errors():
    """They stand in the JSON, and else on standard error."""
    said = json.loads(evaluate("--strict-builtin-errors", "1 / 0").stdout)
    assert said["errors"][0]["code"] == "eval_builtin_error"
    said = json.loads(evaluate("true;\n  1,2").stdout)
    assert said["errors"][0]["location"] == {"file": "query", "row": 2, "col": 4}
    assert "query:1:2" in evaluate("1,2", "-f", "pretty").stderr
    broken = evaluate("true", "-i", "-", input="{")
    assert broken.exit_code == 2
    assert "error: standard input: not JSON: " in broken.stderr


def test_prints_go_to_standard_error():
    result = evaluate("-d", "rules", "-i", "input.json", "data.a.lines", "-f", "raw")
    assert (result.stdout, result.stderr) == ("true\n", "seen 1\n")


def test_a_query_may_be_read_as_in_a_package():
    asked = ("-d", "rules", "-i", "input.json", "--package", "a")
    assert evaluate(*asked, "p", "-f", "raw").stdout == "true\n"
    assert evaluate(*asked, "q[x]; x > 1", "-f", "bindings").stdout == '{\n  "x": 2\n}\n'
    # A variable of the query hides the rule.
    hidden = json.loads(evaluate(*asked, "some q in [3]").stdout)
    assert hidden["result"][0]["bindings"] == {"q": 3}
    assert json.loads(evaluate(*asked, "not p").stdout) == {}


def test_a_query_may_import():
    asked = ("-d", "rules", "--import", "data.a.q", "--import", "data.a as b")
    assert json.loads(evaluate(*asked, "b.q == q; q[x]; x == 1").stdout)["result"] == [
        {
            "expressions": [
                {"value": True, "text": "b.q == q", "location": {"row": 1, "col": 1}},
                {"value": True, "text": "q[x]", "location": {"row": 1, "col": 11}},
                {"value": True, "text": "x == 1", "location": {"row": 1, "col": 17}},
            ],
            "bindings": {"x": 1},
        }
    ]


def test_functions_have_values_by_all_their_names(tmp_path):
    (tmp_path / "rules" / "f.rego").write_text("package a.f\n\ndouble(x) := 2 * x\n")
    for options, query in (
        ((), "data.a.f.double(2)"),
        (("--package", "a.f"), "double(2)"),
        (("--import", "data.a.f"), "f.double(2)"),
        (("--import", "data.a.f.double"), "double(2)"),
        (("--import", "data.a as b"), "b.f.double(2)"),
    ):
        assert evaluate("-d", "rules", *options, query, "-f", "raw").stdout == "4\n", query


@pytest.mark.parametrize(
    ("options", "given"),
    [
        (("--stdin-input",), '{"x": 1}'),
        (("-I",), '{"x": 1}'),
        (("-i", "-"), '{"x": 1}'),
        (("-i", "input.yaml"), ""),
    ],
)
def test_inputs(tmp_path, options, given):
    (tmp_path / "input.yaml").write_text("x: 1\n")
    assert evaluate(*options, "input.x", "-f", "raw", input=given).stdout == "1\n"


def test_bad_yaml_says_where(tmp_path):
    (tmp_path / "input.yaml").write_text("x: 1\nx: 2\n")
    result = evaluate("-i", "input.yaml", "input.x")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: input.yaml:2:")


def test_the_query_may_come_from_standard_input():
    assert evaluate("--stdin", "-f", "raw", input="1 + 1\n").stdout == "2\n"
    assert evaluate("-b", "rules", "data.list[1]", "-f", "raw").stdout == "1.5\n"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("1", "--stdin"),
        ("1", "-I", "-i", "input.json"),
        ("--stdin", "-I"),
        ("--stdin", "-i", "-"),
        ("1", "--fail", "--fail-defined"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(arguments):
    assert evaluate(*arguments, input="1").exit_code == EXIT_USAGE


def test_what_has_no_place_is_of_the_query():
    said = json.loads(evaluate("x").stdout)
    assert said["errors"][0]["code"] == "unsafe-variable"
    assert said["errors"][0]["location"] == {"file": "query", "row": 1, "col": 1}


def test_what_is_shown_cannot_control_a_terminal():
    result = evaluate(r'x := "\u009b31m\u202e\u001b["; print(x, "\u001b]0;pwn\u0007")')
    assert result.stderr == r"\x9b31m\u202e\x1b[ \x1b]0;pwn\x07" + "\n"
    assert json.loads(result.stdout)["result"][0]["bindings"] == {"x": "\x9b31m\u202e\x1b["}
    for shape in ("json", "values", "bindings", "pretty"):
        printed = evaluate('x := "\x9b31m\u202e"; y := 1', "-f", shape).stdout
        assert all(map(str.isprintable, printed.splitlines())), shape


def test_a_query_that_the_compiler_refuses_somewhere_is_an_error():
    result = evaluate('x := "\x1b["; y := 1', "-f", "pretty")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
