"""The HTTP server's HTTP/2 side, over real sockets."""

from __future__ import annotations

import asyncio
import time

import h2.settings
import pytest
from h2.errors import ErrorCodes

from gateway.errors import Code
from gateway.serve.hypercorn.http2 import HELD_HEADS, Http2
from tests.support import http1
from tests.support.http2 import connect, frame, head
from tests.support.probe import Probe
from tests.support.server import live, live_on, on_granian, served, until

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GOAWAY = b"\x00\x00\x08\x07"
NORMAL = head()

REFUSED = {
    "a path with a byte over 127": (head(path=b"/\xe4"), Code.BAD_PATH),
    "a path with a blank": (head(path="/a b"), Code.BAD_PATH),
    "a path without a slash": (head(path="a"), Code.BAD_PATH),
    "an empty path": (head(path=""), Code.BAD_PATH),
    "asterisk form": (head("OPTIONS", "*"), Code.BAD_PATH),
    "a fragment": (head(path="/a#b"), Code.BAD_PATH),
    "absolute form": (head(path="http://api.example/"), Code.BAD_PATH),
    "CR LF in the path": (head(path="/a\r\nb"), Code.BAD_HEADER),
    "a long path": (head(path="/" + "a" * 8192), Code.URL_TOO_LONG),
    "CR LF in a value": (head(lines=[("a", "1\r\nb: 2")]), Code.BAD_HEADER),
    "LF in a value": (head(lines=[("a", "1\nb: 2")]), Code.BAD_HEADER),
    "NUL in a value": (head(lines=[("a", "1\0")]), Code.BAD_HEADER),
    "a control in a value": (head(lines=[("a", "1\x01")]), Code.BAD_HEADER),
    "a blank before a value": (head(lines=[("a", " 1")]), Code.BAD_HEADER),
    "a tab after a value": (head(lines=[("a", "1\t")]), Code.BAD_HEADER),
    "a name in upper case": (head(lines=[("A", "1")]), Code.BAD_HEADER),
    "a name with a blank": (head(lines=[("a b", "1")]), Code.BAD_HEADER),
    "a name with a colon": (head(lines=[("a:", "1")]), Code.BAD_HEADER),
    "CR LF in a name": (head(lines=[("a\r\nb", "1")]), Code.BAD_HEADER),
    "an empty name": (head(lines=[("", "1")]), Code.BAD_HEADER),
    "connection": (head(lines=[("connection", "close")]), Code.BAD_HEADER),
    "keep-alive": (head(lines=[("keep-alive", "1")]), Code.BAD_HEADER),
    "transfer-encoding": (head(lines=[("transfer-encoding", "chunked")]), Code.BAD_HEADER),
    "upgrade": (head(lines=[("upgrade", "websocket")]), Code.BAD_HEADER),
    "te": (head(lines=[("te", "gzip")]), Code.BAD_HEADER),
    "a second path": (head(lines=[(":path", "/b")]), Code.BAD_HEADER),
    "a second method": ([(":method", "GET"), *NORMAL], Code.BAD_HEADER),
    "a second authority": ([(":authority", "api.example"), *NORMAL], Code.BAD_HEADER),
    "a pseudo-header behind a header": ([("a", "1"), *NORMAL], Code.BAD_HEADER),
    "an unknown pseudo-header": ([(":a", "1"), *NORMAL], Code.BAD_HEADER),
    "a response's pseudo-header": ([(":status", "200"), *NORMAL], Code.BAD_HEADER),
    "no method": (NORMAL[1:], Code.BAD_HEADER),
    "a method in lower case": (head("get"), Code.BAD_HEADER),
    "a method with a blank": (head("GET /"), Code.BAD_HEADER),
    "a method over 127": (head(b"G\xc4T"), Code.BAD_HEADER),
    "no path": (NORMAL[:3], Code.BAD_PATH),
    "no authority": ([NORMAL[0], NORMAL[1], NORMAL[3]], Code.BAD_HOST),
    "another host": (head(lines=[("host", "evil.example")]), Code.BAD_HOST),
    "two hosts": (head(lines=[("host", "api.example")] * 2), Code.BAD_HOST),
    "CONNECT": ([(":method", "CONNECT"), (":authority", "a:1")], Code.UPGRADE_REFUSED),
    "extended CONNECT": (
        [(":method", "CONNECT"), (":protocol", "websocket"), *NORMAL[1:]], Code.UPGRADE_REFUSED,
    ),
    "two lengths": (head(lines=[("content-length", "0")] * 2), Code.BAD_FRAMING),
    "a long head": (head(lines=[("a", "b" * 33000)]), Code.HEAD_TOO_LARGE),
    "many fields": (head(lines=[("a", "1")] * 101), Code.HEAD_TOO_LARGE),
}  # fmt: skip


