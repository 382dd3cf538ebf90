"""A provider that nobody here wrote: the certified `oidc-provider` of npm, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp
import pytest

from tests.support.provider import CLIENT, OWN, SECRET

SCRIPT = Path(__file__).with_name("login_provider.mjs")
MODULE = Path(__file__).parents[2] / ".ci/node/node_modules/oidc-provider/lib/index.js"
START = 30.0


class Certified:
    """The provider; `grants` are the grant types that it was asked for with success."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.issuer = f"http://localhost:{port}"
        self.grants: list[str] = []
        self.errors: list[str] = []

    async def serve(self, origin: str, *, ttl: int = 600) -> None:
        """Be the provider of a gateway at that origin."""
        client = {
            "client_id": CLIENT,
            "client_secret": SECRET,
            "redirect_uris": [f"{origin}{OWN}/callback/web"],
            "post_logout_redirect_uris": [f"{origin}/open/bye"],
            "grant_types": ["authorization_code", "refresh_token"],
            "backchannel_logout_uri": f"{origin}{OWN}/backchannel-logout/web",
            "backchannel_logout_session_required": True,
            "id_token_signed_response_alg": "ES256",
        }
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"client": client, "ttl": ttl}).encode() + b"\n")
        async with asyncio.timeout(START):
            assert await self._line() == "ready"

    async def follow(self) -> None:
        """Note what the provider tells, until it ends."""
        while line := await self._line():
            said = json.loads(line)
            good = said["event"] == "grant.success"
            (self.grants if good else self.errors).append(said["grant"])

    async def _line(self) -> str:
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode().strip()


@contextlib.asynccontextmanager
async def certified() -> AsyncIterator[Certified]:
    """Run the provider; the test is skipped where there is none."""
    if shutil.which("node") is None or not MODULE.exists():
        pytest.skip("oidc-provider is not there: .ci/run fetches it")
    process = await asyncio.create_subprocess_exec(
        "node", str(SCRIPT), str(MODULE), stdin=PIPE, stdout=PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START):
            port = int(await process.stdout.readline())
        yield Certified(process, port)
    finally:
        process.kill()
        await process.communicate()


class Person:
    """Somebody at the provider's pages, with a browser's cookies there."""

    def __init__(self, name: str = "alice") -> None:
        self.name = name
        self.session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def logs_in(self, url: str, gateway: str) -> str:
        """Log in and consent; where the provider sends the browser at the gateway's origin."""
        return await self._walk("GET", url, {}, gateway)

    async def logs_out(self, url: str, gateway: str) -> str:
        """Say yes to the logout."""
        return await self._walk("GET", url, {}, gateway)

    async def _walk(self, method: str, url: str, form: dict[str, str], gateway: str) -> str:
        for _ in range(20):
            if url.startswith(gateway):
                return url
            data = form if method == "POST" else None
            async with self.session.request(
                method, url, data=data, allow_redirects=False
            ) as answer:
                text = await answer.text()
                if answer.status in (302, 303):
                    method, url = "GET", urljoin(url, answer.headers["location"])
                    continue
                assert answer.status == 200, text
            method, url, form = "POST", *self._filled(url, text)
        raise AssertionError("the provider asks again and again")

    def _filled(self, url: str, page: str) -> tuple[str, dict[str, Any]]:
        found = re.search(r'<form[^>]*action="([^"]*)"', page)
        assert found is not None, page
        hidden = re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', page)
        form = dict(hidden)
        if 'name="login"' in page:
            form |= {"login": self.name, "password": "any"}
        if 'name="logout"' in page:
            form["logout"] = "yes"
        return urljoin(url, found[1].replace("&amp;", "&")), form

    async def close(self) -> None:
        await self.session.close()
