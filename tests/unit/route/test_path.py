import pytest

from gateway.errors import Code, RouteError
from gateway.route.path import canonical_path


@pytest.mark.parametrize(
    ("raw", "text", "segments"),
    [
        (b"/", "/", ()),
        (b"/orders", "/orders", ("orders",)),
        (b"/orders/", "/orders/", ("orders", "")),
        (b"/orders/42", "/orders/42", ("orders", "42")),
        (b"/a.b/..c/d../...", "/a.b/..c/d../...", ("a.b", "..c", "d..", "...")),
        (b"/!$&'()*+,=:@-_~", "/!$&'()*+,=:@-_~", ("!$&'()*+,=:@-_~",)),
        (b"/%61%2Db%7e", "/a-b~", ("a-b~",)),
        (b"/a%2eb", "/a.b", ("a.b",)),
        (b"/caf%c3%a9", "/caf%C3%A9", ("café",)),
        (b"/a%20b%40", "/a%20b%40", ("a b@",)),
        (b"/100%25", "/100%25", ("100%",)),
        (b"/100%25of", "/100%25of", ("100%of",)),
        (b"/%3Fq%23", "/%3Fq%23", ("?q#",)),
    ],
)
def test_canonical(raw, text, segments):
    path = canonical_path(raw)
    assert (path.text, path.segments) == (text, segments)


REFUSED = [
    b"", b"*", b"orders", b"http://x/", b"//", b"//evil/x", b"/a//b", b"/a//", b"/a/%2e",
    b"/.", b"/..", b"/./a", b"/../a", b"/a/.", b"/a/..", b"/a/../b", b"/%2e%2E/admin", b"/.%2e",
    b"/%2e./x", b"/a/%2e%2e%2fb", b"/a%5cb", b"/a%5Cb", b"/a\\b", b"/..\\x",
    b"/%00", b"/a%00.png", b"/%01", b"/%0d%0a", b"/%7f", b"/a\x00", b"/a b", b"/a\tb", b"/a\rb",
    b"/\xc3\xa9", b"/\xff", b"/a;b=c", b"/a%3bb", b"/a%3Bb", b"/;/admin", b"/a?b", b"/a#b",
    b'/"', b"/<x>", b"/^", b"/`", b"/{x}", b"/a|b", b"/[1]",
    b"/%", b"/%2", b"/%zz", b"/%u002e", b"/a%c0%af", b"/%c0%ae%c0%ae", b"/%ff", b"/%ed%a0%80",
    b"/%252e%252e/x", b"/%252f", b"/%255c", b"/%2500", b"/%253b", b"/%250a", b"/%257F",
    b"/%25252e", b"/%2525252F", b"/%252%65", b"/%25%32%65", b"/%25%32f", b"/%25%35C", b"/%25%35%63",
]  # fmt: skip


ENCODED_SLASHES = [b"/a%2fb", b"/a%2Fb"]


@pytest.mark.parametrize(
    ("raw", "encoded_slashes"),
    [(raw, False) for raw in REFUSED + ENCODED_SLASHES] + [(raw, True) for raw in REFUSED],
)
def test_refused(raw, encoded_slashes):
    with pytest.raises(RouteError) as refusal:
        canonical_path(raw, encoded_slashes=encoded_slashes)
    assert refusal.value.code is Code.BAD_PATH


@pytest.mark.parametrize("byte", [*range(0x21), *range(0x7F, 0x100)])
def test_no_byte_that_is_not_visible_ascii(byte):
    with pytest.raises(RouteError):
        canonical_path(b"/a" + bytes((byte,)))


def test_encoded_slash_is_data_of_its_segment():
    path = canonical_path(b"/repos/group%2fname/x", encoded_slashes=True)
    assert path.text == "/repos/group%2Fname/x"
    assert path.segments == ("repos", "group/name", "x")


@pytest.mark.parametrize(
    "raw", [b"/a%2f..", b"/..%2fa", b"/a%2F.%2Fb", b"/%2e%2e%2fa", b"/a%2f%2e"]
)
def test_no_dot_segment_behind_an_encoded_slash(raw):
    with pytest.raises(RouteError):
        canonical_path(raw, encoded_slashes=True)
