"""The ASGI vocabulary that the proxied path uses (asgi.readthedocs.io, spec 2.4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
DISCONNECT = "gateway.disconnect"
"""Extension of a scope: `notify(f)` has `f()` called once the client is gone, at once if it
is; `notify(None)` ends that. To wait for the message instead takes a task a request."""

App = Callable[[Scope, Receive, Send], Awaitable[None]]
