"""Deny lists of whole gateways: from the admin listener, a file, and a Redis that goes away."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import time

import pytest

from gateway.config.model import Redis, Revocation
from gateway.errors import ConfigError
from gateway.identify.revoked import Denial, Key
from gateway.serve.app import Gateway
from gateway.serve.reload import start
from gateway.serve.revocation.redis import RedisList
from tests.support import http1
from tests.support.gateway import bearer, live, running, until
from tests.support.process import ROOT
from tests.support.redis import redis_server
from tests.support.websocket import connect
from tests.support.websocket_upstream import echo as echo_socket, websocket

TOKEN = "a-token-for-the-admin-listener-0123456789"
ACTING = {"admin": {"token": TOKEN, "actions": True}}
END = {"end": True}


async def act(gateway, method, entry, **options):
    body = entry if isinstance(entry, bytes) else json.dumps(entry).encode()
    return await gateway.ask_admin(
        "/tokens/revoked", options.pop("token", TOKEN), method=method, body=body, **options
    )


async def deny(gateway, **entry):
    answer = await act(gateway, "POST", {"issuer": "corp", **entry})
    assert answer.status == 200, answer.body
    return answer.json()


async def allow(gateway, **entry):
    answer = await act(gateway, "DELETE", {"issuer": "corp", **entry})
    assert answer.status == 200, answer.body


async def serves(gateway):
    """Wait until there are workers; nobody is answered before, however long the machine takes."""
    await until(lambda: gateway.looks, 90)


async def outcome(gateway, token):
    answer = await gateway.ask(token=token)
    return answer.code or answer.status


async def becomes(gateway, token, wanted):
    """Wait until requests with a token end so; the seconds that it took."""
    began = time.monotonic()
    while (found := await outcome(gateway, token)) != wanted:
        assert time.monotonic() < began + 40, f"{found}, not {wanted}"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def status(gateway, source):
    return (await gateway.ask_admin("/status", TOKEN)).json()["revocation"][source]


def write_list(path, *entries, end=True):
    lines = [json.dumps({"issuer": "corp", **entry}) for entry in entries]
    new = path.with_suffix(".new")
    new.write_text("\n".join([*lines, *([json.dumps(END)] if end else []), ""]))
    new.replace(path)


@live
async def test_an_entry_of_the_admin_listener_counts_at_once(tmp_path, caplog):
    caplog.set_level(logging.INFO, "gateway.audit")
    async with running(tmp_path, config=ACTING) as gateway:
        token, other = gateway.token(jti="a", sid="s"), gateway.token(jti="b", sub="bob")
        assert await outcome(gateway, token) == 200  # its signature is known from here on
        answer = await deny(gateway, jti="a", until="2999-01-01T00:00:00Z")
        assert answer == {"denied": {"issuer": "corp", "jti": "a", "until": "2999-01-01T00:00:00Z"}}
        refused = await gateway.ask(token=token)
        assert (refused.status, refused.code) == (401, "token-revoked")
        assert refused.header("www-authenticate") == 'Bearer error="invalid_token"'
        event = await gateway.event(refused.header("x-decision-id"))
        assert event["error"]["message"] == "jti of issuer corp"
        assert await outcome(gateway, other) == 200
        shown = (await gateway.ask_admin("/tokens/revoked", TOKEN)).json()
        assert shown == {"total": 1, "entries": [{"source": "admin", **answer["denied"]}]}
        await allow(gateway, jti="a")
        assert await outcome(gateway, token) == 200
        await deny(gateway, sid="s")
        assert await outcome(gateway, token) == "token-revoked"
        assert (
            'gateway_revocation_entries{source="admin"} 1.0'
            in (await gateway.ask_admin("/metrics", TOKEN)).body.decode()
        )
    acts = [
        json.loads(each.getMessage()) for each in caplog.records if each.name == "gateway.audit"
    ]
    assert [(each["action"], each["entry"].get("jti")) for each in acts] == [
        ("revoke", "a"), ("unrevoke", "a"), ("revoke", None),
    ]  # fmt: skip
    assert all(each["by"] == "admin token from 127.0.0.1" and not each["code"] for each in acts)
    caplog.clear()


@live
async def test_log_out_everywhere(tmp_path):
    async with running(tmp_path, config=ACTING) as gateway:
        now = int(time.time())
        old, new = gateway.token(iat=now - 60), gateway.token(iat=now - 5)
        await deny(gateway, sub="alice", before=now - 30)
        assert await outcome(gateway, old) == "token-revoked"
        assert await outcome(gateway, new) == 200


MALFORMED = [
    (b"", "not JSON"),
    (b"[]", "expected a JSON object"),
    (b'{"issuer": "corp", "jti": "a", "jti": "b"}', "occurs twice"),
    (b'{"issuer": "nobody", "jti": "a"}', "no issuer 'nobody'"),
    (b'{"issuer": "corp"}', "exactly one of jti, sub, sid"),
    (b'{"issuer": "corp", "jti": "a", "util": 1}', "unknown key 'util'"),
]


@live
async def test_what_the_admin_listener_does_not_take(tmp_path, caplog):
    async with running(tmp_path, config=ACTING) as gateway:
        for body, reason in MALFORMED:
            answer = await act(gateway, "POST", body)
            assert (answer.status, answer.code) == (400, "revocation-malformed"), body
            (problem,) = answer.json()["problems"]
            assert reason in problem["message"]
        entry = {"issuer": "corp", "jti": "a"}
        assert (await act(gateway, "DELETE", entry)).code == "revocation-unknown"
        assert (await act(gateway, "POST", b'"' + b"x" * 20_000)).status == 400
        assert (await act(gateway, "POST", entry, token=None)).code == "admin-token"
        assert (await act(gateway, "POST", entry, token="wrong")).code == "admin-token"
        page = (("Origin", "https://evil.example"),)
        assert (await act(gateway, "POST", entry, headers=page)).code == "admin-origin"
        await gateway.edit({"admin": {"actions": False}})
        assert (await act(gateway, "POST", entry)).code == "actions-off"
        assert (await act(gateway, "DELETE", entry)).code == "actions-off"
        assert await outcome(gateway, gateway.token(jti="a")) == 200
    caplog.clear()


@live
async def test_a_full_list_and_a_folder_that_takes_nothing(tmp_path, monkeypatch, caplog):
    async with running(tmp_path, config=ACTING) as gateway:

        def broken(path, data):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("gateway.serve.revocation.files.replace_own_file", broken)
        answer = await act(gateway, "POST", {"issuer": "corp", "jti": "a"})
        assert (answer.status, answer.code) == (500, "revocation-not-kept")
        assert await outcome(gateway, gateway.token(jti="a")) == "token-revoked"  # all the same
        assert "No space left" in (await status(gateway, "admin"))["last_error"]
        monkeypatch.setattr("gateway.serve.revocation.service.MAX_ENTRIES", 1)
        answer = await act(gateway, "POST", {"issuer": "corp", "jti": "b"})
        assert (answer.status, answer.code) == (507, "revocation-full")
    caplog.clear()


@live
async def test_a_restart_and_a_reload_forget_nothing(tmp_path):
    async with running(tmp_path, config=ACTING) as gateway:
        key, token = gateway.key, gateway.token(jti="a")
        await deny(gateway, jti="a")
        await gateway.edit({"log": {"labels": {"a": "b"}}})
        assert await outcome(gateway, token) == "token-revoked"
    kept = tmp_path / ".gateway" / "gateway.yaml.revoked.jsonl"
    assert kept.stat().st_mode & 0o777 == 0o600
    async with running(tmp_path, config=ACTING, signer=key) as gateway:
        assert await outcome(gateway, token) == "token-revoked"
    kept.write_text('{"issuer": "corp", "jti": "a"}\n')  # cut short
    with pytest.raises(ConfigError, match="not whole"):
        async with running(tmp_path, config=ACTING, signer=key):
            pass
    kept.chmod(0o622)
    with pytest.raises(ConfigError, match="others may have written it"):
        async with running(tmp_path, config=ACTING, signer=key):
            pass


@live
async def test_all_workers_hear_of_it_and_so_does_who_takes_the_place_of_one(tmp_path):
    async with running(tmp_path, config=ACTING, workers=3) as gateway:
        token = gateway.token(jti="a")
        lines = bearer(token)

        await serves(gateway)

        async def workers():
            found = (await gateway.ask_admin("/status", TOKEN)).json()["workers"]
            return [each for each in found if each["state"] == "serving"], len(found)

        async with asyncio.timeout(90):
            while (await workers())[1] != 4:
                await asyncio.sleep(0.02)
        async with contextlib.AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(http1.connect(gateway.port)) for _ in range(12)
            ]
            for client in clients:
                assert (await client.request("GET", "/items", lines)).status == 200
            serving, _ = await workers()
            assert all(each["connections"] for each in serving)
            await deny(gateway, jti="a")
            began = time.monotonic()
            waiting = list(clients)
            while waiting:
                assert time.monotonic() < began + 40
                answers = [await each.request("GET", "/items", lines) for each in waiting]
                waiting = [c for c, a in zip(waiting, answers, strict=True) if a.status == 200]
            print(f"all workers refuse after {(time.monotonic() - began) * 1000:.1f} ms")
        for each in serving:
            os.kill(each["pid"], signal.SIGKILL)
        async with asyncio.timeout(90):
            while (await workers())[1] != 4 or set(map(_pid, serving)) & set(
                map(_pid, (await workers())[0])
            ):
                await asyncio.sleep(0.05)
        for _ in range(12):
            assert await outcome(gateway, token) == "token-revoked"


def _pid(worker):
    return worker["pid"]


@live
async def test_a_list_in_a_file_is_followed(tmp_path, caplog):
    path = tmp_path / "denied.jsonl"
    write_list(path, {"jti": "a"})
    config = ACTING | {"revocation": {"file": "denied.jsonl"}}
    async with running(tmp_path, config=config) as gateway:
        first, second = gateway.token(jti="a"), gateway.token(jti="b")
        assert await outcome(gateway, first) == "token-revoked"
        assert await outcome(gateway, second) == 200
        revision = gateway.gateway.reloader.status.last_success
        write_list(path, {"jti": "b"})
        await becomes(gateway, second, "token-revoked")
        assert await outcome(gateway, first) == 200
        for broken, told in (
            ('{"issuer": "corp", "jti": "c"}\n{"issuer": "cprp", "jti": "b"}\n{"end": true}\n', 2),
            ('{"issuer": "corp", "jti": "c"}\n', 0),
            ("", 0),
        ):
            path.write_text(broken)
            async with asyncio.timeout(40):
                while [each["line"] for each in (await status(gateway, "file"))["problems"]] != [
                    told
                ]:
                    await asyncio.sleep(0.01)
            assert await outcome(gateway, second) == "token-revoked"
            assert await outcome(gateway, gateway.token(jti="c")) == 200
            metrics = (await gateway.ask_admin("/metrics", TOKEN)).body.decode()
            assert 'gateway_revocation_fresh{source="file"} 0.0' in metrics
            write_list(path, {"jti": "b"})
            async with asyncio.timeout(40):
                while (await status(gateway, "file"))["problems"]:
                    await asyncio.sleep(0.01)
        path.unlink()
        async with asyncio.timeout(40):
            while not (await status(gateway, "file"))["problems"]:
                await asyncio.sleep(0.01)
        assert await outcome(gateway, second) == "token-revoked"
        assert gateway.gateway.reloader.status.last_success == revision  # no reload was needed
        write_list(path)
        await becomes(gateway, second, 200)
        await gateway.edit({"revocation": None})
        assert "file" not in (await gateway.ask_admin("/status", TOKEN)).json()["revocation"]
    caplog.clear()


@live
async def test_a_start_with_a_broken_list_has_its_last_good_copy(tmp_path, caplog):
    path = tmp_path / "denied.jsonl"
    path.write_text("nothing")
    config = {"revocation": {"file": "denied.jsonl"}}
    with pytest.raises(ConfigError, match="denied.jsonl: the list is not whole"):
        async with running(tmp_path, config=config):
            pass
    write_list(path, {"jti": "a"})
    async with running(tmp_path, config=config) as gateway:
        key, token = gateway.key, gateway.token(jti="a")
        assert await outcome(gateway, token) == "token-revoked"
    path.write_text('{"issuer": "corp"')
    async with running(tmp_path, config=config, signer=key) as gateway:
        assert await outcome(gateway, token) == "token-revoked"
        # A reload that names another broken list is refused.
        (tmp_path / "other.jsonl").write_text("nothing")
        gateway.configure({"revocation": {"file": "other.jsonl"}})
        await until(lambda: any("other.jsonl" in each for each in gateway.problems))
        assert await outcome(gateway, token) == "token-revoked"
    caplog.clear()


@live
async def test_an_open_websocket_ends(tmp_path):
    async with running(tmp_path, websocket(echo_socket), config=ACTING) as gateway:
        mine, other = gateway.token(), gateway.token(sub="bob")
        async with (
            connect(gateway.port, "/items", bearer(mine)) as socket,
            connect(gateway.port, "/items", bearer(other)) as bobs,
        ):
            await socket.send("hello")
            assert await socket.receive() == "hello"
            await deny(gateway, sub="alice")
            assert await socket.receive() is None
            assert socket.closed == (1008, "token revoked")
            await bobs.send("still")
            assert await bobs.receive() == "still"
        assert not gateway.runtime.open._open or len(gateway.runtime.open._open) == 1
        await until(lambda: not gateway.runtime.open._open)


@live
async def test_a_websocket_ends_whose_token_is_denied_while_the_upstream_thinks(tmp_path):
    asked, gate = asyncio.Event(), asyncio.Event()

    async def slow(peer):
        asked.set()
        await gate.wait()
        await websocket(echo_socket)(peer)

    async with running(tmp_path, slow, config=ACTING) as gateway:

        async def opened():
            async with connect(gateway.port, "/items", bearer(gateway.token())) as socket:
                assert await socket.receive() is None
                return socket.closed

        client = asyncio.create_task(opened())
        await asked.wait()
        await deny(gateway, sub="alice")
        gate.set()
        assert await client == (1008, "token revoked")


@live
async def test_a_request_that_waits_for_its_body_is_judged_by_the_newest_list(tmp_path):
    route = {"id": "items", "paths": ["/items"], "upstream": "service", "body": {"max": 100}}
    async with running(tmp_path, config=ACTING | {"routes": [route]}) as gateway:
        line = f"Authorization: Bearer {gateway.token(jti='a')}"
        head = f"POST /items HTTP/1.1\r\nHost: a\r\n{line}\r\nContent-Length: 2\r\n"
        async with http1.connect(gateway.port) as client:
            await client.send(f"{head}Content-Type: application/json\r\n\r\n".encode())
            await until(lambda: gateway.gateway.workers.metrics.in_flight)
            await deny(gateway, jti="a")
            await client.send(b"{}")
            assert (await client.response()).code == "token-revoked"


def on_redis(server, **section):
    return ACTING | {
        "redis": {"url": server.url},
        "revocation": {"storage": "redis", **section},
    }


@live
async def test_what_is_denied_while_the_whole_list_is_read_stays_denied(tmp_path):
    """The answer that there is nothing more may be overtaken by that to a new entry."""
    key = Key("corp", "sub", "alice")
    with redis_server(tmp_path) as server:
        source = RedisList(Redis(url=server.url), Revocation(storage="redis"), lambda _: None)
        rows = source._rows

        async def overtaken(after):
            found = await rows(after)
            if not source.table:
                await source.add(key, Denial())
            return found

        source._rows = overtaken
        try:
            await source._read_all()
            assert key in source.table
        finally:
            await source.close()


@live
async def test_machines_share_a_list_on_redis(tmp_path):
    with redis_server(tmp_path) as server:
        from redis import asyncio as library

        config = on_redis(server)
        folders = [tmp_path / name for name in ("one", "two")]
        for folder in folders:
            folder.mkdir()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(
                (other := library.Redis(unix_socket_path=server.socket)).aclose
            )
            one = await stack.enter_async_context(running(folders[0], config=config))
            two = await stack.enter_async_context(
                running(folders[1], config=config, signer=one.key, workers=2)
            )
            await serves(two)
            token, second = one.token(jti="a"), one.token(jti="b")
            for gateway in (one, two):
                await becomes(gateway, token, 200)
            await deny(one, jti="a")
            assert await outcome(one, token) == "token-revoked"
            print(f"the other machine refuses after {await becomes(two, token, 'token-revoked')}")
            entry = json.dumps({"issuer": "corp", "jti": "b"})
            await other.xadd("gateway:revoked", {"deny": entry})
            for gateway in (one, two):
                await becomes(gateway, second, "token-revoked")
            await allow(two, jti="a")
            for gateway in (one, two):
                await becomes(gateway, token, 200)
            await other.xadd("gateway:revoked", {"allow": entry})
            await other.xadd("gateway:revoked", {"deny": "nonsense"})
            await other.execute_command("XADD", "gateway:revoked", "*", *["deny", entry] * 2)
            for gateway in (one, two):
                await becomes(gateway, second, 200)
            problems = (await status(one, "redis"))["problems"]
            assert ["not JSON" in each["message"] for each in problems] == [True, False]
            await other.xadd("gateway:revoked", {"deny": entry})
            await becomes(one, second, "token-revoked")
            # Whoever reads the whole stream deletes what says nothing any more.
            async with running(folders[1] / "..", config=config, signer=one.key) as three:
                await becomes(three, second, "token-revoked")
                async with asyncio.timeout(40):
                    while await other.xlen("gateway:revoked") != 5:  # of 7
                        await asyncio.sleep(0.02)
        await other.connection_pool.disconnect()


@pytest.mark.parametrize(("on_error", "known", "unknown"), [
    ("allow", "token-revoked", 200), ("refuse", "revocation-unavailable", "revocation-unavailable"),
])  # fmt: skip
@live
async def test_redis_goes_away_and_comes_back(tmp_path, on_error, known, unknown, caplog):
    with redis_server(tmp_path) as server:
        folder = tmp_path / "one"
        folder.mkdir()
        config = on_redis(server, on_error=on_error, stale_after="100ms")
        async with running(folder, config=config) as gateway:
            token, good = gateway.token(jti="a"), gateway.token(jti="good")
            await becomes(gateway, good, 200)
            await deny(gateway, jti="a")
            server.kill()
            async with asyncio.timeout(40):
                while not (await status(gateway, "redis"))["last_error"]:
                    await asyncio.sleep(0.01)
            await becomes(gateway, good, unknown)
            await becomes(gateway, token, known)
            refusing = on_error == "refuse"
            assert (await status(gateway, "redis"))["stale"] is refusing
            ready = await gateway.ask_admin("/health/ready")
            assert ready.status == (503 if refusing else 200)
            metrics = (await gateway.ask_admin("/metrics", TOKEN)).body.decode()
            assert f"gateway_revocation_refusing {float(refusing)}" in metrics
            answer = await act(gateway, "POST", {"issuer": "corp", "jti": "c"})
            assert (answer.status, answer.code) == (503, "revocation-unavailable")
            server.start()
            await becomes(gateway, good, 200)
            async with asyncio.timeout(40):
                while (await status(gateway, "redis"))["last_error"]:
                    await asyncio.sleep(0.01)
    caplog.clear()


@live
async def test_a_start_without_redis(tmp_path, caplog):
    with redis_server(tmp_path) as server:
        server.kill()
        folder = tmp_path / "one"
        folder.mkdir()
        async with running(folder, config=on_redis(server)) as gateway:
            token = gateway.token()
            assert await outcome(gateway, token) == "revocation-unavailable"
            assert (await gateway.ask("/open/x")).status == 200  # it has no token to judge
            server.start()
            await becomes(gateway, token, 200)
            # Another connection to the same list refuses nobody meanwhile.
            edit = asyncio.create_task(gateway.edit({"revocation": {"stale_after": "40s"}}))
            while not edit.done():
                assert await outcome(gateway, token) == 200
            await edit
            assert await outcome(gateway, token) == 200
            await gateway.edit({"revocation": None, "redis": None})
            assert await outcome(gateway, token) == 200
    caplog.clear()


async def cli(gateway, *words, error=False):
    """Standard output, or the error, of `gateway token` against the running gateway."""
    (gateway.folder / "admin.token").write_text(TOKEN)
    where = ("--admin", f"http://127.0.0.1:{gateway.admin_port}", "--token-file", "admin.token")
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "cli.py"), "token", *words, *where,
        cwd=gateway.folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await child.communicate()
    assert bool(child.returncode) is error, errors
    return (errors if error else output).decode()


@live
async def test_the_commands(tmp_path, caplog):
    async with running(tmp_path, config=ACTING) as gateway:
        old, new = gateway.token(iat=int(time.time()) - 60), gateway.token(sub="bob", jti="a")
        said = await cli(
            gateway, "revoke", "-i", "corp", "--sub", "alice", "--issued-before", "now"
        )
        assert said.startswith("refused from now on: corp sub alice, issued before 20")
        assert await outcome(gateway, old) == "token-revoked"
        said = await cli(gateway, "revoke", "-i", "corp", "--jti", "a", "--for", "1h",
                         "--format", "json")  # fmt: skip
        assert json.loads(said)["denied"]["jti"] == "a"
        assert await outcome(gateway, new) == "token-revoked"
        listed = (await cli(gateway, "revoked")).splitlines()
        assert [line.partition(", ")[0] for line in listed] == [
            "admin  corp sub alice", "admin  corp jti a", "2 entries",
        ]  # fmt: skip
        shown = json.loads(await cli(gateway, "revoked", "--format", "json"))
        assert shown["total"] == 2
        assert await cli(gateway, "unrevoke", "-i", "corp", "--jti", "a") == (
            "no longer refused: corp jti a\n"
        )
        assert await outcome(gateway, new) == 200
        for words, told in (
            (("unrevoke", "-i", "corp", "--jti", "a"), "404 revocation-unknown; gateway token"),
            (("revoke", "-i", "crop", "--jti", "a"), "there is no issuer 'crop' (did you mean"),
            (("revoke", "-i", "corp"), "give one of --jti, --sub and --sid"),
            (("revoke", "-i", "corp", "--sub", "a", "--until", "soon"), "expected a time with"),
            (("revoke", "-i", "corp", "--sub", "a", "--for", "x"), "expected a duration"),
            (("revoke", "-i", "corp", "--sub", "a", "--for", "1h", "--until", "x"), "not both"),
        ):
            assert told in " ".join((await cli(gateway, *words, error=True)).split())
    caplog.clear()
