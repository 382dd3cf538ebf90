"""The HTTP server: Granian 2.8's worker (Rust, hyper) in this process and this event loop.

Granian reads and frames HTTP in a thread of its own and hands each request over as an ASGI scope.
What it lets through is refused here where it can still be seen; what cannot be seen any more is
listed in docs/servers.md. The admin listener stays on Hypercorn. The modules know Granian's
insides, hence the exact version.
"""

from __future__ import annotations

from importlib.metadata import version

from gateway.serve.granian.listener import Certificate, adopt, bind
from gateway.serve.granian.server import serve
from gateway.serve.hypercorn import BoundListener

__all__ = ["BoundListener", "Certificate", "adopt", "bind", "serve"]

if not version("granian").startswith("2.8."):  # pragma: no cover
    raise ImportError(f"Granian 2.8 is needed, {version('granian')} is installed")
