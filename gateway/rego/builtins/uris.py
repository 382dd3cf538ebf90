"""URIs, as Go's net/url reads them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote_to_bytes

from gateway.rego.builtins.encoding import text_of
from gateway.rego.builtins.operands import charge_text, string, utf8
from gateway.rego.builtins.registry import Builtin, State, charged
from gateway.rego.errors import BuiltinError

if TYPE_CHECKING:
    from gateway.rego.values import Value

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9a-fA-F]{2})")
_PORT: Final = re.compile(r"(?::[0-9]*)?")
# RFC 3986 §3.2.2, and what is not ASCII; Go also takes <, > and ".
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:<>\"-]|[^\x00-\x7f]|%[0-9a-fA-F]{2})*")
# The raw path is shown as it came only where Go would not have escaped the path so.
_UNESCAPED: Final = "-_.~$&+,/:;=@"
_USER: Final = re.compile(r"[A-Za-z0-9._:~!$&'()*+,;=%@-]*")


def parse(state: State, value: Value) -> dict[str, str]:
    """Return the parts of a URI that are there."""
    charge_text(state, text := string(value))
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
        parts |= _authority(authority)
        rest = slash + path
    path = _unescaped(rest)
    parts["path"] = path
    parts["raw_path"] = path if quote(utf8(path), safe=_UNESCAPED) == rest else rest
    return _present(parts)


def _present(parts: dict[str, str]) -> dict[str, str]:
    return {name: part for name, part in parts.items() if part}


def _authority(text: str) -> dict[str, str]:
    user, at, host = text.rpartition("@")
    if at and not _USER.fullmatch(user):
        raise BuiltinError("parse URI: invalid userinfo")
    if host.startswith("["):
        name, bracket, port = host.partition("]")
        name = name[1:]
        if not bracket:
            raise BuiltinError("parse URI: missing ']' in host")
    else:
        name, colon, number = host.rpartition(":")
        name, port = (name, colon + number) if colon else (host, "")
    if not _PORT.fullmatch(port) or not _HOST.fullmatch(name):
        raise BuiltinError("parse URI: invalid host or port")
    return {"hostname": _unescaped(name), "port": port[1:]}


def _unescaped(text: str) -> str:
    if _BAD_ESCAPE.search(text):
        raise BuiltinError("parse URI: invalid URL escape")
    return text_of(unquote_to_bytes(utf8(text)))


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
    charged("uri.parse", parse, 1, steps=50),
    charged("uri.is_valid", is_valid, 1, steps=50),
)