READ_BY_GRANIAN = ("a fragment", "another host", "a blank before a value", "a tab after a value")
"""What Granian reads in one way of several: test_server_granian.py shows that it does no harm."""


@pytest.mark.parametrize("case", sorted(REFUSED.keys() - set(READ_BY_GRANIAN)))
@live
async def test_refused_stream_by_stream(case: str) -> None:
    await refused_stream_by_stream(case)


@pytest.mark.parametrize("case", READ_BY_GRANIAN)
@live_on("hypercorn")
async def test_second_reading_is_refused(case: str) -> None:
    await refused_stream_by_stream(case)


async def refused_stream_by_stream(case: str) -> None:
    lines, code = REFUSED[case]
    app = Probe()
    async with served(app) as server, connect(server.port) as client:
        stream = await client.finished(client.open(lines))
        if on_granian() and stream.code is None:  # h2's own refusal
            assert (stream.status, stream.reset) in {
                (0, ErrorCodes.PROTOCOL_ERROR),
                (431, None),
                (0, None),
            }
            assert (server.refused, app.scopes) == ([], [])
        else:
            assert (stream.status, stream.code) == (code.status, code.text)
            assert (server.refused, app.scopes) == ([code], [])
        if not client.closed:  # the connection is none the worse
            assert (await client.request()).body == b"hello"
        assert not client.closed or on_granian()


