import pytest

from gateway.errors import Code, RouteError
from gateway.route.query import parse_query


@pytest.mark.parametrize(
    ("raw", "pairs"),
    [
        (b"", {}),
        (b"a=1", {"a": ["1"]}),
        (b"a=1&b=2&a=3", {"a": ["1", "3"], "b": ["2"]}),
        (b"&&a&b=&=c", {"a": [""], "b": [""], "": ["c"]}),
        (b"a=1;b=2", {"a": ["1;b=2"]}),
        (b"a=b=c", {"a": ["b=c"]}),
        (b"a+b=c+%2B", {"a b": ["c +"]}),
        (b"caf%C3%A9=%00", {"café": ["\0"]}),
        (b"a%26b=%3d", {"a&b": ["="]}),
        (b"a[]=1&q={x|y}", {"a[]": ["1"], "q": ["{x|y}"]}),
    ],
)
def test_pairs(raw, pairs):
    assert parse_query(raw) == pairs


@pytest.mark.parametrize(
    "raw",
    [b"a=%", b"a=%2", b"%zz=1", b"a=%ff", b"%c0%ae", b"a=%ed%a0%80", b"a b", b"a\x00", b"a\r\nb",
     b"\xc3\xa9", b"a#b", b"a\x7f"],
)  # fmt: skip
def test_refused(raw):
    with pytest.raises(RouteError) as refusal:
        parse_query(raw)
    assert refusal.value.code is Code.BAD_QUERY
