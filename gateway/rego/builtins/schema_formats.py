"""The formats of strings that JSON Schema names, as gojsonschema checks them."""

from __future__ import annotations

import ipaddress
import re
import uuid
from typing import TYPE_CHECKING, Final

from gateway.rego.builtins import go_layout, regex, uris

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.rego.builtins.registry import State

_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")
_HOST: Final = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)


def _is_uuid(text: str) -> bool:
    return len(text) == 36 and str(uuid.UUID(text)) == text.lower()


def _reads(read: Callable[[str], object]) -> Callable[[State, str], bool]:
    """Make a check from a function that raises ValueError for what it cannot read."""

    def check(_: State, text: str) -> bool:
        read(text)
        return True

    return check


def _times(*layouts: str) -> Callable[[State, str], bool]:
    def check(_: State, text: str) -> bool:
        return any(_is_time(layout, text) for layout in layouts)

    return check


def _is_time(layout: str, text: str) -> bool:
    try:
        if layout in _CLOCKS:
            layout, text = "2006-01-02T" + layout, _SOME_DAY + text
        go_layout.read(layout, text)
    except go_layout.LayoutError:
        return False
    return True


def _is_uri(state: State, text: str) -> bool:
    return "\\" not in text and "scheme" in uris.parse(state, text)


def _is_reference(state: State, text: str) -> bool:
    uris.parse(state, text)
    return "\\" not in text


def _is_template(state: State, text: str) -> bool:
    path = uris.parse(state, text).get("path", "")
    return "\\" not in text and _TEMPLATE.fullmatch(path) is not None


def _matches(pattern: re.Pattern[str]) -> Callable[[State, str], bool]:
    return lambda _, text: pattern.fullmatch(text) is not None


_TEMPLATE: Final = re.compile(r"(?:[^{]|\{[^}]*+\})*+", re.DOTALL)
_POINTER: Final = re.compile(r"(?:/(?:[^~/]|~[01])*+)*+", re.DOTALL)
_RELATIVE_POINTER: Final = re.compile(r"(?:0|[1-9][0-9]*)(?:#|(?:/(?:[^~/]|~[01])*+)*+)", re.DOTALL)
_CLOCKS: Final = ("15:04:05", "15:04:05Z07:00")
_SOME_DAY: Final = "2000-01-01T"

FORMATS: Final[dict[str, Callable[[State, str], bool]]] = {
    "date": _times("2006-01-02"),
    "time": _times(*_CLOCKS),
    "date-time": _times(*_CLOCKS, "2006-01-02", "RFC3339"),
    **dict.fromkeys(("email", "idn-email"), _matches(_EMAIL)),
    "hostname": _matches(_HOST),
    "ipv4": _reads(ipaddress.IPv4Address),
    "ipv6": lambda _, text: "%" not in text and ipaddress.IPv6Address(text).version == 6,
    **dict.fromkeys(("uri", "iri"), _is_uri),
    **dict.fromkeys(("uri-reference", "iri-reference"), _is_reference),
    "uri-template": _is_template,
    "uuid": lambda _, text: _is_uuid(text),
    "regex": regex.is_valid,
    "json-pointer": _matches(_POINTER),
    "relative-json-pointer": _matches(_RELATIVE_POINTER),
}
"""Each tells whether a text fits, or raises ValueError or BuiltinError where it does not."""
