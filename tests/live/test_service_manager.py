"""`gateway serve` and a service manager that wants to be told: real sockets, real signals."""

import asyncio
import contextlib
import os
import signal
import socket

import pytest

from gateway.jose.sign import generate
from tests.support import http1
from tests.support.gateway import POLICY, live, policy_for, token, until, write
from tests.support.process import started
from tests.support.upstream import answers, ok, upstream

KEY = generate("ES256")


class Manager:
    """A service manager's socket: each message that came, as a mapping."""

    def __init__(self, sock):
        self.sock = sock
        self.messages = []

    def read(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                text = self.sock.recv(4096).decode()
                self.messages.append(dict(line.split("=", 1) for line in text.split("\n")))
        return self.messages

    async def told(self, **wanted):
        """Wait for a message that has these lines, the next one after those waited for before."""

        def there():
            for number, message in enumerate(self.read()):
                if wanted.items() <= message.items():
                    del self.messages[: number + 1]
                    return message
            return None

        found = None

        def looked():
            nonlocal found
            found = there()
            return found

        await until(looked, 60)
        return found


@contextlib.contextmanager
def manager(name):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.bind("\0" + name[1:] if name.startswith("@") else name)
        yield Manager(sock)


@contextlib.asynccontextmanager
async def managed(folder, *options, script=None, config=None, abstract=False):
    """A gateway that a service manager has started."""
    name = f"@gateway-{os.getpid()}" if abstract else str(folder / "notify")
    environ = {**os.environ, "NOTIFY_SOCKET": name}
    with manager(name) as told:
        async with upstream(script or answers(ok())) as service:
            write(folder, KEY, service.url, config=config)
            async with started("serve", *options, folder=folder, environ=environ) as process:
                yield told, process, service


@pytest.mark.parametrize("workers", ["1", "2"])
@live
async def test_it_is_told_when_the_gateway_serves_reloads_and_ends(tmp_path, workers):
    policy = tmp_path / "policies" / "authz.rego"
    options = ("--workers", workers)
    async with managed(tmp_path, *options, abstract=workers == "2") as (told, process, _):
        first = (await told.told(READY="1"))["STATUS"]
        await until(process.port)  # the line may come later
        assert (await process.ask(token=token(KEY))).status == 200  # at once
        assert first.startswith("Serving policy revision ")
        # As a whole: of one that is half written it would be told that it is broken.
        policy.with_name("new").write_text(policy_for("writer"))
        policy.with_name("new").replace(policy)
        second = (await told.told(READY="1"))["STATUS"]
        assert second.startswith("Serving policy revision ")
        assert second != first
        process.child.send_signal(signal.SIGHUP)
        await told.told(RELOADING="1")
        await told.told(READY="1", STATUS=second)
        process.child.terminate()
        end = await told.told(STOPPING="1")
        assert await process.ended() == 0
        assert 30e6 < int(end["EXTEND_TIMEOUT_USEC"]) < 31e6  # a drain of 0.2 s
        assert not told.read()
        assert "service manager" not in process.errors


@live
async def test_a_reload_that_is_refused_is_over_too(tmp_path):
    policy = tmp_path / "policies" / "authz.rego"
    config = {"reload": {"watch": False, "rescan": "1h"}}
    async with managed(tmp_path, config=config) as (told, process, _):
        serving = (await told.told(READY="1"))["STATUS"]
        policy.write_text(POLICY + "\nbroken := \n")
        process.child.send_signal(signal.SIGHUP)
        await told.told(RELOADING="1")
        broken = await told.told(READY="1")
        assert broken["STATUS"] == f"{serving}; what is on disk is broken, see the log"
        policy.write_text(POLICY)
        process.child.send_signal(signal.SIGHUP)
        await told.told(RELOADING="1")
        await told.told(READY="1", STATUS=serving)


@live
async def test_an_end_may_take_as_long_as_the_drain(tmp_path):
    release = asyncio.Event()

    async def slow(peer):
        if await peer.request() is not None:
            await release.wait()
            peer.send(ok())

    config = {"limits": {"drain_delay": "1s", "drain_timeout": "2m"}}
    async with managed(tmp_path, script=slow, config=config) as (told, process, service):
        await told.told(READY="1")
        await until(process.port)
        async with http1.connect(process.port()) as client:
            await client.send(http1.request("GET", "/open/x"))
            await until(lambda: service.requests)
            process.child.terminate()
            end = await told.told(STOPPING="1")
            assert end["EXTEND_TIMEOUT_USEC"] == "151000000"
            process.child.send_signal(signal.SIGHUP)  # is no reload any more
            await until(lambda: "SIGHUP" in process.errors)
            release.set()
            assert (await client.response()).status == 200
        assert await process.ended() == 0
        assert not told.read()


@live
async def test_nothing_is_said_of_a_start_that_fails(tmp_path):
    with manager(str(tmp_path / "notify")) as told:
        environ = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        write(tmp_path, KEY, "http://127.0.0.1:1", policy=POLICY + "\nbroken := \n")
        async with started("serve", folder=tmp_path, environ=environ) as process:
            assert await process.ended() == 1
        assert not told.read()
