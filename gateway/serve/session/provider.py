"""One login's OpenID Connect provider, as this process knows it."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from gateway.config.model import OAuthEndpoint, is_loopback_host, public_url
from gateway.errors import Code, GatewayError
from gateway.identify.discovery import discovery_url
from gateway.serve.fetch import FetchError, fetch
from gateway.serve.oauth_client import Credentials, call
from gateway.session.provider import Metadata, ProviderError, Tokens

if TYPE_CHECKING:
    from gateway.config.model import Config, Issuer, KeySource, Login

log = logging.getLogger("gateway.sessions")

FIRST_PAUSE: Final = 1.0
"""Seconds for which a provider whose metadata cannot be had is left alone; each failure doubles."""
LONGEST_PAUSE: Final = 30.0
MAX_LOGINS: Final = 32
"""Most codes of logins that are exchanged at once: anybody can bring some, and each is a call."""


class Provider:
    """A provider; ConfigError where the client's secret cannot be read (blocking)."""

    def __init__(self, name: str, login: Login, issuer: Issuer) -> None:
        self.name = name
        self.login = login
        self.issuer = issuer
        self.keys = keys_of(issuer)
        self.credentials = Credentials.read(login.client)
        self.last_error = ""
        self._metadata: Metadata | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._due = 0.0
        self._failures = 0
        self._logins = 0

    @classmethod
    def of(cls, config: Config, name: str) -> Self:
        """That of a configured login."""
        login = config.logins[name]
        return cls(name, login, config.issuers[login.issuer])

    def fits(self, other: Provider) -> bool:
        """Whether nothing differs from another, but what it has learnt."""
        return (
            self.login == other.login
            and self.issuer == other.issuer
            and self.credentials == other.credentials
        )

    async def metadata(self) -> Metadata:
        """What the provider publishes, at most as old as its keys may be.

        The last good is kept where it cannot be had anew. GatewayError LOGIN_UNAVAILABLE.
        """
        if self._fetching is None and asyncio.get_running_loop().time() >= self._due:
            self._fetching = asyncio.create_task(self._refresh())
        if self._metadata is None and self._fetching is not None:
            await asyncio.wait((self._fetching,))  # it is of no single request
        if self._metadata is None:
            raise unavailable(self.last_error)
        return self._metadata

    async def redeem(self, form: dict[str, str]) -> Tokens:
        """What it gives for the code of a login; LOGIN_UNAVAILABLE too where many are exchanged.

        Renewals have no part in that, so that no flood of logins holds them up.
        """
        if self._logins >= MAX_LOGINS:
            raise unavailable("too many logins are under way")
        self._logins += 1
        try:
            return await self.tokens(form)
        finally:
            self._logins -= 1

    async def tokens(self, form: dict[str, str]) -> Tokens:
        """What the token endpoint gives for a form; EndpointError, ProviderError, GatewayError."""
        metadata = await self.metadata()
        keys = self.keys
        endpoint = OAuthEndpoint(
            url=metadata.token,
            client=self.login.client,
            timeout=self.login.timeout,
            allow_private_addresses=keys.allow_private_addresses,
            insecure_http=keys.insecure_http,
        )
        return Tokens.parse(
            await call(endpoint, self.credentials, tuple(form.items()), time.time())
        )

    def close(self) -> None:
        """End what is under way."""
        if self._fetching is not None:
            self._fetching.cancel()

    async def _refresh(self) -> None:
        clock = asyncio.get_running_loop().time
        try:
            self._metadata = await self._fetch()
        except Exception as error:
            if not isinstance(error, FetchError | ProviderError):  # a fault of ours
                log.exception("login %s: the metadata could not be read", self.name)
            pause = min(FIRST_PAUSE * 2 ** min(self._failures, 8), LONGEST_PAUSE)
            self._failures += 1
            self._due = clock() + pause
            self.last_error = str(error)
            log.warning("login %s: %s", self.name, error)
        else:
            self._failures, self.last_error = 0, ""
            self._due = clock() + self.keys.interval
        finally:
            self._fetching = None

    async def _fetch(self) -> Metadata:
        keys = self.keys
        source = self.login.discovery or discovery_url(self.issuer)
        document = await fetch(
            source,
            seconds=self.login.timeout,
            allow_private=keys.allow_private_addresses,
            insecure_http=keys.insecure_http,
        )
        found = Metadata.parse(document, self.issuer.issuer, insecure_http=keys.insecure_http)
        if _loopback(found.token) and not (_loopback(source) or keys.allow_private_addresses):
            raise FetchError(f"{public_url(source)} points to a loopback address for tokens")
        return found


def keys_of(issuer: Issuer) -> KeySource:
    """The keys of a login's issuer, which has some, as is checked when the file is read."""
    assert issuer.keys is not None
    return issuer.keys


def unavailable(detail: str, seconds: float = 1.0) -> GatewayError:
    """The refusal where a provider cannot be asked, and may be asked again after some seconds."""
    after = str(max(1, round(seconds)))
    return GatewayError(Code.LOGIN_UNAVAILABLE, detail, headers=(("retry-after", after),))


def _loopback(url: str) -> bool:
    return is_loopback_host(urlsplit(url).hostname or "")
