from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from gateway.config.model import Log
from gateway.errors import ConfigError
from gateway.serve import sink as sinks
from gateway.serve.sink import File, Sink, open_sinks

DEADLINE = 10.0


def until(condition):
    """Wait for a state, at most DEADLINE seconds."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "the state was not reached"
        time.sleep(0.002)


class Pipe:
    """A target whose other end the test reads, or does not."""

    name = "pipe"

    def __init__(self):
        self.reader, self.descriptor = os.pipe()
        self.failure: OSError | None = None
        self.closed = False

    def open(self):
        if self.failure:
            raise self.failure
        return self.descriptor

    def close(self):
        self.closed = True

    def read(self):
        os.set_blocking(self.reader, False)
        found = b""
        while True:
            try:
                found += os.read(self.reader, 1 << 20)
            except BlockingIOError:
                return found

    def release(self):
        os.close(self.reader)
        os.close(self.descriptor)


@pytest.fixture
def pipe():
    made = Pipe()
    yield made
    made.release()


@pytest.fixture
def reports():
    return []


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(sinks, "RETRY", 0.01)
    monkeypatch.setattr(sinks, "RETRY_AT_END", 0.005)


def test_lines_arrive_in_order_and_whole(tmp_path, reports):
    path = tmp_path / "log"
    made = Sink(File(path), limit=5_000, report=reports.append)
    lines = [b"%d" % number for number in range(3_000)]
    assert all(made.put(line) for line in lines)
    assert made.close(DEADLINE)
    assert path.read_bytes().splitlines() == lines
    counts = made.counts()
    assert (counts.written, counts.dropped, counts.errors, counts.queued) == (3_000, 0, 0, 0)
    assert reports == []


def test_a_line_is_written_without_a_close(tmp_path, reports):
    path = tmp_path / "log"
    made = Sink(File(path), limit=10, report=reports.append)
    for number in range(3):
        made.put(b"x")
        until(lambda number=number: made.counts().written == number + 1)
    assert path.read_bytes() == b"x\nx\nx\n"
    assert made.close(DEADLINE)


def test_new_file_is_not_for_everyone(tmp_path, reports):
    path = tmp_path / "log"
    made = Sink(File(path), limit=10, report=reports.append)
    made.put(b"x")
    assert made.close(DEADLINE)
    assert path.stat().st_mode & 0o007 == 0


@pytest.mark.parametrize("how", ["rename", "remove", "reopen"])
def test_rotation(tmp_path, reports, how):
    path, old = tmp_path / "log", tmp_path / "log.1"
    made = Sink(File(path), limit=10, report=reports.append)
    made.put(b"before")
    until(lambda: made.counts().written == 1)
    if how == "remove":
        path.unlink()
    else:
        path.rename(old)
    if how == "reopen":
        made.reopen()
    made.put(b"after")
    assert made.close(DEADLINE)
    assert path.read_bytes() == b"after\n"
    if how != "remove":
        assert old.read_bytes() == b"before\n"


def test_copy_and_truncate(tmp_path, reports):
    path = tmp_path / "log"
    made = Sink(File(path), limit=10, report=reports.append)
    made.put(b"before")
    until(lambda: made.counts().written == 1)
    os.truncate(path, 0)
    made.put(b"after")
    assert made.close(DEADLINE)
    assert path.read_bytes() == b"after\n"


def test_full_queue_drops_and_counts_and_never_waits(pipe, reports):
    made = Sink(pipe, limit=4, report=reports.append)
    block = b"x" * (1 << 20)  # more than a pipe holds: the thread waits in the write
    made.put(block)
    until(lambda: not made._lines)
    assert [made.put(b"%d" % number) for number in range(6)] == [True] * 4 + [False] * 2
    assert made.counts().dropped == 2
    reading = threading.Thread(target=lambda: [os.read(pipe.reader, 1 << 16) for _ in range(8)])
    reading.start()
    found = b""
    until(lambda: not reading.is_alive())
    os.set_blocking(pipe.reader, False)

    def drained():
        nonlocal found
        found += pipe.read()
        return made.counts().written == 5

    until(drained)
    found += pipe.read()
    assert found.endswith(b"x\n0\n1\n2\n3\n")
    assert made.close(DEADLINE)


def test_queue_is_bounded_in_bytes(pipe, reports, monkeypatch):
    monkeypatch.setattr(sinks, "MAX_BYTES", 100)
    pipe.failure = OSError(errno.ENOSPC, "No space left on device")
    made = Sink(pipe, limit=1_000, report=reports.append)
    made.put(b"x" * 40)
    until(lambda: made.counts().errors)
    assert made.put(b"x" * 90)
    assert not made.put(b"x" * 20)
    pipe.failure = None
    assert made.close(DEADLINE)
    assert made.counts().dropped == 1


def test_failure_is_counted_reported_once_and_retried(pipe, reports):
    pipe.failure = OSError(errno.ENOSPC, "No space left on device")
    made = Sink(pipe, limit=10, report=reports.append)
    made.put(b"one")
    until(lambda: made.counts().errors >= 3)
    made.put(b"two")
    assert reports == ["log pipe: No space left on device; lines wait in the queue"]
    pipe.failure = None
    until(lambda: made.counts().written == 2)
    assert pipe.read() == b"one\ntwo\n"
    assert made.close(DEADLINE)
    assert reports[1:] == ["log pipe: writing again"]


def test_broken_pipe_is_no_exception(pipe, reports):
    os.close(pipe.reader)
    made = Sink(pipe, limit=10, report=reports.append)
    made.put(b"one")
    until(lambda: made.counts().errors)
    assert not made.close(0.05)
    assert made.counts().dropped == 1
    assert reports == [
        "log pipe: Broken pipe; lines wait in the queue",
        "log pipe: 1 lines could not be written before the end",
    ]
    pipe.reader = os.open(os.devnull, os.O_RDONLY)


def test_torn_line_is_ended_and_written_again(pipe, reports, monkeypatch):
    """A disk that fills up in the middle of a line."""
    write = os.write
    answers = iter([4, OSError(errno.ENOSPC, "No space left on device")])

    def short(descriptor, content):
        answer = next(answers, None)
        if isinstance(answer, OSError):
            raise answer
        return write(descriptor, content[:answer])

    monkeypatch.setattr(sinks.os, "write", short)
    made = Sink(pipe, limit=10, report=reports.append)
    made.put(b"a")
    made.put(b"bcdef")
    until(lambda: made.counts().written == 2)
    assert pipe.read() == b"a\nbc\nbcdef\n"
    assert made.close(DEADLINE)


def test_non_blocking_stream_is_no_failure(pipe, reports):
    os.set_blocking(pipe.descriptor, False)
    made = Sink(pipe, limit=10, report=reports.append)
    line = b"x" * 300_000
    made.put(line)
    found = b""

    def arrived():
        nonlocal found
        found += pipe.read()
        return len(found) > len(line)

    until(arrived)
    assert found == line + b"\n"
    assert made.close(DEADLINE)
    assert (made.counts().errors, reports) == (0, [])


@pytest.mark.parametrize("blocking", [True, False])
def test_close_keeps_its_deadline_with_a_stuck_reader(pipe, reports, blocking):
    os.set_blocking(pipe.descriptor, blocking)
    made = Sink(pipe, limit=10, report=reports.append)
    made.put(b"x" * (1 << 20))
    made.put(b"y")
    assert not made.close(0.1)
    assert made.counts().dropped == 2
    assert reports == ["log pipe: 2 lines could not be written before the end"]
    while made._thread.is_alive():  # lets the thread go before the pipe does
        pipe.read()
        made._thread.join(0.001)


def test_put_after_close_is_dropped(tmp_path, reports):
    made = Sink(File(tmp_path / "log"), limit=10, report=reports.append)
    assert made.close(DEADLINE)
    assert made.close(DEADLINE)
    assert not made.put(b"late")
    assert made.counts().dropped == 1


def log_of(**sections):
    return Log.model_validate(sections)


def test_both_logs_in_one_file_share_a_sink(tmp_path, reports):
    target = {"sink": "file", "path": tmp_path / "log"}
    made = open_sinks(log_of(decisions=target, access=target), reports.append)
    assert made.decisions is made.access
    made.decisions.put(b"{}")
    made.access.put(b"line")
    assert made.close(DEADLINE)
    assert Path(target["path"]).read_bytes() == b"{}\nline\n"
    assert list(made.counts()) == [str(target["path"])]


def test_off_and_separate_files(tmp_path, reports):
    target = {"sink": "file", "path": tmp_path / "a"}
    made = open_sinks(log_of(decisions={"sink": "off"}, access=target), reports.append)
    assert made.decisions is None
    made.reopen()
    assert made.close(DEADLINE)


def test_standard_streams(reports, capfd):
    made = open_sinks(
        log_of(decisions={"sink": "stdout"}, access={"sink": "stderr"}), reports.append
    )
    made.decisions.put(b"event")
    made.access.put(b"line")
    assert made.close(DEADLINE)
    assert capfd.readouterr() == ("event\n", "line\n")


def test_file_that_cannot_be_opened_is_a_config_error(tmp_path, reports):
    target = {"sink": "file", "path": tmp_path / "absent" / "log"}
    with pytest.raises(ConfigError) as caught:
        open_sinks(log_of(decisions={"sink": "off"}, access=target), reports.append)
    problem = caught.value.problems[0]
    assert problem.key == "log.access.path"
    assert "No such file or directory" in problem.message
