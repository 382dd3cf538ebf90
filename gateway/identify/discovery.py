"""The issuer's metadata (OpenID Connect Discovery 1.0 §4.3, RFC 8414 §3.3)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from gateway.config.model import HttpUrl, is_secure_url
from gateway.jose.strict_json import JsonError, loads

if TYPE_CHECKING:
    from gateway.config.model import Issuer

MAX_BYTES = 512 * 1024
"""Largest metadata document."""

_URL = TypeAdapter(HttpUrl)
_VISIBLE = re.compile(r"[!-~]{1,2048}")


class DiscoveryError(ValueError):
    """The metadata cannot be used."""


def discovery_url(issuer: Issuer) -> str:
    """The URL of the issuer's metadata (OpenID Connect Discovery 1.0 §4)."""
    configured = issuer.keys.discovery if issuer.keys else None
    if isinstance(configured, str):
        return configured
    return issuer.issuer.rstrip("/") + "/.well-known/openid-configuration"


def parse(data: bytes, issuer: str, *, insecure_http: bool = False) -> str:
    """The `jwks_uri` of the metadata, which must name `issuer` byte for byte.

    The URL is https, or http on a loopback address, or any http with `insecure_http`. Raises
    DiscoveryError.
    """
    if len(data) > MAX_BYTES:
        raise DiscoveryError(f"{len(data)} bytes, more than {MAX_BYTES}")
    try:
        metadata = loads(data)
    except JsonError as error:
        raise DiscoveryError(f"metadata: {error}") from None
    if not isinstance(metadata, dict):
        raise DiscoveryError("metadata: not an object")
    if metadata.get("issuer") != issuer:
        raise DiscoveryError(f"metadata: of the issuer {metadata.get('issuer')!r}")
    url = metadata.get("jwks_uri")
    # Before urlsplit, which drops line breaks and tabs that a client might send.
    if not isinstance(url, str) or not _VISIBLE.fullmatch(url):
        raise DiscoveryError("metadata: jwks_uri is missing or no URL")
    try:
        _URL.validate_python(url)
    except ValueError:
        raise DiscoveryError("metadata: jwks_uri is no http or https URL") from None
    if not (insecure_http or is_secure_url(url)):
        raise DiscoveryError("metadata: jwks_uri is plain http")
    return url
