"""Values: key forms, equality, order, numbers and JSON."""

import copy
import itertools
import pickle
from decimal import Decimal

import pytest
from hypothesis import given, settings

from gateway.rego.values import (
    MAX_DEPTH,
    UNDEFINED,
    RegoSet,
    compare_key,
    dumps,
    equal,
    format_number,
    from_key_form,
    key_form,
    less,
    loads,
    make_set,
    normalize_number,
    number_from_text,
    sorted_items,
    sorted_members,
    sorted_values,
    to_json,
)
from tests.support.rego_values import values

SAME = [
    (1, 1.0),
    (1, Decimal(1)),
    (10**23, 1e23),
    ([1, {"a": 2.0}], [1.0, {"a": 2}]),
    (make_set([1, 2]), make_set([2.0, 1.0])),
    ({"a": make_set([True])}, {"a": make_set([True])}),
]
DIFFERENT = [
    (1, True),
    (0, False),
    (False, None),
    ("1", 1),
    ([], {}),
    ({}, RegoSet()),
    ([], RegoSet()),
    (make_set([1]), make_set([True])),
    ({"a": 1}, {"a": True}),
    ({"a": 1}, {"a": 1, "b": 2}),
    (0.1, Decimal("0.1000000000000000055511151231257827")),
    ([[1, 2]], [[2, 1]]),
]


@pytest.mark.parametrize(("left", "right"), SAME)
def test_same(left, right):
    assert equal(left, right)
    assert equal(right, left)
    assert key_form(left) == key_form(right)
    assert hash(key_form(left)) == hash(key_form(right))
    assert not less(left, right)


@pytest.mark.parametrize(("left", "right"), DIFFERENT)
def test_different(left, right):
    assert not equal(left, right)
    assert not equal(right, left)
    assert key_form(left) != key_form(right)
    assert less(left, right) != less(right, left)


IN_ORDER = [
    None,
    False,
    True,
    Decimal("-1E+999"),
    -1,
    Decimal("0.0999999999999999999999"),
    0.1,
    Decimal("0.1000000000000000000001"),
    1,
    9,
    10,
    10**400,
    "",
    "Z",
    "a",
    "a\uffff",
    "a\U0001f600",
    "b",
    [],
    [1],
    [1, 2],
    [2],
    {},
    {"a": 1},
    {"a": 1, "b": 1},
    {"a": 2},
    {"b": 0},
    RegoSet(),
    make_set([1]),
    make_set([1, 2]),
    make_set([2]),
]


def test_total_order():
    assert sorted_values(reversed(IN_ORDER)) == IN_ORDER
    for earlier, later in zip(IN_ORDER, IN_ORDER[1:], strict=False):
        assert less(earlier, later)
        assert not less(later, earlier)


@settings(max_examples=150)
@given(values, values)
def test_forms_order_and_equality_agree(left, right):
    assert equal(left, right) == (key_form(left) == key_form(right))
    assert equal(left, right) == (compare_key(left) == compare_key(right))
    assert less(left, right) + less(right, left) + equal(left, right) == 1


@settings(max_examples=150)
@given(values)
def test_a_key_form_turns_back(value):
    assert equal(from_key_form(key_form(value)), value)


@pytest.mark.parametrize(
    "numbers",
    [
        [sign * factor * (2**61 - 1) for factor in range(1, 500) for sign in (1, -1)],
        [Decimal(factor * (2**61 - 1)).scaleb(-3) for factor in range(1, 500) if factor % 10],
        [Decimal(f"{factor}e308") * (2**61 - 1) for factor in range(1, 500)],
        [factor * (2**61 - 1) + 7 for factor in range(1, 500)],
    ],
)
def test_numbers_that_python_hashes_alike_are_told_apart_at_once(numbers):
    made = make_set(numbers)
    assert len(made) == len(set(map(str, numbers)))
    assert len({hash(form) for form in made}) > len(made) - 5


def _colliding(count):
    """Sets of one size, of small numbers, whose frozensets Python hashes alike.

    It joins the hashes of members by XOR, so sets without effect can be found as the solutions
    of linear equations.
    """
    solved, without = {}, []
    for number in range(1, 200):
        left = ((number ^ 89869747) ^ (number << 16)) * 3644798167 % 2**64
        members = {number}
        while left and left.bit_length() in solved:
            other, others = solved[left.bit_length()]
            left ^= other
            members ^= others
        if left:
            solved[left.bit_length()] = left, members
        else:
            without.append(members)
    found = {}
    for three in itertools.combinations(without[:40], 3):
        members = frozenset(three[0] ^ three[1] ^ three[2])
        found.setdefault(len(members), []).append(members)
    return max(found.values(), key=len)[:count]


