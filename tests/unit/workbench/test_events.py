"""Decision logs in every shape that they come in."""

import gzip
import io
import json
import tracemalloc
from decimal import Decimal

import pytest

from gateway.workbench import events as module
from gateway.workbench.events import (
    Outcome,
    codes_of,
    entrypoint_of,
    parse,
    read_events,
    recorded,
    time_of,
)

A, B = {"decision_id": "a", "note": 'x "{[ \\'}, {"decision_id": "b", "input": {"é": [1, {}]}}
LINES = b"\n".join(json.dumps(each).encode() for each in (A, B))


def read(data):
    found = read_events(io.BufferedReader(io.BytesIO(data)), "log")
    return [each.fault or (each.line, each.event) for each in found]


SHAPES = {
    "lines": (LINES, [1, 2]),
    "an end of line at the end": (LINES + b"\n", [1, 2]),
    "blank lines and CRLF": (b"\r\n" + LINES.replace(b"\n", b"\r\n \r\n"), [2, 4]),
    "an array": (json.dumps([A, B]).encode(), [1, 1]),
    "an array over lines": (json.dumps([A, B], indent=1).encode(), [2, 6]),
    "an array a line": (b"[]\n" + json.dumps([A, B]).encode() + b"\n[]", [2, 2]),
    "arrays one after the other": (
        f"[{json.dumps(A)}]\n\n[{json.dumps(B)}]".encode(),
        [1, 3],
    ),
    "an array among lines": (
        LINES.split(b"\n")[0] + b"\n[" + json.dumps(B).encode() + b"]",
        [1, 2],
    ),
    "objects over lines": (
        f"{json.dumps(A, indent=2)}\n{json.dumps(B, indent=2)}".encode(),
        [1, 5],
    ),
}


@pytest.mark.parametrize("chunk", [1, 7, 65536])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("shape", SHAPES)
def test_all_shapes_give_the_same_events(shape, pack, chunk, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", chunk)
    data, lines = SHAPES[shape]
    assert read(pack(data)) == list(zip(lines, (A, B), strict=True))


UNENDED = "the log is cut off: an array has no end"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"\n \n", []),
        (b'{"a":1}\n{"b":', [(1, {"a": 1}), "not JSON: Expecting value at line 1, column 6"]),
        (b'garbage\n{"a":1}', ["not JSON: Expecting value at line 1, column 1", (2, {"a": 1})]),
        (b"1\n[1]", ["not a JSON object"] * 2),
        (b'{"a":1,"a":2}', ["not JSON: the name 'a' occurs twice in an object"]),
        (b'{"a":\xff}', ["not JSON: not well-formed Unicode"]),
        (b'[{"a":1},\n{"b"', [(1, {"a": 1}), "not JSON: Expecting ':' delimiter at line 1, column 5", UNENDED]),
        (b'[{"a":1},', [(1, {"a": 1}), UNENDED]),
        (b'[{"a":1}', [(1, {"a": 1}), UNENDED]),
        (b'[ [{"a":"]"}]', [(1, {"a": "]"}), UNENDED]),
        (b'[{"a":1} x {"b":1}]', [(1, {"a": 1}), "not JSON: Expecting value at line 1, column 1",
                                  (1, {"b": 1})]),
        (b'[{"a":1}}]', [(1, {"a": 1}), "not JSON: Expecting value at line 1, column 1"]),
        (b'[{"a":"', ["not JSON: Unterminated string at line 1, column 6", UNENDED]),
    ],
)  # fmt: skip
def test_what_is_no_event_is_told_in_its_place(data, expected):
    assert read(data) == expected


def test_a_packed_log_that_is_cut_off_tells_so_after_its_events():
    packed = gzip.compress(LINES + b"\n" + b" " * 10**6)
    (*found, fault) = read(packed[:-12])
    assert found == [(1, A), (2, B)]
    assert "cut off" in fault
    assert "damaged" in read(packed[:12] + b"\xff" * 20 + packed[32:])[-1]


def test_a_line_without_end_is_not_held(monkeypatch):
    monkeypatch.setattr(module, "MAX_EVENT", 100)
    assert read(b'{"a":"' + b"x" * 1000 + b'"}\n{"b":1}') == [
        "longer than 100 bytes",
        (2, {"b": 1}),
    ]
    assert read(b'[{"a":"' + b"x" * 1000) == ["longer than 100 bytes; the rest is not read"]


@pytest.mark.parametrize(
    "text",
    [
        "18446744073709551616",
        "0.12345678901234567890123",
        "1e400",
        "-1234567890123456789012",
        "1.0",
    ],
)
def test_numbers_are_exact(text):
    (number,) = parse(f"[{text}]".encode())
    assert Decimal(repr(number) if isinstance(number, float) else number) == Decimal(text)


