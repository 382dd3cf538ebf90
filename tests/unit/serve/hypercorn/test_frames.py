from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from gateway.serve.hypercorn import frames
from gateway.serve.hypercorn.frames import PREFACE, FrameMeter, TooLongFrame, TooManyFrames

MAX_BLOCK = 40000


def frame(kind: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + bytes(4) + payload


def fed(meter: FrameMeter, data: bytes, now: float = 0.0) -> list[bytes]:
    return list(meter.pieces(data, now))


FRAMES = st.builds(
    frame,
    kind=st.integers(0, 12),
    payload=st.binary(max_size=40),
    flags=st.sampled_from([0, 1, 4, 5]),
)


@given(parts=st.lists(FRAMES, max_size=60), cuts=st.lists(st.integers(0, 3000), max_size=8))
def test_pieces_are_the_data_however_it_arrives(parts: list[bytes], cuts: list[int]) -> None:
    data = PREFACE + b"".join(parts)
    whole, split = FrameMeter(0.0, MAX_BLOCK), FrameMeter(0.0, MAX_BLOCK)
    places = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    chunks = [data[a:b] for a, b in zip(places, places[1:], strict=False)]
    assert b"".join(fed(whole, data)) == data
    assert b"".join(piece for chunk in chunks for piece in fed(split, chunk)) == data
    assert whole._credit == split._credit


@given(data=st.binary(max_size=500))
def test_any_bytes_give_pieces_or_a_verdict(data: bytes) -> None:
    meter = FrameMeter(0.0, MAX_BLOCK)
    try:
        assert b"".join(fed(meter, PREFACE + data)) == PREFACE + data
    except (TooLongFrame, TooManyFrames):
        pass


def test_a_turn_has_few_frames() -> None:
    meter = FrameMeter(0.0, MAX_BLOCK)
    pieces = fed(meter, PREFACE + frame(6, bytes(8)) * 100)
    assert len(pieces) == 7
    assert len(fed(meter, frame(1, bytes(2000), flags=4) * 4)) >= 4


@pytest.mark.parametrize(
    ("data", "allowed"),
    [
        (frame(6, bytes(8)), 200),
        (frame(4), 100),
        (frame(3, bytes(4)), 100),
        (frame(9), 100),
        (frame(0), 1000),
        (frame(8, bytes(4)), 1000),
        (frame(0x20), 200),
        (frame(1, bytes(4096), flags=4), 250),
    ],
    ids=["PING", "SETTINGS", "RST_STREAM", "CONTINUATION", "empty DATA", "WINDOW_UPDATE", "unknown",
         "HEADERS of 4 KiB"],
)  # fmt: skip
def test_budget(data: bytes, allowed: int) -> None:
    meter = FrameMeter(0.0, MAX_BLOCK)
    fed(meter, PREFACE + data * allowed)
    with pytest.raises(TooManyFrames):
        fed(meter, data)
    fed(meter, frame(6, bytes(8)), now=60.0)  # time gives credit back


@pytest.mark.parametrize("data", [frame(0, b"abc"), frame(0, flags=1), frame(1, b"abc", flags=4)])
def test_requests_cost_nothing(data: bytes) -> None:
    fed(FrameMeter(0.0, MAX_BLOCK), PREFACE + data * 5000)


def test_credit_is_earned_up_to_the_capacity() -> None:
    meter = FrameMeter(0.0, MAX_BLOCK)
    for _ in range(1000):
        meter.earn(frames.PER_REQUEST)
    meter.charge(frames.CAPACITY)
    with pytest.raises(TooManyFrames):
        meter.charge(1)
    meter.earn(frames.PER_REQUEST + 1)
    meter.charge(frames.PER_REQUEST)


def test_length_is_judged_by_the_frame_header() -> None:
    meter = FrameMeter(0.0, MAX_BLOCK)
    fed(meter, PREFACE + frame(0, bytes(frames.MAX_LENGTH)))
    with pytest.raises(TooLongFrame):
        fed(meter, (frames.MAX_LENGTH + 1).to_bytes(3, "big") + bytes(6))


def test_header_block_is_limited_over_its_continuations() -> None:
    meter = FrameMeter(0.0, MAX_BLOCK)
    fed(meter, PREFACE)
    for _ in range(3):  # ended blocks do not add up
        fed(meter, frame(1, bytes(15000)) + frame(9, bytes(15000), flags=4))
    fed(meter, frame(1, bytes(15000)) + frame(9, bytes(15000)))
    with pytest.raises(TooLongFrame):
        fed(meter, frame(9, bytes(15000)))
