"""However a log is written, the same events are read, with their numbers exact."""

import gzip
import io
import json

import orjson
from hypothesis import given, strategies as st

from gateway.jose.strict_json import loads
from gateway.record.encode import encode
from gateway.workbench.events import parse, read_events

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
EVENTS = st.lists(st.dictionaries(TEXTS, VALUES, max_size=4), min_size=1, max_size=5)


def read(data):
    return [
        each.fault or each.event for each in read_events(io.BufferedReader(io.BytesIO(data)), "log")
    ]


def result(function, text):
    try:
        return repr(function(text))
    except ValueError:
        return "refused"


@given(events=EVENTS, indent=st.none() | st.integers(0, 3), packed=st.booleans())
def test_lines_arrays_and_packed_logs_hold_the_same_events(events, indent, packed):
    pack = gzip.compress if packed else bytes
    lines = b"\n".join(map(encode, events))
    assert read(pack(lines)) == events
    assert read(pack(json.dumps(events, indent=indent).encode())) == events


@given(value=VALUES, at=st.integers(0, 200), piece=st.sampled_from(
    [b"0", b"1", b".", b"e9", b"-", b'"', b"\\", b",", b'"a":1,', b"9" * 20, b" ", b"]", b"{", b"\xff"]
))  # fmt: skip
def test_the_fast_parser_reads_as_the_strict_one_or_leaves_it_to_it(value, at, piece):
    try:
        whole = orjson.dumps(value)
    except TypeError:
        whole = json.dumps(value).encode()
    text = whole[:at] + piece + whole[at:]
    assert result(parse, text) == result(loads, text)


@given(data=st.binary(max_size=200), head=st.sampled_from([b"", b"[", b"{\n", b"\x1f\x8b\x08\x00"]))
def test_no_log_breaks_the_reader(data, head):
    read(head + data)
