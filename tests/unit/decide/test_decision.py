import time

import pytest

from gateway import wire
from gateway.decide.decision import (
    MAX_REASONS,
    MAX_RESULT_VALUES,
    check_size,
    outline,
    read_decision,
)
from gateway.errors import Code, DecisionError
from gateway.model import Reason
from gateway.rego.values import UNDEFINED, RegoSet, key_form, make_set

RESERVED = wire.RESERVED | {b"x-auth-subject"}


def read(value):
    return read_decision(value, RESERVED)


def _large():
    numbers = list(range(5_000))
    doubled = ["x"]
    for _ in range(60):
        doubled = [doubled, doubled]
    return {
        "shared": [[number, numbers] for number in numbers],
        "doubled": doubled,
        "a set": make_set([number, numbers] for number in range(100)),
        "text": [["x" * 1_000_000]] * 5,
        "keys": [{"x" * 1_000_000: 1}] * 5,
        "composite keys": [{key_form(["x" * 1_000_000]): 1}] * 5,
        "flat": [1] * (MAX_RESULT_VALUES + 1),
    }


@pytest.mark.parametrize("name", _large())
def test_a_large_result_is_refused_before_it_is_copied(name):
    start = time.process_time()
    with pytest.raises(DecisionError, match="the result has more than") as refusal:
        check_size({"allow": True, "body": _large()[name]})
    assert refusal.value.code is Code.DECISION_SHAPE
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    "value", [True, UNDEFINED, {"allow": True, "body": [1] * (MAX_RESULT_VALUES - 10)}, "x" * 100]
)
def test_a_result_that_fits(value):
    check_size(value)


@pytest.mark.parametrize(
    ("value", "allow", "code"),
    [
        (True, True, None),
        (False, False, Code.POLICY_DENIED),
        (UNDEFINED, False, Code.UNDEFINED),
        ({"allow": True}, True, None),
        ({"allow": False}, False, Code.POLICY_DENIED),
        ({"allow": False, "status": 404}, False, Code.POLICY_DENIED),
    ],
)
def test_verdicts(value, allow, code):
    found = read(value)
    assert (found.allow, found.code) == (allow, code)


def test_everything_at_once():
    found = read({
        "allow": False,
        "status": 451,
        "reasons": make_set(["b-code", {"code": "a-code", "message": "A."}]),
        "headers": {"X-One": "1", "x-two": ["2", "3"], "x-none": []},
        "remove_headers": ["X-Gone"],
        "response_headers": {"Set-Cookie": ["a=1", "b=2"]},
        "body": {"set": make_set([2, 1])},
    })  # fmt: skip
    assert found.status == 451
    assert found.reasons == (Reason(code="a-code", message="A."), Reason(code="b-code"))
    assert found.headers == (("x-one", "1"), ("x-two", "2"), ("x-two", "3"))
    assert found.remove_headers == ("x-gone", "x-none")
    assert found.response_headers == (("set-cookie", "a=1"), ("set-cookie", "b=2"))
    assert (found.body, found.has_body) == ({"set": [1, 2]}, True)
    assert found.result["reasons"] == ["b-code", {"code": "a-code", "message": "A."}]


def test_null_is_a_body():
    assert read({"allow": False, "body": None}).has_body
    assert not read({"allow": False}).has_body


SHAPES = [
    None, 1, 0, "true", "", [], [True], {}, RegoSet(), make_set([True]), 1.0,
    {"allow": 1}, {"allow": "true"}, {"allow": None}, {"allow": [True]}, {"allow": {}},
    {"Allow": True}, {"allow": True, "extra": 1}, {"allow": True, 1: 2},
    {"allow": True, "rate_limit": {"key": "k", "limit": 1}}, {"allowed": True},
    *({"allow": False, "status": status}
      for status in (200, 399, 500, 403.0, "403", True, None, -404)),
    *({"allow": True, "reasons": reasons}
      for reasons in ("x", {"a": 1}, [1], [None], [""], [{}], [{"message": "m"}], [["x"]],
                      [{"code": "a", "other": 1}], [{"code": 1}], [{"code": "a", "message": 1}],
                      ["a b"], ["a\nb"], ["x"] * (MAX_REASONS + 1))),
    *({"allow": True, key: headers}
      for key in ("headers", "response_headers")
      for headers in ([], "x", None, {"x": 1}, {"x": None}, {"x": [1]}, {"x": {"a": "b"}},
                      {"x": make_set(["a"])}, {"": "a"}, {"a b": "c"}, {"a:": "b"}, {"a\r\n": "b"},
                      {"café": "x"}, {1: "x"},
                      {"x": "a\r\nb"}, {"x": "a\nb"}, {"x": "a\0b"}, {"x": " a"}, {"x": "a "},
                      {"x": "\t"}, {"x": "café"}, {"x": "\x7f"}, {"x": ["ok", "a\rb"]},
                      {"X": "1", "x": "2"}, {"x-a": "1", "x_a": "2"})),
    *({"allow": True, key: {name: "v"}}
      for key in ("headers", "response_headers")
      for name in ("Host", "content-length", "Transfer-Encoding", "connection", "TE", "upgrade",
                   "trailer", "keep-alive", "expect", "proxy-authorization", "x-auth-subject",
                   "X_Auth_Subject", "x.auth.subject", "x-forwarded-for", "X_Forwarded_Proto",
                   "x-request-id", "x-decision-id", "sec-websocket-key", "http2-settings")),
    *({"allow": True, "remove_headers": names}
      for names in ("x", {"x": 1}, [1], ["a b"], ["host"], ["X-Auth-Subject"], ["x_auth_subject"],
                    ["content-length"], [["x"]])),
]  # fmt: skip


@pytest.mark.parametrize("value", SHAPES, ids=repr)
def test_whatever_is_not_exactly_right_refuses(value):
    with pytest.raises(DecisionError) as refusal:
        read(value)
    assert refusal.value.code is Code.DECISION_SHAPE


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (1, "number"),
        ("secret", "string"),
        ([True], "array of 1"),
        (make_set(["secret", 2]), "set of 2"),
        ({}, "object of 0"),
        ({"allow": True, "body": "secret"}, '{"allow": true, "body": string}'),
        ({key_form([1]): None, key_form(True): {}}, "{[1]: null, true: object of 0}"),
        ({"k" * 100: 1}, '{"' + "k" * 39 + ": number}"),
        (dict.fromkeys("abcdefghijklmnop", 1), "{" + ", ".join(f'"{k}": number' for k in "abcdefghijkl") + ", …}"),
    ],
)  # fmt: skip
def test_an_outline_has_types_and_keys_and_no_text(value, shown):
    assert outline(value) == f"the result is {shown}"


def test_an_unknown_key_is_told_with_the_one_that_was_meant():
    with pytest.raises(DecisionError, match=r'unknown key "header" .did you mean .headers'):
        read({"allow": True, "header": {}})
    with pytest.raises(DecisionError, match="unknown key 1$"):
        read({"allow": True, 1: 2})
