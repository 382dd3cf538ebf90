"""A process that has imported all that a worker needs, and becomes one in milliseconds.

To start Python and import the gateway takes a second of CPU time, longer on a busy machine. The
supervisor cannot fork, for it has threads; this process has none, serves nobody and knows no
secrets but the configuration's. It ends with the supervisor; the workers do not end with it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from gateway.serve.link import LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.serve.link import Setting

ROOT: Final = Path(__file__).parents[2]
COMMAND: Final = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from gateway.serve.forkserver import main; main(int(sys.argv[2]))"
)
FORK: Final = b"f"
PID: Final = LENGTH


class ForkServer:
    """The supervisor's side; blocking."""

    def __init__(self, setting: Setting, inherited: Iterable[int]) -> None:
        """Start the process; it inherits these descriptors. OSError if it cannot be started."""
        self._socket, theirs = socket.socketpair()
        with theirs:
            # -P: what lies in the working folder must not be imported.
            self._process = subprocess.Popen(  # noqa: S603  our own interpreter and code
                [sys.executable, "-P", "-c", COMMAND, str(ROOT), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), *inherited),
            )
        pickled = pickle.dumps(setting, pickle.HIGHEST_PROTOCOL)
        self._socket.sendall(LENGTH.pack(len(pickled)) + pickled)

    def fork(self) -> tuple[int, socket.socket]:
        """Start a worker: its process id, and the supervisor's end of the link to it.

        OSError or EOFError if that fails; this ForkServer is of no use then.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(self._socket, [FORK], [theirs.fileno()])
            (pid,) = PID.unpack(_exactly(self._socket, PID.size))
        except BaseException:
            ours.close()
            raise
        return pid, ours

    def close(self) -> None:
        """End the process, and fail where it is asked; the workers go on."""
        with contextlib.suppress(OSError):  # it is gone
            self._socket.shutdown(socket.SHUT_RDWR)
        self._process.kill()
        self._process.wait()
        self._socket.close()


def main(descriptor: int) -> None:
    """Fork a worker whenever the supervisor says so."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Those of a terminal or a service manager come to all; the supervisor knows what to do.
        signal.signal(number, signal.SIG_IGN)
    from gateway.serve import child  # noqa: PLC0415  what takes its time

    supervisor = socket.socket(fileno=descriptor)
    try:
        (length,) = LENGTH.unpack(_exactly(supervisor, LENGTH.size))
        setting = pickle.loads(_exactly(supervisor, length))  # noqa: S301  from the supervisor
    except EOFError:
        return
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the workers' ends
    gc.collect()
    gc.freeze()  # what is shared with the workers stays shared
    with contextlib.suppress(OSError):  # the supervisor is gone, or there is no room for more
        while True:
            _, received, _, _ = socket.recv_fds(supervisor, 1, 1)
            if not received:
                return
            pid = os.fork()
            if not pid:
                supervisor.close()
                _become(child, setting, received[0])
            os.close(received[0])
            supervisor.sendall(PID.pack(pid))


def _become(child: Any, setting: Setting, descriptor: int) -> NoReturn:
    """Be a worker in this process, and end with it."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        child.run(setting, socket.socket(fileno=descriptor))
        code = 0
    except BaseException:  # noqa: BLE001  nothing may get back to the fork server's code
        traceback.print_exc()
    finally:
        os._exit(code)


def _exactly(sock: socket.socket, size: int) -> bytes:
    """So many bytes; EOFError where the other end closes before."""
    received = bytearray()
    while len(received) < size:
        piece = sock.recv(size - len(received))
        if not piece:
            raise EOFError("the other end is closed")
        received += piece
    return bytes(received)
