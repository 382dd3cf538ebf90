"""The whole gateway on real sockets: forward, refuse, stream, reload, keys."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.jose.sign import generate, public_jwks
from gateway.serve.reload import start
from tests.support.gateway import POLICY, running, until


def run(scenario) -> None:
    asyncio.run(scenario)


def test_forwards_with_identity_and_refuses_with_a_problem_document(tmp_path):
    async def scenario():
        async with running(tmp_path) as gateway:
            spoofed = ((b"x_auth_subject", b"root"), (b"x-auth-roles", b"root"))
            status, _, body = await gateway.ask("/items/%7ea?x=1", gateway.token(), headers=spoofed)
            assert status == 200
            assert body.startswith(b"GET /items/~a?x=1 HTTP/1.1\r\n")
            assert b"x-auth-subject: alice\r\n" in body
            assert b"root" not in body
            assert b"authorization" not in body
            status, headers, body = await gateway.ask()
            problem = json.loads(body)
            assert (status, problem["code"]) == (401, "token-missing")
            assert headers[b"www-authenticate"] == b"Bearer"
            assert headers[b"content-type"] == b"application/problem+json"
            status, _, body = await gateway.ask(token=gateway.token(roles=[]))
            assert (status, json.loads(body)["code"]) == (403, "policy-denied")
            event = json.loads(gateway.gateway.ring.get(json.loads(body)["decision_id"]))
            assert event["reasons"] == [{"code": "not-granted", "message": ""}]
            assert (
                event["bundles"]["policy"]["revision"] == gateway.gateway.runtime.snapshot.revision
            )

    run(scenario())


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/open/../items", "bad-path"),
        ("/open/%2e%2e/items", "bad-path"),
        ("/open/..%2fitems", "bad-path"),
        ("/open//items", "bad-path"),
        ("/nowhere", "route-unknown"),
    ],
)
def test_path_tricks(tmp_path, path, code):
    async def scenario():
        async with running(tmp_path) as gateway:
            _, _, body = await gateway.ask(path)
            assert json.loads(body)["code"] == code

    run(scenario())


def test_the_first_byte_arrives_before_the_last_is_sent(tmp_path):
    release = asyncio.Event()

    async def slow(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await release.wait()
        writer.write(b"4\r\nlast\r\n0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def scenario():
        async with running(tmp_path, slow) as gateway:
            response = await gateway.client.request("GET", b"/open/x", ((b"host", b"api.example"),))
            assert await response.read_chunk() == b"first"
            release.set()
            assert await response.read_chunk() == b"last"

    run(scenario())


def test_a_client_that_leaves_ends_the_upstream_request(tmp_path):
    arrived, ended = asyncio.Event(), asyncio.Event()

    async def silent(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        await reader.read()
        ended.set()
        writer.close()

    async def scenario():
        async with running(tmp_path, silent) as gateway:
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(b"GET /open/x HTTP/1.1\r\nhost: a\r\n\r\n")
            await asyncio.wait_for(arrived.wait(), 10)
            writer.close()
            await asyncio.wait_for(ended.wait(), 10)

    run(scenario())


def test_an_upstream_that_breaks_off_is_not_a_clean_end(tmp_path):
    async def broken(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        await writer.drain()
        writer.close()

    async def scenario():
        async with running(tmp_path, broken) as gateway:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(b"GET /open/x HTTP/1.1\r\nhost: a\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"content-length: 10" in head.lower()
            assert await asyncio.wait_for(reader.read(), 10) == b"half"
            writer.close()

    run(scenario())


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_over_the_limit_is_413(tmp_path, framing):
    async def scenario():
        async with running(tmp_path) as gateway:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            if framing == "length":
                writer.write(b"POST /open/x HTTP/1.1\r\nhost: a\r\ncontent-length: 2000\r\n\r\n")
            else:
                writer.write(
                    b"POST /open/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
                    b"7d0\r\n" + b"x" * 2000 + b"\r\n0\r\n\r\n"
                )
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            assert head.startswith(b"HTTP/1.1 413 ")
            writer.close()

    run(scenario())


def test_an_edit_takes_effect_and_a_broken_one_changes_nothing(tmp_path):
    async def scenario():
        async with running(tmp_path) as gateway:
            policy = tmp_path / "policies" / "authz.rego"
            token = gateway.token(roles=["writer"])
            assert (await gateway.ask(token=token))[0] == 403
            first = gateway.gateway.runtime.snapshot.revision
            policy.write_text(POLICY.replace('"reader"', '"writer"'))
            await until(lambda: gateway.gateway.runtime.snapshot.revision != first)
            assert (await gateway.ask(token=token))[0] == 200
            second = gateway.gateway.runtime.snapshot.revision
            policy.write_text(POLICY + "\nbroken if unknown_function(1)\n")
            await until(lambda: bool(gateway.gateway.reloader.status.problems))
            problem = gateway.gateway.reloader.status.problems[0]
            assert problem.file.endswith("authz.rego")
            assert problem.line == 9
            assert gateway.gateway.runtime.snapshot.revision == second
            assert (await gateway.ask(token=token))[0] == 200
            # An editor that renames over the file.
            fresh = tmp_path / "policies" / "authz.rego.new"
            fresh.write_text(POLICY)
            fresh.replace(policy)
            await until(lambda: not gateway.gateway.reloader.status.problems)
            assert gateway.gateway.runtime.snapshot.revision == first
        # A start with a broken candidate serves the last good set.
        policy.write_text("package gateway.authz\n\ndecision := \n")
        begun = await asyncio.to_thread(start, tmp_path / "gateway.yaml", os.environ)
        assert begun.problems
        assert begun.snapshot.revision == first
        (tmp_path / ".gateway" / "last-good.json").unlink()
        with pytest.raises(ConfigError):
            await asyncio.to_thread(start, tmp_path / "gateway.yaml", os.environ)

    run(scenario())


def test_a_failing_policy_test_refuses_the_reload(tmp_path):
    async def scenario():
        async with running(tmp_path) as gateway:
            before = gateway.gateway.runtime.snapshot.revision
            (tmp_path / "policies" / "authz_test.rego").write_text(
                "package gateway.authz_test\n\nimport data.gateway.authz\n\n"
                "test_nobody_enters if authz.decision.allow with input as {}\n"
            )
            await until(lambda: bool(gateway.gateway.reloader.status.problems))
            assert "test_nobody_enters" in str(gateway.gateway.reloader.status.problems[0])
            assert gateway.gateway.runtime.snapshot.revision == before

    run(scenario())


def test_reloads_under_load_lose_no_request(tmp_path):
    async def scenario():
        async with running(tmp_path) as gateway:
            policy = tmp_path / "policies" / "authz.rego"
            token, statuses, stop = gateway.token(), [], asyncio.Event()

            async def load():
                while not stop.is_set():
                    statuses.append((await gateway.ask(token=token))[0])

            tasks = [asyncio.create_task(load()) for _ in range(4)]
            for number in range(5):
                before = gateway.gateway.runtime.snapshot.revision
                policy.write_text(f"{POLICY}\n# {number}\n")
                await until(
                    lambda before=before: gateway.gateway.runtime.snapshot.revision != before
                )
            stop.set()
            await asyncio.gather(*tasks)
            assert len(statuses) > 20
            assert set(statuses) == {200}

    run(scenario())


def test_configmap_style_symlink_swap(tmp_path):
    async def scenario():
        async with running(tmp_path) as gateway:
            policies = tmp_path / "policies"
            (policies / "..one").mkdir()
            (policies / "..one" / "authz.rego").write_text(POLICY)
            (policies / "..data").symlink_to("..one")
            (policies / "authz.rego").unlink()
            (policies / "authz.rego").symlink_to("..data/authz.rego")
            (policies / "..two").mkdir()
            (policies / "..two" / "authz.rego").write_text(POLICY.replace("reader", "writer"))
            before = gateway.gateway.runtime.snapshot.revision
            (policies / "..tmp").symlink_to("..two")
            (policies / "..tmp").replace(policies / "..data")
            await until(lambda: gateway.gateway.runtime.snapshot.revision != before)
            assert (await gateway.ask(token=gateway.token(roles=["writer"])))[0] == 200

    run(scenario())


class Issuer:
    """A JWKS server that can change its keys, hang, or answer nonsense."""

    def __init__(self) -> None:
        self.body = b""
        self.fetches = 0
        self.down = False

    async def serve(self, reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        self.fetches += 1
        if not self.down:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(self.body))
            writer.write(self.body)
            await writer.drain()
        writer.close()


def test_keys_arrive_late_rotate_and_survive_an_outage(tmp_path):
    async def scenario():
        issuer = Issuer()
        issuer.down = True
        server = await asyncio.start_server(issuer.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks"
        old, new = generate("ES256"), generate("ES256")
        keys = f'{{jwks_url: "{url}", cooldown: 100ms, timeout: 2s}}'
        async with running(tmp_path, keys=keys) as gateway:
            status, _, body = await gateway.ask(token=gateway.token(old))
            assert (status, json.loads(body)["code"]) == (503, "keys-unavailable")
            issuer.body = json.dumps(public_jwks([old])).encode()
            issuer.down = False
            await until(lambda: not gateway.gateway.ready())
            assert (await gateway.ask(token=gateway.token(old)))[0] == 200
            # A rotation: the token with the new kid waits for one fetch at most.
            issuer.body = json.dumps(public_jwks([old, new])).encode()
            await asyncio.sleep(0.15)
            assert (await gateway.ask(token=gateway.token(new)))[0] == 200
            # An outage: known keys go on, unknown ones never pass.
            issuer.body = b"<html>busy</html>"
            assert (await gateway.ask(token=gateway.token(new)))[0] == 200
            await asyncio.sleep(0.15)
            stranger = generate("ES256")
            before = issuer.fetches
            answers = await asyncio.gather(
                *(gateway.ask(token=gateway.token(stranger)) for _ in range(20))
            )
            assert {json.loads(body)["code"] for _, _, body in answers} == {"key-unknown"}
            assert issuer.fetches - before <= 2
            assert (await gateway.ask(token=gateway.token(old)))[0] == 200
        server.close()

    run(scenario())
