"""The HTTP servers that the configuration can name."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol, cast

from gateway.errors import ConfigError, Problem

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.config.model import Config, Limits, Listener
    from gateway.errors import Code
    from gateway.serve.asgi import App
    from gateway.serve.balance import Load
    from gateway.serve.hypercorn import BoundListener


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

    async def serve(
        self,
        listeners: Sequence[BoundListener],
        *,
        shutdown: asyncio.Event,
        limits: Limits,
        counters: Callable[[Code], None],
        last_call: Callable[[], Awaitable[None]] | None = None,
        load: Load | None = None,
    ) -> None:
        """Serve what was bound until `shutdown` is set."""


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
