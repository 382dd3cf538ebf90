"""Tells the service manager that started the gateway how it fares: sd_notify(3)'s protocol."""

from __future__ import annotations

import logging
import socket
import time
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import MutableMapping

log = logging.getLogger("gateway")

SOCKET: Final = "NOTIFY_SOCKET"
WAIT: Final = 1.0
"""Seconds for a manager that is behind to take a message."""


class ServiceManager:
    """Who started this process, if it wants to be told; else nothing is sent.

    `address` is that of a Unix datagram socket, `@` standing for the NUL of an abstract one. What
    was said last is not said again. Nothing in it may come from outside: a line break would make
    another message of it.
    """

    def __init__(self, address: str = "") -> None:
        self.address = address
        self._said = ""
        self._warned = False

    @classmethod
    def asking(cls, environ: MutableMapping[str, str]) -> Self:
        """The one that asks in the environment, where no process of ours is to find it."""
        return cls(environ.pop(SOCKET, ""))

    def ready(self, status: str) -> None:
        """It serves, or a reload is over, whatever came of it."""
        self._say("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it."""
        # The time tells a manager that asked for it from one before.
        self._say("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, within: float, status: str) -> None:
        """It ends, and takes at most so many seconds."""
        self._say("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(within * 1e6)}", f"STATUS={status}")

    def _say(self, *lines: str) -> None:
        message = "\n".join(lines)
        if not self.address or message == self._said:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(WAIT)
                sock.connect(_path(self.address))
                sock.send(message.encode())
        except OSError as error:
            if not self._warned:
                log.warning("the service manager at %s does not listen: %s", self.address, error)
            self._warned = True
        else:
            self._said = message
            self._warned = False


def _path(address: str) -> str:
    """The socket's address; OSError where it is none that is known."""
    if address[:1] not in {"/", "@"}:
        raise OSError("not the path of a socket, and no abstract one")
    return "\0" + address[1:] if address.startswith("@") else address
