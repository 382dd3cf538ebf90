"""`gateway serve` as a process: start, signals, logs, end."""

import asyncio
import json
import shutil
import signal
import socket

import pytest

from gateway.commands.demo import POLICIES
from gateway.jose.sign import generate
from tests.support import http1, http2
from tests.support.gateway import POLICY, live, policy_for, token, until, write
from tests.support.process import serving, started
from tests.support.upstream import answers, ok, upstream

KEY = generate("ES256")
LOG = {"log": {"decisions": {"sink": "file", "path": "decisions.log"}}}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@live
async def test_hangup_looks_at_the_files_at_once(tmp_path):
    config = {"reload": {"watch": False, "rescan": "1h"}}
    policy = tmp_path / "policies" / "authz.rego"
    async with upstream(answers(ok())) as service:
        write(tmp_path, KEY, service.url, config=config)
        async with serving(tmp_path) as process:
            for count, role in enumerate(("writer", "auditor"), start=1):
                bearer = token(KEY, roles=[role])
                assert (await process.ask(token=bearer)).status == 403
                policy.write_text(policy_for(role))
                if count > 1:  # the look that follows the start is over
                    await asyncio.sleep(0.4)  # more than a watched edit takes
                    assert (await process.ask(token=bearer)).status == 403
                process.child.send_signal(signal.SIGHUP)
                await until(lambda times=count: process.errors.count("reloaded:") == times)
                assert (await process.ask(token=bearer)).status == 200
            process.child.send_signal(signal.SIGHUP)  # looks though nothing changed
            await until(lambda: "(nothing changed)" in process.errors)
            policy.write_text(POLICY + "\nbroken := \n")
            process.child.send_signal(signal.SIGHUP)
            await until(lambda: "reload refused" in process.errors)
            (refusal,) = [line for line in process.lines if "reload refused" in line]
            assert "authz.rego:9:" in refusal
            assert (await process.ask(token=bearer)).status == 200


@live
async def test_a_stop_lets_requests_in_flight_end(tmp_path):
    release = asyncio.Event()

    async def slow(peer):
        if await peer.request() is not None:
            peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha")
            await release.wait()
            peer.send(b"lf")

    limits = {"limits": {"drain_timeout": "30s"}}
    async with upstream(slow) as service:
        write(tmp_path, KEY, service.url, config={**LOG, **limits})
        async with serving(tmp_path) as process:
            async with http1.connect(process.port()) as idle, http1.connect(process.port()) as busy:
                await busy.send(http1.request("GET", "/open/x"))
                await busy.head()
                process.child.terminate()
                assert await idle.ended() == b""
                await refused(process.port())
                release.set()
                async with asyncio.timeout(10):
                    assert await busy.reader.readexactly(4) == b"half"
                assert await busy.ended() == b""
            assert await process.ended() == 0
        assert "SIGTERM: draining for at most 30 s" in process.errors
        (event,) = lines(tmp_path / "decisions.log")
        assert (event["status"], event["bytes_out"]) == (200, 4)
        assert "incomplete" not in event
        assert "Traceback" not in process.errors


async def refused(port):
    """Wait until nobody listens any more."""
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionError:
                return
            writer.close()
            await asyncio.sleep(0.01)


@live
async def test_a_stop_gives_load_balancers_time(tmp_path):
    limits = {"limits": {"drain_delay": "2s"}}
    async with upstream(answers(ok())) as service:
        write(tmp_path, KEY, service.url, config=LOG | limits)
        async with serving(tmp_path) as process, http1.connect(process.port("admin")) as admin:
            process.child.terminate()
            await until(lambda: "draining" in process.errors)
            host = (("Host", "localhost"),)
            answer = await admin.request("GET", "/health/ready", host)
            assert answer.json() == {"ready": False, "reasons": ["shutting down"]}
            assert (await process.ask("/.well-known/gateway/ready")).status == 503
            assert (await process.ask("/open/x")).status == 200
            await refused(process.port())
            assert await process.ended() == 0


