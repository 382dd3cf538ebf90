"""`gateway policy eval`: what each format prints, and its exit codes."""

import json

import pytest
from click.testing import CliRunner

from gateway.commands import main

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
        (("--fail",), "data.a.none", 2),
        (("--fail",), "false", 0),
        (("--fail-defined",), "false", 2),
        (("--fail-defined",), "data.a.none", 0),
        ((), "1 / 0", 0),
        (("--strict-builtin-errors",), "1 / 0", 1),
        (("--steps", "10"), "count(numbers.range(1, 1000))", 1),
        ((), "x", 1),
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
    assert broken.exit_code == 1
    assert "standard input" in broken.stderr


def test_prints_go_to_standard_error():
    result = evaluate("-d", "rules", "-i", "input.json", "data.a.lines", "-f", "raw")
    assert (result.stdout, result.stderr) == ("true\n", "seen 1\n")


def test_what_is_shown_cannot_control_a_terminal():
    result = evaluate(r'x := "\u009b31m\u202e\u001b["; print(x, "\u001b]0;pwn\u0007")')
    assert result.stderr == r"\x9b31m\u202e\x1b[ \x1b]0;pwn\x07" + "\n"
    assert json.loads(result.stdout)["result"][0]["bindings"] == {"x": "\x9b31m\u202e\x1b["}
    for shape in ("json", "values", "bindings", "pretty"):
        printed = evaluate('x := "\x9b31m\u202e"; y := 1', "-f", shape).stdout
        assert all(map(str.isprintable, printed.splitlines())), shape


def test_a_query_that_the_compiler_refuses_somewhere_is_an_error():
    result = evaluate('x := "\x1b["; y := 1', "-f", "pretty")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
