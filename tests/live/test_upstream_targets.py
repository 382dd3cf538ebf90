"""An upstream with several targets: who gets a request, and what is sent once more."""

import asyncio
import time

import pytest

from gateway.config.model import Upstream, UpstreamTls
from gateway.errors import Code, GatewayError
from gateway.serve.upstream import Pool, Response, UpstreamSocket, connect_websocket
from tests.support.certificates import Authority
from tests.support.pools import (
    FAST,
    HEADERS,
    LOOPS,
    NEVER,
    get,
    its_time_is_over,
    pieces,
    pool_of,
    reads_and_closes,
    reads_and_is_silent,
    refused,
    retried,
    runner,
    states,
)
from tests.support.upstream import answers, ok, until, upstream
from tests.support.websocket_upstream import echo, websocket


@pytest.fixture(params=LOOPS)
def run(request):
    return runner(request.param)


# Who gets a request.


def test_targets_take_turns(run):
    async def scenario():
        names = [answers(ok(name)) for name in (b"a", b"b", b"c")]
        async with pool_of(*names) as (ups, pool):
            found = [(await get(pool))[1] for _ in range(6)]
            assert found == [b"a", b"b", b"c"] * 2
            assert [len(up.peers) for up in ups] == [1, 1, 1]
            assert pool.counts() == (0, 3, 0)

    run(scenario())


def test_the_target_with_the_fewest_requests(run):
    async def slow(peer):
        while await peer.request():
            await go.wait()
            peer.send(ok(b"slow"))

    async def scenario():
        nonlocal go
        go = asyncio.Event()
        async with pool_of(slow, answers(ok(b"fast")), balance="least_pending") as (_, pool):
            first = asyncio.create_task(get(pool))
            await until(lambda: pool.counts()[0] == 1)
            assert [(await get(pool))[1] for _ in range(5)] == [b"fast"] * 5
            go.set()
            assert await first == (200, b"slow")

    go = None
    run(scenario())


def test_a_full_target_sends_the_next_request_to_another(run):
    async def slow(peer):
        while await peer.request():
            await go.wait()
            peer.send(ok(b"slow"))

    async def scenario():
        nonlocal go
        go = asyncio.Event()
        limits = {"max_connections": 1, "max_pending": 0}
        async with pool_of(slow, answers(ok(b"fast")), **limits) as (_, pool):
            first = asyncio.create_task(get(pool))
            await until(lambda: pool.counts()[0] == 1)
            posted = [(await get(pool, "POST", b"x"))[1] for _ in range(4)]
            assert posted == [b"fast"] * 4
            assert retried(pool) == {"busy": 2}
            assert states(pool) == ["healthy", "healthy"]
            go.set()
            assert await first == (200, b"slow")

    go = None
    run(scenario())


def test_the_address_that_answered_is_known(run):
    async def scenario():
        async with pool_of(answers(ok()), answers(ok())) as (ups, pool):
            for up in ups:
                response = await pool.request("GET", b"/", HEADERS)
                assert response.address == up.url.removeprefix("http://")
                response.close()

    run(scenario())


# What was never sent.


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_what_was_never_sent_goes_to_another_target(run, method):
    """Whatever its method, and with content that can be read only once."""

    async def scenario():
        async with pool_of(None, answers(ok())) as (ups, pool):
            for _ in range(4):
                assert await get(pool, method, pieces(b"in ", b"pieces"), 9) == (200, b"ok")
            assert [request.body for request in ups[1].requests] == [b"in pieces"] * 4
            assert retried(pool) == {"connect": 2}

    run(scenario())


def test_attempts_are_limited(run):
    async def scenario():
        async with pool_of(None, None, None, answers(ok()), ejection=NEVER) as (_, pool):
            fault = await refused(Code.UPSTREAM_CONNECT, get(pool))
            assert fault.detail.startswith("127.0.0.1:")
            assert retried(pool) == {"connect": 2}
            assert await get(pool) == (200, b"ok")
        retries = {"attempts": 0}
        async with pool_of(None, answers(ok()), retries=retries) as (_, pool):
            await refused(Code.UPSTREAM_CONNECT, get(pool))
            assert not retried(pool)

    run(scenario())


