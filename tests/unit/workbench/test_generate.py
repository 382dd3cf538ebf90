"""What policies hint at, the documents that are made of it, and how they get smaller."""

from random import Random

import pytest
from hypothesis import given, settings, strategies as st

from gateway.rego.values import dumps
from gateway.workbench.generate import (
    DEEPEST,
    MISSING,
    MOST_COPIED,
    MOST_PLACES,
    MOST_TEXT,
    Generator,
    concrete,
    is_small,
    places,
    put_at,
    value_at,
)
from gateway.workbench.hints import EACH, Hints
from gateway.workbench.samples import MOST_FITTING, near, of_call
from gateway.workbench.shrink import shrink
from gateway.workbench.versions import Version
from tests.support.versions import RULE, version

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "a", "long", "/x/y"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)

HINTED = {
    "a comparison": ('allow if input.a.b == "x"', ("a", "b"), {"x"}),
    "the other way": ('allow if "x" != input.a', ("a",), {"x"}),
    "through a variable": ('allow if { v := input.a; v == "x" }', ("a",), {"x"}),
    "a set": ('allow if input.a in {"x", "y"}', ("a",), {"x", "y"}),
    "a member of an array": ('allow if "x" in input.a', ("a", EACH), {"x"}),
    "each member": ('allow if { some i in input.a; i.k == "x" }', ("a", EACH, "k"), {"x"}),
    "data": ("allow if input.a in data.names", ("a",), {"n1", "n2"}),
    "keys of data": ("allow if data.by_key[input.a].ok", ("a",), {"k1"}),
    "within data": (
        "allow if { some g in data.grants; g.method == input.a }", ("a",), {"GET", "PUT"},
    ),
    "through a function": (
        'f(x) := y if y := lower(x.name)\n\nallow if f(input.a) == "x"', ("a", "name"), {"x"},
    ),
    "through a rule": ('v := input.a\n\nallow if v == "x"', ("a",), {"x"}),
    "a constant by name": ('limit := 7\n\nallow if input.a < limit', ("a",), {7}),
    "an object's keys": ('g := {"k": 1}\n\nallow if g[input.a] == 1', ("a",), {"k"}),
    "a prefix": ('allow if startswith(input.a, "/x/")', ("a",), {"/x/", "/x/x"}),
    "a glob": ('allow if glob.match("/o/*", ["/"], input.a)', ("a",), {"/o/x", "/o/x/y"}),
    "a pattern": ("allow if regex.match(`^a[0-9]+(b|c)$`, input.a)", ("a",), {"a0b", "a00b"}),
    "a network": (
        'allow if net.cidr_contains("10.1.0.0/16", input.a)', ("a",), {"10.1.0.0", "10.2.0.0"},
    ),
}  # fmt: skip
DATA = {
    "names": ["n1", "n2"],
    "by_key": {"k1": {"ok": True}},
    "grants": [{"method": "GET"}, {"method": "PUT"}],
}


@pytest.mark.parametrize("name", HINTED)
def test_what_a_policy_hints_at(name):
    text, path, expected = HINTED[name]
    found = version(text, DATA).hints.values[path]
    assert expected <= {each.value for each in found}


def test_what_must_be_equal():
    equals = version("allow if input.a.b == lower(input.c)").hints.equals
    assert equals == {("a", "b"): {("c",): None}, ("c",): {("a", "b"): None}}


def test_true_and_one_are_two_hints():
    found = version("allow if input.a == 1\n\nallow if input.a == true").hints.values[("a",)]
    assert [(type(each.value), each.value) for each in found] == [(int, 1), (bool, True)]


@pytest.mark.parametrize(
    ("function", "text", "expected"),
    [
        ("endswith", ".pdf", {"x.pdf", ".pdf"}),
        ("contains", "mid", {"xmidx", "mid"}),
        ("glob.match", "/{a,b}/[cd]?/**", {"/a/cx/x", "/a/cx/x/y"}),
        ("regex.match", r"\d{2}[^/]\s.z?", {"11x x", "11x xz"}),
        ("regex.match", "(", set()),
        ("net.cidr_contains", "no network", set()),
        ("net.cidr_contains", "255.255.255.0/24", {"255.255.255.255"}),
        ("count", "x", set()),
        ("startswith", "x" * 300, set()),
    ],
)
def test_samples(function, text, expected):
    found = set(of_call(function, text))
    assert expected <= found
    assert bool(found) == bool(expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, [False]),
        (None, [False]),
        (5, [6, 4, 0, -5]),
        ([1, 2], [[2], [1], []]),
        ({"a": 1}, [{}]),
    ],
)
def test_what_is_near(value, expected):
    assert list(near(value)) == expected


def test_near_a_path():
    assert {"/orders", "/x/42", "/ORDERS/42", "/orders/42/x"} <= set(near("/orders/42"))


