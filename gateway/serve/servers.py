"""The HTTP servers that the configuration can name."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol, cast

from gateway.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.config.model import Config, Listener
    from gateway.serve.asgi import App
    from gateway.serve.hypercorn import BoundListener
    from gateway.serve.terms import Terms


class Server(Protocol):
    """What a server's package offers; each function says the rest."""

    def bind(
        self, listener: Listener, app: App, *, capped: bool = True, key: str = "listeners"
    ) -> BoundListener:
        """Listen on an address; connections wait until they are served."""

    def adopt(
        self,
        listener: Listener,
        app: App,
        *,
        address: str,
        descriptors: Sequence[int],
        key: str = "listeners",
    ) -> BoundListener:
        """Take what another process has bound."""

    async def serve(self, listeners: Sequence[BoundListener], terms: Terms) -> None:
        """Serve what was bound, under these terms."""


def server_for(config: Config) -> Server:
    """The configured server; ConfigError where it is not installed."""
    try:
        return cast("Server", importlib.import_module(f"gateway.serve.{config.server}"))
    except ImportError as error:
        remedy = "pip install 'policy-gateway[granian]', or server: hypercorn"
        problem = Problem(
            f"cannot serve with {config.server}: {error}", key="server", remedy=remedy
        )
        raise ConfigError((problem,)) from None
