"""`# METADATA` comments, and what `rego.metadata.*` make of them."""

import pytest

from gateway.rego import UNDEFINED, CompileError, Policy, compile as compile_rego
from gateway.rego.metadata import MetadataError, read_metadata
from tests.support.rego import NOW, rules

RULE = "rego.metadata.rule()"
CHAIN = "rego.metadata.chain()"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (f"p := {RULE}", {}),
        (f"p := {CHAIN}", [{"path": ["a", "p"]}]),
        (f"# METADATA\n# title: x\np := {RULE}", {"scope": "rule", "title": "x"}),
        (f"#METADATA y\r\n#title: x\r\np := {RULE}\r", {"scope": "rule", "title": "x"}),
        (f"  # METADATA\n# title: x\np := {RULE}", {}),
        (
            f"# METADATA\n# title: x\n # description: y\np := {RULE}",
            {"scope": "rule", "title": "x"},
        ),
        (f"# METADATA\n# title: x\n\n# METADATA\n# title: y\np := {RULE}.title", "x"),
        (f"# METADATA\n# title: x\n# METADATA\n# title: y\np := {CHAIN}[0].annotations.title", "y"),
        (f"# METADATA\n# scope: document\ndefault p := 1\np := count({CHAIN})", 2),
        (f"# METADATA\n# title: x\np := 1 if false\nelse := {RULE}", {}),
        (f"# METADATA\n# title: x\np := {RULE}.title if true\nelse := 1", "x"),
        (f"q := [\n# METADATA\n# title: x\n]\np := {RULE}.title", "x"),
        (f"# METADATA\n# title: x\nf(y) := [{RULE}.title, y]\np := f(1)", ["x", 1]),
        (f"p := [z.path | z := {CHAIN}[_]]", [["a", "p"]]),
        (f'p := x if {{ x := 1; startswith({CHAIN}[_].path[_], "a") }}', 1),
        (f"p if {{\n  {CHAIN}\n  {RULE} == {{}}\n}}", True),
        (f"p if {RULE}", True),
        (f"p := [x] if [x] = {CHAIN}", [{"path": ["a", "p"]}]),
        (f"q := input\np := x if {{ x := q with input as {CHAIN} }}", [{"path": ["a", "p"]}]),
        (f"p if every x in {CHAIN} {{ not x == {RULE} }}", True),
        ("p := rego.metadata.rule(\n)", {}),
        (f'p := "{RULE}" # {RULE}', RULE),
        ("# METADATA\n# title: [\np := 1", 1),
    ],
)
def test_value(text, value):
    assert rules(f"package a\n{text}\n")["p"] == value


def test_path_is_the_constant_part_of_the_head():
    text = f'package a["b c"]\np["d"].e := {CHAIN}[0].path if true\nq[x] := {CHAIN} if x := "k"\n'
    policy = Policy(compile_rego({"a.rego": text}))
    assert policy.decide("a/b c/p/d/e", {}, now=NOW) == ["a", "b c", "p", "d", "e"]
    assert policy.decide("a/b c/q", {}, now=NOW) == {"k": [{"path": ["a", "b c", "q"]}]}


def test_chain_goes_outward_over_all_modules():
    modules = {
        "root.rego": "# METADATA\n# scope: subpackages\n# title: 6\npackage a\n",
        "near.rego": "# METADATA\n# scope: subpackages\n# title: 5\npackage a.b\n\nother := 1\n",
        "doc.rego": "package a.b\n# METADATA\n# scope: document\n# title: 3\np := 1 if false\n",
        "rule.rego": "# METADATA\n# title: 4\npackage a.b\n"
        "# METADATA\n# title: 2\n\n# METADATA\n# title: 1\n"
        f"p := {CHAIN}\n",
    }
    chain = Policy(compile_rego(modules)).decide("a/b/p", {}, now=NOW)
    assert [link["annotations"]["title"] for link in chain] == list("123456")
    paths = [["a", "b", "p"]] * 3 + [["a", "b"]] * 2 + [["a"]]
    assert [link["path"] for link in chain] == paths


@pytest.mark.parametrize(
    ("text", "row", "code"),
    [
        (f"# METADATA\n# title: x\n# scope: foo\np := {RULE}", 2, "annotation"),
        (f"# METADATA\n# title: x\n# scope: package\np := {RULE}", 2, "annotation"),
        (f"# METADATA\n# scope: rule\n# entrypoint: true\np := {RULE}", 2, "annotation"),
        (f"# METADATA\n# title: x\nimport data.b\np := {RULE}", 2, "annotation"),
        (f"p := {RULE}\n# METADATA\n# title: x", 3, "annotation"),
        (f"# METADATA\n# a: b\n# title: [\np := {RULE}", 4, "annotation"),
        (f"# METADATA\n\np := {RULE}", 2, "annotation"),
        (
            f"# METADATA\n# scope: document\n\n# METADATA\n# scope: document\np := {RULE}",
            5,
            "annotation",
        ),
        (f"p if {{\n  not ({RULE})\n}}", 3, "annotation"),
        (f"q := 1\np if q with rego.metadata.rule as 1\nr := {RULE}", 3, "with-target"),
        ("p if {\n  rego.metadata.rule(x)\n  x == 1\n}", 3, "unsupported-builtin"),
        (f'p := $"{{{RULE}}}"', 2, "unsupported-builtin"),
        (f"p := count({RULE}, 1)", 2, "arity"),
    ],
)
def test_refused(text, row, code):
    with pytest.raises(CompileError) as raised:
        compile_rego({"a.rego": f"package a\n{text}\n"})
    (problem,) = raised.value.problems
    assert (problem.row, problem.code, bool(problem.remedy)) == (row, code, True)


