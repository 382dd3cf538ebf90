import pytest
from hypothesis import given, settings, strategies as st

from gateway.errors import Code, ForwardError
from gateway.serve.upstream.message import MAX_LINES, ResponseReader, framing, request_head

H = b"HTTP/1.1 200 OK\r\n"
EMPTY = b"content-length: 0\r\n\r\n"
CHUNKED = H + b"Transfer-Encoding: chunked\r\n\r\n"
HOST = (b"host", b"a.example")


def read(data: bytes, *, method: str = "GET", cuts: tuple[int, ...] = (), max_head: int = 65536):
    reader = ResponseReader(method, max_head)
    edges = [0, *cuts, len(data)]
    for start, end in zip(edges, edges[1:], strict=False):
        if end > start:
            reader.feed(data[start:end])
    return reader


def outcome(reader: ResponseReader):
    return (
        reader.status, reader.headers, reader.http_version, reader.take(),
        reader.head_done, reader.complete, reader.keep_alive,
    )  # fmt: skip


# method, bytes, status, body, complete, keep_alive
GOOD = {
    "length": ("GET", H + b"Content-Length: 3\r\n\r\nabc", 200, b"abc", True, True),
    "length, spaces": ("GET", H + b"Content-Length:  3 \t\r\n\r\nabc", 200, b"abc", True, True),
    "no content": ("GET", H + EMPTY, 200, b"", True, True),
    "no reason": ("GET", b"HTTP/1.1 200\r\n" + EMPTY, 200, b"", True, True),
    "chunked": ("GET", CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 200, b"abcde", True, True),
    "chunked, capitals": (
        "GET", H + b"transfer-encoding: CHUNKED\r\n\r\n1\r\na\r\n0\r\n\r\n", 200, b"a", True, True,
    ),
    "chunk extension": ("GET", CHUNKED + b"3;a=b\r\nabc\r\n0;c\r\n\r\n", 200, b"abc", True, True),
    "trailers": ("GET", CHUNKED + b"1\r\na\r\n0\r\nx-sum: 1\r\n\r\n", 200, b"a", True, True),
    "until close": ("GET", H + b"\r\nabc", 200, b"abc", False, True),
    "204": ("GET", b"HTTP/1.1 204 None\r\n\r\n", 204, b"", True, True),
    "204, length 0": ("GET", b"HTTP/1.1 204 None\r\n" + EMPTY, 204, b"", True, True),
    "304 with length": ("GET", b"HTTP/1.1 304 X\r\nContent-Length: 9\r\n\r\n", 304, b"", True, True),
    "HEAD with length": ("HEAD", H + b"Content-Length: 9\r\n\r\n", 200, b"", True, True),
    "HEAD, chunked": ("HEAD", CHUNKED, 200, b"", True, True),
    "HEAD, neither": ("HEAD", H + b"\r\n", 200, b"", True, True),
    "interim": (
        "GET",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: x\r\n\r\n" + H + EMPTY,
        200, b"", True, True,
    ),
    "interim with length 0": ("GET", b"HTTP/1.1 102 P\r\n" + EMPTY + H + b"\r\na", 200, b"a", False, True),
    "HEAD after interim": ("HEAD", b"HTTP/1.1 100 C\r\n\r\n" + H + b"Content-Length: 9\r\n\r\n", 200, b"", True, True),
    "close": ("GET", H + b"Connection: x , Close\r\n" + EMPTY, 200, b"", True, False),
    "close among lines": (
        "GET", H + b"Connection: close\r\nConnection: keep-alive\r\n" + EMPTY, 200, b"", True, False,
    ),
    "HTTP/1.0": ("GET", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + EMPTY, 200, b"", True, False),
    "upgrade offered": ("GET", H + b"Connection: upgrade\r\nUpgrade: h2c\r\n" + EMPTY, 200, b"", True, True),
    "599": ("GET", b"HTTP/1.1 599 X\r\n" + EMPTY, 599, b"", True, True),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_response_reads_the_same_however_it_is_split(name):
    method, data, status, body, complete, keep_alive = GOOD[name]
    whole = outcome(read(data, method=method))
    assert (whole[0], whole[3], whole[5], whole[6]) == (status, body, complete, keep_alive)
    assert outcome(read(data, method=method, cuts=tuple(range(1, len(data))))) == whole
    for cut in range(1, len(data)):
        assert outcome(read(data, method=method, cuts=(cut,))) == whole


BAD = {
    "obs-fold": H + b"a: b\r\n c\r\n" + EMPTY,
    "fold before the first": H + b" a: b\r\n" + EMPTY,
    "bare LF after a header": H + b"a: b\n" + EMPTY,
    "bare LF after the status": b"HTTP/1.1 200 OK\ncontent-length: 0\r\n\r\n",
    "bare CR in a header": H + b"a: b\rc\r\n" + EMPTY,
    "NUL in a value": H + b"a: b\0c\r\n" + EMPTY,
    "control in a value": H + b"a: b\x01c\r\n" + EMPTY,
    "DEL in a value": H + b"a: b\x7fc\r\n" + EMPTY,
    "space before the colon": H + b"a : b\r\n" + EMPTY,
    "space in a name": H + b"a b: c\r\n" + EMPTY,
    "empty name": H + b": b\r\n" + EMPTY,
    "non-ASCII name": H + b"\xe9: b\r\n" + EMPTY,
    "no colon": H + b"ab\r\n" + EMPTY,
    "two equal lengths": H + b"content-length: 0\r\n" + EMPTY,
    "two lengths": H + b"content-length: 3\r\n" + EMPTY,
    "length list": H + b"content-length: 0, 0\r\n\r\n",
    "length +": H + b"content-length: +0\r\n\r\n",
    "length -": H + b"content-length: -1\r\n\r\n",
    "length hex": H + b"content-length: 0x0\r\n\r\n",
    "length empty": H + b"content-length:\r\n\r\n",
    "length with underscore": H + b"content-length: 1_0\r\n\r\n0123456789",
    "length overflow": H + b"content-length: 99999999999999999999999\r\n\r\n",
    "length, then chunked": H + b"content-length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked, then length": H + b"transfer-encoding: chunked\r\n" + EMPTY,
    "gzip, chunked": H + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked, gzip": H + b"transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked twice": H + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked, chunked": H + b"transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "xchunked": H + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "identity": H + b"transfer-encoding: identity\r\n\r\n",
    "VT chunked": H + b"transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk size +": CHUNKED + b"+1\r\na\r\n0\r\n\r\n",
    "chunk size 0x": CHUNKED + b"0x1\r\na\r\n0\r\n\r\n",
    "chunk size empty": CHUNKED + b"\r\n",
    "chunk size overflow": CHUNKED + b"fffffffffffffffff\r\n",
    "chunk size with space": CHUNKED + b"1 \r\na\r\n0\r\n\r\n",
    "chunk with bare LF": CHUNKED + b"1\na\r\n0\r\n\r\n",
    "chunk too long": CHUNKED + b"1\r\nab\r\n0\r\n\r\n",
    "chunk extension with LF": CHUNKED + b"1;a\nb\r\na\r\n0\r\n\r\n",
    "chunk extension with NUL": CHUNKED + b"1;a\0\r\na\r\n0\r\n\r\n",
    "length in trailers": CHUNKED + b"0\r\ncontent-length: 5\r\n\r\n",
    "204 with length": b"HTTP/1.1 204 X\r\ncontent-length: 3\r\n\r\nabc",
    "204 chunked": b"HTTP/1.1 204 X\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "100 with length": b"HTTP/1.1 100 X\r\ncontent-length: 3\r\n\r\nabc",
    "101 unasked": b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    "101 bare": b"HTTP/1.1 101 X\r\n\r\n",
    "status 099": b"HTTP/1.1 099 X\r\n" + EMPTY,
    "status 600": b"HTTP/1.1 600 X\r\n" + EMPTY,
    "status 20": b"HTTP/1.1 20 X\r\n" + EMPTY,
    "status 2000": b"HTTP/1.1 2000 X\r\n" + EMPTY,
    "two spaces": b"HTTP/1.1  200 X\r\n" + EMPTY,
    "bare CR in the reason": b"HTTP/1.1 200 X\rY\r\n" + EMPTY,
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\n" + EMPTY,
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\n" + EMPTY,
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\n" + EMPTY,
    "lower case": b"http/1.1 200 OK\r\n" + EMPTY,
    "RTSP": b"RTSP/1.0 200 OK\r\n" + EMPTY,
    "ICE": b"ICE/1.0 200 OK\r\n" + EMPTY,
    "empty line first": b"\r\n" + H + EMPTY,
    "no head at all": b"<html>hello</html>",
    "TLS alert": b"\x15\x03\x01\x00\x02\x02\x46",
}  # fmt: skip


# A response to HEAD has no chunks.
MALFORMED = [("GET", name) for name in BAD] + [
    ("HEAD", name) for name, data in BAD.items() if not data.startswith(CHUNKED)
]


@pytest.mark.parametrize(("method", "name"), MALFORMED)
def test_a_malformed_response_is_refused_however_it_is_split(method, name):
    data = BAD[name]
    for cuts in ((), tuple(range(1, len(data))), (1,), (len(data) // 2,)):
        with pytest.raises(ForwardError) as raised:
            read(data, method=method, cuts=cuts)
        assert raised.value.code is Code.UPSTREAM_PROTOCOL


EXCESS = {"CRLF": b"\r\n", "LF": b"\n", "letter": b"a", "response": H + EMPTY, "NUL": b"\0"}


@pytest.mark.parametrize("extra", EXCESS)
@pytest.mark.parametrize("name", [name for name, row in GOOD.items() if row[4]])
def test_bytes_after_the_response_are_dropped_and_end_the_connection(name, extra):
    method, data, status, body, _, _ = GOOD[name]
    found = read(data + EXCESS[extra], method=method)
    assert (found.status, found.take(), found.complete) == (status, body, True)
    assert not found.keep_alive


@pytest.mark.parametrize("name", GOOD)
def test_the_end_of_the_connection_ends_only_a_response_without_framing(name):
    method, data, _, _, complete, _ = GOOD[name]
    for length in range(1, len(data)):
        reader = read(data[:length], method=method)
        if name.startswith(("until close", "interim with")) and reader.head_done:
            continue
        if not reader.complete:
            with pytest.raises(ForwardError) as raised:
                reader.finish()
            assert raised.value.code is Code.UPSTREAM_RESET
    reader = read(data, method=method)
    reader.finish()
    assert reader.complete
    assert complete or not reader.keep_alive


FLOODS = {
    "one long value": [H + b"a: ", b"x" * 500],
    "one long name": [H, b"x" * 500],
    "long reason": [b"HTTP/1.1 200 ", b"x" * 500],
    "many lines": [H, b"a: b\r\n" * 100],
    "interim responses": [b"", b"HTTP/1.1 100 C\r\n\r\n" * 30],
    "chunk extension": [CHUNKED + b"1;", b"x" * 500],
    "leading zeros": [CHUNKED, b"0" * 500],
    "trailers": [CHUNKED + b"1\r\na\r\n0\r\n", b"x: y\r\n" * 100],
    "one trailer": [CHUNKED + b"1\r\na\r\n0\r\nx: ", b"y" * 500],
}


@pytest.mark.parametrize("name", FLOODS)
def test_framing_without_content_is_bounded(name):
    first, again = FLOODS[name]
    reader = ResponseReader("GET", 2000)
    if first:
        reader.feed(first)
    with pytest.raises(ForwardError) as raised:
        for _ in range(10):
            reader.feed(again)
    assert raised.value.code is Code.UPSTREAM_PROTOCOL


def test_a_large_head_is_refused_though_content_follows_in_the_same_segment():
    head = H + b"a: " + b"x" * 3000 + b"\r\ncontent-length: 1\r\n\r\n"
    with pytest.raises(ForwardError, match="head is too large"):
        read(head + b"a", max_head=2000)


def test_large_content_in_the_segment_of_the_head_is_not_framing():
    body = b"x" * 100_000
    assert read(H + b"content-length: 100000\r\n\r\n" + body, max_head=2000).take() == body


def test_interim_headers_are_not_the_response():
    reader = read(b"HTTP/1.1 103 Hints\r\nset-cookie: x\r\n\r\n" + H + b"A: b\r\n" + EMPTY)
    assert reader.headers == ((b"a", b"b"), (b"content-length", b"0"))


def test_trailers_are_not_headers():
    reader = read(CHUNKED + b"1\r\na\r\n0\r\nset-cookie: x\r\n\r\n")
    assert reader.headers == ((b"transfer-encoding", b"chunked"),)


def test_values_are_trimmed_and_kept_as_bytes():
    assert read(H + b"X-A: \t caf\xe9 \t \r\n" + EMPTY).headers[0] == (b"x-a", b"caf\xe9")


def test_an_upgrade_that_was_asked_for_leaves_the_rest_to_the_caller():
    data = b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    for rest in (b"", b"\x81", b"\x81\x02hi"):
        reader = ResponseReader("GET", 65536, upgrade=True)
        reader.feed(data + rest)
        assert (reader.status, reader.upgraded, reader.rest) == (101, True, rest)
        assert not reader.keep_alive


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(GOOD)),
    st.lists(st.integers(0, 200), max_size=4),
    st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=3)), max_size=3),
)
def test_no_bytes_raise_anything_else(name, cuts, edits):
    method, data, *_ = GOOD[name]
    for place, bytes_ in edits:
        data = data[:place] + bytes_ + data[place + 1 :]
    reader = ResponseReader(method, 4096)
    edges = [0, *sorted(cuts), len(data)]
    try:
        for start, end in zip(edges, edges[1:], strict=False):
            if data[start:end] and not reader.complete:
                reader.feed(data[start:end])
        reader.finish()
    except ForwardError as error:
        assert error.code in (Code.UPSTREAM_PROTOCOL, Code.UPSTREAM_RESET)


