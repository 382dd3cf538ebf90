from __future__ import annotations

import json
from decimal import Decimal
from types import MappingProxyType

import pytest

from gateway.record.encode import MAX_DEPTH, TOO_DEEP, encode
from gateway.rego.values import make_set


def value_of(value):
    line = encode({"v": value})
    assert b"\n" not in line
    return json.loads(line, parse_float=Decimal)["v"]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, None),
        (True, True),
        (-(2**63), -(2**63)),
        (2**64 - 1, 2**64 - 1),
        (2**64, 2**64),
        (-(10**30), -(10**30)),
        (1.5, Decimal("1.5")),
        (float("nan"), None),
        (float("inf"), None),
        (Decimal("1.10000000000000000000001"), Decimal("1.10000000000000000000001")),
        (Decimal("1E+400"), Decimal("1E+400")),
        (Decimal("NaN"), None),
        ((1, 2), [1, 2]),
        ({"b"}, ["b"]),
        (make_set(["b", "a", 1]), [1, "a", "b"]),
        (make_set([{"a": make_set([True])}]), [{"a": [True]}]),
        (MappingProxyType({"a": 1}), {"a": 1}),
        ("\ud800", "\\ud800"),
        ({"\udfff": "x"}, {"\\udfff": "x"}),
        ({1: "a", True: "b"}, {"1": "b"}),
        ({("a", 1, "x"): 1}, {'[1,"x"]': 1}),
        (object(), "[object]"),
        (b"bytes", "[bytes]"),
    ],
)
def test_values(value, written):
    assert value_of(value) == written


def test_huge_integer_is_hexadecimal_text():
    assert value_of(1 << 20_000) == hex(1 << 20_000)


def test_deep_nesting_is_cut():
    value = []
    for _ in range(5_000):
        value = [value]
    found = value_of(value)
    depth = 0
    while found != TOO_DEEP:
        found, depth = found[0], depth + 1
    assert depth == MAX_DEPTH - 1


@pytest.mark.parametrize("char", ["\x7f", "\x9b", "\u2028", "\u2029", "\u202e", "\u2066", "\ufeff"])
def test_characters_that_disturb_a_display_are_escaped(char):
    line = encode({f"k{char}": f"é{char}"})
    assert char.encode() not in line
    assert json.loads(line) == {f"k{char}": f"é{char}"}


def test_plain_text_stays_as_it_is():
    assert encode({"name": "Zoë"}) == '{"name":"Zoë"}'.encode()
