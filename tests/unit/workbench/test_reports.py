"""Reports of results, word by word; and those that have a schema, against it."""

import json
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from gateway.rego.coverage import FileCoverage
from gateway.workbench.coverage import Coverage
from gateway.workbench.reports import REPORTS, pretty
from gateway.workbench.results import Case, Check

SCHEMAS = Path(__file__).parents[3] / ".ci" / "schemas"

CHECKS = [
    Check(suite="data.a", name="test_good", file="a_test.rego", row=3, outcome="pass", seconds=0.5),
    Check(
        suite="data.a",
        name="test_table",
        file="a_test.rego",
        row=5,
        outcome="fail",
        lines=("not true: b/c",),
        output=("x is <1>\x00",),
        cases=(Case("a", True), Case("b", False, (Case("c", False),))),
    ),
    Check(suite="data.a", name="todo_test_x", file="a_test.rego", row=9, outcome="skip"),
    Check(
        suite="b, 100%.scenario.yaml",
        name="a: b",
        file="b, 100%.scenario.yaml",
        row=2,
        outcome="error",
        lines=("no issuer 'x'", "second"),
        explained=("data.a.allow is false",),
        seconds=0.00025,
    ),
]

COVERAGE = Coverage(
    files={
        "a.rego": FileCoverage(covered=(1, 2, 3, 7), not_covered=(5, 6, 9)),
        "long/b.rego": FileCoverage(covered=(), not_covered=()),
    }
)


NASTY = "x\n::error::forged\x9b31m\u202e\x1b[0m"


@pytest.mark.parametrize("shape", ["pretty", "github", "junit"])
@pytest.mark.parametrize("start", ["", "::error::", "##[error]"])
def test_text_of_policies_forges_no_lines(shape, start):
    text = start + NASTY
    check = Check(
        suite="a.scenario.yaml", name=text, file="a.scenario.yaml", row=1, outcome="fail",
        lines=(text,), output=(text,), cases=(Case(text, False),), explained=(text,),
    )  # fmt: skip
    made = pretty([check], verbose=True) if shape == "pretty" else REPORTS[shape]([check], None)
    lines = made.split("\n")
    ours = [line for line in lines if line.lstrip().startswith("::")]
    assert len(ours) == (shape == "github")
    assert all(line.isprintable() for line in lines)
    if shape == "pretty":
        assert "##[" not in made


def test_pretty():
    assert (
        pretty(CHECKS, verbose=False)
        == """\
a_test.rego:5: data.a.test_table: FAIL
  not true: b/c
  | x is <1>\\x00
a_test.rego:9: data.a.todo_test_x: SKIP
b, 100%.scenario.yaml:2: a: b: ERROR
  no issuer 'x'
  second
  data.a.allow is false
4 tests: 1 passed, 1 failed, 1 could not run, 1 skipped"""
    )
    verbose = pretty(CHECKS, verbose=True).splitlines()
    assert verbose[0] == "a_test.rego:3: data.a.test_good: PASS"
    assert verbose[3:6] == ["  a: PASS", "  b: FAIL", "    c: FAIL"]
    assert pretty([], verbose=False) == "0 tests"


def test_of_a_long_explanation_only_the_beginning_is_shown():
    check = Check(
        suite="data.a", name="test_x", file="a_test.rego", row=1, outcome="fail",
        explained=tuple(f"line {number}" for number in range(42)),
    )  # fmt: skip
    brief = pretty([check], verbose=False).splitlines()
    assert brief[-3:-1] == ["  line 39", "  … 2 lines more with --verbose"]
    assert "  line 41" in pretty([check], verbose=True).splitlines()


def test_json():
    assert json.loads(REPORTS["json"](CHECKS, None)) == [
        {
            "location": {"file": "a_test.rego", "row": 3, "col": 1},
            "package": "data.a",
            "name": "test_good",
            "duration": 500_000_000,
        },
        {
            "location": {"file": "a_test.rego", "row": 5, "col": 1},
            "package": "data.a",
            "name": "test_table",
            "duration": 0,
            "fail": True,
            "message": "not true: b/c",
            "output": "eCBpcyA8MT4ACg==",
            "sub_results": {
                "a": {"name": "a"},
                "b": {
                    "name": "b",
                    "fail": True,
                    "sub_results": {"c": {"name": "c", "fail": True}},
                },
            },
        },
        {
            "location": {"file": "a_test.rego", "row": 9, "col": 1},
            "package": "data.a",
            "name": "todo_test_x",
            "duration": 0,
            "skip": True,
        },
        {
            "location": {"file": "b, 100%.scenario.yaml", "row": 2, "col": 1},
            "package": "b, 100%.scenario.yaml",
            "name": "a: b",
            "duration": 250_000,
            "error": {"message": "no issuer 'x'; second"},
        },
    ]


