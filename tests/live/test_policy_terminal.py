"""`gateway policy` as a process of its own: on a terminal, and with real signals."""

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import sys
import termios

import pytest

from tests.support.gateway import live, until
from tests.support.process import ROOT, started

TEST = "package a_test\n\nimport data.a\n\ntest_x if a.x == 1\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "a.rego").write_text("package a\n\nx := 1\n")
    (tmp_path / "policies" / "a_test.rego").write_text(TEST)
    return tmp_path


@contextlib.asynccontextmanager
async def on_terminal(*arguments, folder, environ=()):
    """Run `gateway` on a terminal of its own.

    Gives the process, the pieces that it printed so far, and the function that types.
    """
    ours, theirs = pty.openpty()

    def its_own():
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    child = await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "cli.py"), *arguments, cwd=folder,
        stdin=theirs, stdout=theirs, stderr=theirs,
        preexec_fn=its_own,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "60", **dict(environ)},
    )  # fmt: skip
    os.close(theirs)
    pieces = []
    loop = asyncio.get_running_loop()

    def read():
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux says so where the other side has closed
            piece = b""
        if piece:
            pieces.append(piece.decode())
        else:
            loop.remove_reader(ours)

    loop.add_reader(ours, read)
    try:
        yield child, pieces, lambda keys: os.write(ours, keys)
    finally:
        loop.remove_reader(ours)
        if child.returncode is None:
            child.kill()
            await child.wait()
        os.close(ours)


@live
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_watch_runs_what_changes_and_ends_when_it_is_told(folder, number):
    async with started("policy", "test", "--watch", folder=folder) as process:
        await until(lambda: "waiting for changes" in process.errors)
        await until(lambda: process.output == b"1 test: 1 passed\n")
        (folder / "policies" / "a.rego").write_text("package a\n\nx := 2\n")
        await until(lambda: b"1 test: 1 failed\n" in process.output)
        assert "policies/a.rego" in process.errors
        (folder / "policies" / "a.rego").write_text("package a\n\nx := \n")
        await until(lambda: "error: policies/a.rego:" in process.errors)
        process.child.send_signal(number)
        assert await process.ended() == 0
        assert "Traceback" not in process.errors


@live
async def test_a_watch_ends_at_the_key(folder):
    """Ctrl-C at the terminal, which sends the signal itself."""
    arguments = ("policy", "test", "--watch")
    async with on_terminal(*arguments, folder=folder) as (child, pieces, type_):
        await until(lambda: "waiting for changes" in "".join(pieces))
        type_(b"\x03")
        async with asyncio.timeout(10):
            assert await child.wait() == 0


@live
async def test_a_long_run_shows_a_bar_and_takes_it_away(folder):
    arguments = ("policy", "diff", "policies", "policies", "--tries", "200000")
    arguments += ("--entrypoint", "a/x")
    async with on_terminal(*arguments, folder=folder) as (child, pieces, _):
        await until(lambda: "━" in "".join(pieces) or child.returncode is not None)
        assert "━" in "".join(pieces)
        async with asyncio.timeout(60):
            assert await child.wait() == 0
        await until(lambda: "no difference found" in "".join(pieces))
        last = "".join(pieces).rpartition("━")[2]
        assert "\x1b[2K" in last, "the bar is erased before the report"


@live
@pytest.mark.parametrize(("environ", "coloured"), [((), True), ((("NO_COLOR", "1"),), False)])
async def test_colour_is_for_terminals_that_want_it(folder, environ, coloured):
    (folder / "policies" / "a_test.rego").write_text(TEST.replace("== 1", "== 2"))
    arguments = ("policy", "test")
    async with on_terminal(*arguments, folder=folder, environ=environ) as (child, pieces, _):
        async with asyncio.timeout(30):
            assert await child.wait() == 2
        await until(lambda: "1 failed" in "".join(pieces))
        assert ("\x1b[31mFAIL" in "".join(pieces)) is coloured
