"""The form of values that a later stage reads; here a wrong one gets its place in the file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.config import templates
from gateway.config.document import Fault
from gateway.config.validate import nearest
from gateway.config.walk import leaves

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gateway.config.document import Key
    from gateway.config.model import Config, IdentityHeader

    Form = Callable[[str], tuple[str, str] | None]
    """Takes a value; gives what was expected and a remedy where it has another form."""


def check(config: Config) -> Iterator[Fault]:
    """Every value that has not the form that its reader expects."""
    for key, value in leaves(config):
        names = tuple(part for part in key if isinstance(part, str))
        form = FORMS.get(_without_name(names))
        if form and isinstance(value, str) and (fault := form(value)):
            yield Fault(key=key, message=fault[0], remedy=fault[1])
    yield from _identity_headers(("identity_headers",), config.identity_headers)
    for number, route in enumerate(config.routes):
        key = ("routes", number, "identity_headers")
        yield from _identity_headers(key, route.identity_headers or {})


def _identity_headers(key: Key, headers: Mapping[str, IdentityHeader]) -> Iterator[Fault]:
    for name, header in headers.items():
        if fault := _identity_value(header.value):
            # Where a string was written, there is no `value` to point at.
            whole = (*key, name) if header.is_short else (*key, name, "value")
            yield Fault(key=whole, message=fault[0], remedy=fault[1])


def _without_name(names: tuple[str, ...]) -> tuple[str, ...]:
    """Where a value is, less what the file calls it."""
    if names[:2] == ("rate_limits", "limits"):
        return names[:2] + names[3:]
    return names


def _matches(pattern: str, message: str, remedy: str = "") -> Form:
    compiled = re.compile(pattern)
    return lambda value: None if compiled.fullmatch(value) else (message, remedy)


def _entrypoint(value: str) -> tuple[str, str] | None:
    if value.startswith("data.") or (value.startswith("data/") or "/" not in value):
        path = re.sub(r"^data[./]", "", value).replace(".", "/")
        remedy = f"write {path}" if "/" in path else ""
        return "expected package/path/rule, such as gateway/authz/decision", remedy
    return None


def _identity_value(value: str) -> tuple[str, str] | None:
    if value in IDENTITY_VALUES or (value.startswith("claims.") and len(value) > len("claims.")):
        return None
    remedy = ""
    whole = f"identity.{value}"
    if close := whole if whole in IDENTITY_VALUES else nearest(value, IDENTITY_VALUES):
        remedy = f"did you mean {close!r}?"
    elif claim := re.fullmatch(r"(?:(?:claim|token|jwt)\.)?((?!claims\b)\w[\w:/.-]*)", value):
        remedy = f"write claims.{claim[1]}"
    return f"expected {', '.join(IDENTITY_VALUES)} or claims.PATH", remedy


def _rate_key(value: str) -> tuple[str, str] | None:
    if value in RATE_KEYS or re.fullmatch(r"(?:claims|headers)\..+", value):
        return None
    remedy = ""
    if close := "address" if value == "ip" else nearest(value, RATE_KEYS):
        remedy = f"did you mean {close!r}?"
    elif claim := re.fullmatch(r"(?:(?:claim|token|jwt)\.)?([a-z][\w:/.-]*)", value):
        remedy = f"write claims.{claim[1]}"
    return f"expected {', '.join(RATE_KEYS)}, claims.PATH or headers.NAME", remedy


def _origin(value: str) -> tuple[str, str] | None:
    if re.fullmatch(_ORIGIN, value):
        return None
    found = re.fullmatch(r"(?:([A-Za-z][\w+.-]*)://)?([^/?#@\s,;*]+)(?:/.*)?", value)
    origin = f"{found[1] or 'https'}://{found[2]}".lower() if found else ""
    remedy = f"write {origin}" if value != "null" and re.fullmatch(_ORIGIN, origin) else ""
    if "*" in value:
        remedy = "name each origin"
    return "expected an origin, such as https://app.example, lower-case and without a path", remedy


def _any_origin(value: str) -> tuple[str, str] | None:
    return None if value == "*" else _origin(value)


def _host(value: str) -> tuple[str, str] | None:
    if re.fullmatch(rf"(?:\*\.)?{_HOST}", value):
        return None
    bare = re.sub(r":\d*\Z", "", re.sub(r"^\w+://|/.*", "", value))
    better = bare != value and re.fullmatch(rf"(?:\*\.)?{_HOST}", bare)
    return (
        "expected a host without scheme and port, such as api.example or *.example",
        f"write {bare}" if better else "leave hosts out for any host",
    )


def _pointer(value: str) -> tuple[str, str] | None:
    if not re.fullmatch(r"(?:/(?:[^~/]|~[01])*)+", value):
        better = "/" + re.sub(r"^(?:\$|#)?[./]*", "", value).replace(".", "/")
        remedy = f"write {better}" if re.fullmatch(r"(?:/\w[\w-]*)+", better) else ""
        return "expected a JSON pointer, such as /input/claims/email", remedy
    name = value.split("/")[1]
    return (f"/{name} is in every event and cannot be erased", "") if name in KEPT else None


KEPT = frozenset({"type", "decision_id", "timestamp", "erased", "masked"})
"""The members of a decision event that are never erased."""

IDENTITY_VALUES = (
    *(f"identity.{name}" for name in ("subject", "issuer", "scopes", "groups", "roles")),
    "token.expires_at",
)

RATE_KEYS = ("address", "subject", "issuer", "host", "route", "method")

_HOST = r"(?:[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\])"
_ORIGIN = r"[a-z][a-z0-9+.-]*://[^/?#@\s,;A-Z*]+"

FORMS: Mapping[tuple[str, ...], Form] = {
    ("routes", "hosts"): _host,
    ("routes", "paths"): templates.fault,
    ("routes", "strip_prefix"): _matches(
        r"[^{}*]*", "expected a path as it is, without parameters", "write the part that is fixed"
    ),
    ("routes", "host"): _matches(
        rf"pass|upstream|{_HOST}(?::[0-9]{{1,5}})?", "expected pass, upstream or HOST[:PORT]"
    ),
    ("routes", "entrypoint"): _entrypoint,
    ("policy", "entrypoint"): _entrypoint,
    ("log", "decisions", "mask"): _pointer,
    ("cors", "origins"): _any_origin,
    ("routes", "cors", "origins"): _any_origin,
    ("routes", "websocket_origins"): _origin,
    ("rate_limits", "limits", "key"): _rate_key,
}
