"""The HTTP server's listeners: TLS, certificates, addresses."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from gateway.config.model import Limits, Listener, Tls
from gateway.errors import ConfigError
from gateway.serve import hypercorn
from tests.support import http1, http2, websocket
from tests.support.certificates import Authority
from tests.support.probe import Probe
from tests.support.server import bind, live, live_on, serve, served, until


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def tls(authority: Authority) -> Tls:
    certificate, key = authority.issue("localhost")
    return Tls(certificate=certificate, key=key)


def trusting(authority: Authority, *protocols: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.root)
    context.set_alpn_protocols(list(protocols))
    return context


@live
async def test_http1_http2_and_websocket_on_tls(authority: Authority, tls: Tls) -> None:
    app = Probe()
    async with served(app, tls=tls) as server:
        assert server.listener.url.startswith("https://127.0.0.1:")
        async with http1.connect(server.port, context=trusting(authority)) as client:
            assert (await client.request("POST", "/echo", (), b"abc")).body == b"abc"
        async with http2.connect(server.port, context=trusting(authority)) as client:
            assert (await client.request("POST", "/echo", body=bytes(200_000))).body == bytes(
                200_000
            )
        async with websocket.connect(server.port, context=trusting(authority)) as client:
            await client.send("text")
            assert await client.receive() == "text"
        assert [scope["scheme"] for scope in app.scopes] == ["https", "https", "wss"]


@live
async def test_http2_is_offered_only_where_configured(authority: Authority, tls: Tls) -> None:
    for http2_on, chosen in ((True, "h2"), (False, "http/1.1")):
        async with served(Probe(), tls=tls, http2=http2_on) as server:
            context = trusting(authority, "h2", "http/1.1")
            async with http1.connect(server.port, context=context) as client:
                session = client.writer.get_extra_info("ssl_object")
                assert session.selected_alpn_protocol() == chosen


@live_on("hypercorn")
async def test_prior_knowledge_does_not_work_on_tls(authority: Authority, tls: Tls) -> None:
    async with served(Probe(), tls=tls) as server:
        async with http1.connect(server.port, context=trusting(authority)) as client:
            await client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            assert (await client.response()).status == 400


@live
async def test_old_protocols_are_refused(authority: Authority, tls: Tls) -> None:
    async with served(Probe(), tls=tls) as server:
        context = trusting(authority)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with http1.connect(server.port, context=context):
                pass
        async with http1.connect(server.port, context=trusting(authority)) as client:
            assert (await client.request()).status == 200


@live
async def test_answer_is_read_though_the_body_was_not_all_sent(
    authority: Authority, tls: Tls
) -> None:
    async with served(Probe(), tls=tls) as server:
        async with http1.connect(server.port, context=trusting(authority)) as client:
            client.writer.write(http1.request("POST", "/hello", (("Content-Length", "4000000"),)))
            client.writer.write(bytes(1_000_000))
            assert (await client.response()).body == b"hello"


@live_on("hypercorn")
async def test_certificate_reloads_and_a_broken_one_does_not(
    authority: Authority, tls: Tls, tmp_path: Path
) -> None:
    async with served(Probe(), tls=tls) as server:
        store = server.listener.certificate
        seen = [await shown(server.port, authority)]
        async with http1.connect(server.port, context=trusting(authority)) as open_before:
            assert (await open_before.request()).status == 200
            for broken in ("not a PEM file", tls.certificate.read_text().replace("A", "B", 5), ""):
                good = tls.certificate.read_text()
                tls.certificate.write_text(broken)
                with pytest.raises(ConfigError) as error:
                    store.context = store.load()
                assert error.value.problems[0].file == str(tls.certificate)
                tls.certificate.write_text(good)
                assert await shown(server.port, authority) == seen[0]
            certificate, _ = authority.issue("other.example")  # it does not fit the key
            good = tls.certificate.read_bytes()
            tls.certificate.write_bytes(certificate.read_bytes())
            with pytest.raises(ConfigError):
                store.context = store.load()
            tls.certificate.write_bytes(good)
            authority.issue("localhost")  # a new pair in the same files
            store.context = store.load()
            assert await shown(server.port, authority) != seen[0]
            assert (await open_before.request()).status == 200
        tls.key.unlink()
        with pytest.raises(ConfigError, match="cannot read"):
            store.context = store.load()


def test_encrypted_key_is_refused_without_asking(authority: Authority, tls: Tls) -> None:
    key = serialization.load_pem_private_key(tls.key.read_bytes(), None)
    tls.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ConfigError):
        bind(Listener(address="127.0.0.1:0", tls=tls), Probe())


@live
async def test_stalled_handshake_is_ended(tls: Tls) -> None:
    async with served(Probe(), tls=tls, head_timeout=0.2) as server:
        async with http1.connect(server.port) as client:
            await client.send(b"\x16\x03\x01\x02\x00\x01")
            assert await client.ended() == b""
        async with http1.connect(server.port) as client:  # plain HTTP on a TLS port
            await client.send(http1.request())
            await client.ended()


@live
async def test_stalled_handshakes_count_as_connections(authority: Authority, tls: Tls) -> None:
    async with served(Probe(), tls=tls, connections=1, head_timeout=0.5) as server:
        async with http1.connect(server.port) as stalled:
            await stalled.send(b"\x16")
            async with http1.connect(server.port) as second:
                assert await second.ended() == b""
            assert await stalled.ended() == b""
        async with http1.connect(server.port, context=trusting(authority)) as third:
            assert (await third.request()).status == 200


@live
async def test_client_that_ends_tls_and_reads_nothing_is_ended_alone(
    authority: Authority, tls: Tls
) -> None:
    app, loop = Probe(), asyncio.get_running_loop()
    came, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    async with served(app, tls=tls, head_timeout=1, idle_timeout=1) as server:
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await loop.sock_connect(sock, ("127.0.0.1", server.port))
            client = trusting(authority).wrap_bio(came, out, server_hostname="localhost")

            def whole(act: Callable[[], object]) -> bool:
                with contextlib.suppress(ssl.SSLWantReadError):
                    act()
                    return True
                return False

            while not whole(client.do_handshake):
                await loop.sock_sendall(sock, out.read())
                came.write(await loop.sock_recv(sock, 65536))
            client.write(http1.request(target="/flood"))
            await loop.sock_sendall(sock, out.read())
            sent = 0
            while sent < app.sent or not sent:  # until the kernel takes no more
                sent = app.sent
                await asyncio.sleep(0.1)
            assert not whole(client.unwrap)
            await loop.sock_sendall(sock, out.read())
            await until(lambda: not app.running)
            async with http1.connect(server.port, context=trusting(authority)) as other:
                for _ in range(10):  # while the server looks after both, several times
                    assert (await other.request()).status == 200
                    await asyncio.sleep(0.1)


@live
async def test_several_listeners_and_one_that_is_not_capped() -> None:
    edge, admin = Probe(), Probe()
    listeners = [
        bind(Listener(address="127.0.0.1:0"), edge),
        bind(Listener(address="[::1]:0"), admin, capped=False),
    ]
    ports = [int(listener.address.rpartition(":")[2]) for listener in listeners]
    assert listeners[1].url == f"http://[::1]:{ports[1]}"
    shutdown = asyncio.Event()
    limits = Limits(connections=1, drain_timeout=0.1)
    task = asyncio.create_task(
        serve(listeners, shutdown=shutdown, limits=limits, counters=lambda _: None)
    )
    async with http1.connect(ports[0]) as client:
        assert (await client.request()).status == 200
        for _ in range(2):
            reader, writer = await asyncio.open_connection("::1", ports[1])
            other = http1.Client(reader, writer)
            assert (await other.request()).status == 200
            assert admin.scopes[-1]["client"][0] == "::1"
            await other.close()
    shutdown.set()
    await task
    assert (len(edge.scopes), len(admin.scopes)) == (1, 2)


def test_address_in_use_is_a_config_error() -> None:
    first = bind(Listener(address="127.0.0.1:0"), Probe())
    with pytest.raises(ConfigError, match="cannot listen on"):
        bind(Listener(address=first.address), Probe())
    first.close()
    bind(Listener(address=first.address), Probe()).close()


def test_host_name_binds_all_of_its_addresses_to_one_port() -> None:
    listener = bind(Listener(address="localhost:0"), Probe())
    assert {sock.getsockname()[1] for sock in listener.sockets} == {
        int(listener.address.removeprefix("localhost:"))
    }
    listener.close()
    with pytest.raises(ConfigError, match="cannot listen on"):
        bind(Listener(address="no-such-host.invalid:0"), Probe())


def test_unix_socket_replaces_a_stale_one_only(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    address = f"unix:{path}"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    listener = bind(Listener(address=address), Probe())
    with pytest.raises(ConfigError):
        bind(Listener(address=address), Probe())
    listener.close()
    path.write_text("a file of the operator's")
    with pytest.raises(ConfigError):
        bind(Listener(address=address), Probe())
    assert path.read_text() == "a file of the operator's"


@pytest.mark.parametrize(
    ("umask", "capped", "mode"),
    [(0o000, True, 0o777), (0o000, False, 0o770), (0o007, False, 0o770), (0o022, False, 0o750)],
)
def test_operators_unix_socket_is_nothing_to_others(
    tmp_path: Path, umask: int, capped: bool, mode: int
) -> None:
    path = tmp_path / "socket"
    before = os.umask(umask)
    try:
        listener = hypercorn.bind(Listener(address=f"unix:{path}"), Probe(), capped=capped)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    listener.close()


async def shown(port: int, authority: Authority) -> bytes:
    """The certificate that a new connection is shown."""
    async with http1.connect(port, context=trusting(authority)) as client:
        return client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
