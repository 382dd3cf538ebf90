"""Canonicalising: twice changes nothing, and no path has a second reading."""

from urllib.parse import unquote_to_bytes

from hypothesis import example, given, strategies as st

from gateway.errors import Code, RouteError
from gateway.route.host import canonical_host
from gateway.route.path import canonical_path
from gateway.route.query import parse_query

PIECES = [
    b"/", b"//", b".", b"..", b"%2e", b"%2E", b"%2f", b"%5c", b"%25", b"%252e", b"%32", b"%65",
    b"2e", b"2F", b"%", b"%00", b";", b"\\", b"a", b"%61", b"%C3%A9", b"%ff", b"%c0%ae", b"\xff",
    b" ", b"~", b"@", b"%40", b"*", b"?", b"#",
]  # fmt: skip
PATHS = st.one_of(
    st.binary(max_size=40),
    st.lists(st.sampled_from(PIECES), max_size=10).map(b"".join),
    st.lists(st.sampled_from(PIECES), max_size=10).map(lambda pieces: b"/" + b"".join(pieces)),
)


@given(raw=PATHS, slashes=st.booleans())
@example(raw=b"/%25%32%65", slashes=False)
def test_canonicalising_twice_changes_nothing(raw, slashes):
    try:
        path = canonical_path(raw, encoded_slashes=slashes)
    except RouteError as error:
        assert error.code is Code.BAD_PATH
        return
    assert canonical_path(path.text.encode(), encoded_slashes=slashes) == path
    # Decoding all of it, as an upstream might, gives what came; no more segments, no dot ones.
    assert unquote_to_bytes(path.text) == unquote_to_bytes(raw)
    assert path.text.isascii()
    assert path.text.count("/") == max(len(path.segments), 1)


@given(raw=PATHS, slashes=st.booleans())
def test_however_often_it_is_decoded_no_dot_segment_or_control_appears(raw, slashes):
    try:
        text = canonical_path(raw, encoded_slashes=slashes).text.encode()
    except RouteError:
        return
    while True:
        pieces = text.replace(b"\\", b"/").split(b"/")
        assert not {b".", b".."} & set(pieces)
        assert not set(text) & set(range(32))
        assert slashes or b"" not in pieces[1:-1]
        decoded = unquote_to_bytes(text)
        if decoded == text:
            return
        text = decoded


@given(st.binary(max_size=60))
def test_hosts_only_raise_their_own_error(authority):
    try:
        host = canonical_host(authority)
    except RouteError as error:
        assert error.code is Code.BAD_HOST
        return
    assert canonical_host(host.encode()) == host
    assert host == host.lower()


@given(st.binary(max_size=60))
def test_queries_only_raise_their_own_error(raw):
    try:
        pairs = parse_query(raw)
    except RouteError as error:
        assert error.code is Code.BAD_QUERY
        return
    "".join(pairs).encode()
    assert sum(map(len, pairs.values())) <= raw.count(b"&") + 1
