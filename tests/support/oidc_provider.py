"""An OpenID Connect provider that nobody here wrote: `oidc-provider` from npm."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.support import http1
from tests.support.process import ROOT

MODULES = ROOT / ".ci" / "node"
SCRIPT = Path(__file__).with_suffix(".mjs")
SECRET = "a-secret-of-32-characters-or-more"


class OidcProvider:
    """The provider on a port of loopback."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.issuer = f"http://127.0.0.1:{port}"

    async def token(self) -> str:
        """An opaque access token of the client `machine`."""
        answer = await self._post("/token", grant_type="client_credentials", resource="urn:api")
        return answer.json()["access_token"]

    async def revoke(self, token: str) -> None:
        """Revoke a token (RFC 7009)."""
        await self._post("/token/revocation", token=token)

    async def _post(self, path: str, **form: str) -> http1.Response:
        pair = base64.b64encode(f"machine:{SECRET}".encode()).decode()
        lines = (
            ("Authorization", f"Basic {pair}"),
            ("Content-Type", "application/x-www-form-urlencoded"),
        )
        async with http1.connect(self.port) as client:
            answer = await client.request("POST", path, lines, urlencode(form).encode())
        assert answer.status == 200, answer.body
        return answer


@contextlib.asynccontextmanager
async def oidc_provider() -> AsyncIterator[OidcProvider]:
    """Run a provider; the test is skipped where there is none."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if not (MODULES / "node_modules" / "oidc-provider").exists():
        pytest.skip("oidc-provider is not there: .ci/run fetches it")
    process = await asyncio.create_subprocess_exec(
        "node", str(SCRIPT), str(MODULES),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            port = int(await process.stdout.readline())
        yield OidcProvider(port)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
