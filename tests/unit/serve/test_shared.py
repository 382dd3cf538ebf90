"""Turns to write, among processes."""

import os
import subprocess
import sys
import time

from gateway.serve.shared import SLOTS, anonymous, sharing
from gateway.serve.sink import File, Sink

HOLD = """
import os, sys, time
from gateway.serve.shared import sharing
with sharing(int(sys.argv[1]))("log") as turn:
    turn.torn = True
    print("mine", flush=True)
    sys.stdin.read()
    turn.torn = False
"""


class Holder:
    """A process that has the turn."""

    def __init__(self, descriptor):
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(descriptor)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(descriptor,),
        )  # fmt: skip
        assert self.process.stdout.readline() == b"mine\n"

    def end(self):
        self.process.communicate(timeout=10)

    def kill(self):
        self.process.kill()
        self.process.communicate(timeout=10)


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_sink_waits_for_its_turn(tmp_path):
    descriptor, path = anonymous(SLOTS), tmp_path / "log"
    holder = Holder(descriptor)
    other = Sink(File(tmp_path / "other"), limit=9, report=print, turn=sharing(descriptor)("other"))
    made = Sink(File(path), limit=9, report=print, turn=sharing(descriptor)("log"))
    made.put(b"line")
    other.put(b"line")
    until(lambda: other.counts().written)  # another target's turn is another one
    assert not path.exists()
    holder.end()
    assert made.close(5)
    assert path.read_bytes() == b"line\n"
    assert other.close(5)
    os.close(descriptor)


def test_the_line_of_a_process_that_was_killed_ends(tmp_path):
    descriptor, path = anonymous(SLOTS), tmp_path / "log"
    path.write_bytes(b'{"half":')
    holder = Holder(descriptor)
    made = Sink(File(path), limit=9, report=print, turn=sharing(descriptor)("log"))
    made.put(b"whole")
    holder.kill()
    assert made.close(10)
    assert path.read_bytes() == b'{"half":\nwhole\n'
    with sharing(descriptor)("log") as turn:
        assert not turn.torn
    os.close(descriptor)


def test_one_process_cannot_take_a_turn_twice(tmp_path):
    """Two sinks on one stream, such as the decision log and messages on standard error."""
    descriptor = anonymous(SLOTS)
    turns, path = sharing(descriptor), tmp_path / "log"
    other = Sink(File(tmp_path / "other"), limit=9, report=print, turn=turns("other"))
    with turns("log"):
        made = Sink(File(path), limit=9, report=print, turn=turns("log"))
        made.put(b"line")
        other.put(b"line")
        until(lambda: other.counts().written)
        assert not path.exists()
    assert made.close(5)
    assert other.close(5)
    assert path.read_bytes() == b"line\n"
    os.close(descriptor)