def test_a_request_head():
    head = request_head("POST", b"/a?b=c", (HOST, (b"x-a", b"caf\xe9 \t!")), framing("POST", 3))
    assert head == (
        b"POST /a?b=c HTTP/1.1\r\ncontent-length: 3\r\nhost: a.example\r\nx-a: caf\xe9 \t!\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("method", "length", "line"),
    [
        ("GET", 0, b""),
        ("DELETE", 0, b""),
        ("POST", 0, b"content-length: 0\r\n"),
        ("PUT", 0, b"content-length: 0\r\n"),
        ("GET", 2, b"content-length: 2\r\n"),
        ("GET", None, b"transfer-encoding: chunked\r\n"),
    ],
)
def test_framing(method, length, line):
    assert framing(method, length) == line


UNSENDABLE = {
    "empty method": ("", b"/", (HOST,)),
    "method with space": ("GET /x", b"/", (HOST,)),
    "method with CRLF": ("GET\r\n", b"/", (HOST,)),
    "method beyond latin-1": ("G\u20acT", b"/", (HOST,)),
    "method beyond ASCII": ("G\xe9T", b"/", (HOST,)),
    "CONNECT": ("CONNECT", b"/", (HOST,)),
    "empty target": ("GET", b"", (HOST,)),
    "absolute target": ("GET", b"http://b/", (HOST,)),
    "asterisk": ("OPTIONS", b"*", (HOST,)),
    "space in target": ("GET", b"/a b", (HOST,)),
    "CRLF in target": ("GET", b"/ HTTP/1.1\r\nx: y", (HOST,)),
    "NUL in target": ("GET", b"/\0", (HOST,)),
    "non-ASCII target": ("GET", b"/\xe9", (HOST,)),
    "no headers": ("GET", b"/", ()),
    "no host": ("GET", b"/", ((b"a", b"b"),)),
    "two hosts": ("GET", b"/", (HOST, HOST)),
    "empty name": ("GET", b"/", (HOST, (b"", b"b"))),
    "space in name": ("GET", b"/", (HOST, (b"a ", b"b"))),
    "colon in name": ("GET", b"/", (HOST, (b"a: b", b"c"))),
    "CRLF in name": ("GET", b"/", (HOST, (b"a\r\nb", b"c"))),
    "CRLF in value": ("GET", b"/", (HOST, (b"a", b"b\r\nx: y"))),
    "LF in value": ("GET", b"/", (HOST, (b"a", b"b\nc"))),
    "CR in value": ("GET", b"/", (HOST, (b"a", b"b\rc"))),
    "CR at the end": ("GET", b"/", (HOST, (b"a", b"b\r"))),
    "LF at the start": ("GET", b"/", (HOST, (b"a", b"\nb"))),
    "NUL in value": ("GET", b"/", (HOST, (b"a", b"\0"))),
    "DEL in value": ("GET", b"/", (HOST, (b"a", b"\x7f"))),
    "length": ("GET", b"/", (HOST, (b"content-length", b"3"))),
    "transfer coding": ("GET", b"/", (HOST, (b"transfer-encoding", b"chunked"))),
    "connection": ("GET", b"/", (HOST, (b"connection", b"x"))),
    "upgrade": ("GET", b"/", (HOST, (b"upgrade", b"h2c"))),
    "expect": ("GET", b"/", (HOST, (b"expect", b"100-continue"))),
}


@pytest.mark.parametrize("name", UNSENDABLE)
def test_what_cannot_be_sent_is_a_fault_of_the_gateway(name):
    method, target, headers = UNSENDABLE[name]
    with pytest.raises(ForwardError) as raised:
        request_head(method, target, headers, b"")
    assert raised.value.code is Code.INTERNAL_ERROR


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_header_lines_have_a_number(method):
    line, interim = b"a:\r\n", b"HTTP/1.1 103 Hints\r\n"
    most = line * (MAX_LINES - 1)
    reader = read(interim + most + b"\r\n" + H + most + EMPTY, method=method)
    assert len(reader.headers) == MAX_LINES
    for data in (H + line * (MAX_LINES + 1), interim + line * (MAX_LINES + 1)):
        with pytest.raises(ForwardError, match="more than 256 header lines") as raised:
            read(data + b"\r\n", method=method)
        assert raised.value.code is Code.UPSTREAM_PROTOCOL
