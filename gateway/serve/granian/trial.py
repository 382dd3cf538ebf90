"""Whether Granian takes a certificate and its key: `python trial.py CERTIFICATE KEY` ends with 0.

Run in a process of its own, for Granian ends the process where it does not.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from typing import Any

from granian import _granian
from granian.http import HTTP1Settings, HTTP2Settings


async def trial(certificate: str, key: str) -> None:
    """Begin to serve with them; what follows does not matter."""
    rust: Any = _granian
    sock = socket.create_server(("127.0.0.1", 0))
    loop = asyncio.get_running_loop()
    worker = rust.ASGIWorker(
        1, (None, rust.SocketHolder(sock.detach(), False, 1)), None, 1, 1, 1, 30, 1, "1",
        HTTP1Settings(), HTTP2Settings(), False, None,
        True, certificate, key, None, "tls1.2", None, [], False, (None, None),
    )  # fmt: skip
    scheduler = rust.CallbackScheduler(loop, print, None, None, None)
    worker.serve_async(scheduler, loop, rust.WorkerSignal())
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(trial(*sys.argv[1:3]))
