"""A token endpoint (RFC 8693, RFC 6749 §4.4) that does what a test says."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import parse_qs

from tests.support.upstream import Peer, Running, ok

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


class TokenEndpoint:
    """Answers each call with a token of its own, unless `answer` is set.

    `answer` is a whole response, or a mapping that changes the members of a good one. While
    `held` is set, calls wait. `calls` are the forms that arrived.
    """

    def __init__(self) -> None:
        self.server: Running
        self.calls: list[dict[str, list[str]]] = []
        self.answer: bytes | dict[str, object] = {}
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self, peer: Peer) -> None:
        if (request := await peer.request()) is None:
            return
        form = parse_qs(request.body.decode(), strict_parsing=True)
        self.calls.append(form)
        number = len(self.calls)
        await self.go_on.wait()
        peer.send(self.answer if isinstance(self.answer, bytes) else self.issued(form, number))

    def issued(self, form: dict[str, list[str]], number: int) -> bytes:
        """A good answer: the token tells what it is for."""
        audience = form.get("audience", ["none"])[0]
        document: dict[str, object] = {
            "access_token": f"issued-{number}.{audience}",
            "token_type": "Bearer",
            "expires_in": 300,
        }
        if form["grant_type"] == [EXCHANGE]:
            document["issued_token_type"] = ACCESS_TOKEN
        assert isinstance(self.answer, dict)
        document |= self.answer
        return ok(json.dumps({k: v for k, v in document.items() if v is not None}).encode())


def answer(status: int, document: object, headers: bytes = b"") -> bytes:
    """A response with a JSON document."""
    body = json.dumps(document).encode()
    head = b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n%b\r\n" % (status, len(body), headers)
    return head + body


def refusal(error: str, status: int = 400) -> bytes:
    """An error response (RFC 6749 §5.2) whose description repeats what it was sent."""
    return answer(status, {"error": error, "error_description": "it was TOKEN"})
