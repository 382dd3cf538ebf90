"""What people who know other gateways write, and what it is called here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

_LISTENERS = "write listeners: [{address: HOST:PORT}]"
_TIMES = "upstreams have connect_timeout, first_byte_timeout and idle_timeout"
_UPSTREAM = "write upstream: NAME, or a URL"

KEYS: Mapping[str, str] = {
    "<<": "merge keys are not taken: write the values out",
    "auth": "write authentication: required, optional or anonymous",
    "backend": _UPSTREAM,
    "backends": "write upstreams",
    "bundles": "write policy: {bundles: {NAME: {url: …}}}",
    "credentials": "write token or token_file",
    "destination": _UPSTREAM,
    "exclude_files": "write exclude",
    "jwks": "write jwks_url or jwks_file",
    "jwks_uri": "write jwks_url",
    "jwt": "write issuers",
    "keyid": "any of the keys may sign; a signature may name one",
    "level": "gateway serve --verbose says more",
    "listen": _LISTENERS,
    "path_prefix": 'write paths: "/PREFIX/{rest:path}"',
    "persist": "what was fetched is always kept",
    "plugins": "there are none",
    "polling": "write interval: 1m",
    "prefix": 'write paths: "/PREFIX/{rest:path}"',
    "providers": "write issuers",
    "resource": "url is the whole address of the archive",
    "retries": "upstreams have retries",
    "rewrite": "strip_prefix takes a fixed part off the path; more is not rewritten",
    "server": _LISTENERS,
    "service": _UPSTREAM,
    "services": "write upstreams",
    "signing": "write verification: {keys: {ID: {…}}}",
    "target": _UPSTREAM,
    "timeout": _TIMES,
    "timeouts": _TIMES,
}
"""By an unknown key that resembles no known one."""

PARTS: Mapping[str, str] = {
    "address": "address holds both: HOST:PORT",
    "url": "url holds all: http://HOST:PORT",
}
"""By the key that holds the parts of an address which others write one by one."""

CHOICES: Mapping[str, str] = {
    "disabled": "anonymous",
    "false": "anonymous",
    "none": "anonymous",
    "off": "anonymous",
    "opa": "native",
    "public": "anonymous",
    "rego": "native",
    "true": "required",
}
"""By what was given where one of some words was expected, if it is among them."""


def of(name: str, known: Container[str]) -> str:
    """The hint for an unknown key, where `known` are the section's keys."""
    if name in ("bind", "host", "port", "scheme"):
        return next((hint for key, hint in PARTS.items() if key in known), "")
    return KEYS.get(name, "")
