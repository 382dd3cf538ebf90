"""Bounded HTTP GETs to issuers: no surprise in address, redirect, size, encoding or time."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from gateway.config.model import is_loopback_host, is_secure_url, public_url

MAX_BYTES = 512 * 1024
MAX_REDIRECTS = 3


class FetchError(Exception):
    """The document could not be had; the text says why, without the query of the URL."""


class GuardedResolver(AbstractResolver):
    """A resolver that drops private addresses, unless the name itself is loopback."""

    def __init__(self, *, allow_private: bool) -> None:
        self.allow_private = allow_private
        self.inner = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self.inner.resolve(host, port, family)
        kept = [one for one in found if may_reach(host, one["host"], self.allow_private)]
        if found and not kept:
            raise OSError(None, f"{host} resolves to a private address")
        return kept

    async def close(self) -> None:
        await self.inner.close()


def may_reach(host: str, address: str, allow_private: bool) -> bool:
    """Whether `host`, as configured, may lead to `address`."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    ip = mapped or ip
    if ip.is_loopback:
        return is_loopback_host(host)
    return ip.is_global or allow_private


async def fetch(
    url: str, *, seconds: float, allow_private: bool = False, insecure_http: bool = False
) -> bytes:
    """The body of a 200 answer, at most 512 KiB; raises FetchError.

    Redirects are followed on the same origin only. `seconds` is the limit for everything.
    """
    connector = aiohttp.TCPConnector(
        resolver=GuardedResolver(allow_private=allow_private), force_close=True
    )
    try:
        async with (
            asyncio.timeout(seconds),
            aiohttp.ClientSession(
                connector=connector,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"accept": "application/json", "accept-encoding": "identity"},
                trust_env=False,
            ) as session,
        ):
            for _ in range(MAX_REDIRECTS + 1):
                _check(url, allow_private=allow_private, insecure_http=insecure_http)
                body, location = await _get(session, url)
                if location is None:
                    return body
                target = urljoin(url, location)
                if _origin(target) != _origin(url):
                    raise FetchError(f"{public_url(url)} redirects to another host or scheme")
                url = target
            raise FetchError(f"{public_url(url)} redirects too often")
    except TimeoutError:
        raise FetchError(
            f"{public_url(url)} did not answer within {round(seconds, 1):g} s"
        ) from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        reason = str(error).replace(url, public_url(url))  # aiohttp quotes some URLs
        raise FetchError(f"{public_url(url)}: {reason or type(error).__name__}") from None


async def _get(session: aiohttp.ClientSession, url: str) -> tuple[bytes, str | None]:
    async with session.get(URL(url, encoded=True), allow_redirects=False) as response:
        if response.status in (301, 302, 303, 307, 308):
            return b"", response.headers.get("location", "")
        if response.status != 200:
            raise FetchError(f"{public_url(url)} answered {response.status}")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise FetchError(f"{public_url(url)} answered with an encoding that was not asked for")
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > MAX_BYTES:
                raise FetchError(f"{public_url(url)} answered more than {MAX_BYTES} bytes")
        return bytes(body), None


def _check(url: str, *, allow_private: bool, insecure_http: bool) -> None:
    if not is_secure_url(url) and not insecure_http:
        raise FetchError(f"{public_url(url)} is plain http on an address that is not loopback")
    host = urlsplit(url).hostname or ""
    try:
        # aiohttp asks no resolver for an address literal.
        allowed = may_reach(host, host, allow_private)
    except ValueError:
        return
    if not allowed:
        raise FetchError(f"{public_url(url)} is a private address")


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()
