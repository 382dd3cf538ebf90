import pytest

from gateway.errors import Code, RouteError
from gateway.route.pieces import OF_PROXIES, check_pieces, check_proxies_pieces
from gateway.route.source import SourceReader
from tests.support.stages import config, head

PIECES = {
    "cookie": ("; ", 500),
    "referer": ("&", 500),
    "location": ("#", 500),
    "x-original-url": ("?", 500),
    "x-rewrite-url": (";", 500),
    "x-forwarded-uri": ("&", 500),
    "x-envoy-original-path": ("&", 500),
    "x-forwarded-url": ("&", 500),
    "x-forwarded-for": (", ", 100),
    "x-forwarded-host": (",", 100),
    "x-forwarded-proto": (", ", 100),
    "forwarded": (";", 100),
}


@pytest.mark.parametrize("name", PIECES)
def test_a_piece_too_many(name):
    separator, most = PIECES[name]
    check = check_proxies_pieces if name.encode() in OF_PROXIES else check_pieces
    whole = separator.join(["a=b"] * most)
    check(head("/", (name, whole)))
    for lines in ([(name, whole), (name, "a")], [(name, whole + separator)]):
        with pytest.raises(RouteError) as raised:
            check(head("/", *lines))
        assert raised.value.code is Code.HEAD_TOO_LARGE
        assert raised.value.detail == f"{name} has {most + 1} pieces"


@pytest.mark.parametrize("name", [name.decode() for name in OF_PROXIES])
def test_only_a_trusted_proxys_word_is_taken_apart(name):
    reader = SourceReader.build(config(trusted_proxies=["192.0.2.1/32"]))
    line = (name, PIECES[name][0].join(["192.0.2.7"] * 101))
    assert reader.read(head("/", line, peer="203.0.113.9")).address == "203.0.113.9"
    with pytest.raises(RouteError) as raised:
        reader.read(head("/", line, peer="192.0.2.1"))
    assert raised.value.code is Code.HEAD_TOO_LARGE


def test_other_headers_have_no_pieces():
    check_pieces(head("/", ("x-notes", "&" * 2000)))
