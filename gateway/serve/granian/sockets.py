"""The connections that Granian has accepted, found by their descriptors.

Granian offers no way to end a connection, and none to end a response that has failed other than
as if it were whole. It runs in this process, so the sockets are at hand.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import sys
import termios

DESCRIPTORS = "/proc/self/fd"
CLOSE_WAIT = 8  # linux/tcp_states.h
AF_UNSPEC = bytes(16)
"""A sockaddr without a family: connect() to it resets a TCP connection."""

Peer = tuple[str, str, str]
"""A client's address and port, and the port of ours that it came to: it may use one for several."""

_connect = ctypes.CDLL(None, use_errno=True).connect


def connections(ports: frozenset[int]) -> dict[Peer, int]:
    """The descriptor of each TCP connection to one of our `ports`, by its client."""
    found = {}
    for name in os.listdir(DESCRIPTORS):  # noqa: PTH208  thousands of names, no paths
        number = int(name)
        with contextlib.suppress(OSError):  # no socket, or one that is not connected
            sock = _socket(number)
            try:
                if sock.getsockname()[1] in ports:
                    found[_peer(sock)] = number
            except IndexError:  # a Unix socket
                continue
            finally:
                sock.detach()
    return found


def has_left(number: int) -> bool:
    """Whether the client has ended its side."""
    with contextlib.suppress(OSError):
        sock = _socket(number)
        try:
            return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == CLOSE_WAIT
        finally:
            sock.detach()
    return True


SMALL_TALK = 1024
"""Bytes on the way that may be answers to control frames: a client that waits for no response
sends those as it likes."""


def is_sending(number: int) -> bool:
    """Whether the client has not taken all that was written: then hyper may have more."""
    unsent = bytearray(4)
    with contextlib.suppress(OSError):
        fcntl.ioctl(number, termios.TIOCOUTQ, unsent)
    return int.from_bytes(unsent, sys.byteorder) > SMALL_TALK


def end(number: int, peer: Peer, *, reset: bool) -> None:
    """End the connection, if that descriptor still is it: with FIN, or at once with RST.

    What waits to be written is lost with a reset. Granian notices that its socket has ended.
    """
    with contextlib.suppress(OSError), _socket(os.dup(number)) as sock:
        if _peer(sock) != peer:
            return
        if reset:
            _connect(sock.fileno(), AF_UNSPEC, len(AF_UNSPEC))
        sock.shutdown(socket.SHUT_RDWR)


def _socket(number: int) -> socket.socket:
    # The family is not looked at: the addresses name their own.
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=number)


def _peer(sock: socket.socket) -> Peer:
    address, port = sock.getpeername()[:2]
    return address, str(port), str(sock.getsockname()[1])
