"""A bare forwarder: the gateway's server and upstream connections with nothing between them.

Run: python -m bench.forwarder hypercorn|granian PORT UPSTREAM
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from gateway.config.model import Config, Limits, Listener, Upstream
from gateway.serve.loop import run_loop, settle
from gateway.serve.servers import server_for
from gateway.serve.terms import Terms
from gateway.serve.upstream import Pool
from gateway.wire import FRAMING, HOP_BY_HOP

if TYPE_CHECKING:
    from gateway.serve.asgi import App, Receive, Scope, Send

DROPPED = HOP_BY_HOP | FRAMING


def forwarder(upstream: str) -> App:
    """Forwards every request as it came, less what belongs to the connection."""
    pool: Pool | None = None

    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  no body
        nonlocal pool
        pool = pool or Pool(Upstream(url=upstream))
        headers = tuple((n, v) for n, v in scope["headers"] if n not in DROPPED)
        target = scope["raw_path"]
        if scope["query_string"]:
            target += b"?" + scope["query_string"]
        response = await pool.request(scope["method"], target, headers)
        kept = [line for line in response.headers if line[0] not in HOP_BY_HOP]
        await send({"type": "http.response.start", "status": response.status, "headers": kept})
        more = True
        while more:
            piece = b"" if response.ended else await response.read_chunk()
            more = not response.ended
            await send({"type": "http.response.body", "body": piece, "more_body": more})

    return app


async def _serve(name: str, port: str, upstream: str) -> None:
    route = {"id": "all", "paths": ["/{rest:path}"], "upstream": upstream}
    config = Config.model_validate({"server": name, "routes": [route]})
    server = server_for(config)
    bound = server.bind(Listener(address=f"127.0.0.1:{port}"), forwarder(upstream), key="")
    settle()
    await server.serve(
        [bound], Terms(shutdown=asyncio.Event(), limits=Limits(), counters=lambda _: None)
    )


if __name__ == "__main__":
    run_loop(_serve(*sys.argv[1:]))
