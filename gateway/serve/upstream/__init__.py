"""Upstreams over HTTP/1.1: our own connections and pool, and WebSockets on them.

aiohttp and httpx can hand one client the response to another's request, when an upstream sends
bytes that nobody asked for.
"""

from gateway.serve.upstream.pool import Pool
from gateway.serve.upstream.response import Response
from gateway.serve.upstream.websocket import Closed, UpstreamSocket, connect_websocket

__all__ = ["Closed", "Pool", "Response", "UpstreamSocket", "connect_websocket"]