def literal(name: bytes, size: int) -> bytes:
    """A field of `size` zero octets or more, as HPACK writes it without Huffman's code."""
    rest = size - 127
    return b"\x00" + bytes([len(name)]) + name + b"\x7f" + bytes(
        [rest % 128 | 128, rest // 128 % 128 | 128, rest // 16384]
    ) + b"b" * size  # fmt: skip


def block(data: bytes) -> bytes:
    """A header block in as many frames as it takes."""
    pieces = [data[at : at + 16384] for at in range(0, len(data), 16384)]
    return b"".join(
        frame(
            9 if at else 1, 1, piece, flags=(1 if not at else 0) | (4 if piece is pieces[-1] else 0)
        )
        for at, piece in enumerate(pieces)
    )


BROKEN = {
    "a length that is no number": block(b"\x82\x86\x84\x00\x0econtent-length\x01x"),
    "a head far over the limit": block(literal(b"a", 60000)),
    "a block that is no HPACK": block(b"\xff\xff\xff\xff\xff\xff\xff\xff"),
    "an index that is not there": block(b"\xbf"),
    "data for no stream": frame(0, 1, b"abc"),
    "data on the connection": frame(0, 0, b"abc"),
    "a request on an even stream": frame(1, 2, b"\x82\x86\x84", flags=5),
    "PUSH_PROMISE": frame(5, 1, bytes(4)),
    "CONTINUATION of nothing": frame(9, 1, b""),
    "another frame within a block": frame(1, 1, b"\x82") + frame(6, 0, bytes(8)),
    "SETTINGS of 5 bytes": frame(4, 0, bytes(5)),
    "an ENABLE_PUSH of 2": frame(4, 0, b"\x00\x02\x00\x00\x00\x02"),
    "a WINDOW_UPDATE of 0": frame(8, 0, bytes(4)),
    "a window over 2^31": frame(8, 0, b"\x7f\xff\xff\xff"),
    "PING of 7 bytes": frame(6, 0, bytes(7)),
    "padding longer than the frame": frame(1, 1, b"\xff\x82", flags=0xC),
    "a frame of 16 MiB": b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
}  # fmt: skip


RESET_BY_GRANIAN = ("a length that is no number", "a head far over the limit")
"""What costs only the stream on Granian: test_server_granian.py."""


@pytest.mark.parametrize("case", RESET_BY_GRANIAN)
@live_on("hypercorn")
async def test_refused_with_the_connection_on_hypercorn(case: str) -> None:
    await refused_with_the_connection(case)


@pytest.mark.parametrize("case", sorted(BROKEN.keys() - set(RESET_BY_GRANIAN)))
@live
async def test_refused_with_the_connection(case: str) -> None:
    await refused_with_the_connection(case)


async def refused_with_the_connection(case: str) -> None:
    app = Probe()
    async with served(app) as server:
        assert GOAWAY in await _raw(server.port, BROKEN[case])
        assert app.scopes == []
        assert server.refused == ([] if on_granian() else [Code.BAD_FRAMING])


@live
async def test_target_and_host_reach_the_application_byte_by_byte() -> None:
    app = Probe()
    async with served(app) as server, connect(server.port) as client:
        await client.request(
            path="/scope/a%2Fb//c/..;x?d=%20&e=/?", lines=[("host", "API.example")]
        )
        await client.finished(
            client.open([(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "b")])
        )
        first, second = app.scopes
        assert first["raw_path"] == b"/scope/a%2Fb//c/..;x"
        assert first["query_string"] == b"d=%20&e=/?"
        host = b"API.example" if on_granian() else b"api.example"  # Host, or the authority
        assert first["headers"] == [(b"host", host)]
        assert first["http_version"] == "2"
        assert second["headers"] == [(b"host", b"b")]


@live
async def test_bodies_statuses_and_headers() -> None:
    async with served(Probe()) as server, connect(server.port) as client:
        body = bytes(300_000)
        stream = await client.request("POST", "/echo", body=body)
        assert stream.body == body
        assert ("server" in stream.headers) is on_granian()
        assert "date" in stream.headers
        for method, path, length, content in (
            ("HEAD", "/status/200", "3", b""),
            ("GET", "/status/204", None, b""),
            ("GET", "/status/304", None, b""),
            ("GET", "/status/200", "3", b"abc"),
        ):
            stream = await client.request(method, path)
            assert (stream.headers.get("content-length"), stream.body) == (length, content)


@live
async def test_cookie_crumbs_are_joined() -> None:
    app = Probe()
    async with served(app) as server, connect(server.port) as client:
        await client.request(lines=[("cookie", "a=1"), ("cookie", "b=2")])
        assert dict(app.scopes[0]["headers"])[b"cookie"] == b"a=1; b=2"


@live
async def test_response_streams_as_it_is_sent() -> None:
    app = Probe()
    async with served(app) as server, connect(server.port) as client:
        stream_id = client.open(head(path="/parts"))
        stream = client.streams[stream_id]
        await client.until(lambda: stream.body == b"one")
        app.go.set()
        assert (await client.finished(stream_id)).body == b"onetwo"


@live_on("hypercorn")
async def test_continue_goes_out_when_the_body_is_first_awaited() -> None:
    async with served(Probe()) as server, connect(server.port) as client:
        for path, interim in (("/echo", [100]), ("/hello", [])):
            stream_id = client.open(head("POST", path, [("expect", "100-continue")]), end=False)
            stream = client.streams[stream_id]
            await client.until(lambda stream=stream: stream.interim or stream.ended)
            assert stream.interim == interim
            if interim:
                client.h2.send_data(stream_id, b"abc", end_stream=True)
                assert (await client.finished(stream_id)).body == b"abc"


@live_on("hypercorn")
async def test_failure_within_a_response_resets_the_stream() -> None:
    app = Probe()
    async with served(app) as server, connect(server.port) as client:
        stream_id = client.open(head(path="/cut"))
        stream = client.streams[stream_id]
        await client.until(lambda: stream.body == b"part")
        app.go.set()
        await client.finished(stream_id)
        assert (stream.ended, stream.reset) == (False, ErrorCodes.INTERNAL_ERROR)
        assert (await client.request(path="/fail")).code == "internal-error"
        assert (await client.request()).body == b"hello"


@live
async def test_answer_before_the_whole_body_asks_for_no_more() -> None:
    async with served(Probe()) as server, connect(server.port) as client:
        for _ in range(3):
            stream_id = client.open(head("POST", "/hello"), end=False)
            client.h2.send_data(stream_id, b"abc")
            stream = client.streams[stream_id]
            await client.until(lambda stream=stream: stream.reset is not None)
            assert (stream.ended, stream.body, stream.reset) == (
                True,
                b"hello",
                ErrorCodes.NO_ERROR,
            )


@live
async def test_data_for_a_stream_that_is_over_harms_no_other() -> None:
    app = Probe()
    async with served(app) as server, connect(server.port) as client:
        other = client.open(head(path="/deaf"))
        stream_id = client.open(head("POST", "/hello"), end=False)
        await client.until(lambda: client.streams[stream_id].ended)
        await client.send(frame(0, stream_id, b"late") * 3)
        app.go.set()
        assert (await client.finished(other)).body == b"hello"


@live
async def test_one_body_that_nobody_takes_holds_up_no_other_stream() -> None:
    async with served(Probe()) as server, connect(server.port) as client:
        stuck = client.open(head("POST", "/deaf"), end=False)
        for _ in range(3):
            client.h2.send_data(stuck, bytes(16384))
        assert (await client.request("POST", "/echo", body=b"abc")).body == b"abc"
        await asyncio.sleep(0.05)
        assert client.h2.local_flow_control_window(stuck) == 65535 - 3 * 16384


@live_on("hypercorn")
async def test_reader_without_window_holds_the_application_and_is_reset() -> None:
    app = Probe()
    async with (
        served(app, idle_timeout=0.4) as server,
        connect(server.port, window=False) as client,
    ):
        stream_id = client.open(head(path="/flood"))
        await client.until(lambda: app.sent)
        await asyncio.sleep(0.1)
        assert app.sent <= 65535 + 4 * 16384
        await client.finished(stream_id)
        assert client.streams[stream_id].reset == ErrorCodes.CANCEL
        await until(lambda: not app.running)
        assert isinstance(app.failure, ConnectionResetError)


@live
async def test_stalled_body_is_answered_408() -> None:
    app = Probe()
    async with served(app, idle_timeout=0.2) as server, connect(server.port) as client:
        stream_id = client.open(head("POST", "/echo"), end=False)
        stream = await client.finished(stream_id)
        assert (stream.status, stream.code) == (408, "body-timeout")
        await until(lambda: not app.running)


@live
async def test_application_learns_of_a_reset_and_of_a_lost_connection() -> None:
    app = Probe()
    async with served(app) as server:
        async with connect(server.port) as client:
            first, second = client.open(head(path="/hang")), client.open(head(path="/flood"))
            await client.until(lambda: app.running == 2)
            client.h2.reset_stream(first)
            await client.flush()
            await until(lambda: app.running == 1, 1.0)
            assert app.types[-1] == "http.disconnect"
            assert client.streams[second].reset is None
        await until(lambda: not app.running, 1.0)


@live_on("hypercorn")
async def test_idle_connection_says_goodbye() -> None:
    async with served(Probe(), idle_timeout=0.2) as server, connect(server.port) as client:
        await client.request()
        await client.until(lambda: client.closed)
        assert client.goaway == ErrorCodes.NO_ERROR
        assert server.refused == []


@live_on("hypercorn")
async def test_pings_do_not_keep_an_idle_connection() -> None:
    async with served(Probe(), idle_timeout=0.2) as server, connect(server.port) as client:
        await client.request()
        while not client.closed:
            client.h2.ping(b"12345678") if client.goaway is None else None
            await client.flush()
            await asyncio.sleep(0.02)
        assert client.goaway == ErrorCodes.NO_ERROR


@live_on("hypercorn")
async def test_shutdown_answers_what_came_and_refuses_what_follows() -> None:
    app = Probe()
    async with served(app, drain_timeout=5.0) as server:
        async with connect(server.port) as client:
            stream_id = client.open(head(path="/deaf"))
            await client.until(lambda: app.running)
            server.shutdown.set()
            await client.until(lambda: client.goaway is not None)
            assert (client.goaway, client.last_stream) == (ErrorCodes.NO_ERROR, stream_id)
            late = await client.finished(client.open(head()))
            assert late.reset == ErrorCodes.REFUSED_STREAM
            app.go.set()
            await client.until(lambda: client.closed)
            assert client.streams[stream_id].body == b"hello"
        await server.task


@live
async def test_streams_over_the_limit_wait_for_none() -> None:
    app = Probe()
    async with served(app, streams=2) as server, connect(server.port) as client:
        await client.request()
        limits = client.h2.remote_settings
        assert limits.max_concurrent_streams == 2
        assert limits.max_header_list_size == 32768
        assert limits.enable_connect_protocol == 0


@live_on("hypercorn")
async def test_resetting_does_not_raise_the_number_of_applications() -> None:
    app = Probe()
    async with served(app, streams=2) as server, connect(server.port) as client:
        ids = []
        for _ in range(6):
            ids.append(client.open(head(path="/deaf")))
            await client.flush()
            client.h2.reset_stream(ids[-1])
        app_count = []
        other = client.open(head(path="/deaf"))
        await client.finished(other)
        app_count.append(app.running)
        assert client.streams[other].reset == ErrorCodes.REFUSED_STREAM
        assert app_count == [4]


@pytest.mark.parametrize("http2", [True, False])
@live
async def test_prior_knowledge_is_a_setting(http2: bool) -> None:
    async with served(Probe(), http2=http2) as server, connect(server.port) as client:
        if http2:
            assert (await client.request()).body == b"hello"
        else:
            await client.until(lambda: client.closed)
            assert server.refused == ([] if on_granian() else [Code.BAD_FRAMING])


SETTINGS_ACK = frame(4, flags=1)
FLOODS = {
    "PING": frame(6, 0, bytes(8)),
    "PING acks": frame(6, 0, bytes(8), flags=1),
    "SETTINGS": frame(4, 0, (3).to_bytes(2, "big") + (100).to_bytes(4, "big")),
    "empty SETTINGS": frame(4),
    "SETTINGS acks": SETTINGS_ACK,
    "PRIORITY": frame(2, 1, bytes(4) + b"\x10"),
    "WINDOW_UPDATE": frame(8, 0, (1).to_bytes(4, "big")),
    "unknown frames": frame(0x20, 0, bytes(8)),
}


@pytest.mark.parametrize("case", FLOODS)
@live_on("hypercorn")
async def test_flood_of_control_frames_ends_the_connection(case: str) -> None:
    async with served(Probe()) as server:
        received = await _raw(server.port, FLOODS[case] * 3000)
        assert frame(7, 0, bytes(4) + ErrorCodes.ENHANCE_YOUR_CALM.to_bytes(4, "big")) in received
        assert server.refused == [Code.CONNECTION_FLOOD]


@live
async def test_rapid_reset_ends_the_connection() -> None:
    app = Probe()
    async with served(app) as server, connect(server.port) as client:
        for _ in range(300):
            stream_id = client.open(head(path="/hang"))
            client.h2.reset_stream(stream_id)
        await client.until(lambda: client.closed)
        assert client.goaway == ErrorCodes.ENHANCE_YOUR_CALM
        assert len(app.scopes) <= 110
        await until(lambda: not app.running)


@live_on("hypercorn")
async def test_provoked_resets_end_the_connection() -> None:
    # A window that overflows makes the server reset the stream ("MadeYouReset").
    app = Probe()
    async with served(app) as server, connect(server.port) as client:
        for _ in range(300):
            stream_id = client.open(head(path="/hang"))
            await client.flush()
            await client.send(frame(8, stream_id, (2**31 - 1).to_bytes(4, "big")))
        await client.until(lambda: client.closed)
        assert client.goaway is not None
        assert len(app.scopes) <= 110
        await until(lambda: not app.running)


@live
async def test_continuation_flood_ends_the_connection() -> None:
    async with served(Probe()) as server:
        for payload in (b"", bytes(1)):
            said = await _raw(server.port, frame(1, 1) + frame(9, 1, payload) * 1000)
            assert (b"too_many_continuations" if on_granian() else GOAWAY) in said


@live
async def test_hpack_bomb_is_not_unpacked() -> None:
    async with served(Probe()) as server:
        # One field of 4,000 bytes enters the table, then one byte names it again and again.
        length = 4000 - 127  # in HPACK's prefix coding (RFC 7541 §5.1)
        field = b"\x40\x01a\x7f" + bytes([length % 128 | 0x80, length // 128]) + b"b" * 4000
        said = await _raw(server.port, frame(1, 1, field + b"\xbe" * 12000, flags=4 | 1))
        assert (b"header_list_way_too_large" if on_granian() else GOAWAY) in said
        assert server.refused == ([] if on_granian() else [Code.BAD_FRAMING])


@live_on("hypercorn")
async def test_table_of_the_answers_stays_small_whatever_the_client_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    protocols = noted(monkeypatch)
    async with served(Probe()) as server, connect(server.port) as client:
        for size in (2**32 - 1, 65536, 2**31, 100, 2**32 - 1):
            client.h2.update_settings({h2.settings.SettingCodes.HEADER_TABLE_SIZE: size})
            client.h2.decoder.max_allowed_table_size = 2**32 - 1
            assert (await client.request()).body == b"hello"
            table = protocols[0].connection.encoder.header_table
            assert table.maxsize == min(size, 4096)


@live_on("hypercorn")
async def test_heads_that_are_small_on_the_wire_are_held_to_a_bound() -> None:
    app = Probe()
    large = [("x-a", "v" * 3600)] * 8  # a few bytes each, from the second on
    size = sum(len(name) + len(value) + 32 for name, value in head(path="/deaf", lines=large))
    async with served(app) as server, connect(server.port) as client:
        for _ in range(2):
            app.go.clear()
            opened = [client.open(head(path="/deaf", lines=large)) for _ in range(100)]
            streams = [client.streams[stream_id] for stream_id in opened]
            room = HELD_HEADS // size
            await client.until(
                lambda streams=streams: sum(s.reset is not None for s in streams) == 100 - room
            )
            assert {stream.reset for stream in streams[room:]} == {ErrorCodes.REFUSED_STREAM}
            assert app.running == room
            client.h2.reset_stream(opened[0])  # its application runs on, and has its head
            again = await client.finished(client.open(head(path="/deaf", lines=large)))
            assert again.reset == ErrorCodes.REFUSED_STREAM
            app.go.set()
            for stream_id in opened[1:room]:
                assert (await client.finished(stream_id)).body == b"hello"
            await until(lambda: not app.running)
        assert (await client.request(lines=large)).body == b"hello"
        assert client.goaway is None


@live
async def test_ordinary_use_stays_within_the_budget() -> None:
    async with served(Probe()) as server, connect(server.port) as client:
        for turn in range(300):
            client.h2.ping(turn.to_bytes(8, "big"))
            assert (await client.request()).body == b"hello"
            if turn % 3 == 0:  # a browser that navigates away
                client.h2.reset_stream(client.open(head(path="/hang")))
        assert client.goaway is None


@live_on("hypercorn")
async def test_answer_to_a_connection_that_has_ended_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """h2 may know of the end before the application does."""
    protocols = noted(monkeypatch)
    app = Probe()
    async with served(app) as server, connect(server.port) as client:
        client.open(head(path="/deaf"))
        await client.flush()
        await until(lambda: app.running)
        (protocol,) = protocols
        protocol.connection.close_connection()
        protocol.peer._closed_at = protocol.peer.loop.time()
        app.go.set()
        await until(lambda: not app.running)
        assert app.failure is None
    assert caplog.records == []


@pytest.mark.parametrize("case", ["PING", "SETTINGS", "rapid reset"])
@live_on("hypercorn")
async def test_flood_does_not_hold_up_others(case: str) -> None:
    """Another client's requests are answered while connection after connection floods."""
    async with served(Probe()) as server:
        port, stop = server.port, asyncio.Event()

        async def attack() -> None:
            while not stop.is_set():
                if case == "rapid reset":
                    async with connect(port) as client:
                        for _ in range(200):
                            client.h2.reset_stream(client.open(head(path="/hang")))
                        await client.flush()
                        await client.until(lambda: client.closed)
                else:
                    await _raw(port, FLOODS[case] * 5000)

        attacks = [asyncio.create_task(attack()) for _ in range(4)]
        slowest = 0.0
        async with http1.connect(port) as client:
            for _ in range(20):
                started = time.monotonic()
                assert (await client.request()).status == 200
                slowest = max(slowest, time.monotonic() - started)
        stop.set()
        await asyncio.gather(*attacks)
        assert server.refused
        print(f"slowest answer beside {case}: {slowest * 1000:.0f} ms")


def noted(monkeypatch: pytest.MonkeyPatch) -> list[Http2]:
    """The server's connections, as they begin."""
    protocols: list[Http2] = []
    initiate = Http2.initiate

    async def remember(self: Http2, *arguments: object) -> None:
        protocols.append(self)
        await initiate(self, *arguments)

    monkeypatch.setattr(Http2, "initiate", remember)
    return protocols


async def _raw(port: int, data: bytes) -> bytes:
    """What the server says to raw bytes behind a preface, until it closes."""
    async with http1.connect(port) as client:
        client.writer.write(PREFACE + frame(4) + data)
        return await client.ended()
