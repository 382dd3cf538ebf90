"""Targets that are host names: their addresses change, are gone, or are not to be had."""

import asyncio
import socket
import threading

import pytest

from gateway.config.model import Upstream, UpstreamTls
from gateway.errors import Code
from gateway.serve.upstream import Pool
from tests.support.certificates import Authority
from tests.support.pools import (
    FAST,
    HEADERS,
    LOOPS,
    ONE,
    TWO,
    Names,
    get,
    named,
    refused,
    refused_code,
    runner,
    states,
)
from tests.support.upstream import answers, ok, until, upstream


@pytest.fixture(params=LOOPS)
def run(request):
    return runner(request.param)


def test_every_address_of_a_name_is_a_target(run):
    async def scenario():
        names = Names({"orders.internal": [ONE, TWO, ONE]})
        async with named(names, ONE, TWO) as (_, pool):
            found = [(await get(pool))[1].decode() for _ in range(4)]
            assert found == [ONE, TWO, ONE, TWO]
            assert names.asked == 1

    run(scenario())


def test_an_address_that_refuses_is_passed_over(run):
    async def scenario():
        names = Names({"orders.internal": ["127.0.0.9", ONE]})
        async with named(names, ONE, ejection=FAST) as (_, pool):
            for _ in range(6):
                assert await get(pool, "POST", b"x") == (200, ONE.encode())
            assert states(pool) == ["ejected", "healthy"]

    run(scenario())


def test_new_addresses_get_the_requests_and_old_ones_end_theirs(run):
    async def scenario():
        names = Names({"orders.internal": [ONE]})
        async with named(names, ONE, TWO, dns_interval=0.05) as (ups, pool):
            assert await get(pool) == (200, ONE.encode())
            assert pool.counts() == (0, 1, 0)
            under_way = await pool.request("GET", b"/", HEADERS)
            names.names["orders.internal"] = [TWO]
            await until(lambda: pool._endpoints[0].address.startswith(TWO))
            assert await under_way.read_chunk() == ONE.encode()
            assert [await get(pool) for _ in range(3)] == [(200, TWO.encode())] * 3
            await until(lambda: all(peer.writer.is_closing() for peer in ups[0].peers))
            assert pool.counts() == (0, 1, 0)

    run(scenario())


def test_a_request_under_way_to_an_old_address_is_served(run):
    async def slow(peer):
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
        await go.wait()
        peer.send(b"whole")
        await peer.closed()
        gone.set()

    async def scenario():
        nonlocal go, gone
        go, gone = asyncio.Event(), asyncio.Event()
        names = Names({"orders.internal": [ONE]})
        async with upstream(slow) as up:
            settings = Upstream(url=up.url.replace(ONE, "orders.internal"), dns_interval=0.05)
            pool = Pool(settings, lookup=names)
            response = await pool.request("GET", b"/", HEADERS)
            names.names["orders.internal"] = [TWO]
            await until(lambda: states(pool) == ["leaving", "healthy"])
            go.set()
            assert await response.read_chunk() == b"whole"
            await gone.wait()
            await until(lambda: pool.counts() == (0, 0, 0))
            await pool.close()

    go = gone = None
    run(scenario())


def test_the_last_address_that_is_left_is_used_and_watched(run):
    async def scenario():
        names = Names({"orders.internal": ["127.0.0.9", ONE]})
        async with named(names, ONE, dns_interval=0.05, ejection=FAST) as (ups, pool):
            while states(pool) != ["ejected", "healthy"]:
                assert await get(pool) == (200, ONE.encode())
            names.names["orders.internal"] = ["127.0.0.9"]
            await until(lambda: states(pool) == ["ejected"])
            await refused(Code.UPSTREAM_CONNECT, get(pool))
            port = int(ups[0].url.rpartition(":")[2])
            async with upstream(answers(ok(b"back")), host="127.0.0.9", port=port):
                assert await get(pool) == (200, b"back")
                assert states(pool) == ["healthy"]
                assert await get(pool) == (200, b"back")

    run(scenario())


def test_addresses_stay_while_the_name_cannot_be_resolved(run):
    async def scenario():
        names = Names({"orders.internal": [ONE]})
        async with named(names, ONE, dns_interval=0.02) as (ups, pool):
            assert await get(pool) == (200, ONE.encode())
            names.names.clear()
            asked = names.asked
            await until(lambda: names.asked > asked)
            await until(lambda: [target.error for target in pool.gauges().targets.values()] != [""])
            assert await get(pool) == (200, ONE.encode())
            assert len(ups[0].peers) == 1

    run(scenario())


def test_an_unknown_name_is_502_and_asked_for_anew_after_a_pause(run):
    async def scenario():
        names = Names({})
        async with named(names, ONE) as (_, pool):
            for _ in range(20):
                fault = await refused(Code.UPSTREAM_CONNECT, get(pool))
                assert fault.detail == "orders.internal: Name or service not known"
            assert names.asked < 10
            names.names["orders.internal"] = [ONE]
            await until(lambda: pool._endpoints)
            assert await get(pool) == (200, ONE.encode())

    run(scenario())


