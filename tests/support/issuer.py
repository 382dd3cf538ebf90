"""A token issuer's server, and a gateway that gets its keys there."""

import asyncio
import contextlib
import json

from gateway.jose.sign import generate, public_jwks
from tests.support.gateway import running
from tests.support.upstream import ok, upstream

KEY = generate("ES256")
HANG = None


def jwks(*keys):
    return ok(json.dumps(public_jwks(keys)).encode())


def document(value):
    return ok(json.dumps(value).encode())


class Issuer:
    """An issuer's server: `answers` by path, HANG for none before `leave`."""

    def __init__(self, answer=HANG):
        self.answers = {"/jwks": answer}
        self.leave = asyncio.Event()
        self.server = None

    async def __call__(self, peer):
        if (request := await peer.request()) is None:
            return
        answer = self.answers[request.target]
        if answer is HANG:
            await self.leave.wait()
        else:
            peer.send(answer)

    @property
    def fetches(self):
        return len(self.server.requests)

    @property
    def url(self):
        return self.server.url


@contextlib.asynccontextmanager
async def issued(
    folder, issuer, *, source="jwks_url: {url}/jwks", cooldown="50ms", timeout="10s", workers=1
):
    """A gateway whose keys come from an issuer's server."""
    async with upstream(issuer) as issuer.server:
        keys = f"{{{source.format(url=issuer.url)}, cooldown: {cooldown}, timeout: {timeout}}}"
        async with running(folder, keys=keys, signer=KEY, workers=workers) as gateway:
            yield gateway
