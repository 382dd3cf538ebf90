"""Opening transports to an upstream: TCP, TLS or a Unix socket."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config.model import Upstream, UpstreamTls

UNIX_SCHEME = "http+unix:"
SHUTDOWN_TIMEOUT = 1.0  # an upstream that does not answer close_notify holds a connection so long


class Dialer:
    """Opens transports to `address`, or to the target at `url` itself where that has no host name.

    `tls` is not looked at unless the URL is https; what is verified stays the name. `name` is the
    host name that has to be resolved before, empty where there is none.
    """

    __slots__ = ("_host", "_port", "_server_name", "_tls", "_unix_path", "_url", "name")

    def __init__(
        self, url: str, tls: ssl.SSLContext | None, server_name: str | None, address: str = ""
    ) -> None:
        parts = urlsplit(url)
        is_unix = url.startswith(UNIX_SCHEME)
        host = parts.hostname or ""
        self._url = url
        self._unix_path = url.removeprefix(UNIX_SCHEME) if is_unix else ""
        self._host = address or host
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = tls if parts.scheme == "https" else None
        self._server_name = server_name or host
        self.name = "" if is_unix or _is_address(self._host) else host

    def at(self, address: str) -> Dialer:
        """The same for one of the name's addresses."""
        return Dialer(self._url, self._tls, self._server_name, address)

    @property
    def address(self) -> str:
        """Where it connects to, as it is shown: ADDRESS:PORT, or a Unix socket's path."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return self._unix_path or f"{host}:{self._port}"

    @property
    def is_plain(self) -> bool:
        """Whether nothing can arrive before the first request is sent."""
        return self._tls is None

    async def dial(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        """Connect and shake hands; OSError (ssl.SSLError is one) or UnicodeError of the name."""
        loop = asyncio.get_running_loop()
        if self._unix_path:
            await loop.create_unix_connection(protocol, self._unix_path)
        elif self._tls is None:
            await loop.create_connection(protocol, self._host, self._port)
        else:
            await loop.create_connection(
                protocol,
                self._host,
                self._port,
                ssl=self._tls,
                server_hostname=self._server_name,
                ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
            )


def dialers(upstream: Upstream) -> list[Dialer]:
    """One for each target; reads the TLS files. ConfigError with keys below the upstream's."""
    secure = any(url.startswith("https:") for url in upstream.urls)
    tls = _tls_context(upstream.tls) if secure else None
    return [Dialer(url, tls, upstream.tls.server_name) for url in upstream.urls]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _tls_context(tls: UpstreamTls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies the certificate and the name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        if tls.ca_file is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(tls.ca_file)
    except OSError as error:
        raise _problem("tls.ca_file", error) from error
    if tls.certificate is not None:
        try:
            context.load_cert_chain(tls.certificate, tls.key, password=_no_password)
        except OSError as error:
            raise _problem("tls.certificate", error) from error
    return context


def _no_password() -> str:
    # Without it OpenSSL would ask at the terminal for the password of an encrypted key.
    raise OSError("the key is encrypted")


def _problem(key: str, error: OSError) -> ConfigError:
    return ConfigError((Problem(f"cannot be used: {error}", key=key),))