@pytest.mark.parametrize("limit", ["drain_timeout", "drain_delay"])
@live
async def test_a_second_stop_ends_at_once(tmp_path, limit):
    async def silent(peer):
        if await peer.request() is not None:
            await peer.closed()

    async with upstream(silent) as service:
        write(tmp_path, KEY, service.url, config={**LOG, "limits": {limit: "1h"}})
        async with serving(tmp_path) as process, http1.connect(process.port()) as client:
            await client.send(http1.request("GET", "/open/x"))
            await until(lambda: service.requests)
            process.child.terminate()
            await until(lambda: "draining" in process.errors)
            await asyncio.sleep(1.1)  # what comes within a second is the same signal
            process.child.terminate()
            assert await process.ended() == 0
        (event,) = lines(tmp_path / "decisions.log")
        assert event["target"] == "/open/x"
        assert "Traceback" not in process.errors


@live
async def test_a_stop_ends_what_takes_too_long(tmp_path):
    async def silent(peer):
        if await peer.request() is not None:
            await peer.closed()

    limits = {"limits": {"drain_timeout": "200ms"}}
    async with upstream(silent) as service:
        write(tmp_path, KEY, service.url, config={**LOG, **limits})
        async with serving(tmp_path) as process, http1.connect(process.port()) as client:
            await client.send(http1.request("GET", "/open/x"))
            await until(lambda: service.requests)
            process.child.terminate()
            answer = await client.response()
            assert (answer.status, answer.code) == (503, "shutting-down")
            assert await process.ended() == 0
        (event,) = lines(tmp_path / "decisions.log")
        assert (event["status"], event["code"]) == (503, "shutting-down")
        assert "Traceback" not in process.errors


@live
async def test_a_broken_policy_and_the_last_good_one(tmp_path):
    policy = tmp_path / "policies" / "authz.rego"
    async with upstream(answers(ok())) as service:
        write(tmp_path, KEY, service.url, policy=POLICY + "\nbroken := \n")
        async with started("serve", folder=tmp_path) as process:
            assert await process.ended() == 1
        assert "policies/authz.rego:9" in process.errors
        assert "Traceback" not in process.errors
        policy.write_text(policy_for("writer"))
        async with serving(tmp_path) as process:
            process.child.terminate()
            assert await process.ended() == 0
        policy.write_text(POLICY + "\nbroken := \n")
        async with serving(tmp_path) as process:
            assert "authz.rego:9" in process.errors
            assert "serving the last good set, kept at 20" in process.errors
            assert (await process.ask(token=token(KEY, roles=["writer"]))).status == 200
            assert (await process.ask(token=token(KEY))).status == 403
            async with http1.connect(process.port("admin")) as client:
                host = (("Host", "localhost"),)
                status = (await client.request("GET", "/status", host)).json()
                assert status["last_good"]
                assert status["last_error"]["problems"][0]["line"] == 9
            policy.write_text(POLICY)
            await until(lambda: "reloaded: policy revision" in process.errors)
            assert (await process.ask(token=token(KEY))).status == 200


@live
async def test_what_could_not_serve_is_not_the_last_good_set(tmp_path):
    async with upstream(answers(ok())) as service:
        write(tmp_path, KEY, service.url)
        async with serving(tmp_path) as process:
            process.child.terminate()
            assert await process.ended() == 0
        kept = tmp_path / ".gateway" / "gateway.yaml.last-good.json"
        before = kept.read_bytes()
        taken = {"listeners": [{"address": service.url.removeprefix("http://")}]}
        write(tmp_path, KEY, service.url, config=taken)
        async with started("serve", folder=tmp_path) as process:
            assert await process.ended() == 1
        assert "cannot listen on" in process.errors
        assert kept.read_bytes() == before


