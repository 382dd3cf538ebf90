"""Listening sockets and the certificates that they show."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.config.certificates import explain
from gateway.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.config.model import Listener, Tls
    from gateway.serve.asgi import App

BACKLOG = 2048
REMEDIES = {
    errno.EADDRINUSE: "another process listens there: end it, or take another port",
    errno.EADDRNOTAVAIL: "this machine does not have that address; 0.0.0.0 and [::] are all it has",
    errno.EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE, sockets a folder to write to",
    errno.EAFNOSUPPORT: "this machine does not speak IPv6",
}
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # TLS 1.2, for 1.3 has its own


class Certificate:
    """A listener's certificate; `load` reads the files' new content.

    `context` is what new connections use. Connections that are open keep theirs.
    """

    def __init__(self, tls: Tls, *, http2: bool, key: str = "tls") -> None:
        self._tls = tls
        self._key = key
        self._protocols = ["h2", "http/1.1"] if http2 else ["http/1.1"]
        self.context = self.load()

    def load(self) -> ssl.SSLContext:
        """What the files hold now, to become `context`; ConfigError where they are no pair."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.set_ciphers(CIPHERS)
        context.set_alpn_protocols(self._protocols)
        try:
            # An encrypted key fails with the empty password, instead of asking the terminal.
            context.load_cert_chain(self._tls.certificate, self._tls.key, password="")
        except OSError as error:  # SSLError is one
            raise certificate_problem(self._tls, error, self._key) from None
        return context


def certificate_problem(tls: Tls, error: OSError, key: str) -> ConfigError:
    """What is wrong with a certificate or its key, as reading them failed with `error`."""
    if isinstance(error, ssl.SSLError):
        message = f"the certificate and the key are no pair of readable PEM files: {explain(error)}"
    else:
        message = f"cannot read the certificate or its key: {error.strerror}"
    return ConfigError((Problem(message, file=str(tls.certificate), key=key),))


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundListener:
    """Sockets that are bound, and the application that serves them.

    `address` is HOST:PORT with the actual port, or unix:/PATH. With `capped` its connections
    count against `limits.connections`, else they have a small limit of their own. Unless
    `owned`, the sockets are another process's, too.
    """

    app: App
    address: str
    sockets: tuple[socket.socket, ...]
    certificate: Certificate | None
    http2: bool
    capped: bool
    owned: bool = True

    @property
    def url(self) -> str:
        """Where clients find it: http://HOST:PORT, https://HOST:PORT or http+unix:/PATH."""
        if self.address.startswith("unix:"):
            return f"http+{self.address}"
        return f"http{'s' if self.certificate else ''}://{self.address}"

    def bound_silence(self, seconds: float) -> None:
        """Let the kernel end connections whose client takes nothing for so long, or is not there.

        Also those that are closed here: what they have not taken stays in its memory until then.
        """
        for sock in self.sockets:  # the connections inherit it
            if sock.family == socket.AF_UNIX or not hasattr(socket, "TCP_USER_TIMEOUT"):
                continue
            milliseconds = max(1, int(seconds * 1000))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, int(seconds)))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def close(self) -> None:
        """Close the sockets; a Unix socket's file goes, too. May be called again."""
        is_open = any(sock.fileno() >= 0 for sock in self.sockets)
        for sock in self.sockets:
            sock.close()
        # Later on the file may be that of another process.
        if is_open and self.owned and self.address.startswith("unix:"):
            Path(self.address.removeprefix("unix:")).unlink(missing_ok=True)


def bind(
    listener: Listener, app: App, *, capped: bool = True, key: str = "listeners"
) -> BoundListener:
    """Listen on the listener's address, all of a host name's addresses.

    Connections wait until `serve` takes them. Port 0 takes a free port. Raises ConfigError if
    the address or the certificate cannot be used; `key` is the listener's in the configuration.
    The socket file of what is not `capped`, the operators' listener, is nothing to those who are
    neither its owner nor of its group.
    """
    certificate = (
        Certificate(listener.tls, http2=listener.http2, key=f"{key}.tls") if listener.tls else None
    )
    try:
        if listener.address.startswith("unix:"):
            address, sockets = listener.address, [_bind_unix(listener.address[5:], for_all=capped)]
        else:
            address, sockets = _bind_tcp(listener.address)
    except OSError as error:
        message = f"cannot listen on {listener.address}: {error.strerror or error}"
        remedy = REMEDIES.get(error.errno or 0, "")
        raise ConfigError((Problem(message, key=f"{key}.address", remedy=remedy),)) from None
    return BoundListener(
        app=app,
        address=address,
        sockets=tuple(sockets),
        certificate=certificate,
        http2=listener.http2,
        capped=capped,
    )


def adopt(
    listener: Listener,
    app: App,
    *,
    address: str,
    descriptors: Sequence[int],
    key: str = "listeners",
) -> BoundListener:
    """What another process has bound for `listener`, to serve it here; ConfigError as of `bind`.

    `address` is that of its BoundListener. All who adopt the sockets take connections from one
    queue.
    """
    tls = listener.tls
    sockets = tuple(socket.socket(fileno=number) for number in descriptors)
    for sock in sockets:
        sock.setblocking(False)
    return BoundListener(
        app=app,
        address=address,
        sockets=sockets,
        certificate=Certificate(tls, http2=listener.http2, key=f"{key}.tls") if tls else None,
        http2=listener.http2,
        capped=True,
        owned=False,
    )


def _bind_tcp(address: str) -> tuple[str, list[socket.socket]]:
    host, _, port_text = address.rpartition(":")
    port = int(port_text)
    found = socket.getaddrinfo(
        host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, target in dict.fromkeys(found):
            sock = socket.socket(family, kind, protocol)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by accept()
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((target[0], port, *target[2:]))
            sock.listen(BACKLOG)  # here, for only this fails if the address is taken
            sock.setblocking(False)
            port = sock.getsockname()[1]  # port 0: all of the host's addresses share one
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return f"{host}:{port}", sockets


def _bind_unix(path: str, *, for_all: bool) -> socket.socket:
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        if not for_all:  # whatever the umask; nobody can connect before listen()
            file = Path(path)
            file.chmod(file.stat().st_mode & ~stat.S_IRWXO)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    """Remove a socket that nobody listens on; anything else stays, and bind() will fail."""
    with contextlib.suppress(FileNotFoundError):
        if not Path(path).is_socket():
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                Path(path).unlink()