def test_no_try_begins_after_the_time_limit(run):
    async def scenario():
        settings = {"retries": {"timeout": 0.05}, "first_byte_timeout": 0.2}
        async with pool_of(reads_and_is_silent, answers(ok()), **settings) as (ups, pool):
            await refused(Code.UPSTREAM_TIMEOUT, get(pool))
            assert not ups[1].requests

    run(scenario())


# What may have been sent.


@pytest.mark.parametrize("script", [reads_and_closes, reads_and_is_silent])
def test_a_safe_request_goes_to_another_target(run, script):
    async def scenario():
        async with pool_of(script, answers(ok()), first_byte_timeout=0.1) as (ups, pool):
            assert await get(pool, "GET") == (200, b"ok")
            assert [len(up.requests) for up in ups] == [1, 1]
            reason = "reset" if script is reads_and_closes else "timeout"
            assert retried(pool) == {reason: 1}

    run(scenario())


@pytest.mark.parametrize("script", [reads_and_closes, reads_and_is_silent])
@pytest.mark.parametrize(
    ("method", "body", "length"),
    [("POST", b"x", None), ("POST", None, None), ("DELETE", None, None), ("GET", "pieces", 1)],
)
def test_nothing_else_is_sent_twice(run, script, method, body, length):
    async def scenario():
        settings = {"first_byte_timeout": 0.1, "ejection": NEVER}
        async with pool_of(script, script, **settings) as (ups, pool):
            content = pieces(b"x") if body == "pieces" else body
            with pytest.raises(GatewayError):
                await get(pool, method, content, length)
            assert sum(len(up.requests) for up in ups) == 1

    run(scenario())


def test_methods_that_may_be_sent_again_are_a_setting(run):
    async def scenario():
        retries = {"methods": ["PUT"]}
        async with pool_of(reads_and_closes, answers(ok()), retries=retries) as (ups, pool):
            assert await get(pool, "PUT", b"whole") == (200, b"ok")
            assert ups[0].requests == ups[1].requests
        async with pool_of(reads_and_closes, answers(ok()), retries=retries) as (ups, pool):
            await refused(Code.UPSTREAM_RESET, get(pool, "GET"))
            assert not ups[1].requests

    run(scenario())


@pytest.mark.parametrize(
    ("start", "code"),
    [
        (b"H", Code.UPSTREAM_RESET),
        (b"HTTP/1.1 200 OK\r\n", Code.UPSTREAM_RESET),
        (b"HTTP/1.1 100 Continue\r\n\r\n", Code.UPSTREAM_RESET),
        (b"garbage\r\n\r\n", Code.UPSTREAM_PROTOCOL),
    ],
)
def test_what_was_answered_with_a_byte_is_not_sent_again(run, start, code):
    async def script(peer):
        await peer.request()
        peer.send(start)

    async def scenario():
        async with pool_of(script, answers(ok())) as (ups, pool):
            await refused(code, get(pool))
            assert not ups[1].requests

    run(scenario())


def test_a_target_that_ends_after_its_head_is_not_asked_again(run):
    async def script(peer):
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")

    async def scenario():
        async with pool_of(script, answers(ok())) as (ups, pool):
            await refused(Code.UPSTREAM_RESET, get(pool))
            assert [len(up.requests) for up in ups] == [1, 0]

    run(scenario())


def test_retries_have_a_budget(run):
    async def scenario():
        retries = {"budget_percent": 10, "budget_per_second": 0, "attempts": 10}
        settings = {"retries": retries, "ejection": NEVER}
        async with pool_of(reads_and_closes, reads_and_closes, **settings) as (ups, pool):
            burst = int(pool._budget.burst)
            for _ in range(60):
                await refused(Code.UPSTREAM_RESET, get(pool))
            again = sum(len(up.requests) for up in ups) - 60
            assert burst <= again <= burst + 6
            assert retried(pool) == {"reset": again}
            assert pool.gauges().over_budget == 60 - again

    run(scenario())


# Targets that fail.