PUT = [
    ({}, ("a", "b"), 1, {"a": {"b": 1}}),
    ({"a": 1}, ("a", "b"), 2, {"a": {"b": 2}}),
    ({"a": {"b": 1, "c": 2}}, ("a", "b"), MISSING, {"a": {"c": 2}}),
    ({"a": 1}, ("x", "y"), MISSING, {"a": 1}),
    ({"a": [1, 2]}, ("a", 1), 3, {"a": [1, 3]}),
    ({"a": [1, 2]}, ("a", 0), MISSING, {"a": [2]}),
    ({"a": [1]}, ("a", 5), MISSING, {"a": [1]}),
    ({}, ("a", 0, "b"), 1, {"a": [{"b": 1}]}),
    ({}, ("a", 2), 1, {"a": ["", "", 1]}),
    ({"a": 1}, (), MISSING, {}),
    ({"a": 1}, (), {"b": 2}, {"b": 2}),
]


@pytest.mark.parametrize(("document", "place", "value", "expected"), PUT)
def test_put_at(document, place, value, expected):
    before = dumps(document)
    assert put_at(document, place, value) == expected
    assert dumps(document) == before


@given(JSON, st.data())
def test_what_is_put_is_there(document, data):
    found = list(places(document))
    place = data.draw(st.sampled_from([(), *found]))
    assert value_at(put_at(document, place, "put"), place) == "put"


@pytest.mark.parametrize(
    ("path", "new", "expected"),
    [
        (("a",), False, [("a",)]),
        (("list", EACH, "k"), False, [("list", 0, "k"), ("list", 1, "k")]),
        (("list", EACH), True, [("list", 0), ("list", 1), ("list", 2)]),
        (("object", EACH), True, [("object", "x")]),
        (("none", EACH), True, [("none", 0)]),
        (("none", EACH), False, []),
    ],
)
def test_concrete(path, new, expected):
    document = {"list": [{"k": 1}, {}], "object": {"x": 1}}
    assert list(concrete(document, path, new=new)) == expected


def test_documents_of_nothing():
    """A policy that reads nothing has hints for nothing."""
    generator = Generator(Hints(), [], Random(0))
    generator.keep({"a": 1}, 5.0)
    assert all(type(generator.next().document) is dict for _ in range(100))


def test_documents_stay_small():
    """Where a part of the input must be equal to the whole, or goes into itself without end."""
    policy = version("allow if {\n\tinput.a == input\n\twalk(input.b, [_, v])\n\tv == input.a\n}")
    generator = Generator(policy.hints, policy.footprint(RULE).paths, Random(0))
    for number in range(2000):
        made = generator.next()
        assert is_small(made.document, MOST_PLACES + 10 * MOST_COPIED, 2 * DEEPEST)
        if number % 5 == 0:
            generator.keep(made.document, made.now)


def test_documents_have_what_is_compared():
    policy = version('allow if {\n\tinput.a == "x"\n\tinput.b.c > 3\n}')
    generator = Generator(policy.hints, policy.footprint(RULE).paths, Random(0))
    made = [generator.next() for _ in range(40)]
    assert any(value_at(each.document, ("a",)) == "x" for each in made)
    assert any(value_at(each.document, ("b", "c")) == 3 for each in made)


class TestShrink:
    @pytest.mark.parametrize(
        ("document", "still", "expected"),
        [
            ({"a": 1, "b": [1, 2]}, lambda _: True, {}),
            ({"a": 1, "b": 2}, lambda d: "b" in d, {"b": 0}),
            (
                {"roles": ["x", "admin", "y", "z"]},
                lambda d: "admin" in d.get("roles", ()),
                {"roles": ["admin"]},
            ),
            (
                {"path": "/a/orders/b/42"},
                lambda d: "/orders" in str(d.get("path")),
                {"path": "/orders"},
            ),
            (
                {"one": "longer", "two": "longer"},
                lambda d: d.get("one", 1) == d.get("two", 2) != "",
                {"one": "a", "two": "a"},
            ),
        ],
    )
    def test_what_matters_stays(self, document, still, expected):
        assert shrink(document, still) == expected

    @given(JSON, JSON)
    @settings(max_examples=60)
    def test_it_gets_smaller_and_stays_true(self, document, other):
        def still(found):
            return bool(found) == bool(other)

        start = {"d": document, "o": other} if other else {}
        found = shrink(start, still)
        assert still(found)
        assert len(dumps(found)) <= len(dumps(start))

    def test_it_ends(self):
        calls = []
        shrink({"a": list(range(50))}, lambda d: calls.append(d) or False, tries=20)
        assert len(calls) == 20


def test_a_version_says_why_it_cannot_decide():
    policy = version("allow if 1 / input.a == 1")
    assert isinstance(policy, Version)
    said, _ = policy.decide(RULE, {"a": 0}, 0.0)
    assert said.verdict == "error"
    assert "divide by zero" in said.error


def test_samples_of_repeated_repetitions_are_short():
    pattern = "a"
    for _ in range(30):
        pattern = f"({pattern}{{9}})"
    assert 0 < max(map(len, of_call("regex.match", pattern))) <= MOST_FITTING + 1
    assert max(map(len, of_call("regex.match", "(a{20}|b){20}" * 15))) <= MOST_FITTING + 1


def test_long_texts_are_not_changed_on():
    long = "/" * (MOST_TEXT + 1)
    assert list(near(long)) == [""]
    for document in (long, {"a": long}, {long: 1}, ["x" * 1000] * 21):
        assert not is_small(document)
    assert is_small({"a": "x" * 1000, "b": {"c": ["x" * 1000]}})
