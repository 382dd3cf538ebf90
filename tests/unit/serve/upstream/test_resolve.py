from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from gateway.serve.upstream.resolve import MAX_ADDRESSES, Resolver, chosen
from tests.support.upstream import until


@pytest.mark.parametrize(
    ("known", "found", "expected"),
    [
        ((), ["a", "b", "a"], ("a", "b")),
        (("a", "b"), ["c", "b", "a"], ("a", "b", "c")),
        (("a", "b"), ["b"], ("b",)),
        (("a",), ["b"], ("b",)),
    ],
)
def test_addresses_in_use_keep_their_places(known, found, expected):
    assert chosen(known, found) == expected


def test_the_number_of_addresses_is_limited_and_those_in_use_stay():
    many = [str(number) for number in range(500)]
    first = chosen((), many)
    assert first == tuple(many[:MAX_ADDRESSES])
    assert chosen(first, many[::-1]) == first


def answer(*addresses):
    return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 0)) for address in addresses]


def scenario(lookup, steps):
    """Run `steps(resolver, changes)` for a resolver of orders.internal, every 8 seconds."""
    changes = []

    async def run():
        resolver = Resolver("orders.internal", 8.0, lambda: changes.append(1), lookup)
        await steps(resolver, changes)
        resolver.stop()

    asyncio.run(run())


def test_pauses_grow_while_it_fails_and_are_the_interval_once_it_succeeds(caplog):
    def lookup(name, port, type):
        assert (name, port, type) == ("orders.internal", None, socket.SOCK_STREAM)
        if fails:
            raise fails[0]
        return answer("192.0.2.1")

    async def steps(resolver, changes):
        loop = asyncio.get_running_loop()

        async def pause():
            before = len(changes)
            resolver._earliest = 0.0
            resolver.refresh()
            await until(lambda: len(changes) > before)
            return round(resolver._timer.when() - loop.time())

        assert [await pause() for _ in range(5)] == [1, 2, 4, 8, 8]
        assert (resolver.addresses, resolver.error) == ((), "no such name")
        assert caplog.messages == ["orders.internal cannot be resolved: no such name"]
        fails[0] = UnicodeError("label too long")
        await pause()
        assert resolver.error == "label too long"
        fails[0] = ZeroDivisionError()
        await pause()
        assert resolver.error == "ZeroDivisionError"
        fails.clear()
        assert await pause() == 8
        assert (resolver.addresses, resolver.error) == (("192.0.2.1",), "")
        fails.append(OSError(5, "broken"))
        assert await pause() == 1
        assert (resolver.addresses, resolver.error) == (("192.0.2.1",), "broken")

    fails = [socket.gaierror(socket.EAI_NONAME, "no such name")]
    scenario(lookup, steps)


def test_no_addresses_are_a_failure():
    async def steps(resolver, changes):
        resolver.refresh()
        await until(lambda: changes)
        assert resolver.error == "no addresses"

    scenario(lambda *_, **__: [], steps)


def test_one_look_up_at_a_time_and_not_at_once_again():
    begun, go = [], threading.Event()

    def lookup(*_, **__):
        begun.append(threading.current_thread())
        go.wait(5)
        return answer("192.0.2.1")

    async def steps(resolver, changes):
        for _ in range(5):
            resolver.refresh()
        await until(lambda: begun)
        assert resolver.looking
        go.set()
        await until(lambda: changes)
        for _ in range(5):
            resolver.refresh()
        assert not resolver.looking
        assert len(begun) == 1
        assert begun[0].daemon  # one that hangs does not keep the process from ending

    scenario(lookup, steps)


def test_where_no_thread_can_be_started_it_is_tried_again(monkeypatch):
    def start(_):
        raise RuntimeError("can't start new thread")

    async def steps(resolver, changes):
        monkeypatch.setattr(threading.Thread, "start", start)
        resolver.refresh()
        assert (resolver.looking, resolver.error) == (False, "can't start new thread")
        assert resolver._timer is not None
        assert changes

    scenario(lambda *_, **__: [], steps)


def test_an_answer_after_the_loops_end_is_dropped():
    go, over = threading.Event(), threading.Event()

    def lookup(*_, **__):
        go.wait(5)
        over.set()
        return answer("192.0.2.1")

    async def steps(resolver, _):
        resolver.refresh()

    scenario(lookup, steps)
    thread = next(each for each in threading.enumerate() if each.name == "resolve orders.internal")
    go.set()
    thread.join(5)  # what it raised would fail the test (filterwarnings = error)
    assert over.is_set()
