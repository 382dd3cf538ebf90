"""The whole gateway while everything but its policies is edited: configuration, keys, certificates."""

import asyncio
import json
import ssl

import pytest

from gateway.jose.sign import generate, public_jwks
from tests.support import http1
from tests.support.certificates import Authority
from tests.support.gateway import live, running, tls, until
from tests.support.upstream import answers, ok, upstream

OPEN = {"upstream": "service", "authentication": "anonymous"}
ALLOW = 'package gateway.authz\n\ndecision := {"allow": true}\n'


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@live
async def test_routes_come_and_go(tmp_path):
    one = {"id": "one", "paths": "/one", **OPEN}
    two = {"id": "two", "paths": "/two", **OPEN}
    async with running(tmp_path, policy=ALLOW, config={"routes": [one]}) as gateway:
        await gateway.settled()
        for routes, found in (([one], (200, 404)), ([one, two], (200, 200)), ([two], (404, 200))):
            await gateway.edit({"routes": routes})
            statuses = [(await gateway.ask(path)).status for path in ("/one", "/two")]
            assert tuple(statuses) == found


@live
async def test_an_upstream_moves(tmp_path):
    """What is under way ends where it began."""
    release = asyncio.Event()

    async def slow(peer):
        while await peer.request() is not None:
            peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\no")
            await release.wait()
            peer.send(b"ld")

    async with upstream(answers(ok(b"new"))) as new, running(tmp_path, slow) as gateway:
        await gateway.settled()
        async with http1.connect(gateway.port) as client:
            await client.send(http1.request("GET", "/open/x"))
            await client.reader.readuntil(b"\r\n\r\no")
            await gateway.edit({"upstreams": {"service": {"url": new.url}}})
            assert (await gateway.ask("/open/x")).body == b"new"
            release.set()
            assert await client.reader.readexactly(2) == b"ld"
            assert (await client.request("GET", "/open/x")).body == b"new"
        await until(lambda: all(peer.writer.is_closing() for peer in gateway.service.peers))


@live
async def test_an_upstreams_trusted_root_is_renewed(tmp_path, authority):
    other = Authority(tmp_path, "another authority")
    root = tmp_path / "root.pem"
    root.write_bytes(authority.root.read_bytes())
    secure = authority.server_context("localhost")
    async with upstream(answers(ok(b"secure")), tls=secure) as service:
        url = service.url.replace("127.0.0.1", "localhost")
        config = {"upstreams": {"service": {"url": url, "tls": {"ca_file": "root.pem"}}}}
        async with running(tmp_path, config=config) as gateway:
            await gateway.settled()
            assert (await gateway.ask("/open/x")).body == b"secure"
            root.write_bytes(other.root.read_bytes())
            await until(lambda: service.peers[-1].writer.is_closing())
            answer = await gateway.ask("/open/x")
            assert (answer.status, answer.code) == (502, "upstream-connect")
            root.write_bytes(authority.root.read_bytes())
            async with asyncio.timeout(15):
                while (await gateway.ask("/open/x")).status != 200:
                    await asyncio.sleep(0.01)


@live
async def test_a_broken_configuration_changes_nothing_and_says_where(tmp_path):
    async with running(tmp_path) as gateway:
        await gateway.settled()
        path = tmp_path / "gateway.yaml"
        good = path.read_text()
        path.write_text(good.replace("limits: {body", "limits: {bdoy"))
        await until(lambda: gateway.problems)
        (problem,) = gateway.gateway.reloader.status.problems
        line = good.splitlines().index("limits: {body: 1KiB, drain_timeout: 200ms}") + 1
        assert (problem.file, problem.line) == (str(path), line)
        assert "body" in problem.remedy
        await gateway.admits_still("reader")
        path.unlink()
        await until(lambda: "cannot be read" in str(gateway.problems))
        await gateway.admits_still("reader")
        path.write_text(good.replace("1KiB", "1000"))
        await until(lambda: not gateway.problems)
        assert (await gateway.ask("/open/x", method="POST", body=b"x" * 1010)).status == 413


@live
async def test_what_needs_a_restart_is_named(tmp_path):
    async with running(tmp_path) as gateway:
        await gateway.settled()
        listeners = [{"address": "127.0.0.1:0"}, {"address": "127.0.0.1:1"}]
        more = {"id": "more", "paths": "/more", **OPEN}
        routes = [{"id": "open", "paths": "/open/{rest:path}", **OPEN}, more]
        await gateway.edit({"listeners": listeners, "routes": routes})
        status = (await gateway.ask_admin("/status")).json()
        assert any(key.startswith("listeners.1") for key in status["restart_required"])
        assert status["last_error"] is None
        assert (await gateway.ask("/more")).code == "policy-denied"  # the rest is in effect
        await gateway.edit({"listeners": listeners[:1]})
        assert (await gateway.ask_admin("/status")).json()["restart_required"] == []


