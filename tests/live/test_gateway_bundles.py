"""The whole gateway and a bundle server that is good, slow, away, hostile, or comes back."""

import asyncio
import contextlib
import gzip
import json
import os
import shutil
import signal
import socket
import time

import pytest

from gateway.bundle.root import fetched_archive
from gateway.config.load import load
from gateway.jose.sign import generate, public_jwks
from gateway.serve import bundles, reload
from gateway.serve.bundles import pull
from tests.support.bundles import archive, entry, signed
from tests.support.gateway import POLICY, live, policy_for, running, token, until, write
from tests.support.process import serving, started
from tests.support.upstream import answers, ok, upstream

KEY = generate("ES256")
SIGNER = generate("ES256")
STRANGER = generate("ES256")
TOKEN = "s3cret-of-the-bundle-server"
HANG, AWAY = "hang", "away"


def files(role, revision="", data=None):
    made = {
        ".manifest": json.dumps({"revision": revision or role, "roots": ["gateway", "acl"]}),
        "gateway/authz.rego": policy_for(role),
        "gateway/authz_test.rego": "package gateway.authz_test\n\ntest_true if true\n",
        "acl/data.json": json.dumps(data or {}),
    }
    return made


def good(role, revision="", **how):
    return signed(files(role, revision, **how), SIGNER)