def test_a_target_that_fails_is_left_out_and_comes_back(run):
    """While it is left out nothing reaches it; then one request decides."""

    async def flaky(peer):
        while await peer.request():
            if not well:
                return
            await go.wait()
            peer.send(ok(b"back"))

    async def scenario():
        nonlocal go
        go = asyncio.Event()
        async with pool_of(flaky, answers(ok()), ejection=FAST) as (ups, pool):
            while "ejected" not in states(pool):
                assert await get(pool) == (200, b"ok")
            assert len(ups[0].requests) == 3
            assert [await get(pool) for _ in range(6)] == [(200, b"ok")] * 6
            assert len(ups[0].requests) == 3
            well.append(True)
            its_time_is_over(pool)
            tasks = []
            while len(ups[0].requests) == 3:
                tasks.append(asyncio.create_task(get(pool)))
                await asyncio.sleep(0.01)
            assert states(pool) == ["probing", "healthy"]
            assert [await get(pool) for _ in range(6)] == [(200, b"ok")] * 6
            assert len(ups[0].requests) == 4
            go.set()
            assert [await task for task in tasks].count((200, b"back")) == 1
            assert states(pool) == ["healthy", "healthy"]
            assert {await get(pool), await get(pool)} == {(200, b"ok"), (200, b"back")}
            (ejections, _) = (target.ejections for target in pool.gauges().targets.values())
            assert ejections == 1

    go, well = None, []
    run(scenario())


def test_a_probe_whose_client_leaves_does_not_keep_the_target_out(run):
    async def scenario():
        async with pool_of(None, answers(ok()), ejection=FAST) as (_, pool):
            while "ejected" not in states(pool):
                await get(pool)
            its_time_is_over(pool)
            port = int(pool._endpoints[0].address.partition(":")[2])
            async with upstream(reads_and_is_silent, port=port) as up:
                tasks = []
                while "probing" not in states(pool):
                    tasks.append(asyncio.create_task(get(pool)))
                    await asyncio.sleep(0.005)
                await until(lambda: up.requests)
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                assert states(pool)[0] == "ejected"
                assert pool._endpoints[0].health.is_open(time.monotonic())

    run(scenario())


def test_a_probe_that_the_budget_refuses_does_not_keep_the_target_out(run):
    async def scenario():
        retries = {"budget_percent": 0, "budget_per_second": 0}
        async with pool_of(reads_and_closes, answers(ok()), retries=retries) as (ups, pool):
            pool._endpoints[1].health.until = time.monotonic()
            await refused(Code.UPSTREAM_RESET, get(pool))
            assert pool.gauges().over_budget == 1
            assert not ups[1].requests
            assert states(pool) == ["healthy", "ejected"]
            assert await get(pool) == (200, b"ok")
            assert states(pool) == ["healthy", "healthy"]

    run(scenario())


def test_if_all_fail_all_are_tried(run):
    async def scenario():
        async with pool_of(None, None, ejection=FAST) as (_, pool):
            while states(pool) != ["ejected", "ejected"]:
                await refused(Code.UPSTREAM_CONNECT, get(pool))
            port = int(pool._endpoints[1].address.partition(":")[2])
            async with upstream(answers(ok()), port=port):
                assert await get(pool, "POST") == (200, b"ok")
                assert states(pool) == ["ejected", "healthy"]

    run(scenario())