@pytest.mark.parametrize("name", ["rego := 1", "import data.rego", "f(rego) := rego"])
def test_another_rego_is_no_builtin(name):
    with pytest.raises(CompileError):
        compile_rego({"a.rego": f"package a\n{name}\np := {RULE}\n"})


def test_places_stay_those_of_the_text():
    text = f"package a\n# METADATA\n# title: {'x' * 200}\np := x if {{ x := {RULE}; foo(x) }}\n"
    with pytest.raises(CompileError) as raised:
        compile_rego({"a.rego": text})
    (problem,) = raised.value.problems
    assert (problem.row, problem.col) == (4, 40)


def test_values_are_written_a_limited_number_of_times():
    text = f"package a\n# METADATA\n# title: {'x' * 100_000}\np := [{', '.join([RULE] * 50)}]\n"
    with pytest.raises(CompileError, match="longer than"):
        compile_rego({"a.rego": text})


@pytest.mark.parametrize(
    ("yaml", "fields"),
    [
        ("title: 1.50\ndescription: ~\nTitle: y", {"title": "1.50"}),
        ("# nothing", {}),
        ("title: x\n---\ntitle: y", {"title": "x"}),
        ("<<: {title: x}", {"title": "x"}),
        ("entrypoint: on", {"entrypoint": True}),
        ("entrypoint: false\ncustom: {}", {}),
        ("organizations: [a, 1, ~, yes]", {"organizations": ["a", "1", "yes"]}),
        ("authors: [A B <c@d>, <e@f>, g]", {
            "authors": [{"name": "A B", "email": "c@d"}, {"email": "e@f"}, {"name": "g"}],
        }),
        ("authors: [{name: ' a ', email: 1}]", {"authors": [{"name": "a"}]}),
        ("related_resources: ['https://a/b?c#d']", {
            "related_resources": [{"ref": "https://a/b?c#d"}],
        }),
        ("related_resources: [{ref: a/b, description: c}]", {
            "related_resources": [{"ref": "a/b", "description": "c"}],
        }),
        ("schemas: [{'data.a[\"b c\"]': schema}, {input: {type: string}}]", {
            "schemas": [
                {"path": ["data", "a", "b c"], "schema": ["schema"]},
                {"path": ["input"], "definition": {"type": "string"}},
            ],
        }),
        ("custom: {a: yes, b: True, c: 0x1F, d: 1e400, e: 2020-01-02, f: '1', 2: \"\\0\"}", {
            "custom": {
                "a": "yes", "b": True, "c": 31, "d": "1e400", "e": "2020-01-02T00:00:00Z",
                "f": "1", "2": "\0",
            },
        }),
        ("custom: {a: &x [1], b: *x, <<: {c: <<}}", {"custom": {"a": [1], "b": [1], "c": "<<"}}),
        ("custom: {a: 100000000000000000001}", {"custom": {"a": 100_000_000_000_000_000_000}}),
    ],
)  # fmt: skip
def test_fields(yaml, fields):
    assert read_metadata(yaml) == fields


@pytest.mark.parametrize(
    ("yaml", "line"),
    [
        ("", 0),
        ("- title", 0),
        ("a: b\ntitle: [", 3),
        ("title: [x]", 0),
        ("title: !!str 1", 0),
        ("title: x\ntitle: y", 0),
        ("[a]: b", 0),
        ("entrypoint: 'true'", 0),
        ("organizations: a", 0),
        ("custom: a", 0),
        ("compile: a", 0),
        ("custom: {a: {1: b}}", 0),
        ("custom: {a: .inf}", 0),
        ("custom: {a: 2020-01-02T03:04:05Z}", 0),
        ("custom: {a: 12345678901234567890}", 0),
        ("authors: ['']", 0),
        ("authors: [{email: 1}]", 0),
        ("authors: [[a]]", 0),
        ("related_resources: ['http://a/b c']", 0),
        ("related_resources: ['http://a#']", 0),
        ("related_resources: [{description: a}]", 0),
        ("schemas: [{}]", 0),
        ("schemas: [{foo: schema}]", 0),
        ("schemas: [{input: 1}]", 0),
        ("custom: {a: &a [" + "x," * 999 + "], b: &b [" + "*a," * 999 + "], c: [*b, *b]}", 0),
        (f"custom: [&a '{'x' * 1000}'{', *a' * 1001}]", 0),
    ],
)
def test_malformed(yaml, line):
    with pytest.raises(MetadataError) as raised:
        read_metadata(yaml)
    assert raised.value.line == line


def test_undefined_where_a_field_is_missing():
    policy = Policy(compile_rego({"a.rego": f"package a\np := {RULE}.title\n"}))
    assert policy.decide("a/p", {}, now=NOW) is UNDEFINED
