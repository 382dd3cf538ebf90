"""URIs, as Go's net/url reads them."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote_to_bytes

from gateway.rego.builtins.encoding import text_of
from gateway.rego.builtins.operands import string, utf8
from gateway.rego.builtins.registry import Builtin, State, charged
from gateway.rego.errors import BuiltinError

if TYPE_CHECKING:
    from gateway.rego.values import Value

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9a-fA-F]{2})")
_PORT: Final = re.compile(r"(?::[0-9]*)?")
# RFC 3986 §3.2.2, and what is not ASCII, which alone may be escaped, but for the percent sign;
# Go also takes <, >, " and, where there is no [, ].
_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9._~!$&'()*+,;=:<>\"\]-]|[^\x00-\x7f]|%(?:25|[89a-fA-F][0-9a-fA-F]))*"
)
_ZONE: Final = re.compile(
    r"(?:[A-Za-z0-9._~!$&'()*+,;=:<>\"\]-]|[^\x00-\x7f]|%(?=[2-7])[0-9a-fA-F]{2})+"
)
_SHOWN_ZONE: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:<>\"\[\]% -]|[^\x00-\x7f])+")
# The raw path is shown as it came only where Go would not have escaped the path so.
_UNESCAPED: Final = "-_.~$&+,/:;=@"
_USER: Final = re.compile(r"[A-Za-z0-9._:~!$&'()*+,;=%@-]*")


def parse(state: State, value: Value) -> dict[str, str]:
    """Return the parts of a URI that are there."""
    text = string(value)
    state.charge(len(text))
    if _CONTROL.search(text):
        raise BuiltinError("parse URI: invalid control character")
    rest, _, fragment = text.partition("#")
    parts = {"fragment": _unescaped(fragment)}
    if rest == "*":
        return {"path": "*", "raw_path": "*"} | _present(parts)
    scheme = _SCHEME.match(rest)
    if scheme:
        parts["scheme"] = scheme[1].lower()
        rest = rest[scheme.end() :]
    elif rest.startswith(":"):
        raise BuiltinError("parse URI: missing protocol scheme")
    rest, _, parts["raw_query"] = rest.partition("?")
    if scheme and not rest.startswith("/"):
        return _present(parts)  # opaque: `mailto:someone`
    if not scheme and ":" in rest.partition("/")[0]:
        raise BuiltinError("parse URI: first path segment cannot contain colon")
    if rest.startswith("//") and (scheme or not rest.startswith("///")):
        authority, slash, path = rest[2:].partition("/")
        parts |= _authority(parts.get("scheme", ""), authority)
        rest = slash + path
    octets = _octets(rest)
    path = text_of(octets)
    parts["path"] = path
    parts["raw_path"] = path if quote(octets, safe=_UNESCAPED) == rest else rest
    return _present(parts)


def _present(parts: dict[str, str]) -> dict[str, str]:
    return {name: part for name, part in parts.items() if part}


def _authority(scheme: str, text: str) -> dict[str, str]:
    user, at, host = text.rpartition("@")
    if at and not _USER.fullmatch(user):
        raise BuiltinError("parse URI: invalid userinfo")
    _unescaped(user)
    if "[" in host:
        name, port = _bracketed(host)
    else:
        # In a URI of the web, which holds no list of hosts, the first colon begins the port.
        cut = host.partition(":") if scheme in ("http", "https") else host.rpartition(":")
        name, port = (cut[0], cut[1] + cut[2]) if cut[1] else (host, "")
        name = _host_name(name)
    if not _PORT.fullmatch(port):
        raise BuiltinError("parse URI: invalid port")
    return {"hostname": name, "port": port[1:]}


def _bracketed(host: str) -> tuple[str, str]:
    """Read an IPv6 address with its zone, if any (RFC 6874), and the port: `[fe80::1%25en0]:80`."""
    inside, bracket, port = host.rpartition("]")
    if not bracket:
        raise BuiltinError("parse URI: missing ']' in host")
    address, percent, zone = inside[1:].partition("%25")
    if host.rfind("[") != 0 or not _is_ipv6(address):
        raise BuiltinError("parse URI: invalid IP-literal")
    if not percent:
        return address, port
    shown = _unescaped(zone)
    if not _ZONE.fullmatch(zone) or not _SHOWN_ZONE.fullmatch(shown):
        raise BuiltinError("parse URI: invalid IPv6 zone")
    return f"{address}%{shown}", port


def _is_ipv6(text: str) -> bool:
    try:
        return bool(text) and "%" not in text and ipaddress.IPv6Address(text).version == 6
    except ValueError:
        return False


def _host_name(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise BuiltinError("parse URI: invalid host")
    return _unescaped(text)


def _unescaped(text: str) -> str:
    return text_of(_octets(text))


def _octets(text: str) -> bytes:
    if _BAD_ESCAPE.search(text):
        raise BuiltinError("parse URI: invalid URL escape")
    return unquote_to_bytes(utf8(text))


def is_valid(state: State, value: Value) -> bool:
    """Tell whether a value is a URI; the empty string is none."""
    if value.__class__ is not str or not value:
        return False
    try:
        parse(state, value)
    except BuiltinError:
        return False
    return True


BUILTINS: Final[tuple[Builtin, ...]] = (
    charged("uri.parse", parse, 1, steps=60),
    charged("uri.is_valid", is_valid, 1, steps=60),
)
