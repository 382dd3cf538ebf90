"""`${NAME}` in values."""

import pytest
from hypothesis import given, strategies as st

from gateway.config.document import read_document
from gateway.config.environment import EnvironmentFault, escape, substitute

ENVIRON = {"HOST": "api.example", "EMPTY": "", "NESTED": "${HOST}", "YAML": "a: [1, *x]\nb: 2"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("${HOST}", "api.example"),
        ("https://${HOST}:443/${HOST}", "https://api.example:443/api.example"),
        ("${EMPTY}", ""),
        ("${EMPTY:-instead}", "instead"),
        ("${ABSENT:-}", ""),
        ("${ABSENT:-a:-b}", "a:-b"),
        ("${HOST:-instead}", "api.example"),
        ("$${HOST}", "${HOST}"),
        ("$$${HOST}", "$${HOST}"),
        ("$HOST $ $$ {HOST}", "$HOST $ $$ {HOST}"),
        ("${NESTED}", "${HOST}"),
    ],
)
def test_references(text, expected):
    assert substitute(text, ENVIRON) == expected


@pytest.mark.parametrize(
    "text", ["${ABSENT}", "${HOST", "${}", "${1A}", "${A-B}", "${HOST:default}"]
)
def test_what_cannot_be_replaced_is_a_fault(text):
    with pytest.raises(EnvironmentFault):
        substitute(text, ENVIRON)


@given(st.text(alphabet="${}AB:- "))
def test_escaped_text_comes_back(text):
    assert substitute(escape(text), ENVIRON) == text


def test_a_variable_never_changes_the_structure():
    document = read_document(b"a: ${YAML}\nb: '${YAML}'\n", ENVIRON)
    assert document.tree == {"a": ENVIRON["YAML"], "b": ENVIRON["YAML"]}


def test_names_of_keys_are_not_replaced():
    assert read_document(b"${HOST}: 1\n", ENVIRON).tree == {"${HOST}": 1}