@live
async def test_what_cannot_start_says_why(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        write(tmp_path, KEY, "http://127.0.0.1:1", config={"listeners": [{"address": address}]})
        async with started("serve", folder=tmp_path) as process:
            assert await process.ended() == 1
    error = next(line for line in process.errors.splitlines() if "cannot listen" in line)
    assert f"gateway.yaml:" in error
    assert f"listeners.0.address: cannot listen on {address}" in error
    assert "another process listens there" in error
    assert "Traceback" not in process.errors
    (tmp_path / "empty").mkdir()
    async with started("serve", folder=tmp_path / "empty") as process:
        assert await process.ended() == 1
    assert "gateway.yaml: cannot be read" in process.errors
    assert "gateway init" in process.errors


@live
async def test_a_renamed_log_loses_no_line(tmp_path):
    log = tmp_path / "decisions.log"
    async with upstream(answers(ok())) as service:
        write(tmp_path, KEY, service.url, config=LOG)
        async with serving(tmp_path) as process:
            for number in range(4):
                await asyncio.gather(*(process.ask("/open/x") for _ in range(10)))
                if number == 1:  # as logrotate does with `create`
                    log.rename(tmp_path / "decisions.log.1")
                    log.touch()
                elif number == 3:
                    await until(lambda: log.stat().st_size)
                    log.rename(tmp_path / "decisions.log.3")
                    process.child.send_signal(signal.SIGHUP)
            await process.ask("/open/last")
            process.child.terminate()
            assert await process.ended() == 0
    parts = [lines(tmp_path / name) for name in ("decisions.log.1", "decisions.log.3")]
    last = lines(log)
    assert last[-1]["target"] == "/open/last"
    ids = [event["decision_id"] for part in (*parts, last) for event in part]
    asked = [request.header("x-decision-id") for request in service.requests]
    assert sorted(ids) == sorted(asked)
    assert len(ids) == 41


@live
async def test_the_demo_comes_out_as_stated(tmp_path):
    async with started("demo", "--once", "--format", "json", folder=tmp_path) as process:
        assert await process.ended() == 0
    rows = [json.loads(line) for line in process.output.splitlines()]
    assert len(rows) > 10
    assert all(row["ok"] for row in rows)
    before, after = rows[-2:]
    assert (before["status"], after["status"]) == (403, 200)
    assert after["edit"]["before"] != after["edit"]["after"]
    assert "Traceback" not in process.errors


@live
async def test_verbose_messages_hold_no_token(tmp_path):
    async with upstream(answers(ok())) as service:
        write(tmp_path, KEY, service.url)
        async with serving(tmp_path, "-v") as process:
            bearer = token(KEY)
            async with http2.connect(process.port()) as client:
                lines = (("authorization", f"Bearer {bearer}"),)
                stream = await client.finished(client.open(http2.head("GET", "/items", lines)))
            assert stream.status == 200
            process.child.terminate()
            assert await process.ended() == 0
        assert bearer not in process.errors
        assert "hpack" not in process.errors


@live
async def test_the_demo_keeps_prose_out_of_json(tmp_path):
    async with started("demo", "--format", "json", folder=tmp_path) as process:
        await until(lambda: "Ctrl-C ends the demo" in process.errors)
        assert "curl -i -H 'Authorization: Bearer " in process.errors
        process.child.send_signal(signal.SIGINT)
        assert await process.ended() == 0
    assert all(json.loads(line)["ok"] for line in process.output.splitlines())


@live
async def test_the_demo_says_what_was_expected(tmp_path):
    policies = tmp_path / "policies"
    shutil.copytree(POLICIES, policies)
    for file in policies.iterdir():
        file.write_text(file.read_text().replace('"DELETE"', '"TRACE"'))
    (policies / "orders_test.rego").unlink()
    async with started("demo", "--once", "--policies", "policies", folder=tmp_path) as process:
        assert await process.ended() == 1
    lines = [line.split() for line in process.output.decode().splitlines()]
    failed = lines.index("cancels own orders 403 policy-denied nothing FAILED".split())
    assert lines[failed + 1] == ["expected", "200", "alice"]
    assert "Not every row came out as stated" in process.output.decode()
