"""The event loop of a process that serves, and how it collects cycles."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine

log = logging.getLogger("gateway")


def settle() -> None:
    """Tune the cycle collector for a process that only serves, once all is loaded.

    What is there by now stays: it is never looked through again. Requests leave hardly a cycle
    behind, and at the default thresholds the search for them takes a tenth of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on uvloop, where it is installed."""
    factory = None
    if sys.platform != "win32":
        try:
            import uvloop  # noqa: PLC0415  not on every platform
        except ImportError:  # pragma: no cover
            log.debug("uvloop is not installed")
        else:
            factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)