@pytest.mark.parametrize(
    "made", [make_set, lambda numbers: {number: 0 for number in numbers}], ids=["sets", "objects"]
)
def test_sets_that_python_hashes_alike_are_told_apart_at_once(made):
    colliding = _colliding(100)
    assert len({hash(members) for members in colliding}) == 1
    forms = [key_form(made(sorted(members))) for members in colliding]
    assert len({hash(form) for form in forms}) == len(colliding)


def test_forms_of_one_number_are_equal():
    for one, other in (
        (10**400, Decimal("1e400")),
        (12 * 10**309, Decimal("1.20e310")),
        (2.0**53, 2**53),
    ):
        assert key_form(one) == key_form(other)
    assert key_form(2**61 - 2) == 2**61 - 2
    assert from_key_form(key_form(2**61 - 1)) == 2**61 - 1


def test_undefined_is_one():
    assert copy.deepcopy(UNDEFINED) is UNDEFINED
    assert pickle.loads(pickle.dumps(UNDEFINED)) is UNDEFINED
    assert not UNDEFINED


def test_key_forms_of_booleans_survive_a_pipe():
    form = pickle.loads(pickle.dumps(key_form([True, False])))
    assert form == key_form([True, False])


def test_mixed_keys_iterate_in_order():
    mapping = {key_form(key): str(key) for key in ([1], "b", 2, "a", True, None)}
    assert [key for key, _ in sorted_items(mapping)] == [None, True, 2, "a", "b", [1]]
    assert sorted_members(make_set(["b", 1, "a", False])) == [False, 1, "a", "b"]


NUMBERS = [
    ("1", 1, "1"),
    ("-0", 0, "0"),
    ("1.0", 1, "1"),
    ("1e3", 1000, "1000"),
    ("0.1", 0.1, "0.1"),
    ("1e-7", 1e-7, "1e-07"),
    ("1e23", 10**23, "1" + "0" * 23),
    ("123456789012345678901234567890", 123456789012345678901234567890, None),
    ("0.1000000000000000000001", Decimal("0.1000000000000000000001"), None),
    ("2e308", Decimal("2E+308"), "2e308"),
    ("1e999999", Decimal("1E+999999"), "1e999999"),
    ("1e-999999", Decimal("1E-999999"), "1e-999999"),
    ("0e999999999", 0, "0"),
]


@pytest.mark.parametrize(("text", "number", "written"), NUMBERS)
def test_number(text, number, written):
    read = number_from_text(text)
    assert read == number
    assert read.__class__ is number.__class__
    assert format_number(read) == (written if written is not None else text)


@pytest.mark.parametrize(
    "text",
    ["", "+1", "01x", "1_000", " 1", "1 ", "٣", ".5", "5.", "1e", "0x10", "NaN", "Infinity",
     "1" * 4001, "1e99999999999999999999"],
)  # fmt: skip
def test_not_a_number(text):
    with pytest.raises(ValueError):
        number_from_text(text)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_no_infinities(text):
    with pytest.raises(ValueError):
        normalize_number(Decimal(text))


def test_a_number_past_pythons_digit_limit_is_written():
    assert format_number(10**5000) == "1" + "0" * 5000 or format_number(10**5000) == "1e5000"


def test_to_json():
    value = {
        key_form([1, "x"]): make_set([3, 1, 2]),
        key_form(True): 1,
        "plain": [make_set([]), None],
    }
    assert to_json(value) == {'[1,"x"]': [1, 2, 3], "true": 1, "plain": [[], None]}
    assert dumps(value) == '{"[1,\\"x\\"]":[1,2,3],"plain":[[],null],"true":1}'


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, 2.50, -0.0, 1e2], "b": null}', {"a": [1, 2.5, 0, 100], "b": None}),
        (' [true, "\\u00e9\\ud83d\\ude00"] ', [True, "é\U0001f600"]),
        ('"\\ud800x"', "\ufffdx"),
        ('{"a": 1, "a": 2}', {"a": 2}),
        ("[" * MAX_DEPTH + "]" * MAX_DEPTH, None),
        ('"' + "[" * 500 + '"', "[" * 500),
        ('["\\"[[", ' + "[],".join([""] * 200) + "1]", None),
    ],
)
def test_loads(text, value):
    read = loads(text)
    assert value is None or equal(read, value)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1,]", "{'a': 1}", "NaN", "[Infinity]", "\ufeff1", '"\n"', "01", "1 2", "nul",
     "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "9" * 5000, '{"a":' * 101 + "1" + "}" * 101],
)  # fmt: skip
def test_loads_refuses(text):
    with pytest.raises(ValueError):
        loads(text)


@settings(max_examples=150)
@given(values)
def test_json_goes_round(value):
    plain = to_json(value)
    text = dumps(plain)
    if "\ud800" not in text:
        assert equal(loads(text), plain) or len(text) > 4000
