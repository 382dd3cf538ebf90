"""Completion in real shells, set up by the lines of docs/commands.md."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path(sys.executable).with_name("gateway")
PAGE = (ROOT / "docs/commands.md").read_text()
LINES = {
    shell: (line.replace("\\|", "|"), file)
    for shell, line, file in re.findall(
        r"^\| (bash|zsh|fish) \| `(.+?)` in `~/(\S+)` \|$", PAGE, re.M
    )
}
DEADLINE = 30

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the script `gateway` is not installed")


@pytest.fixture
def home(tmp_path):
    """A home with the start file of a shell, and a folder to complete names of."""

    def made(shell):
        if shutil.which(shell) is None:
            pytest.skip(f"{shell} is not installed: .ci/run does it")
        line, file = LINES[shell]
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(f"{line}\n")
        (tmp_path / "policies").mkdir()
        return {
            "HOME": str(tmp_path),
            "PATH": f"{SCRIPT.parent}:{os.environ['PATH']}",
            "TERM": "dumb",
            "PS1": "> ",
        }

    return made


def typed(command, environ, keys, wanted):
    """Type at a shell on a terminal until what it shows has a text; gives all that it showed."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(environ["HOME"])
        os.execvpe(command[0], command, environ)
    shown = ""
    ends = time.monotonic() + DEADLINE
    try:
        for line in keys:
            os.write(terminal, line.encode())
            while line is keys[-1] and wanted not in shown:
                left = ends - time.monotonic()
                if left <= 0 or not select.select([terminal], [], [], left)[0]:
                    break
                shown += os.read(terminal, 65536).decode(errors="replace")
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)
    return shown


WORDS = [
    ("gateway poli", "gateway policy "),
    ("gateway policy repl", "gateway policy replay "),
    ("gateway policy test --form", "gateway policy test --format "),
    ("gateway policy test --format gith", "gateway policy test --format github "),
    ("gateway policy check poli", "gateway policy check policies/"),
]


@pytest.mark.parametrize(("begun", "completed"), WORDS)
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_word_is_completed(home, shell, begun, completed):
    shown = typed([shell, "-i"], home(shell), [f"{begun}\t"], completed)
    assert completed in shown


@pytest.mark.parametrize(("begun", "completed"), WORDS)
def test_fish_completes_a_word(home, begun, completed):
    environ = home("fish")
    made = subprocess.run(
        ["fish", "-c", f"complete --do-complete {begun!r}"],
        env=environ, cwd=environ["HOME"], capture_output=True, text=True, timeout=DEADLINE,
    )  # fmt: skip
    words = [line.split("\t")[0] for line in made.stdout.splitlines()]
    assert completed.split()[-1] in words, made


def test_all_three_shells_are_documented():
    assert set(LINES) == {"bash", "zsh", "fish"}