class BundleServer:
    """Serves `data` under `etag`; `mode` HANG never answers, AWAY closes, bytes are sent raw."""

    def __init__(self, data):
        self.data, self.etag = data, '"1"'
        self.mode = None
        self.statuses = []
        self.leave = asyncio.Event()
        self.url = ""

    def publish(self, data, etag):
        self.data, self.etag, self.mode = data, etag, None

    async def __call__(self, peer):
        if (request := await peer.request()) is None:
            return
        if self.mode == HANG:
            self.statuses.append(HANG)
            await self.leave.wait()
        elif self.mode == AWAY:
            self.statuses.append(AWAY)
        elif self.mode is not None:
            self.statuses.append("raw")
            peer.send(self.mode)
        elif request.header("authorization") != f"Bearer {TOKEN}":
            self.statuses.append(401)
            peer.send(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")
        elif request.header("if-none-match") == self.etag:
            self.statuses.append(304)
            peer.send(b"HTTP/1.1 304 Not Modified\r\netag: %s\r\n\r\n" % self.etag.encode())
        else:
            self.statuses.append(200)
            peer.send(answer(self.data, self.etag))

    async def asked(self, more=2):
        """Wait for further requests."""
        wanted = len(self.statuses) + more
        await until(lambda: len(self.statuses) >= wanted)


def answer(data, etag="", extra=b""):
    tag = f"etag: {etag}\r\n".encode() if etag else b""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/gzip\r\ncontent-length: %d\r\n"
    return head % len(data) + tag + extra + b"\r\n" + data


@contextlib.asynccontextmanager
async def bundle_server(data):
    served = BundleServer(data)
    async with upstream(served) as service:
        served.url = f"{service.url}/bundles/authz.tar.gz?tenant=a"
        yield served
        served.leave.set()


def configured(folder, server, **bundle):
    """What changes in the configuration; writes what it names."""
    (folder / "bundle.token").write_text(TOKEN + "\n")
    (folder / "bundle.token").chmod(0o600)
    (folder / "signers.json").write_text(json.dumps(public_jwks([SIGNER])))
    keys = {"ci": {"jwks_file": "signers.json", "algorithm": "ES256"}}
    whole = {
        "url": server.url,
        "token_file": "bundle.token",
        "interval": "50ms",
        "timeout": "5s",
        "verification": {"keys": keys},
        **bundle,
    }
    return {"policy": {"paths": None, "bundles": {"authz": whole}}}


@contextlib.asynccontextmanager
async def served(folder, server, **bundle):
    """A gateway whose policies come from the server."""
    config = configured(folder, server, **bundle)
    path = write(folder, KEY, "http://127.0.0.1:1", config=config)
    await pull(load(path, {}).config.policy)
    async with running(folder, config=config, signer=KEY) as gateway:
        await gateway.settled()
        yield gateway


async def status(gateway):
    return (await gateway.ask_admin("/status")).json()["bundles"]["authz"]


@live
async def test_another_archive_is_swapped_in(tmp_path):
    async with bundle_server(good("reader")) as server, served(tmp_path, server) as gateway:
        await gateway.admits("reader")
        await server.asked()
        assert server.statuses[-1] == 304
        before, bundle = gateway.revision, await status(gateway)
        assert (bundle["revision"], bundle["etag"], bundle["last_error"]) == ("reader", '"1"', None)
        assert bundle["source"] == server.url.partition("?")[0] + "?**********"
        server.publish(good("writer", "r2"), '"2"')
        await gateway.admits("writer")
        assert gateway.revision != before
        bundle = await status(gateway)
        assert (bundle["revision"], bundle["etag"]) == ("r2", '"2"')
        refused = await gateway.ask(token=gateway.token())
        event = await gateway.event(refused.json()["decision_id"])
        assert event["bundles"] == {
            "policy": {"revision": gateway.revision},
            "authz": {"revision": "r2"},
        }
        kept = (await gateway.ask_admin("/policy/history")).json()["revisions"]
        assert [(each["revision"], each["bundles"]) for each in kept] == [
            (gateway.revision, {"authz": "r2"}), (before, {"authz": "reader"}),
        ]  # fmt: skip
        metrics = await gateway.metrics()
        assert 'gateway_bundle_info{bundle="authz",revision="r2"} 1.0' in metrics
        assert 'gateway_bundle_refresh_success{bundle="authz"} 1.0' in metrics
        assert TOKEN not in json.dumps((await gateway.ask_admin("/config")).json())
        assert server.statuses.count(200) == 2


@live
async def test_the_same_files_under_another_tag_change_nothing(tmp_path):
    async with bundle_server(good("reader")) as server, served(tmp_path, server) as gateway:
        await gateway.admits("reader")
        before, looks = gateway.gateway.reloader.snapshot, gateway.looks
        (remote,) = gateway.gateway.reloader.bundles.remote.values()
        server.publish(signed(files("reader"), SIGNER, kid=SIGNER.id), '"again"')
        await until(lambda: remote.etag == '"again"' and gateway.looks > looks)
        assert gateway.gateway.reloader.snapshot is before


@live
async def test_a_server_without_tags_is_heard_once(tmp_path):
    async with bundle_server(good("reader")) as server, served(tmp_path, server) as gateway:
        server.etag = ""
        await until(lambda: gateway.gateway.bundles()["authz"].etag == "")
        (path,) = gateway.gateway.reloader.bundles.remote
        before = path.stat().st_ino
        await server.asked(3)
        assert server.statuses[-1] == 200
        assert path.stat().st_ino == before
        server.publish(good("writer"), "")
        await gateway.admits("writer")


@live
async def test_other_data_is_swapped_without_compiling(tmp_path):
    rule = 'decision := {"allow": true} if input.identity.subject in data.acl.users\n'
    policy = POLICY + "\n" + rule

    def with_data(*users):
        return signed(
            {**files("reader", data={"users": users}), "gateway/authz.rego": policy}, SIGNER
        )

    async with bundle_server(with_data()) as server, served(tmp_path, server) as gateway:
        guest = gateway.token(roles=[])
        assert (await gateway.ask(token=guest)).status == 403
        before = gateway.gateway.reloader.snapshot
        server.publish(with_data("alice"), '"2"')
        await until(lambda: gateway.gateway.reloader.snapshot is not before)
        after = gateway.gateway.reloader.snapshot
        assert (await gateway.ask(token=guest)).status == 200
        assert after.decider.policy.program is before.decider.policy.program
        assert after.policies.modules_digest == before.policies.modules_digest


BOMB = gzip.compress(entry("a.rego", bytes(64 * 1024**2)) + bytes(1024))

BAD = {
    "garbage": (answer(b"this is no archive"), "archive-malformed"),
    "an empty answer": (answer(b""), "archive-malformed"),
    "a bomb": (answer(BOMB), "archive-too-large"),
    "half an archive": (answer(good("writer")[:400]), "archive-malformed"),
    "an answer cut short": (answer(good("writer"))[:-20], "ContentLengthError|payload|Response"),
    "more than the limit": (answer(bytes(300_000)), "more than 200000 bytes"),
    "unsigned": (answer(archive(files("writer"))), "unsigned"),
    "signed by a stranger": (answer(signed(files("writer"), STRANGER)), "signature-invalid"),
    "for another scope": (
        answer(signed(files("writer"), SIGNER, claims={"scope": "staging"})),
        "scope-mismatch",
    ),
    "no longer valid": (
        answer(signed(files("writer"), SIGNER, claims={"exp": 1})),
        "signature-expired",
    ),
    "an error": (b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", "answered 500"),
    "gone": (b"HTTP/1.1 404 Gone\r\ncontent-length: 0\r\n\r\n", "answered 404"),
    "no content": (b"HTTP/1.1 204 No\r\n\r\n", "answered 204"),
    "no HTTP": (b"\x16\x03\x01 hello\r\n\r\n", "127.0.0.1"),
    "a redirect elsewhere": (
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.2:1/\r\ncontent-length: 0\r\n\r\n",
        "redirects to another host",
    ),
    "an encoding": (answer(good("writer"), extra=b"content-encoding: gzip\r\n"), "encoding"),
}


@pytest.mark.parametrize("name", BAD)
@live
async def test_a_bad_answer_changes_nothing(tmp_path, name):
    raw, said = BAD[name]
    async with (
        bundle_server(good("reader")) as server,
        served(tmp_path, server, max_size=200_000) as gateway,
    ):
        await gateway.admits("reader")
        before = gateway.revision
        stored = gateway.gateway.reloader.bundles.remote
        (path,) = stored
        kept = path.read_bytes()
        server.mode = raw
        await until(lambda: stored[path].last_error)
        message = (await status(gateway))["last_error"]
        assert any(part in message for part in said.split("|")), message
        assert TOKEN not in message
        assert "tenant" not in message
        metrics = await gateway.metrics()
        assert 'gateway_bundle_refresh_success{bundle="authz"} 0.0' in metrics
        await gateway.admits_still("reader")
        assert (gateway.revision, path.read_bytes()) == (before, kept)
        assert not gateway.problems
        server.publish(good("writer"), '"2"')
        await gateway.admits("writer")
        assert (await status(gateway))["last_error"] is None


@live
async def test_a_good_archive_of_bad_policies_changes_nothing_either(tmp_path):
    async with bundle_server(good("reader")) as server, served(tmp_path, server) as gateway:
        await gateway.admits("reader")
        broken = {**files("writer"), "gateway/broken.rego": "package gateway.broken\n\nx := \n"}
        server.publish(signed(broken, SIGNER), '"2"')
        await until(lambda: gateway.problems)
        assert "gateway/broken.rego:3" in gateway.problems[0]
        await gateway.admits_still("reader")
        stray = {**files("writer"), "other/data.json": "{}"}
        server.publish(signed(stray, SIGNER), '"3"')
        await until(lambda: "lies outside of the bundle's roots" in str(gateway.problems))
        await gateway.admits_still("reader")
        server.publish(good("writer"), '"4"')
        await gateway.admits("writer")


@live
async def test_a_server_that_hangs(tmp_path):
    async with (
        bundle_server(good("reader")) as server,
        served(tmp_path, server, timeout="1s") as gateway,
    ):
        server.mode = HANG
        await server.asked(1)
        await gateway.admits_still("reader")
        await server.asked(1)
        assert "did not answer within 1 s" in (await status(gateway))["last_error"]
        await gateway.admits_still("reader")
        server.publish(good("writer"), '"2"')
        await gateway.admits("writer")


@live
async def test_a_refused_credential_is_told_and_another_is_used(tmp_path):
    async with bundle_server(good("reader")) as server, served(tmp_path, server) as gateway:
        (tmp_path / "bundle.token").write_text("another\n")
        await until(lambda: server.statuses[-1] == 401)
        await until(lambda: gateway.gateway.bundles()["authz"].last_error)
        assert "answered 401" in (await status(gateway))["last_error"]
        await gateway.admits_still("reader")
        (tmp_path / "bundle.token").write_text(TOKEN)
        server.publish(good("writer"), '"2"')
        await gateway.admits("writer")


@live
async def test_keys_rotate(tmp_path):
    async with bundle_server(good("reader")) as server, served(tmp_path, server) as gateway:
        await gateway.admits("reader")
        server.publish(signed(files("writer"), STRANGER), '"2"')
        await until(lambda: "signature-invalid" in gateway.gateway.bundles()["authz"].last_error)
        # Trusted from now on, beside the old one, whose archive is good as long as it is there.
        both = json.dumps(public_jwks([SIGNER, STRANGER]))
        (tmp_path / "signers.json").write_text(both)
        await gateway.admits("writer")
        (tmp_path / "signers.json").write_text(json.dumps(public_jwks([STRANGER])))
        await gateway.admits("writer")
        server.publish(good("auditor"), '"3"')
        await until(lambda: "signature-invalid" in gateway.gateway.bundles()["authz"].last_error)
        await gateway.admits_still("writer")


@live
async def test_a_bundle_is_added_and_taken_away_by_an_edit(tmp_path):
    async with (
        bundle_server(good("writer")) as server,
        running(tmp_path, signer=KEY) as gateway,
    ):
        await gateway.settled()
        await gateway.admits("reader")
        gateway.configure(configured(tmp_path, server))
        await gateway.admits("writer")
        (remote,) = gateway.gateway.reloader.bundles.remote.values()
        gateway.configure({"policy": {"paths": ["policies"], "bundles": None}})
        await gateway.admits("reader")
        assert gateway.gateway.reloader.bundles.remote == {}
        assert remote._task.done()
        assert (await gateway.ask_admin("/status")).json()["bundles"] == {}


@live
async def test_an_added_bundle_whose_server_is_away_is_waited_for(tmp_path):
    async with (
        bundle_server(good("writer")) as server,
        running(tmp_path, signer=KEY) as gateway,
    ):
        await gateway.settled()
        server.mode = AWAY
        gateway.configure(configured(tmp_path, server))
        await until(lambda: "was never fetched" in str(gateway.problems))
        await gateway.admits_still("reader")
        server.mode = None
        await gateway.admits("writer")


@live
async def test_an_edit_asks_again_at_once_for_what_never_came(tmp_path, monkeypatch):
    monkeypatch.setattr(bundles, "FIRST_RETRY", 3600.0)
    async with (
        bundle_server(good("writer")) as server,
        running(tmp_path, signer=KEY) as gateway,
    ):
        await gateway.settled()
        config = configured(tmp_path, server, interval="1h")
        (tmp_path / "bundle.token").write_text("wrong")
        gateway.configure(config)
        await until(lambda: 401 in server.statuses and gateway.problems)
        (tmp_path / "bundle.token").write_text(TOKEN)
        gateway.configure({"policy": {"steps": 900_000}})
        await gateway.admits("writer")


@live
async def test_archives_on_disk_are_watched(tmp_path):
    (tmp_path / "authz.tar.gz").write_bytes(archive(files("reader")))
    config = {"policy": {"paths": None, "bundles": {"disk": {"file": "authz.tar.gz"}}}}
    async with running(tmp_path, config=config) as gateway:
        await gateway.settled()
        await gateway.admits("reader")
        (tmp_path / "new").write_bytes(archive(files("writer", "v2")))
        (tmp_path / "new").replace(tmp_path / "authz.tar.gz")
        await gateway.admits("writer")
        assert (await gateway.ask_admin("/status")).json()["bundles"]["disk"]["revision"] == "v2"
        (tmp_path / "authz.tar.gz").write_bytes(archive(files("reader"))[:-30])
        await until(lambda: "cut short" in str(gateway.problems))
        await gateway.admits_still("writer")
        (tmp_path / "authz.tar.gz").unlink()
        await until(lambda: "does not exist" in str(gateway.problems))
        await gateway.admits_still("writer")
        (tmp_path / "authz.tar.gz").write_bytes(archive(files("auditor")))
        await gateway.admits("auditor")


class Clock:
    """The time module, some seconds ahead."""

    ahead = 0.0
    perf_counter = staticmethod(time.perf_counter)

    def time(self):
        return time.time() + self.ahead


@live
async def test_what_serves_goes_on_when_its_signature_ends(tmp_path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(reload, "time", clock)
    (tmp_path / "signers.json").write_text(json.dumps(public_jwks([SIGNER])))
    keys = {"ci": {"jwks_file": "signers.json", "algorithm": "ES256"}}
    disk = {"file": "authz.tar.gz", "verification": {"keys": keys}}
    config = {
        "policy": {"paths": None, "bundles": {"disk": disk}},
        "reload": {"debounce": "20ms", "rescan": "50ms"},
    }
    ends = {"exp": int(time.time()) + 3600}
    (tmp_path / "authz.tar.gz").write_bytes(signed(files("reader"), SIGNER, claims=ends))
    async with running(tmp_path, config=config) as gateway:
        await gateway.settled()
        await gateway.admits("reader")
        clock.ahead = 7200
        await until(lambda: "[signature-expired]" in str(gateway.problems))
        await gateway.admits_still("reader")
        later = {"exp": int(time.time()) + 9000}
        (tmp_path / "authz.tar.gz").write_bytes(signed(files("writer"), SIGNER, claims=later))
        await gateway.admits("writer")


# --- the process: start and restart


def written(folder, server, service, **bundle):
    config = {**configured(folder, server, **bundle), "reload": {"debounce": "20ms"}}
    return write(folder, KEY, service.url, config=config)


def bearer(role):
    return token(KEY, roles=[role])


@live
async def test_a_start_fetches_and_a_restart_goes_without(tmp_path):
    async with bundle_server(good("writer")) as server, upstream(answers(ok())) as service:
        path = written(tmp_path, server, service)
        async with serving(tmp_path) as process:
            assert (await process.ask(token=bearer("writer"))).status == 200
            assert "bundle authz: revision 'writer' fetched, signed by" in process.errors
            assert "of authz 'writer'" in process.errors
        policy = load(path, {}).config.policy
        stored = fetched_archive(policy.state, "authz", server.url)
        assert stored.stat().st_mode & 0o777 == 0o600
        assert stored.parent.stat().st_mode & 0o777 == 0o700
        # Away: what is stored serves.
        server.mode = AWAY
        async with serving(tmp_path) as process:
            assert (await process.ask(token=bearer("writer"))).status == 200
            assert "what is stored stays" in process.errors
            # And back: the process need not be told, only asked.
            server.publish(good("auditor"), '"2"')
            process.child.send_signal(signal.SIGHUP)
            await until(lambda: "of authz 'auditor'" in process.errors)
            assert (await process.ask(token=bearer("auditor"))).status == 200
        # What somebody changed on disk is not what was signed: fetched anew.
        stored.write_bytes(archive(files("mallory")))
        async with serving(tmp_path) as process:
            assert (await process.ask(token=bearer("mallory"))).status == 403
            assert (await process.ask(token=bearer("auditor"))).status == 200
        # The same while the server is away: the last good set.
        stored.write_bytes(archive(files("mallory")))
        server.mode = AWAY
        async with serving(tmp_path) as process:
            assert (await process.ask(token=bearer("mallory"))).status == 403
            assert (await process.ask(token=bearer("auditor"))).status == 200
            assert "serving the last good set" in process.errors


@live
async def test_a_first_start_without_the_server_ends(tmp_path):
    async with bundle_server(good("writer")) as server, upstream(answers(ok())) as service:
        written(tmp_path, server, service, timeout="300ms")
        server.mode = HANG
        async with started("serve", folder=tmp_path) as process:
            assert await process.ended() == 1
        assert "bundle authz was never fetched from" in process.errors
        assert "did not answer within 0.3 s" in process.errors


# --- `gateway bundle pull`


@live
async def test_pull_writes_only_what_is_good(tmp_path):
    async with bundle_server(good("reader")) as server, upstream(answers(ok())) as service:
        written(tmp_path, server, service)
        named = ("bundle", "pull", "--name", "authz", "-o", "got.tar.gz")
        async with started(*named, folder=tmp_path) as process:
            assert await process.ended() == 0
        first = server.data
        assert (tmp_path / "got.tar.gz").read_bytes() == first
        server.publish(signed(files("writer"), STRANGER), '"2"')
        async with started(*named, folder=tmp_path) as process:
            assert await process.ended() == 1
        assert "signature-invalid" in process.errors
        assert (tmp_path / "got.tar.gz").read_bytes() == first
        options = ("--token-file", "bundle.token", "--signing-alg", "ES256")
        for key, code in (("strangers.json", 0), ("signers.json", 1)):
            (tmp_path / "strangers.json").write_text(json.dumps(public_jwks([STRANGER])))
            asked = ("bundle", "pull", server.url, *options, "--verification-key", key)
            async with started(*asked, "-o", f"{key}.tar.gz", folder=tmp_path) as process:
                assert await process.ended() == code
            assert (tmp_path / f"{key}.tar.gz").exists() is (code == 0)
        assert TOKEN not in process.errors


# --- a web server as there are many

NGINX = """
{user}
daemon off;
worker_processes 1;
error_log stderr;
pid {folder}/nginx.pid;
events {{ worker_connections 64; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; root {folder}/www; }}
}}
"""


@contextlib.asynccontextmanager
async def nginx(folder):
    """nginx that serves a folder; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    user = "" if os.geteuid() else "user root;"  # else its worker could not read the folder
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, user=user))
    process = await asyncio.create_subprocess_exec(
        shutil.which("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf"),
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(ConnectionRefusedError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
@live
async def test_nginx_serves_bundles(tmp_path):
    web = tmp_path / "nginx"
    (web / "www").mkdir(parents=True)
    (web / "www" / "authz.tar.gz").write_bytes(good("reader"))
    async with nginx(web) as url:
        server = BundleServer(b"")
        server.url = f"{url}/authz.tar.gz"
        async with served(tmp_path, server) as gateway:
            await gateway.admits("reader")
            await until(lambda: '" 304 ' in (web / "access.log").read_text())
            assert (await status(gateway))["etag"].startswith('"')
            # As a deployment replaces a file, and not as an editor does.
            (web / "www" / "new").write_bytes(good("writer", "r2", data={"longer": "by far"}))
            (web / "www" / "new").replace(web / "www" / "authz.tar.gz")
            await gateway.admits("writer")
            assert (await status(gateway))["revision"] == "r2"
        assert (web / "access.log").read_text().count('" 200 ') == 2
