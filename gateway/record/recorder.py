"""Stage 5: what becomes of every request's outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.record import access
from gateway.record.event import Exchange, Recorded, build, code_of
from gateway.record.mask import Mask, sealed

if TYPE_CHECKING:
    from gateway.record.metrics import Metrics
    from gateway.record.ring import Ring

Emit = Callable[[bytes], object]
"""Takes one line without its end; must not block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """Writes the decision event and the access line of each request, and counts it.

    `entrypoints` names the Rego rule of each route, by route id, `canary_entrypoints` that of the
    canary, `bundles` the revision of each bundle. `decisions` and `access` are
    None where that log is off.
    """

    metrics: Metrics
    ring: Ring
    mask: Mask = field(default_factory=Mask)
    labels: Mapping[str, str] = field(default_factory=dict)
    entrypoints: Mapping[str, str] = field(default_factory=dict)
    bundles: Mapping[str, str] = field(default_factory=dict)
    canary_entrypoints: Mapping[str, str] = field(default_factory=dict)
    decisions: Emit | None = None
    access: Emit | None = None

    def record(self, outcome: Recorded, exchange: Exchange) -> None:
        """Record a request that has ended."""
        trail = outcome.trail
        code = code_of(outcome, exchange)
        self.metrics.request(trail, exchange, code)
        if not (self.decisions or self.access or self.ring.limit):
            return
        route = trail.match.route if trail.match else None
        entrypoints = self.canary_entrypoints if trail.canary else self.entrypoints
        event = build(
            outcome,
            exchange,
            labels=self.labels,
            bundles={} if trail.canary else self.bundles,
            entrypoint=entrypoints.get(route.id, "") if route else "",
            is_secret_name=self.mask.is_secret_header,
        )
        event = self.mask.apply(event, route.dialect if route else "native")
        if self.decisions or self.ring.limit:
            line = sealed(event)
            self.ring.add(trail.head.id, line)
            if self.decisions:
                self.decisions(line)
        if self.access:
            self.access(access.line(event))
