import json
import math
from decimal import Decimal

import pytest
from hypothesis import given, settings, strategies as st

from gateway.jose.strict_json import JsonError, loads

REFUSED = {
    "nothing": b"",
    "blanks": b" \t\n",
    "trailing value": b"1 2",
    "trailing comma": b"[1,]",
    "trailing NUL": b"{}\x00",
    "comment": b"{}//",
    "single quotes": b"{'a':1}",
    "bare name": b"{a:1}",
    "duplicate name": b'{"a":1,"a":1}',
    "duplicate name, nested": b'[{"b":{"a":1,"a":2}}]',
    "duplicate name, escaped": b'{"alg":1,"\\u0061lg":2}',
    "NaN": b'{"exp":NaN}',
    "Infinity": b"[Infinity]",
    "-Infinity": b"-Infinity",
    "BOM": b"\xef\xbb\xbf{}",
    "BOM as text": "\ufeff{}",
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "UTF-16LE": '{"a":1}'.encode("utf-16-le"),
    "UTF-32": '{"a":1}'.encode("utf-32"),
    "Latin-1": b'"\xe9"',
    "overlong UTF-8": b'"\xc0\xaf"',
    "surrogate in UTF-8": b'"\xed\xa0\x80"',
    "surrogate as text": '"\ud800"',
    "lone high surrogate": b'"\\ud800"',
    "lone low surrogate": b'"\\uDC00"',
    "swapped surrogates": b'"\\udc00\\ud800"',
    "lone surrogate in a name": b'[{"\\ud800":1}]',
    "control character": b'"a\nb"',
    "NUL in a string": b'"\x00"',
    "bad escape": b'"\\x41"',
    "unterminated": b'{"a":"b',
    "unterminated escape": b'"\\',
    "leading zero": b"01",
    "plus": b"+1",
    "hex": b"0x10",
    "bare dot": b".5",
    "dot at the end": b"1.",
    "vertical tab": b"\x0b1",
    "no-break space": b"\xc2\xa01",
    "65 deep": b"[" * 65 + b"]" * 65,
    "65 deep, objects": b'{"a":' * 65 + b"1" + b"}" * 65,
    "65 deep beside flat": b"[" + b"[]," * 100 + b"[" * 64 + b"]" * 65,
    "100,000 deep": b"[" * 100_000,
    "100,000 deep and closed": b"[" * 100_000 + b"]" * 100_000,
    "a million quotes": b'"\\"' * 300_000 + b"[" * 100,
    "integer of 5,000 digits": b"1" * 5_000,
    "integer of a million digits": b"1" * 1_000_000,
    "fraction of a million digits": b"0." + b"1" * 1_000_000,
    "huge exponent": b"1e1000000",
    "huge negative exponent": b"1e-1000000",
    "exponent beyond Decimal": b"1e" + b"9" * 40,
    "zero with a huge exponent": b"0e999999999999",
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_refused(text):
    with pytest.raises(JsonError):
        loads(text)


ACCEPTED = [
    (b"null", None),
    (b" \t\r\n{} \n", {}),
    ('{"é":"\u20ac"}'.encode(), {"é": "€"}),
    (b'"\\ud83d\\ude00"', "😀"),
    (b'"\\\\ud800"', "\\ud800"),
    (b'"\\u0000"', "\0"),
    (b"[" * 64 + b"]" * 64, None),
    (b'"' + b"[" * 1000 + b'"', "[" * 1000),
    (b'["\\"' + b"{" * 100 + b'\\\\",1]', ['"' + "{" * 100 + "\\", 1]),
    (b"[" + b"[],{}," * 1000 + b"1]", [[], {}] * 1000 + [1]),
    (b'{"a":1,"A":2}', {"a": 1, "A": 2}),
    (b"9007199254740993", 9007199254740993),
    (b"-0", 0),
    (b"1" * 4300, int("1" * 4300)),
]


@pytest.mark.parametrize(("text", "value"), ACCEPTED, ids=range(len(ACCEPTED)))
def test_accepted(text, value):
    found = loads(text)
    assert value is None or found == value


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("1.5", float),
        ("0.1", float),
        ("1e3", float),
        ("123456789012345.6", float),
        ("1790000000.123456", float),
        ("0.1000000000000000055511151231257827", Decimal),
        ("1.00000000000000000001", Decimal),
        ("9007199254740993.0", Decimal),
        ("1e400", Decimal),
        ("1e-400", Decimal),
        ("1E400", Decimal),
    ],
)
def test_decimals_are_exact(text, kind):
    found = loads(text)
    assert type(found) is kind
    assert Decimal(repr(found) if kind is float else found) == Decimal(text)


def test_negative_zero_keeps_its_sign():
    assert math.copysign(1, loads("-0.0")) == -1


def test_depth_is_an_argument():
    assert loads(b"[[]]", max_depth=2) == [[]]
    with pytest.raises(JsonError):
        loads(b"[[]]", max_depth=1)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
)


@settings(max_examples=60)
@given(JSON, st.booleans())
def test_reads_what_json_writes(value, ascii_only):
    assert loads(json.dumps(value, ensure_ascii=ascii_only)) == value


def depth(value):
    inner = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    )
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


@settings(max_examples=60)
@given(JSON, st.integers(0, 6))
def test_depth_is_counted_exactly(value, limit):
    try:
        loads(json.dumps(value), max_depth=limit)
    except JsonError:
        assert depth(value) > limit
    else:
        assert depth(value) <= limit


@settings(max_examples=200)
@given(st.binary() | st.text(alphabet='[]{}",:\\u d80e1-.').map(str.encode))
def test_raises_nothing_else(text):
    try:
        value = loads(text)
    except JsonError:
        return
    assert json.loads(text) == value


def test_an_open_string_is_told_with_its_place():
    with pytest.raises(JsonError, match="^Invalid control character at line 1, column 2$"):
        loads('"\n"')
    with pytest.raises(JsonError, match="^Unterminated string at line 1, column 7$"):
        loads('{"a": "b}')


@pytest.mark.parametrize("text", ["[]", "{}", '{"a":1}', "1.5", '"a"'])
def test_members_are_counted_before_anything_is_built(text):
    whole = "[" + ",".join([text] * 40_000) + "]"
    if text[0] in "[{":
        with pytest.raises(JsonError, match="more than 50000 members"):
            loads(whole)
        loads(whole, max_members=200_000)
    else:
        assert len(loads(whole)) == 40_000


def test_marks_in_strings_are_no_members():
    assert loads('["' + "[{,}]" * 20_000 + '"]') == ["[{,}]" * 20_000]
