"""Whatever text is given for a policy, it is read, or refused in place."""

import pytest
from hypothesis import given, settings, strategies as st

from gateway.rego import CompileError
from gateway.rego.compiler import Unit, read_sources

WORDS = (
    *("as", "contains", "default", "else", "every", "if", "import", "in", "not", "package"),
    *("some", "with", "true", "null", "input", "data", "x", "y", "p", "_", "return", "rego.v1"),
    *("future", "glob.match", "count", "1", "0.5", '"s"', "`r`", '$"{x}"', '"', "'", "#"),
    *("{", "}", "[", "]", "(", ")", ":=", "=", "==", ":", ";", ",", ".", "|", "&", "!", "-", "+"),
    *("\n", "\np := 1\n", "if {", "some x in", "every x in xs {", "with input as", "import data.a"),
)
TEXTS = st.lists(
    st.tuples(st.sampled_from(WORDS), st.sampled_from(["", " ", "\n"])), max_size=40
).map(lambda parts: "".join(word + gap for word, gap in parts))


@settings(max_examples=400)
@given(text=TEXTS, package=st.sampled_from(["", "package a\n", "package a.x\n"]))
def test_text_is_read_or_refused_in_place(text, package):
    modules = {"a.rego": package + text, "b.rego": "package a.b\np := x if { x := input.x }\n"}
    try:
        read_sources(Unit(modules=modules))
    except CompileError as error:
        for problem in error.problems:
            assert problem.file in modules
            assert problem.row >= 1
            assert problem.col >= 1
            assert problem.message


@pytest.mark.parametrize("text", ["import", "default", "p if q with as 1", "(1)", "with", "if"])
def test_text_that_ends_early(text):
    try:
        read_sources(Unit(modules={"a.rego": f"package a\n{text}"}))
    except CompileError as error:
        assert error.problems
