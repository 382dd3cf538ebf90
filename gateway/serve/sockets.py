"""The WebSockets that are open, so that those of denied tokens can be ended."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gateway.errors import IdentityError
from gateway.identify.revoked import check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.identify.revoked import Denied
    from gateway.model import Principal, Session, Trail

PAUSE: Final = 0.1
"""Seconds in which further changes wait: a long list comes in many."""


class OpenSockets:
    """Who has opened them; for one event loop."""

    def __init__(self) -> None:
        self._open: dict[asyncio.Future[None], tuple[Principal, Session | None]] = {}
        self._denied: Denied | None = None

    @contextmanager
    def opened(self, trail: Trail) -> Iterator[asyncio.Future[None]]:
        """One more while the block runs; the future is done when it is to end."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if trail.principal is not None and trail.principal.authenticated:
            self._open[ended] = trail.principal, trail.session
        try:
            yield ended
        finally:
            self._open.pop(ended, None)
            ended.cancel()

    def end_denied(self, denied: Denied) -> None:
        """Soon end those whose token is denied."""
        if self._open and self._denied is None:
            asyncio.get_running_loop().call_later(PAUSE, self._look)
        self._denied = denied

    def _look(self) -> None:
        denied, self._denied = self._denied, None
        assert denied is not None
        denied = replace(denied, unsure={})  # what may be denied is no reason to end it
        now = time.time()
        for ended, (principal, session) in self._open.items():
            try:
                check(principal, denied, now, session)
            except IdentityError:
                if not ended.done():
                    ended.set_result(None)
