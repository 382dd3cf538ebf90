import pytest
from hypothesis import given, strategies as st

from gateway.jose import base64url


@given(st.binary())
def test_round_trip(raw):
    assert base64url.decode(base64url.encode(raw)) == raw


@pytest.mark.parametrize(
    "text",
    [b"A", b"AAAAA", b"AA==", b"AAA=", b"=", b"AB", b"AAB", b"+_8A", b"/_8A", b"+/8A", b" AAAA", b"AAAA\n",
     b"AA AA", b"AA.A", b"AA\x00A", b"AAA\xc3\xa9", b"A-A?", b"\xff"],
)  # fmt: skip
def test_other_spellings_are_refused(text):
    with pytest.raises(ValueError):
        base64url.decode(text)


@given(st.binary(max_size=12))
def test_one_spelling_only(text):
    try:
        raw = base64url.decode(text)
    except ValueError:
        return
    assert base64url.encode(raw) == text
