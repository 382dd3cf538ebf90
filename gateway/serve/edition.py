"""A snapshot as workers get it: the sources to build it from, and what is costly to make."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.config.model import Upstream
from gateway.serve.link import Prepare

if TYPE_CHECKING:
    from gateway.config.model import Config, Introspection
    from gateway.snapshot import Candidate, Snapshot


class Edition:
    """The order to build a snapshot, pickled once for all workers. Blocking.

    `programs` are the digests of its programs. Each of `workers` gets its share of the limits.
    """

    def __init__(
        self, number: int, candidate: Candidate, snapshot: Snapshot, *, workers: int
    ) -> None:
        self.number = number
        self.revision = snapshot.revision
        self.programs = frozenset(snapshot.programs)
        loaded = candidate.loaded
        shared = replace(loaded, config=share(loaded.config, workers))
        self._candidate = replace(candidate, loaded=shared)
        self._programs = {
            digest: pickle.dumps(program, pickle.HIGHEST_PROTOCOL)
            for digest, program in snapshot.programs.items()
        }
        self._orders: dict[frozenset[str], bytes] = {}

    def order(self, known: frozenset[str]) -> bytes:
        """The order for a worker that has these programs."""
        missing = self.programs - known
        if missing not in self._orders:
            order = Prepare(
                edition=self.number,
                candidate=self._candidate,
                programs={digest: self._programs[digest] for digest in missing},
            )
            self._orders[missing] = pickle.dumps(order, pickle.HIGHEST_PROTOCOL)
        return self._orders[missing]


def share(config: Config, workers: int) -> Config:
    """The configuration of one worker of several: its part of what the whole machine may have."""

    def part(whole: int) -> int:
        return -(-whole // workers)

    by_url = {
        route.upstream: Upstream(url=route.upstream)
        for route in config.routes
        if route.upstream not in config.upstreams
    }
    upstreams = {
        name: upstream.model_copy(
            update={
                "max_connections": part(upstream.max_connections),
                "max_pending": part(upstream.max_pending),
                "retries": upstream.retries.model_copy(
                    update={"budget_per_second": part(upstream.retries.budget_per_second)}
                ),
            }
        )
        for name, upstream in (config.upstreams | by_url).items()
    }
    issuers = {
        name: issuer.model_copy(update={"introspection": _asks(issuer.introspection, workers)})
        if issuer.introspection
        else issuer
        for name, issuer in config.issuers.items()
    }
    limits = config.limits.model_copy(update={"connections": part(config.limits.connections)})
    return config.model_copy(update={"limits": limits, "upstreams": upstreams, "issuers": issuers})


def _asks(section: Introspection, workers: int) -> Introspection:
    most = ("concurrency", "max_pending")
    return section.model_copy(update={name: -(-getattr(section, name) // workers) for name in most})
