"""The HTTP server: Hypercorn 0.18's protocols on a transport of our own.

Hypercorn's HTTP/1.1, HTTP/2 and WebSocket protocols are subclassed where they let through what
a gateway must refuse, or let one client hold up another; docs/servers.md lists each difference
and the test that shows it. The subclasses know Hypercorn's insides, hence the exact version.
"""

from __future__ import annotations

from importlib.metadata import version

from gateway.serve.hypercorn.listener import BoundListener, Certificate, adopt, bind
from gateway.serve.hypercorn.server import serve

__all__ = ["BoundListener", "Certificate", "adopt", "bind", "serve"]

if not version("hypercorn").startswith("0.18."):  # pragma: no cover
    raise ImportError(f"Hypercorn 0.18 is needed, {version('hypercorn')} is installed")
