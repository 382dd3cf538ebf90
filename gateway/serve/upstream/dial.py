"""Opening transports to an upstream: TCP, TLS or a Unix socket."""

from __future__ import annotations

import asyncio
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
    """Knows where `upstream` is and how it is verified.

    Building it reads the TLS files; ConfigError with keys below the upstream's.
    """

    __slots__ = ("_host", "_port", "_server_name", "_tls", "_unix_path")

    def __init__(self, upstream: Upstream) -> None:
        url = urlsplit(upstream.url)
        is_unix = upstream.url.startswith(UNIX_SCHEME)
        self._unix_path = upstream.url.removeprefix(UNIX_SCHEME) if is_unix else ""
        self._host = url.hostname or ""
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._tls = _tls_context(upstream.tls) if url.scheme == "https" else None
        self._server_name = upstream.tls.server_name or self._host

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
