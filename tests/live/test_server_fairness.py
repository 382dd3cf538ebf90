"""One client's bytes do not keep the server from the others for long."""

from __future__ import annotations

import asyncio

import pytest
from h2.settings import SettingCodes

from tests.support import http1, http2
from tests.support.probe import Probe
from tests.support.server import live, live_on, on_granian, served, until
from tests.support.turns import watched
from tests.support.websocket import connect

LONGEST = 0.015
MASK = b"\0\0\0\0"
FRAMES = {
    "pings": (b"", b"\x89\x80" + MASK),
    "pongs": (b"", b"\x8a\x80" + MASK),
    "fragments": (b"\x02\x80" + MASK, b"\x00\x80" + MASK),
    "messages": (b"", b"\x82\x80" + MASK),
}
COUNT = 20_000
"""A tenth on Granian: it hands over each for itself, which takes longer, but no turn."""


@pytest.fixture(autouse=True)
def short_turns(monkeypatch):
    """Turns that are far shorter than LONGEST, in which the test's client has its part, too."""
    monkeypatch.setattr("gateway.serve.turn.LONGEST", 0.001)


@pytest.mark.parametrize("case", FRAMES)
@live
async def test_frames_of_no_size(case: str) -> None:
    first, frame = FRAMES[case]
    count = COUNT // 10 if on_granian() else COUNT
    app = Probe()
    app.go.set()
    async with served(app) as server, connect(server.port, "/wsdeaf") as socket:
        async with watched() as turns:
            await socket.client.send(first, frame * count, b"\x88\x80" + MASK)
            await until(lambda: not app.running, 15.0)
    assert app.received[-1]["code"] in {1002, 1005, 1006}
    assert turns.longest < LONGEST


@live
async def test_chunks_of_no_size() -> None:
    async with served(Probe()) as server, http1.connect(server.port) as client:
        head = http1.request("POST", "/echo", (("Transfer-Encoding", "chunked"),))
        async with watched() as turns:
            count = COUNT // 10 if on_granian() else COUNT
            await client.send(head, b"1\r\nx\r\n" * count, b"0\r\n\r\n")
            answer = await client.response()
    assert answer.body == b"x" * count
    assert turns.longest < LONGEST


@live
async def test_requests_in_one_piece() -> None:
    async with served(Probe()) as server, http1.connect(server.port) as client:
        async with watched() as turns:
            await client.send(http1.request() * 1000)
            for _ in range(1000):
                assert (await client.response()).status == 200
                await asyncio.sleep(0)
    assert turns.longest < LONGEST


@live_on("hypercorn")
async def test_answers_that_wait_for_one_window() -> None:
    """The client lets all of them go at once; on Granian they go out in a thread of its own."""
    count = 1000
    async with served(Probe(), streams=count) as server, http2.connect(server.port) as client:
        client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        streams = [client.streams[client.open(http2.head())] for _ in range(count)]
        await client.until(lambda: all(stream.status for stream in streams))
        client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 65535})
        async with watched() as turns:
            await client.until(lambda: all(stream.ended for stream in streams))
    assert {bytes(stream.body) for stream in streams} == {b"hello"}
    assert turns.longest < LONGEST
