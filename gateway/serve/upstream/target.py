"""One configured URL of an upstream, and the addresses that it leads to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.record.metrics import AddressGauges, TargetGauges
from gateway.serve.upstream.endpoint import Endpoint
from gateway.serve.upstream.resolve import Resolver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.config.model import Upstream
    from gateway.serve.upstream.dial import Dialer
    from gateway.serve.upstream.resolve import Lookup


class Target:
    """The endpoints of one URL, one for each address; `changed` is called after they may differ.

    `resolver` is None where the URL has no host name. An endpoint whose address the name no longer
    leads to ends the requests that it has, and takes no other.
    """

    def __init__(
        self, upstream: Upstream, dialer: Dialer, lookup: Lookup, changed: Callable[[], None]
    ) -> None:
        self.endpoints: list[Endpoint] = []
        self.ejections = 0
        self.resolver: Resolver | None = None
        self._upstream = upstream
        self._dialer = dialer
        self._changed = changed
        self._by_address: dict[str, Endpoint] = {}
        self._leaving: list[Endpoint] = []
        if dialer.name:
            interval = upstream.dns_interval
            self.resolver = Resolver(dialer.name, interval, self._resolved, lookup)
        else:
            self.endpoints.append(Endpoint(upstream, dialer))

    def gauges(self) -> TargetGauges:
        """What the metrics show of this moment."""
        shown = {}
        for endpoint in self.every():
            in_use, idle, waiting = endpoint.counts()
            state = endpoint.health.state() if endpoint in self.endpoints else "leaving"
            shown[endpoint.address] = AddressGauges(
                in_use=in_use, idle=idle, waiting=waiting, state=state
            )
        return TargetGauges(
            addresses=shown,
            ejections=self.ejections,
            error=self.resolver.error if self.resolver else "",
        )

    def every(self) -> Iterator[Endpoint]:
        """All endpoints, those first that leave."""
        yield from self._leaving
        yield from self.endpoints

    def retire(self) -> None:
        """Keep no unused connection from now on, and look nothing up by itself."""
        if self.resolver is not None:
            self.resolver.stop()
        for endpoint in self.endpoints:
            endpoint.retire()

    def _resolved(self) -> None:
        assert self.resolver is not None
        known = self._by_address
        self._by_address = {
            address: known.get(address) or Endpoint(self._upstream, self._dialer.at(address))
            for address in self.resolver.addresses
        }
        self.endpoints = [*self._by_address.values()]
        gone = [endpoint for address, endpoint in known.items() if address not in self._by_address]
        for endpoint in gone:
            endpoint.retire()
        self._leaving = [one for one in (*self._leaving, *gone) if one.pending]
        self._changed()
