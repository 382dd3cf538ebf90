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

    from gateway.config.model import Config

    Form = Callable[[str], tuple[str, str] | None]
    """Takes a value; gives what was expected and a remedy where it has another form."""


def check(config: Config) -> Iterator[Fault]:
    """Every value that has not the form that its reader expects."""
    for key, value in leaves(config):
        names = tuple(part for part in key if isinstance(part, str))
        form = FORMS.get(names[:-1] if "identity_headers" in names[:-1] else names)
        if form and isinstance(value, str) and (fault := form(value)):
            yield Fault(key=key, message=fault[0], remedy=fault[1])


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
    close = nearest(value, IDENTITY_VALUES)
    return (
        f"expected {', '.join(IDENTITY_VALUES)} or claims.PATH",
        f"did you mean {close!r}?" if close else "",
    )


_ORIGIN_FORM = (
    "expected an origin, such as https://app.example, lower-case and without a path",
    "",
)
IDENTITY_VALUES = (
    *(f"identity.{name}" for name in ("subject", "issuer", "scopes", "groups", "roles")),
    "token.expires_at",
)

_HOST = r"(?:[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\])"
_ORIGIN = r"[a-z][a-z0-9+.-]*://[^/?#@\s,;A-Z]+"
_POINTER = _matches(
    r"(?:/(?:[^~/]|~[01])*)+", "expected a JSON pointer, such as /input/claims/email"
)

FORMS: Mapping[tuple[str, ...], Form] = {
    ("routes", "hosts"): _matches(
        rf"(?:\*\.)?{_HOST}",
        "expected a host without port, such as api.example or *.example",
        "leave hosts out for any host",
    ),
    ("routes", "paths"): templates.fault,
    ("routes", "strip_prefix"): _matches(
        r"[^{}*]*", "expected a path as it is, without parameters", "write the part that is fixed"
    ),
    ("routes", "host"): _matches(
        rf"pass|upstream|{_HOST}(?::[0-9]{{1,5}})?", "expected pass, upstream or HOST[:PORT]"
    ),
    ("routes", "entrypoint"): _entrypoint,
    ("policy", "entrypoint"): _entrypoint,
    ("identity_headers",): _identity_value,
    ("routes", "identity_headers"): _identity_value,
    ("log", "decisions", "mask"): _POINTER,
    ("cors", "origins"): _matches(rf"\*|{_ORIGIN}", *_ORIGIN_FORM),
    ("routes", "cors", "origins"): _matches(rf"\*|{_ORIGIN}", *_ORIGIN_FORM),
    ("routes", "websocket_origins"): _matches(_ORIGIN, *_ORIGIN_FORM),
}
