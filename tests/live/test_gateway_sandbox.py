"""The gateway where an operator locks it in: behind a unit's filters, and with nothing to write."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from gateway.jose.sign import generate
from tests.support import http1, readonly, sandbox
from tests.support.certificates import Authority
from tests.support.gateway import (
    POLICY, either_server, live, policy_for, port, tls, token, until, write,
)  # fmt: skip
from tests.support.process import ROOT, serving
from tests.support.upstream import answers, ok, upstream

KEY = generate("ES256")
UNIT = ROOT / "deploy/systemd/policy-gateway.service"

__all__ = ["either_server"]

filters = pytest.mark.skipif(bool(sandbox.lacking()), reason=sandbox.lacking())
alone = pytest.mark.skipif(bool(readonly.lacking()), reason=readonly.lacking())


def behind_filters():
    return (sys.executable, str(ROOT / "tests/support/sandbox.py"), str(UNIT))


async def status(process):
    async with http1.connect(process.port("admin")) as client:
        return (await client.request("GET", "/status", (("Host", "localhost"),))).json()


async def admitted(process, role):
    bearer = token(KEY, roles=[role])
    async with asyncio.timeout(60):
        while (await process.ask(token=bearer)).status != 200:
            await asyncio.sleep(0.02)


@filters
@pytest.mark.parametrize("workers", ["1", "2"])
@live
async def test_nothing_that_the_gateway_does_is_beyond_the_units_filters(
    tmp_path, either_server, workers
):
    """A system call beyond them would kill the process that makes it."""
    policy = tmp_path / "policies" / "authz.rego"
    listeners = [{"address": "127.0.0.1:0"}, *tls(Authority(tmp_path), tmp_path)["listeners"]]
    if either_server == "hypercorn":
        listeners.append({"address": f"unix:{tmp_path}/edge"})
    config = {
        "listeners": listeners,
        "log": {"decisions": {"sink": "file", "path": "decisions.log"}},
        "assertion": {},
    }
    async with upstream(answers(ok())) as service:
        named = {"upstreams": {"service": {"url": f"http://localhost:{port(service.url)}"}}}
        write(tmp_path, KEY, service.url, config=config | named)
        options = ("--workers", workers)
        async with serving(tmp_path, *options, within=behind_filters()) as process:
            await admitted(process, "reader")
            policy.write_text(policy_for("writer"))
            await admitted(process, "writer")
            policy.write_text(POLICY + "\nbroken := \n")
            await until(lambda: "reload refused" in process.errors, 60)
            policy.write_text(POLICY)
            process.child.send_signal(signal.SIGHUP)
            await admitted(process, "reader")
            if workers == "2":
                killed = (await status(process))["workers"][0]["pid"]
                os.kill(killed, signal.SIGKILL)
                await until(lambda: process.errors.count(" serves") == 3, 60)
                await admitted(process, "reader")
            async with http1.connect(process.port("admin")) as client:
                host = (("Host", "localhost"),)
                assert (await client.request("GET", "/metrics", host)).status == 200
            process.child.terminate()
            assert await process.ended() == 0
        assert process.errors.count("has ended") == (workers == "2")
        assert "Traceback" not in process.errors
        assert (tmp_path / "decisions.log").read_text().count("\n") > 3


@filters
@live
async def test_the_filters_of_the_tests_are_there(tmp_path):
    """What they must refuse is refused: else the other test would show nothing."""
    script = """if True:
        import errno, mmap, os, socket
        try:
            mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)
        except PermissionError:
            print("no memory to write and run")
        try:
            socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
        except OSError as error:
            print(errno.errorcode[error.errno])
        print(flush=True)
        os.chroot("/")
        print("not killed")
    """
    child = await asyncio.create_subprocess_exec(
        *behind_filters(), sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await child.communicate()
    assert output.decode().split("\n") == ["no memory to write and run", "EAFNOSUPPORT", "", ""]
    assert child.returncode == -signal.SIGSYS


@alone
@pytest.mark.parametrize(
    ("workers", "owner", "mode"), [("1", readonly.NOBODY, 0o700), ("2", 0, 0o2777)]
)
@live
async def test_a_user_who_may_write_nothing_but_the_state(tmp_path, workers, owner, mode):
    """As in the container: no root, no home, a read-only root file system.

    The state's folder is its own, or root's for its group, as an `emptyDir` of Kubernetes.
    """
    policy = tmp_path / "policies" / "authz.rego"
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, owner, readonly.NOBODY)
    state.chmod(mode)
    config = {
        "policy": {"state": str(state)},
        "log": {"decisions": {"sink": "stdout"}},
        "assertion": {},
    }
    within = (sys.executable, str(ROOT / "tests/support/readonly.py"), str(state), str(tmp_path))
    options = ("--workers", workers)
    environ = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    async with upstream(answers(ok())) as service:
        path = write(tmp_path, KEY, service.url, config=config)
        for file in (path, policy, tmp_path / "jwks.json"):
            file.chmod(0o644)
        for folder in (tmp_path, policy.parent):
            folder.chmod(0o755)
        async with serving(tmp_path, *options, environ=environ, within=within) as process:
            await admitted(process, "reader")
            before = (await status(process))["revision"]
            policy.write_text(policy_for("writer"))
            await admitted(process, "writer")
            assert (await status(process))["revision"] != before
            policy.write_text(POLICY + "\nbroken := \n")
            await until(lambda: "reload refused" in process.errors, 60)
            await admitted(process, "writer")
            process.child.terminate()
            assert await process.ended() == 0
        assert "cannot be kept" not in process.errors
        assert "Traceback" not in process.errors
        assert {json.loads(line)["status"] for line in process.output.splitlines()} == {200, 403}
        kept = list((state / "gateway.yaml.revisions").iterdir())
        assert len(kept) == 2
        assert {file.stat().st_uid for file in kept} == {readonly.NOBODY}
        # The next start has nothing but what was kept.
        async with serving(tmp_path, *options, environ=environ, within=within) as process:
            assert "serving the last good set" in process.errors
            await admitted(process, "writer")
            process.child.terminate()
            assert await process.ended() == 0


@alone
@live
async def test_the_read_only_machine_of_the_tests_is_one(tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o777)
    script = """if True:
        import os, tempfile
        from pathlib import Path
        Path("state/file").write_text("here")
        for folder in ("/tmp", "/var/tmp", "/run", ".", "/"):
            try:
                Path(folder, "file").write_text("there")
            except OSError:
                continue
            print(folder)
        print(os.getuid(), os.getgid(), os.getgroups(), os.environ.get("HOME"))
    """
    helper = str(ROOT / "tests/support/readonly.py")
    child = await asyncio.create_subprocess_exec(
        sys.executable, helper, str(tmp_path / "state"), str(tmp_path),
        sys.executable, "-c", script,
        cwd=tmp_path, env={}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await child.communicate()
    assert (child.returncode, output.decode()) == (0, "65534 65534 [] None\n")
    assert Path(tmp_path, "state/file").read_text() == "here"
