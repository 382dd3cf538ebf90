"""What the edge listeners answer themselves, and the Host that own applications may see.

Load balancers often reach only the port that they send traffic to: they learn there whether to,
but not why. Bare ASGI, for these paths are open to everybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from gateway.errors import Code, GatewayError
from gateway.route.host import canonical_host
from gateway.serve.hypercorn.refusal import CONTENT_TYPE, PROBLEMS
from gateway.wire import OWN_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.serve.asgi import App, Receive, Scope, Send

JSON: Final = b"application/json"
JWKS: Final = b"application/jwk-set+json"
KEPT: Final = b"public, max-age=5"
"""Less than a key is published before it signs."""
METHODS: Final = ("GET", "HEAD")
LIVE: Final = b'{"status":"live"}\n'
READY: Final = b'{"ready":true}\n'
NOT_READY: Final = b'{"ready":false}\n'


class Pages(Protocol):
    """Further pages, of paths that they have."""

    def has(self, scope: Scope) -> bool:
        """Whether a path is theirs."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send, /) -> None:
        """Answer an HTTP request for one."""


def own_app(
    ready: Callable[[], Sequence[str]],
    jwks: Callable[[], bytes | None] = lambda: None,
    pages: Pages | None = None,
) -> App:
    """What is below OWN_PREFIX.

    `live`; `ready`, which is 503 while `ready` names something; `jwks.json`, which verifies
    assertions, where there are any; and `pages`.
    """

    async def own(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["raw_path"].removeprefix(OWN_PREFIX)
        if scope["type"] != "http":
            await _refuse(scope, receive, send, Code.UPGRADE_REFUSED)
        elif pages is not None and pages.has(scope):
            await pages(scope, receive, send)
        elif path not in {b"live", b"ready", b"jwks.json"} or (
            path == b"jwks.json" and jwks() is None
        ):
            await _refuse(scope, receive, send, Code.ROUTE_UNKNOWN)
        elif scope["method"] not in METHODS:
            await _refuse(scope, receive, send, Code.METHOD_NOT_ALLOWED)
        elif path == b"jwks.json":
            await _answer(scope, send, 200, JWKS, jwks() or b"", cache=KEPT)
        elif path == b"live":
            await _answer(scope, send, 200, JSON, LIVE)
        elif ready():
            await _answer(scope, send, 503, JSON, NOT_READY)
        else:
            await _answer(scope, send, 200, JSON, READY)

    return with_host(own)


def with_host(app: App) -> App:
    """The application behind the check of the Host that requests for the routes go through.

    Frameworks fail on labels that are too long for DNS. HTTP/1.0 needs no Host.
    """

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            for name, value in scope.get("headers", ()):
                if name == b"host":
                    canonical_host(value)
        except GatewayError as error:
            await _refuse(scope, receive, send, error.code)
        else:
            await app(scope, receive, send)

    return checked


async def _refuse(scope: Scope, receive: Receive, send: Send, code: Code) -> None:
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
    await _answer(scope, send, code.status, CONTENT_TYPE, PROBLEMS[code])


async def _answer(
    scope: Scope,
    send: Send,
    status: int,
    media_type: bytes,
    body: bytes,
    *,
    cache: bytes = b"no-store",
) -> None:
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    headers = [
        (b"content-type", media_type),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", cache),
    ]
    if status == Code.METHOD_NOT_ALLOWED.status:
        headers.append((b"allow", ", ".join(METHODS).encode()))
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    content = b"" if scope.get("method") == "HEAD" else body
    await send({"type": f"{kind}.body", "body": content, "more_body": False})
