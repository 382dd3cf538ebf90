"""Upstreams over HTTP/1.1: our own connections, and WebSockets on them.

A `Pool` sends requests to its targets; a target has an endpoint for each address, an endpoint
connections. Who gets a request (`balance`) and what is sent once more (`retry`) are pure.

aiohttp and httpx can hand one client the response to another's request, when an upstream sends
bytes that nobody asked for.
"""

from gateway.serve.upstream.pool import Pool
from gateway.serve.upstream.response import Response
from gateway.serve.upstream.websocket import Closed, UpstreamSocket, connect_websocket

__all__ = ["Closed", "Pool", "Response", "UpstreamSocket", "connect_websocket"]