def test_a_name_that_is_not_resolved_in_time_is_502_and_asked_for_once(run):
    hang = threading.Event()

    def lookup(name, port, type):
        asked.append(name)
        hang.wait(5)
        return [(socket.AF_INET, type, 0, "", (ONE, 0))]

    async def scenario():
        async with named(lookup, ONE, connect_timeout=0.1, max_pending=5) as (_, pool):
            tasks = [asyncio.create_task(get(pool)) for _ in range(8)]
            await until(lambda: pool.counts()[2] == 5)
            codes = [(await refused_code(task)) for task in tasks]
            assert codes.count(Code.UPSTREAM_CONNECT) == 5
            assert codes.count(Code.UPSTREAM_BUSY) == 3
            assert pool.counts() == (0, 0, 0)
            assert len(asked) == 1
            hang.set()
            await until(lambda: pool._endpoints)
            assert await get(pool) == (200, ONE.encode())

    asked = []
    run(scenario())


def test_closing_a_pool_that_resolves_leaves_nothing(run):
    hang = threading.Event()

    def lookup(name, port, type):
        hang.wait(5)
        return [(socket.AF_INET, type, 0, "", (ONE, 0))]

    async def scenario():
        async with named(lookup, ONE) as (_, pool):
            waiting = asyncio.create_task(get(pool))
            await until(lambda: pool.counts()[2] == 1)
            await pool.close()
            await refused(Code.SHUTTING_DOWN, waiting)
            hang.set()
            await until(lambda: not pool._resolvers[0].looking)
            await refused(Code.SHUTTING_DOWN, get(pool))

    run(scenario())


def test_closing_a_pool_ends_what_still_dials_an_old_address(run):
    class Held:
        def __init__(self, dialer):
            self.dialer = dialer
            self.address, self.is_plain = dialer.address, dialer.is_plain

        async def dial(self, protocol):
            dials.set()
            await go.wait()
            await self.dialer.dial(protocol)

    async def scenario():
        nonlocal dials, go
        dials, go = asyncio.Event(), asyncio.Event()
        names = Names({"orders.internal": [ONE]})
        async with named(names, ONE, TWO, dns_interval=0.05) as (ups, pool):
            assert await get(pool) == (200, ONE.encode())
            pool._endpoints[0]._dialer = Held(pool._endpoints[0]._dialer)
            pool._endpoints[0].retire()
            request = asyncio.create_task(get(pool))
            await dials.wait()
            names.names["orders.internal"] = [TWO]
            await until(lambda: pool._endpoints[0].address.startswith(TWO))
            closes = asyncio.create_task(pool.close())
            await asyncio.sleep(0)
            go.set()
            await refused(Code.SHUTTING_DOWN, request)
            await closes
            assert len(ups[0].requests) == 1

    dials = go = None
    run(scenario())


def test_the_systems_resolver(run):
    async def scenario():
        async with upstream(answers(ok())) as up:
            pool = Pool(Upstream(url=up.url.replace(ONE, "localhost")))
            for _ in range(4):  # ::1, where it is among them, has nobody who listens
                assert await get(pool, "POST", b"x") == (200, b"ok")
            await pool.close()

    run(scenario())


def test_a_retired_pool_resolves_for_its_requests_and_no_more(run):
    async def scenario():
        names = Names({"orders.internal": [ONE]})
        async with named(names, ONE, dns_interval=0.01) as (_, pool):
            pool.retire()
            assert await get(pool) == await get(pool) == (200, ONE.encode())
            assert pool._resolvers[0]._timer is None
            await until(lambda: pool.counts() == (0, 0, 0))
            assert names.asked == 1

    run(scenario())


def test_a_name_is_verified_at_each_of_its_addresses(run, tmp_path):
    """Not the address that it leads to: whoever controls the DNS needs the certificate, too."""

    async def scenario():
        names, authority = [], Authority(tmp_path)
        good = authority.server_context("orders.internal")
        good.sni_callback = lambda _socket, name, _context: names.append(name)
        bad = authority.server_context("127.0.0.2", "127.0.0.1")
        async with upstream(answers(ok()), tls=good) as up:
            port = int(up.url.rpartition(":")[2])
            async with upstream(answers(ok(b"bad")), tls=bad, host="127.0.0.2", port=port) as other:
                url = f"https://orders.internal:{port}"
                settings = Upstream(url=url, tls=UpstreamTls(ca_file=authority.root))
                pool = Pool(settings, lookup=Names({"orders.internal": ["127.0.0.2", "127.0.0.1"]}))
                for _ in range(4):
                    assert await get(pool) == (200, b"ok")
                assert not other.requests
                assert set(names) == {"orders.internal"}
                await pool.close()

    run(scenario())