@pytest.mark.parametrize(
    ("path", "entrypoint"),
    [
        ("gateway/authz/allow", "gateway/authz/allow"),
        ("/gateway/authz/allow", "gateway/authz/allow"),
        ("gateway.authz.allow", "gateway/authz/allow"),
        ("data.gateway.authz.allow", "gateway/authz/allow"),
        ("data/gateway/authz", "gateway/authz"),
        ("a/b.c", "a/b.c"),
        ("", ""),
        (None, ""),
        (7, ""),
    ],
)
def test_the_entrypoint_in_all_spellings(path, entrypoint):
    assert entrypoint_of({"path": path}) == entrypoint


def test_a_line_without_end_is_not_read_for_ever(monkeypatch):
    monkeypatch.setattr(module, "MAX_EVENT", 100)
    monkeypatch.setattr(module, "MAX_SKIPPED", 1000)
    found = list(
        read_events(io.BufferedReader(io.BytesIO(b"0" * 500 + b"\n{}\n" + b"0" * 5000)), "log")
    )
    assert [(each.line, each.fault, each.cut) for each in found] == [
        (1, "longer than 100 bytes", False),
        (2, "", False),
        (3, "longer than 1000 bytes; the rest is not read", True),
    ]


def test_an_event_of_many_members_is_refused_before_it_is_built():
    line = b'{"a":[' + b"{}," * module.MAX_MEMBERS + b"{}]}"
    tracemalloc.start()
    try:
        (fault,) = read(line)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert fault == f"not JSON: more than {module.MAX_MEMBERS} members"
    assert peak < 10 * len(line)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-09-21T14:13:20Z", 1_790_000_000.0),
        ("2026-09-21T14:13:20.250000123Z", 1_790_000_000.25),
        ("2026-09-21T16:13:20+02:00", 1_790_000_000.0),
        ("2026-09-21T14:13:20", 1_790_000_000.0),
        ("yesterday", None),
        (12, None),
        (None, None),
    ],
)
def test_the_time(text, time):
    assert time_of({"timestamp": text}) == time


GONE = ("/result",)
OWN = {"outcome": "forwarded"}


@pytest.mark.parametrize(
    ("event", "gone", "outcome"),
    [
        ({"result": True}, (), Outcome(True)),
        ({"result": False}, (), Outcome(False)),
        ({"result": 1}, (), Outcome(False)),
        ({"result": {"allow": True}}, (), Outcome(True)),
        ({"result": {"allowed": True}}, (), Outcome(True)),
        ({"result": {"allow": False, "allowed": True}}, (), Outcome(False)),
        ({"result": {"allow": "true"}}, (), Outcome(False)),
        ({"result": {"allow": False, "reasons": ["b", {"code": "a"}, 3]}}, (),
         Outcome(False, ("a", "b"))),
        ({}, (), Outcome(False, ("undefined",))),
        ({"error": {"code": "eval_conflict_error"}}, (), Outcome(False, ("eval_conflict_error",))),
        ({"code": "work-limit", "error": {"code": "x"}}, (), Outcome(False, ("work-limit",))),
        # Allowed, and refused later on: the policy's outcome counts.
        ({"result": {"allow": True}, "code": "upstream-refused"}, (), Outcome(True)),
        # What the gateway did says more than a result in a dialect that is not known.
        (OWN | {"result": {"allow": False, "allowed": True}}, (), Outcome(True)),
        (OWN | {"outcome": "refused", "code": "policy-denied", "result": {"allow": True}}, (),
         Outcome(False)),
        (OWN, GONE, Outcome(True)),
        (OWN | {"result": {}}, ("/result/allow",), Outcome(True)),
        (OWN | {"outcome": "failed"}, GONE, Outcome(True)),
        (OWN | {"outcome": "refused", "code": "undefined"}, GONE, Outcome(False, ("undefined",))),
        (OWN | {"outcome": "refused", "code": "policy-denied", "reasons": [{"code": "r"}]}, GONE,
         Outcome(False, ("r",))),
        (OWN | {"outcome": "refused", "code": "bad-host"}, GONE, None),
        (OWN | {"outcome": None}, GONE, None),
        ({"result": {"allow": True}}, ("/result/allow",), None),
        ({"result": True}, ("/input",), Outcome(True)),
    ],
)  # fmt: skip
def test_the_outcome_that_an_event_tells(event, gone, outcome):
    assert recorded(event, gone) == outcome


def test_codes_are_few_and_in_order():
    assert codes_of({"reasons": [str(n) for n in range(9, -1, -1)]}) == (*"01234567", "…")
    assert codes_of({"reasons": [str(n) for n in range(8)]}) == tuple("01234567")
    assert codes_of({"reasons": ["x" * 200]}) == ("x" * 128 + "…",)
    assert codes_of({"reasons": {"code": "x"}}) == ()
