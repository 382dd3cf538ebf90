"""A Redis server of the test's own."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class RedisServer:
    """A server on a Unix socket in `folder`, without persistence."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is, as gateway.yaml has it."""
        return f"unix:{self.socket}"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen(
            [
                "redis-server",
                "--port",
                "0",
                "--unixsocket",
                str(self.socket),
                "--save",
                "",
                "--dir",
                str(self.socket.parent),
            ],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while not self._listens():
            assert self._process.poll() is None, "redis-server ended"
            assert time.monotonic() < deadline, "redis-server does not listen"
            time.sleep(0.01)

    def _listens(self) -> bool:
        # The file is there before anybody listens.
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.socket)) == 0

    def kill(self) -> None:
        """End it at once."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.socket.unlink(missing_ok=True)

    def flush(self) -> None:
        """Have it forget everything."""
        self.tell("flushall")

    def dump(self) -> bytes:
        """All that it holds, as it writes it to a disk, but uncompressed."""
        self.tell("config", "set", "rdbcompression", "no")
        self.tell("save")
        return (self.socket.parent / "dump.rdb").read_bytes()

    def tell(self, *command: str) -> None:
        """Have it do what it answers OK to."""
        arguments = ["redis-cli", "-s", str(self.socket), *command]
        told = subprocess.run(arguments, check=True, capture_output=True, text=True)
        assert told.stdout == "OK\n", told.stdout

    def freeze(self, *, frozen: bool) -> None:
        """Stop it, or let it go on: connections stay, answers do not come."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)


@contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    """Run a server; the test is skipped where there is none."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    pytest.importorskip("redis")
    server = RedisServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.freeze(frozen=False)
        server.kill()
