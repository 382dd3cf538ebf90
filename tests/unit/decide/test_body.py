import pytest

from gateway.decide.body import read_body
from gateway.errors import Code, DecisionError
from gateway.model import Facts, Missing
from tests.support.stages import head, match, route

JSON = ("content-type", "application/json")
FORM = ("content-type", "application/x-www-form-urlencoded")
ROUTE = route(body={"max": 20})


def read(lines, body, *, route_=ROUTE, depth=8, **changes):
    asked = head("/", *lines, method="POST", **changes)
    return read_body(asked, asked.fields, Facts(body=body), match(route_), depth=depth)


def sized(body):
    return ("content-length", str(len(body)))


@pytest.mark.parametrize(
    ("kind", "body", "value"),
    [
        ("application/json", b'{"a":[1,null]}', {"a": [1, None]}),
        ("Application/JSON; charset=UTF-8", b"1", 1),
        ('application/json; charset="utf-8"', b'"x"', "x"),
        ("application/merge-patch+json", b"{}", {}),
        ("text/json", b"[]", []),
        ("application/x-www-form-urlencoded", b"a=1&a=+2&b=%41", {"a": ["1", " 2"], "b": ["A"]}),
        ("application/json", b"", None),
        ("image/png", b"", None),
    ],
)
def test_values(kind, body, value):
    found = read([("content-type", kind), sized(body)], body)
    assert (found.size, found.raw, found.value) == (len(body), body, value)


@pytest.mark.parametrize(
    ("lines", "body", "code"),
    [
        ([JSON], b"x" * 21, Code.BODY_TOO_LARGE),
        ([JSON, ("content-length", "21")], None, Code.BODY_TOO_LARGE),
        ([JSON], b'{"a":1,"a":2}', Code.BODY_MALFORMED),
        ([JSON], b"{", Code.BODY_MALFORMED),
        ([JSON], b"NaN", Code.BODY_MALFORMED),
        ([JSON], b'"\xff"', Code.BODY_MALFORMED),
        ([JSON], b"[" * 10 + b"]" * 10, Code.BODY_MALFORMED),
        ([FORM], b"a=%zz", Code.BODY_MALFORMED),
        ([FORM], b"a=%ff", Code.BODY_MALFORMED),
        ([FORM], b"\xff", Code.BODY_MALFORMED),
        ([JSON, FORM], b"{}", Code.BODY_MALFORMED),
        ([JSON, ("content-encoding", "gzip")], b"{}", Code.BODY_UNSUPPORTED),
        ([JSON, ("content-encoding", "identity, br")], b"{}", Code.BODY_UNSUPPORTED),
        ([("content-type", "text/plain")], b"{}", Code.BODY_UNSUPPORTED),
        ([("content-type", "multipart/form-data; boundary=x")], b"{}", Code.BODY_UNSUPPORTED),
        ([("content-type", "application/json; charset=utf-16")], b"{}", Code.BODY_UNSUPPORTED),
        ([("content-type", "application/jsonp")], b"{}", Code.BODY_UNSUPPORTED),
        ([("content-type", "x application/json")], b"{}", Code.BODY_UNSUPPORTED),
        ([], b"{}", Code.BODY_UNSUPPORTED),
        ([JSON, ("content-length", "2"), ("content-length", "2")], b"{}", Code.BAD_FRAMING),
        ([JSON, ("content-length", "+2")], b"{}", Code.BAD_FRAMING),
        (
            [JSON, ("content-length", "2"), ("transfer-encoding", "chunked")],
            b"{}",
            Code.BAD_FRAMING,
        ),
    ],
)
def test_refused(lines, body, code):
    if code not in (Code.BAD_FRAMING,) and not any(name == "content-length" for name, _ in lines):
        lines = [*lines, ("transfer-encoding", "chunked")]
    with pytest.raises(DecisionError) as refusal:
        read(lines, body)
    assert refusal.value.code is code


@pytest.mark.parametrize(
    ("lines", "changes"),
    [
        ([JSON, ("content-length", "2")], {}),
        ([JSON, ("transfer-encoding", "chunked")], {}),
        ([JSON], {"http_version": "2"}),
    ],
)
def test_the_body_is_asked_for(lines, changes):
    with pytest.raises(Missing) as missing:
        read(lines, None, **changes)
    assert (missing.value.need.kind, missing.value.need.max_bytes) == ("body", 20)


@pytest.mark.parametrize(
    ("lines", "changes", "size"),
    [
        ([], {}, 0),
        ([("content-length", "0")], {}, 0),
        ([("content-length", "7")], {"route_": route()}, 7),
        ([("transfer-encoding", "chunked")], {"route_": route()}, None),
        ([], {"route_": route(), "http_version": "2"}, None),
        ([], {"websocket": True}, 0),
    ],
)
def test_no_body_is_asked_for(lines, changes, size):
    found = read(lines, None, **changes)
    assert (found.size, found.value) == (size, None)


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        ([], "Content-Type missing"),
        ([("content-type", "text/plain; a=b")], "Content-Type text/plain; a=b"),
    ],
)
def test_what_is_unsupported_is_told_without_python(headers, detail):
    with pytest.raises(DecisionError) as caught:
        read([*headers, ("transfer-encoding", "chunked")], b"{}")
    assert caught.value.detail == detail
