"""What an OpenID Connect provider says: its metadata, and its answers at the token endpoint."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

from gateway.config.model import is_secure_url
from gateway.jose.strict_json import JsonError, loads

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_TOKEN: Final = 16 * 1024
"""Longest token of an answer, in bytes."""
LONGEST: Final = 10 * 365 * 86400
"""Most seconds that an access token is taken to last."""
_VISIBLE: Final = re.compile(r"[!-~]{1,2048}")
_TOKEN: Final = re.compile(r"[!-~]+")


class ProviderError(ValueError):
    """What the provider answered cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """The endpoints of a provider (OpenID Connect Discovery 1.0 §3, RFC 8414 §2).

    `names_itself` tells that its authorization responses carry `iss` (RFC 9207 §3). `end_session`
    is empty where it has no logout (OpenID Connect RP-Initiated Logout 1.0 §2.1).
    """

    issuer: str
    authorization: str
    token: str
    end_session: str
    names_itself: bool

    @classmethod
    def parse(cls, data: bytes, issuer: str, *, insecure_http: bool = False) -> Self:
        """Read the metadata, which must name `issuer` byte for byte; ProviderError.

        The endpoints are https, or http on a loopback address, or any http with `insecure_http`.
        """
        found = _object(data, "metadata")
        if found.get("issuer") != issuer:
            raise ProviderError(f"metadata: of the issuer {found.get('issuer')!r}")
        methods = found.get("code_challenge_methods_supported")
        if methods is not None and (not isinstance(methods, list) or "S256" not in methods):
            raise ProviderError("metadata: the provider does not support PKCE with S256")

        def url(name: str) -> str:
            value = found.get(name)
            if not isinstance(value, str) or not _VISIBLE.fullmatch(value) or not _is_url(value):
                raise ProviderError(f"metadata: {name} is missing or no URL")
            if not (insecure_http or is_secure_url(value)):
                raise ProviderError(f"metadata: {name} is plain http")
            return value

        return cls(
            issuer=issuer,
            authorization=url("authorization_endpoint"),
            token=url("token_endpoint"),
            end_session=url("end_session_endpoint") if "end_session_endpoint" in found else "",
            names_itself=found.get("authorization_response_iss_parameter_supported") is True,
        )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Tokens:
    """What the token endpoint gave (RFC 6749 §5.1); empty where it gave none.

    `expires_in` are seconds, None where it does not tell.
    """

    access_token: str
    id_token: str
    refresh_token: str
    expires_in: float | None

    @classmethod
    def parse(cls, found: Mapping[str, Any]) -> Self:
        """Read the answer to a request for tokens; ProviderError, whose text holds no token."""
        kind = found.get("token_type")
        if not isinstance(kind, str) or kind.lower() != "bearer":
            raise ProviderError("tokens: token_type is not Bearer")
        access = _token(found, "access_token")
        if not access:
            raise ProviderError("tokens: no access_token")
        lasts = found.get("expires_in")
        if isinstance(lasts, str) and lasts.isascii() and lasts.isdigit():  # some write it so
            lasts = int(lasts[:12])
        if lasts is not None and (isinstance(lasts, bool | str | list | dict) or lasts < 0):
            raise ProviderError("tokens: expires_in is no number of seconds")
        return cls(
            access_token=access,
            id_token=_token(found, "id_token"),
            refresh_token=_token(found, "refresh_token"),
            expires_in=None if lasts is None else float(min(lasts, LONGEST)),
        )


def _object(data: bytes, what: str) -> Mapping[str, Any]:
    try:
        found = loads(data)
    except JsonError as error:
        raise ProviderError(f"{what}: {error}") from None
    if not isinstance(found, dict):
        raise ProviderError(f"{what}: not an object")
    return found


def _token(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_TOKEN or not _TOKEN.fullmatch(value):
        raise ProviderError(f"tokens: {name} is no token")
    return value


def _is_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.fragment
    except ValueError:
        return False
