"""Addresses as people write them: of listeners, sockets, networks, issuers and upstreams."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from gateway.config.values import Malformed, described

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_SOCKET_PATH: Final = 107
"""Bytes of a Unix socket's path (unix(7): 108 with the NUL at its end)."""

_ADDRESS_FORM = "expected HOST:PORT, [ADDRESS]:PORT or unix:/PATH"
_URL_FORM = "expected an http:// or https:// URL"
_UPSTREAM_FORM = "expected http://HOST[:PORT], https://HOST[:PORT] or http+unix:/PATH"
_CIDR_FORM = "expected an address or CIDR block such as 10.0.0.0/8"


def address(value: object) -> str:
    """Where a listener listens."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise Malformed(f"{_ADDRESS_FORM}; got {described(value)}")
    if value.startswith("unix:"):
        socket_path(value.removeprefix("unix:"), "unix:")
        return value
    if value.startswith(("/", "./", "../")):
        raise Malformed(_ADDRESS_FORM, "write unix: before the whole path of a Unix socket")
    if "://" in value:
        rest = re.sub(r"^.*?://([^/]*).*", r"\1", value)
        raise Malformed(_ADDRESS_FORM, f"write {rest}" if re.search(r":\d+\Z", rest) else "")
    if re.fullmatch(r"\d{1,5}", value, re.ASCII):
        every = f"write 127.0.0.1:{value}, or 0.0.0.0:{value} for every IPv4 address"
        raise Malformed(_ADDRESS_FORM, every)
    if ":" not in value or value.endswith("]"):
        raise Malformed(_ADDRESS_FORM, f"write {value}:8080" if _is_host(value) else "")
    _host_port(value)
    return value


def _host_port(value: str) -> None:
    host, _, port = value.rpartition(":")
    if not re.fullmatch(r"\d{1,5}", port, re.ASCII) or int(port) > 65535:
        raise Malformed(f"{_ADDRESS_FORM}, with a port from 0 to 65535")
    if host in ("", "*"):
        every = f"write 0.0.0.0:{port} for every IPv4 address, [::]:{port} for every IPv6 address"
        raise Malformed(_ADDRESS_FORM, every)
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        remedy = f"write [{host}]:{port}" if _is_host(f"[{host}]") else ""
        raise Malformed("expected an IPv6 address in brackets: [::1]:8080", remedy)
    if not _is_host(host):
        raise Malformed(f"{_ADDRESS_FORM}; {host!r} is neither a host name nor an address")


def _is_host(text: str) -> bool:
    literal = text[1:-1] if text.startswith("[") else text
    if text.startswith("[") or re.fullmatch(r"[\d.]+", text, re.ASCII):
        try:
            found = ipaddress.ip_address(literal)
        except ValueError:
            return False
        return (found.version == 6) == text.startswith("[")
    return re.fullmatch(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?", text) is not None


def socket_path(path: str, scheme: str) -> None:
    """Raise Malformed where `path` cannot be that of a Unix socket."""
    if not path.startswith("/"):
        name = path.rpartition("/")[2] or "gateway.sock"
        raise Malformed(
            "expected the whole path of the Unix socket, from the root on",
            f"such as {scheme}/run/{name}",
        )
    try:
        length = len(os.fsencode(path))
    except UnicodeEncodeError:  # half of a surrogate pair
        length = 0
    if "\0" in path or not length:
        raise Malformed("the path of a Unix socket holds what no file name can hold")
    if length > MAX_SOCKET_PATH:
        raise Malformed(
            f"the path of a Unix socket has at most {MAX_SOCKET_PATH} bytes, this one has {length}",
            "use a shorter one, such as in /run",
        )


def cidr(value: str) -> str:
    """A network in its one spelling."""
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise Malformed(_CIDR_FORM, cidr_meant(value)) from None


def cidr_meant(text: str) -> str:
    """A remedy for what is no CIDR block."""
    try:
        return f"write {ipaddress.ip_network(text, strict=False)} for the block around it"
    except ValueError:
        pass
    if "*" in text:
        dots = text.rstrip(".*").split(".")
        numeric = all(part.isdecimal() for part in dots) and len(dots) < 4
        whole_block = ".".join([*dots, *["0"] * (4 - len(dots))])
        return f"write {whole_block}/{8 * len(dots)}" if numeric else ""
    return "write a range as CIDR blocks" if re.fullmatch(r"[\d.]+\s*-\s*[\d.]+", text) else ""


def http_url(value: str) -> str:
    """A URL that is fetched."""
    _visible(value)
    try:
        url = urlsplit(value)
        port = url.port
    except ValueError:  # Python's words for it help nobody
        raise Malformed(f"{_URL_FORM}; its host or its port is malformed") from None
    if url.scheme not in ("http", "https") or not url.hostname:
        bare = "://" not in value and re.match(r"[\w.-]+\.[\w.-]+|localhost\b", value)
        raise Malformed(_URL_FORM, f"write https://{value}" if bare else "")
    if port == 0:
        raise Malformed(f"{_URL_FORM}; 0 is no port")
    if url.username is not None or url.password is not None or url.fragment:
        raise Malformed("expected a URL without credentials and fragment")
    return value


def upstream_url(value: str) -> str:
    """The origin of an upstream."""
    for scheme, advice in _OTHER_SCHEMES.items():
        if value.startswith(scheme):
            raise Malformed(_UPSTREAM_FORM, advice(value.removeprefix(scheme)))
    if value.startswith("http+unix:"):
        socket_path(value.removeprefix("http+unix:"), "http+unix:")
        return value
    if "://" not in value:
        remedy = f"write http://{value}" if re.fullmatch(r"[\w.\[\]:-]+", value) else ""
        raise Malformed(_UPSTREAM_FORM, remedy)
    url = urlsplit(http_url(value))
    if url.path not in ("", "/") or url.query:
        raise Malformed("expected a URL without path and query (the request's path is sent)")
    return value


def redis_url(value: str) -> str:
    """Where a Redis server is."""
    if value.startswith("unix:"):
        socket_path(value.removeprefix("unix:"), "unix:")
        return value
    found = re.fullmatch(r"rediss?://([^/@\s]+)(?:/(\d{1,5})?)?", value, re.ASCII)
    if found is None:
        credentials = "@" in value.partition("://")[2]
        remedy = "write username and password_file beside it" if credentials else ""
        raise Malformed(_REDIS_FORM, remedy)
    _host_port(found[1] if re.search(r":\d+\Z", found[1]) else f"{found[1]}:6379")
    return value


_REDIS_FORM = "expected redis://HOST[:PORT][/DB], rediss://HOST[:PORT][/DB] or unix:/PATH"

_OTHER_SCHEMES: Mapping[str, Callable[[str], str]] = {
    "unix:": lambda rest: f"write http+unix:{re.sub('^/+', '/', rest)}",
    "ws://": lambda rest: f"write http://{rest}, and websocket: true in the route",
    "wss://": lambda rest: f"write https://{rest}, and websocket: true in the route",
    "grpc://": lambda _: "upstreams are asked over HTTP/1.1",
    "h2c://": lambda _: "upstreams are asked over HTTP/1.1",
}


def _visible(value: str) -> None:
    # urlsplit drops line breaks and tabs, and lets blanks through.
    if not re.fullmatch(r"[!-~]+", value):
        raise Malformed(
            f"{_URL_FORM} in visible ASCII, without blanks",
            "percent-encode other characters; write other host names as xn--…",
        )
