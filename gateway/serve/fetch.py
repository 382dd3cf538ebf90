"""Bounded HTTP requests: no surprise in address, redirect, size, encoding or time."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from gateway.config.model import is_loopback_host, is_secure_url, public_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

MAX_BYTES = 512 * 1024
MAX_FORM_ANSWER = 64 * 1024
JSON = {"accept": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
MAX_REDIRECTS = 3
REDIRECTS = (301, 302, 303, 307, 308)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A document and its entity tag; no document where the one of `if-none-match` is current."""

    body: bytes | None
    etag: str = ""


async def fetch(
    url: str, *, seconds: float, allow_private: bool = False, insecure_http: bool = False
) -> bytes:
    """The body of a 200 answer, at most 512 KiB; raises FetchError.

    Redirects are followed on the same origin only. `seconds` is the limit for everything.
    """
    answer = await get(
        url, seconds=seconds, allow_private=allow_private, insecure_http=insecure_http
    )
    assert answer.body is not None
    return answer.body


async def get(
    url: str,
    *,
    seconds: float,
    headers: Mapping[str, str] = JSON,
    max_bytes: int = MAX_BYTES,
    allow_private: bool = False,
    insecure_http: bool = False,
) -> Answer:
    """Like `fetch`, with headers and a limit of one's own; 304 is taken if they ask for it."""
    async with _session(url, seconds, headers, allow_private=allow_private) as session:
        for _ in range(MAX_REDIRECTS + 1):
            _check(url, allow_private=allow_private, insecure_http=insecure_http)
            answer = await _get(session, url, max_bytes, known="if-none-match" in headers)
            if isinstance(answer, Answer):
                return answer
            target = urljoin(url, answer)
            if _origin(target) != _origin(url):
                raise FetchError(f"{public_url(url)} redirects to another host or scheme")
            url = target
        raise FetchError(f"{public_url(url)} redirects too often")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a form was answered with; `retry_after` is that field's text, empty without it."""

    status: int
    body: bytes
    retry_after: str = ""


async def post(
    url: str,
    form: Sequence[tuple[str, str]],
    *,
    seconds: float,
    headers: Mapping[str, str] = JSON,
    allow_private: bool = False,
    insecure_http: bool = False,
) -> Reply:
    """Send a form, once; the answer whatever its status, at most 64 KiB; raises FetchError.

    No redirect is followed: it would send what the form holds to somebody else. `seconds` is the
    limit for everything.
    """
    async with _session(url, seconds, {**headers, **FORM}, allow_private=allow_private) as session:
        _check(url, allow_private=allow_private, insecure_http=insecure_http)
        async with session.post(
            URL(url, encoded=True), data=urlencode(form).encode(), allow_redirects=False
        ) as response:
            if response.status in REDIRECTS:
                raise FetchError(f"{public_url(url)} redirects a form that it was sent")
            return Reply(
                status=response.status,
                body=await _body(response, url, MAX_FORM_ANSWER),
                retry_after=response.headers.get("retry-after", ""),
            )


@asynccontextmanager
async def _session(
    url: str, seconds: float, headers: Mapping[str, str], *, allow_private: bool
) -> AsyncIterator[aiohttp.ClientSession]:
    """A client for one request, or one and its redirects; what fails in it is a FetchError."""
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
                headers={**headers, "accept-encoding": "identity"},
                trust_env=False,
            ) as session,
        ):
            yield session
    except TimeoutError:
        raise FetchError(
            f"{public_url(url)} did not answer within {round(seconds, 1):g} s"
        ) from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        reason = str(error).replace(url, public_url(url))  # aiohttp quotes some URLs
        raise FetchError(f"{public_url(url)}: {reason or type(error).__name__}") from None


async def _get(
    session: aiohttp.ClientSession, url: str, max_bytes: int, *, known: bool
) -> Answer | str:
    """What one request brings: a document, or the place of it."""
    async with session.get(URL(url, encoded=True), allow_redirects=False) as response:
        etag = response.headers.get("etag", "")
        if response.status in REDIRECTS:
            return response.headers.get("location", "")
        if response.status == 304 and known:
            return Answer(body=None, etag=etag)
        if response.status != 200:
            raise FetchError(f"{public_url(url)} answered {response.status}")
        return Answer(body=await _body(response, url, max_bytes), etag=etag)


async def _body(response: aiohttp.ClientResponse, url: str, max_bytes: int) -> bytes:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise FetchError(f"{public_url(url)} answered with an encoding that was not asked for")
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            raise FetchError(f"{public_url(url)} answered more than {max_bytes} bytes")
    return bytes(body)


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
