"""The addresses of a host name, looked up again and again."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Any, Final

log = logging.getLogger("gateway.upstream")

MAX_ADDRESSES: Final = 64
"""Addresses of a name that are used; each may have connections of its own."""

SOONEST: Final = 1.0
"""Seconds between two look-ups at the least, and after the first that fails."""

Lookup = Callable[..., list[tuple[Any, ...]]]
"""socket.getaddrinfo, or what stands for it in a test."""


class Resolver:
    """Keeps the addresses of `name`, for one event loop; `changed` is called whenever they change.

    A name is looked up in a thread of its own, one at a time: the resolver of the C library cannot
    be interrupted, and may hang for as long as its own time limits allow. A look-up that fails
    leaves the addresses as they are and is tried again after pauses that grow up to `interval`
    (seconds); `error` is what the last one failed with. The system's resolver does not tell how
    long its answers hold.
    """

    def __init__(
        self, name: str, interval: float, changed: Callable[[], None], lookup: Lookup
    ) -> None:
        self.name = name
        self.addresses: tuple[str, ...] = ()
        self.error = ""
        self.looking = False
        self._interval = interval
        self._changed = changed
        self._lookup = lookup
        self._pause = SOONEST
        self._earliest = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._repeat = True

    def refresh(self) -> None:
        """Look the name up, unless that is under way or has only just been done."""
        loop = asyncio.get_running_loop()
        if not self.looking and loop.time() >= self._earliest:
            self._look(loop)

    def stop(self) -> None:
        """Look nothing up any more by itself."""
        self._repeat = False
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.looking = True
        thread = Thread(target=self._ask, args=(loop,), name=f"resolve {self.name}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # there are too many
            self._take(loop, [], str(error))

    def _ask(self, loop: asyncio.AbstractEventLoop) -> None:
        found: list[str] = []
        error = "no addresses"
        try:
            answers = self._lookup(self.name, None, type=socket.SOCK_STREAM)
            found = [str(answer[4][0]) for answer in answers]
        except Exception as fault:  # noqa: BLE001  it would never be looked up again
            error = getattr(fault, "strerror", None) or str(fault) or type(fault).__name__
        with suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(self._take, loop, found, error)

    def _take(self, loop: asyncio.AbstractEventLoop, found: list[str], error: str) -> None:
        self.looking = False
        self._earliest = loop.time() + SOONEST
        if found:
            pause, self._pause = self._interval, SOONEST
            self.error = ""
            self.addresses = chosen(self.addresses, found)
        else:
            pause, self._pause = self._pause, min(2 * self._pause, self._interval)
            if error != self.error:
                log.warning("%s cannot be resolved: %s", self.name, error)
            self.error = error
        if self._repeat:
            self._timer = loop.call_later(pause, self._look, loop)
        self._changed()


def chosen(known: tuple[str, ...], found: list[str]) -> tuple[str, ...]:
    """The addresses to use of those found: those in use first, then as they came, MAX_ADDRESSES."""
    kept = [address for address in known if address in found]
    return tuple(dict.fromkeys([*kept, *found]))[:MAX_ADDRESSES]
