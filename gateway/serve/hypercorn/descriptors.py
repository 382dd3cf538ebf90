"""File descriptors: as many as the system allows, and a warning where they are too few."""

from __future__ import annotations

import contextlib
import logging
import sys

log = logging.getLogger("gateway.server")

PER_CONNECTION = 2
"""A client's connection, and the one to the upstream that carries its request."""
RESERVE = 512
"""For unused connections to upstreams, the admin listener, logs, watched files, key fetches."""


def raise_descriptor_limit(connections: int) -> None:
    """Raise the soft limit to the hard one; warn if that is too little for `connections`.

    Without a descriptor nothing can be accepted, dialled or written, and the limit of a shell is
    often 1,024.
    """
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415  not on every platform

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # macOS says that there is no limit, and takes a smaller number only.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    needed = PER_CONNECTION * connections + RESERVE
    if soft != resource.RLIM_INFINITY and soft < needed:
        log.warning(
            "limits.connections is %d, which may need %d file descriptors, but only %d are "
            "allowed: raise the limit (ulimit -Hn, LimitNOFILE=) or lower limits.connections",
            connections,
            needed,
            soft,
        )
