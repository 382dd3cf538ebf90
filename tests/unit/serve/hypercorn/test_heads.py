from __future__ import annotations

import h11
import pytest
from hypothesis import example, given, strategies as st

from gateway.config.model import Limits
from gateway.errors import Code
from gateway.serve.hypercorn.heads import Unacceptable, http2_head
from gateway.serve.hypercorn.http1 import StrictConnection

LIMITS = Limits()
REQUEST = (
    b"POST /a?b HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Length: 3\r\nUpgrade: websocket\r\nConnection: upgrade\r\nA: \xe4\r\n\r\nabc"
)


def connection() -> StrictConnection:
    return StrictConnection(LIMITS, LIMITS.url + LIMITS.head + 64, prior_knowledge=False)


def read(data: bytes, *, cut: int = 0) -> tuple[object, object]:
    """The first event for the data, or the code of the refusal; and the head."""
    strict = connection()
    for chunk in (data[:cut], data[cut:]):
        if not chunk:
            continue
        strict.receive_data(chunk)
        try:
            event = strict.next_event()
        except h11.RemoteProtocolError:
            assert isinstance(strict.refusal, Code)
            return strict.refusal, None
        if event is not h11.NEED_DATA:
            return type(event), strict.head
    return h11.NEED_DATA, None


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A request with a few bytes replaced, removed, or put in."""
    data = bytearray(REQUEST)
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(data)))
        end = start + draw(st.integers(0, 12))
        odd = st.sampled_from([b"\r", b"\n", b"\r\n", b" ", b"\t", b"\0", b":", b",", b"chunked"])
        data[start:end] = draw(odd | st.binary(max_size=4))
    return bytes(data)


@given(data=mutated(), cut=st.integers(0, 200))
@example(data=b"\r\n" + REQUEST, cut=1)
@example(data=b"\n" + REQUEST, cut=1)
@example(data=b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", cut=0)
@example(data=b"\r\rPOST /a?\rHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", cut=1)
def test_bytes_are_refused_or_accepted_however_they_arrive(data: bytes, cut: int) -> None:
    whole, pieces = read(data), read(data, cut=cut)
    # h11 refuses some heads before they are whole, for what it has seen by then.
    refused = isinstance(whole[0], Code) and isinstance(pieces[0], Code)
    assert refused or pieces == whole


@given(data=mutated())
def test_accepted_heads_have_one_reading(data: bytes) -> None:
    event, head = read(data)
    if event is not h11.Request:
        return
    raw = data[: data.index(b"\r\n\r\n")]
    lines = raw.split(b"\r\n")
    assert b"\n" not in b"".join(lines)
    assert b"\r" not in b"".join(lines)
    assert [name for name, _ in head.headers] == [
        line.partition(b":")[0].lower() for line in lines[1:]
    ]
    names = [name for name, _ in head.headers]
    assert not {b"content-length", b"transfer-encoding"} <= set(names)
    assert head.target.startswith(b"/")


LINE = st.tuples(
    st.sampled_from([b":method", b":path", b":authority", b":scheme", b"host", b"a", b"te"])
    | st.binary(max_size=6),
    st.sampled_from([b"GET", b"/", b"api.example", b"trailers"]) | st.binary(max_size=8),
)
WELL_FORMED = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]


@given(lines=st.lists(LINE, max_size=6), well_formed=st.booleans())
def test_http2_heads_are_refused_or_clean(
    lines: list[tuple[bytes, bytes]], well_formed: bool
) -> None:
    try:
        head = http2_head([*(WELL_FORMED if well_formed else ()), *lines], LIMITS)
    except Unacceptable as unacceptable:
        assert unacceptable.code.status in {400, 414, 431}
        return
    assert head.target.isascii() and head.target.startswith(b"/")
    assert head.method.isascii() and head.method.isupper()
    assert [name for name, _ in head.headers].count(b"host") == 1
    for name, value in head.headers:
        assert name == name.lower() and b":" not in name and b" " not in name
        assert not set(value) & {0, 10, 13}


@pytest.mark.parametrize(
    ("size", "code"), [(LIMITS.head - 100, None), (LIMITS.head, Code.HEAD_TOO_LARGE)]
)
def test_head_limit_in_both_versions(size: int, code: Code | None) -> None:
    request = b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"b" * size + b"\r\n\r\n"
    assert read(request)[0] == (code or h11.Request)
    try:
        http2_head([*WELL_FORMED, (b"a", b"b" * size)], LIMITS)
        refused = None
    except Unacceptable as unacceptable:
        refused = unacceptable.code
    assert refused == code