def test_coverage_is_in_the_shape_of_opa():
    assert json.loads(REPORTS["json"](CHECKS, COVERAGE)) == {
        "files": {
            "a.rego": {
                "covered": [
                    {"start": {"row": 1}, "end": {"row": 3}},
                    {"start": {"row": 7}, "end": {"row": 7}},
                ],
                "not_covered": [
                    {"start": {"row": 5}, "end": {"row": 6}},
                    {"start": {"row": 9}, "end": {"row": 9}},
                ],
                "covered_lines": 4,
                "not_covered_lines": 3,
                "coverage": 57.14,
            },
            "long/b.rego": {
                "covered": [],
                "not_covered": [],
                "covered_lines": 0,
                "not_covered_lines": 0,
                "coverage": 100.0,
            },
        },
        "covered_lines": 4,
        "not_covered_lines": 3,
        "coverage": 57.14,
    }
    assert list(COVERAGE.as_lines()) == [
        "a.rego        57.1 %  not 5-6, 9",
        "long/b.rego  100.0 %",
        "all           57.1 %  4 of 7 lines",
    ]


def test_junit():
    assert (
        REPORTS["junit"](CHECKS, None)
        == """\
<?xml version='1.0' encoding='utf-8'?>
<testsuites>
  <testsuite name="data.a" tests="3" failures="1" errors="0" skipped="1" time="0.500">
    <testcase classname="data.a" name="test_good" time="0.500" />
    <testcase classname="data.a" name="test_table" time="0.000">
      <failure message="not true: b/c">a_test.rego:5
not true: b/c</failure>
      <system-out>x is &lt;1&gt;\\x00</system-out>
    </testcase>
    <testcase classname="data.a" name="todo_test_x" time="0.000">
      <skipped />
    </testcase>
  </testsuite>
  <testsuite name="b, 100%.scenario.yaml" tests="1" failures="0" errors="1" skipped="0" time="0.000">
    <testcase classname="b, 100%.scenario.yaml" name="a: b" time="0.000">
      <error message="no issuer 'x'">b, 100%.scenario.yaml:2
no issuer 'x'
second
data.a.allow is false</error>
    </testcase>
  </testsuite>
</testsuites>"""
    )


def test_github():
    assert REPORTS["github"](CHECKS, None).splitlines() == [
        "::error file=a_test.rego,line=5,title=data.a.test_table::not true: b/c",
        "::error file=b%2C 100%25.scenario.yaml,line=2,"
        "title=b%2C 100%25.scenario.yaml%3A a%3A b::no issuer 'x'%0Asecond",
        "4 tests: 1 passed, 1 failed, 1 could not run, 1 skipped",
    ]


def test_sarif():
    told = json.loads(REPORTS["sarif"](CHECKS, None))
    assert [
        (
            result["ruleId"],
            result["message"]["text"],
            result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"],
            result["locations"][0]["physicalLocation"]["region"]["startLine"],
        )
        for result in told["runs"][0]["results"]
    ] == [
        ("test-failed", "data.a.test_table\nnot true: b/c", "a_test.rego", 5),
        (
            "test-error",
            "b, 100%.scenario.yaml: a: b\nno issuer 'x'\nsecond",
            "b%2C%20100%25.scenario.yaml",
            2,
        ),
    ]


EVIL = (
    "\x1b]0;pwn\x07\u009b31m\n::error::x\r\n##[error]y %0A::warning::z ]]> [a](http://evil) \udcff"
)


def test_what_strangers_wrote_is_data_in_every_report():
    check = Check(
        suite=EVIL, name=EVIL, file=EVIL, row=1, outcome="fail",
        lines=(EVIL,), output=(EVIL,), explained=(EVIL,),
    )  # fmt: skip
    told = {name: write([check], None) for name, write in REPORTS.items()}
    told["pretty"] = pretty([check], verbose=True)
    evil = FileCoverage(covered=(1,), not_covered=(2,))
    told["coverage"] = "\n".join(Coverage(files={EVIL: evil}).as_lines())
    for name, text in told.items():
        text.encode()
        assert all(map(str.isprintable, text.split("\n"))), name
        commands = [line for line in text.split("\n") if line.lstrip().startswith("::")]
        assert len(commands) == (name == "github"), name
        assert "##[" not in text or name in ("github", "json", "sarif", "junit"), name
    (command,) = (line for line in told["github"].split("\n") if line.startswith("::"))
    head, _, message = command.removeprefix("::").partition("::")
    assert ":" not in head.replace("file=", "")
    assert "%0A" not in message.replace("%250A", "")
    (found,) = json.loads(told["sarif"])["runs"][0]["results"]
    assert "[a](" not in found["message"]["text"]
    ElementTree.fromstring(told["junit"])


def schema(name):
    path = SCHEMAS / name
    if not path.exists():
        pytest.skip(f"{name} is not there: .ci/run fetches it")
    return path


def test_sarif_is_valid():
    rules = json.loads(schema("sarif-2.1.0.json").read_text())
    jsonschema.validate(json.loads(REPORTS["sarif"](CHECKS, None)), rules)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"version": "2.1.0", "runs": [{}]}, rules)


@pytest.mark.skipif(not shutil.which("xmllint"), reason="xmllint is not installed")
def test_junit_is_valid(tmp_path):
    report = tmp_path / "report.xml"

    def valid(text):
        report.write_text(text)
        command = ["xmllint", "--noout", "--schema", schema("junit-10.xsd"), report]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    assert valid(REPORTS["junit"](CHECKS, None))
    assert not valid("<testsuites><other/></testsuites>")