def test_statuses_that_count_as_failures_are_a_setting(run):
    async def scenario():
        bad = answers(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n")
        for statuses, state in (([], "healthy"), ([502, 503], "ejected")):
            ejection = {**FAST, "statuses": statuses}
            async with pool_of(bad, answers(ok()), ejection=ejection) as (_, pool):
                found = [(await get(pool))[0] for _ in range(12)]
                assert found.count(503) == (3 if statuses else 6)
                assert states(pool) == [state, "healthy"]

    run(scenario())


def test_a_request_that_makes_its_target_end_takes_it_from_nobody(run):
    async def brittle(peer):
        while request := await peer.request():
            if request.target == "/poison":
                return
            peer.send(ok())

    async def scenario():
        ejection = {**FAST, "silence": 60}
        async with pool_of(brittle, brittle, ejection=ejection) as (_, pool):
            for _ in range(10):
                assert await get(pool) == (200, b"ok")
                poison = [get(pool, "POST", target=b"/poison") for _ in range(20)]
                ends = await asyncio.gather(*poison, return_exceptions=True)
                assert {end.code for end in ends} == {Code.UPSTREAM_RESET}
                assert states(pool) == ["healthy", "healthy"]

    run(scenario())


def test_content_that_the_target_does_not_wait_for_is_not_its_failure(run):
    async def impatient(peer):
        await peer.head()

    async def endless():
        yield b"a"
        await asyncio.Event().wait()

    async def scenario():
        async with pool_of(impatient, impatient, ejection=FAST) as (ups, pool):
            for _ in range(10):
                await refused(Code.UPSTREAM_RESET, get(pool, "PUT", endless(), 10))
            assert len(ups[0].requests) == 5
            assert states(pool) == ["healthy", "healthy"]

    run(scenario())


def test_a_connection_that_was_waited_for_too_long_is_not_its_targets_failure(run):
    """Whoever holds all connections, and lets go just before the others' time is over."""

    class Slow:
        address, is_plain = "127.0.0.1:1", True

        async def dial(self, protocol):
            await asyncio.Event().wait()

    async def scenario():
        settings = {"max_connections": 1, "connect_timeout": 0.2, "retries": {"attempts": 0}}
        async with pool_of(reads_and_is_silent, **settings) as (_, pool):
            (endpoint,) = pool._endpoints
            holds = asyncio.create_task(get(pool))
            await until(lambda: endpoint.counts()[0])
            waits = asyncio.create_task(get(pool))
            await until(lambda: endpoint.counts()[2])
            endpoint._dialer = Slow()
            holds.cancel()
            await refused(Code.UPSTREAM_BUSY, waits)
            await refused(Code.UPSTREAM_CONNECT, get(pool))

    run(scenario())


def test_a_single_target_is_never_left_out(run):
    async def scenario():
        async with pool_of(None, ejection=FAST) as (_, pool):
            for _ in range(10):
                await refused(Code.UPSTREAM_CONNECT, get(pool))
            assert states(pool) == ["healthy"]
            assert not retried(pool)

    run(scenario())


# WebSockets.


@pytest.mark.parametrize("script", [None, reads_and_closes])
def test_a_handshake_goes_through_the_balancer_and_is_sent_once(run, script):
    async def scenario():
        async with pool_of(script, websocket(echo)) as (ups, pool):
            opening = connect_websocket(pool, b"/", HEADERS, max_message=1000)
            if script is not None:
                await refused(Code.UPSTREAM_RESET, opening)
                assert len(ups[0].requests) == 1
                opening = connect_websocket(pool, b"/", HEADERS, max_message=1000)
            found = await opening
            assert isinstance(found, UpstreamSocket)
            assert found.address == ups[1].url.removeprefix("http://")
            await found.send("hello")
            assert await found.receive() == "hello"
            assert pool.counts() == (1, 0, 0)
            await found.close()
            await until(lambda: pool.counts() == (0, 0, 0))

    run(scenario())


def test_a_handshake_that_is_refused_is_the_targets_answer(run):
    async def scenario():
        async with pool_of(answers(ok()), answers(ok())) as (ups, pool):
            found = await connect_websocket(pool, b"/", HEADERS, max_message=1000)
            assert isinstance(found, Response)
            found.close()
            assert [len(up.requests) for up in ups] == [1, 0]

    run(scenario())


# TLS.


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


BAD = ["another authority", "another name", "expired", "no TLS", "no client certificate"]


@pytest.mark.parametrize("what", BAD)
def test_a_target_that_does_not_verify_is_never_spoken_to(run, authority, tmp_path, what):
    """Its neighbour gets the requests, and it is left out."""

    def context():
        match what:
            case "another authority":
                return Authority(tmp_path, "stranger").server_context("127.0.0.1")
            case "another name":
                return authority.server_context("orders.internal")
            case "expired":
                return authority.server_context("127.0.0.1", expired=True)
            case "no client certificate":
                return authority.server_context("127.0.0.1", client_root=authority.root)

    async def silent(peer):
        await peer.closed()

    async def scenario():
        good = authority.server_context("127.0.0.1")
        script = silent if what == "no TLS" else answers(ok(b"bad"))
        async with upstream(script, tls=context()) as bad, upstream(answers(ok()), tls=good) as up:
            targets = [bad.url.replace("http:", "https:"), up.url]
            tls = UpstreamTls(ca_file=authority.root)
            pool = Pool(Upstream(targets=targets, tls=tls, connect_timeout=0.5, ejection=FAST))
            for _ in range(6):
                assert await get(pool) == (200, b"ok")
            assert states(pool) == ["ejected", "healthy"]
            assert not bad.requests
            await pool.close()

    run(scenario())
