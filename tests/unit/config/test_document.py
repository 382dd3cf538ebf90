"""YAML text → values and places."""

import pytest

from gateway.config.document import MAX_BYTES, MAX_DEPTH, Mark, read_document


def read(text, environ=None):
    return read_document(text.encode() if isinstance(text, str) else text, environ or {})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("No", "No"),
        ("y", "y"),
        ("true", True),
        ("FALSE", False),
        ("1:30", "1:30"),
        ("190:20:30", "190:20:30"),
        ("2026-01-02", "2026-01-02"),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("-5", -5),
        ("+5", 5),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        ("~", None),
        ("null", None),
        ("", None),
        ("'5'", "5"),
        ('"a\\tb"', "a\tb"),
        ("=", "="),
        ("<<", "<<"),
        ("64KiB", "64KiB"),
        ("/orders/{id}", "/orders/{id}"),
    ],
)
def test_scalars_follow_the_core_schema(text, value):
    document = read(f"a: {text}\n")
    assert not document.problems
    assert document.tree == {"a": value}
    assert type(document.tree["a"]) is type(value)


def test_every_value_has_its_place():
    document = read("top: 1\nlist:\n  - one\n  - name: two\n    deep: {x: 1, y: [5, 6]}\n")
    places = {key: (mark.line, mark.column) for key, mark in document.values.items()}
    assert places == {
        "": (1, 1),
        "top": (1, 6),
        "list": (2, 1),
        "list.0": (3, 5),
        "list.1": (4, 5),
        "list.1.name": (4, 11),
        "list.1.deep": (5, 5),
        "list.1.deep.x": (5, 15),
        "list.1.deep.y": (5, 18),
        "list.1.deep.y.0": (5, 22),
        "list.1.deep.y.1": (5, 25),
    }
    assert document.names["list.1.name"] == Mark(4, 5)


@pytest.mark.parametrize(
    ("key", "line"),
    [("list.0.absent.deeper", 2), ("list.7", 1), ("absent", 1), ("", 1)],
)
def test_what_is_not_there_is_located_by_what_surrounds_it(key, line):
    assert read("list:\n  - a: 1\n").locate(key).line == line


@pytest.mark.parametrize(
    ("text", "message", "line", "column"),
    [
        ("a: 1\nb: 2\na: 3\n", "given twice, first in line 1", 3, 1),
        ("a: {b: 1, b: 2}\n", "given twice, first in line 1", 1, 11),
        ("1: a\n", "a key must be text", 1, 1),
        ("x: 1\n? [a]\n: b\n", "a key must be text", 2, 3),
        ("~: a\n", "a key must be text", 1, 1),
        ("a: &x 1\nb: *x\n", "aliases (*name) are not taken", 2, 4),
        ("a: &x [*x]\n", "aliases (*name) are not taken", 1, 8),
        ("a: !!python/object:os.system x\n", "the tag tag:yaml.org,2002:python/object", 1, 4),
        ("a: !mine x\n", "the tag !mine is not taken", 1, 4),
        ("a: !!binary aGk=\n", "the tag tag:yaml.org,2002:binary is not taken", 1, 4),
        ("a: !!set {x}\n", "the tag tag:yaml.org,2002:set is not taken", 1, 1),
        ("a: !!int x\n", "not a number that can be read", 1, 4),
        ("a: " + "9" * 5000 + "\n", "not a number that can be read", 1, 4),
        ("a:\n\tb: 1\n", "a tab, where only blanks may be", 2, 1),
        ("a: [1, 2\nb: 3\n", "expected ',' or ']'", 2, 2),
        ("a: 'open\n", "the quote that begins here is never closed", 1, 4),
        ("a: 1\n---\nb: 2\n", "a second document begins here", 2, 1),
        ("a: b: c\n", "a ':' where no key can be", 1, 5),
        ("a: 1\n   b: 2\n", "a ':' where no key can be", 2, 5),
        ("a:\n    b: 1\n  c: 2\n", "does not fit the lines above", 3, 3),
        ("a: @b\n", "a value cannot begin with '@'", 1, 4),
        ("a: %b\n", "a value cannot begin with '%'", 1, 4),
        ("a: {b: *}\n", "a value cannot begin with '*' or '&'", 1, 8),
        ("a: [1,,2]\n", "a value is missing before ','", 1, 7),
        ('a: "\\d"\n', "'\\d' is no escape in double quotes", 1, 6),
        ("a: 1\nb\nc: 2\n", "a key without ':'", 2, 1),
        ("a: [1, 2\n", "expected ',' or ']'", 2, 1),
        ("a: |x\n  b\n", "cannot be read here", 1, 5),
        ("ok: 1\nbad: \x07\n", "a control character", 2, 6),
        (b"a: 1\nb: \xff\n", "not UTF-8", 2, 0),
        ("a: " + "[" * 100 + "]" * 100, f"nested deeper than {MAX_DEPTH} levels", 1, 35),
        (b"#" * (MAX_BYTES + 1), "the file is larger than", 0, 0),
    ],
)
def test_what_is_refused(text, message, line, column):
    (problem,) = read(text).problems
    assert message in problem.message
    assert (problem.line, problem.column) == (line, column)


def test_deep_nesting_without_end_is_refused_in_time():
    (problem,) = read("[" * 500_000).problems
    assert "nested deeper" in problem.message


def test_problems_are_collected_and_the_rest_is_read():
    document = read("a: !x 1\nb: 2\nb: 3\nc: ${NOT_SET}\nd: 4\n")
    assert [problem.key for problem in document.problems] == ["a", "b", "c"]
    assert document.tree == {"a": None, "b": 2, "c": None, "d": 4}
    assert document.unreadable == {("a",), ("c",)}


def test_a_byte_order_mark_is_dropped():
    assert read(b"\xef\xbb\xbfa: 1\n").tree == {"a": 1}


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_holds_an_empty_mapping(text):
    assert not read(text).problems
    assert read(text).tree in ({}, None)