@live
async def test_keys_change_on_disk(tmp_path):
    new = generate("ES256")
    async with running(tmp_path) as gateway:
        await gateway.settled()
        path = tmp_path / "jwks.json"
        before, after = gateway.token(), gateway.token(new)
        assert (await gateway.ask(token=before)).status == 200
        assert (await gateway.ask(token=after)).code == "key-unknown"
        path.write_text("[]")
        await until(lambda: gateway.problems)
        assert "issuers.corp.keys" in gateway.problems[0]
        assert (await gateway.ask(token=before)).status == 200
        path.write_text(json.dumps(public_jwks([new])))
        await until(lambda: not gateway.problems)
        assert (await gateway.ask(token=after)).status == 200
        assert (await gateway.ask(token=before)).code == "key-unknown"  # though it was known


async def shown(port, authority):
    """The certificate that a new connection gets."""
    context = ssl.create_default_context(cafile=authority.root)
    async with http1.connect(port, context=context) as client:
        assert (await client.request("GET", "/open/x")).status == 200
        return client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)


@live
async def test_a_certificate_is_renewed(tmp_path, authority):
    config = tls(authority, tmp_path)
    async with running(tmp_path, config=config) as gateway:
        await gateway.settled()
        first = await shown(gateway.port, authority)
        context = ssl.create_default_context(cafile=authority.root)
        async with http1.connect(gateway.port, context=context) as opened:
            assert (await opened.request("GET", "/open/x")).status == 200
            tls(authority, tmp_path)
            await until(lambda: not gateway.problems)
            second = first
            while second == first:
                second = await shown(gateway.port, authority)
            assert (await opened.request("GET", "/open/x")).status == 200
        certificate = tmp_path / "tls.crt"
        certificate.write_text("-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n")
        await until(lambda: gateway.problems)
        assert "certificate" in gateway.problems[0]
        assert await shown(gateway.port, authority) == second
        status = (await gateway.ask_admin("/status")).json()
        assert "certificate" in status["last_error"]["problems"][0]["message"]
        tls(authority, tmp_path)
        await until(lambda: not gateway.problems)
        assert await shown(gateway.port, authority) not in {first, second}


@live
async def test_a_file_that_changes_while_it_is_built(tmp_path):
    """What was built of the old and the new at once is never active."""
    new = generate("ES256")
    async with running(tmp_path) as gateway:
        await gateway.settled()
        reloader, keys = gateway.gateway.reloader, tmp_path / "jwks.json"
        prepare, found = reloader.prepare, []

        async def slow(candidate, snapshot):
            found.append(snapshot.keyrings["corp"].revision)
            if len(found) == 1:
                keys.write_text(json.dumps(public_jwks([new])))
            return await prepare(candidate, snapshot)

        reloader.prepare = slow
        keys.write_text(json.dumps(public_jwks([gateway.key, new])))
        await until(lambda: len(found) == 2)
        await until(lambda: reloader.snapshot.keyrings["corp"].revision == found[1])
        assert (await gateway.ask(token=gateway.token(new))).status == 200
        assert (await gateway.ask(token=gateway.token())).code == "key-unknown"
        assert 'outcome="success"} 1.0' in await gateway.metrics()


@live
async def test_a_failure_of_the_gateway_itself_is_told_and_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.serve.reload.FIRST_PATIENCE", 0.1)
    config = {"reload": {"rescan": "50ms"}}
    async with running(tmp_path, config=config) as gateway:
        await gateway.settled()
        reloader = gateway.gateway.reloader
        prepare, calls = reloader.prepare, []

        async def fails(candidate, snapshot):
            calls.append(snapshot)
            if len(calls) <= 2:
                raise MemoryError("no room")
            return await prepare(candidate, snapshot)

        reloader.prepare = fails
        await gateway.edit({"limits": {"body": "2KiB"}})
        assert len(calls) == 3
        metrics = await gateway.metrics()
        assert 'outcome="failure"} 1.0' in metrics  # the second was no news
        assert gateway.problems == []


@live
async def test_pools_outlive_an_edit_that_does_not_touch_them(tmp_path, authority):
    root = tmp_path / "root.pem"
    root.write_bytes(authority.root.read_bytes())
    secure = authority.server_context("localhost")
    async with upstream(answers(ok(), ok()), tls=secure) as service:
        url = service.url.replace("127.0.0.1", "localhost")
        config = {"upstreams": {"service": {"url": url, "tls": {"ca_file": "root.pem"}}}}
        async with running(tmp_path, config=config) as gateway:
            await gateway.settled()
            assert (await gateway.ask("/open/x")).status == 200
            await gateway.edit({"limits": {"body": "2KiB"}})
            assert (await gateway.ask("/open/x")).status == 200
            assert len(service.peers) == 1
