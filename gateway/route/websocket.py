"""Whether a WebSocket handshake may go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import Code, RouteError

if TYPE_CHECKING:
    from gateway.config.model import Route
    from gateway.model import Head


def check_websocket(head: Head, route: Route) -> None:
    """Refuse a handshake that the route does not take, or that another site's script makes.

    Browsers send cookies with every handshake and leave the check of the origin to the server
    (RFC 6455 §10.2). Where a route names its origins, exactly one `Origin` must be among them;
    a client without one is no browser that the operator listed, and is refused too.
    """
    if not head.websocket:
        return
    if not route.websocket:
        raise RouteError(Code.UPGRADE_REFUSED, "the route takes no WebSocket")
    if not route.websocket_origins:
        return
    origins = head.fields.get(b"origin", ())
    if len(origins) != 1 or origins[0].decode("latin-1") not in route.websocket_origins:
        told = " and ".join(origin.decode("latin-1") for origin in origins) or "missing"
        raise RouteError(Code.ORIGIN_REFUSED, f"origin {told}")
