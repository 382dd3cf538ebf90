from __future__ import annotations

from gateway.record.ring import Ring


def test_keeps_the_newest_by_count():
    ring = Ring(3)
    for number in range(5):
        ring.add(f"d{number}", b"%d" % number)
    assert ring.recent(10) == [b"4", b"3", b"2"]
    assert ring.recent(1) == [b"4"]
    assert ring.get("d4") == b"4"
    assert ring.get("d1") is None
    assert len(ring) == 3


def test_keeps_the_newest_by_size():
    ring = Ring(100, max_bytes=10)
    for number in range(5):
        ring.add(f"d{number}", b"%d---" % number)
    assert ring.recent(10) == [b"4---", b"3---"]
    ring.add("large", b"x" * 11)
    assert len(ring) == 0
    ring.add("d9", b"9---")
    assert ring.recent(10) == [b"9---"]


def test_the_same_id_again_takes_the_place():
    ring = Ring(2, max_bytes=10)
    for _ in range(5):
        ring.add("d", b"12345")
    ring.add("e", b"12345")
    assert len(ring) == 2


def test_limit_zero_keeps_nothing():
    ring = Ring(0)
    ring.add("d", b"x")
    assert ring.get("d") is None
