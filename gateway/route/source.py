"""Where a request comes from: the peer, or whom trusted proxies name (RFC 7239)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from gateway import wire
from gateway.errors import Code, ConfigError, Problem, RouteError
from gateway.model import Source
from gateway.route.host import canonical_host
from gateway.route.pieces import check_proxies_pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.config.model import Config
    from gateway.model import Head

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._~:+/=@-]{1,128}")
_NODE: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?|([0-9A-Fa-f:.]+)")
_PAIR: Final = re.compile(
    r"[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)="
    r'(?:([!#$%&\'*+\-.^_`|~0-9A-Za-z:\[\]]+)|"((?:[^"\\]|\\.)*+)")[ \t]*(?:([;,])|\Z)'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the configuration says of an address."""

    networks: tuple[str, ...]
    trusted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReader:
    """Reads the source of requests; `standing` and `direct` remember a bounded number of peers.

    The headers of a trusted proxy are believed, and those of nobody else: X-Forwarded-For,
    -Proto and -Host, Forwarded, X-Request-Id. The client is the right-most address of the chain
    that is no trusted proxy (the left-most one if all are); what stands left of it is its own
    claim and is dropped. Where a trusted proxy's headers cannot be read, or X-Forwarded-For and
    Forwarded name different clients, nobody knows who asks, and the request is refused (400).
    """

    standing: Callable[[str], Standing]
    direct: Callable[[str, str], Source]

    @classmethod
    def build(cls, config: Config) -> SourceReader:
        """Prepare the networks; ConfigError for a proxy that is neither CIDR nor network."""
        networks = {
            name: tuple(ipaddress.ip_network(cidr) for cidr in cidrs)
            for name, cidrs in config.networks.items()
        }
        trusted: list[Network] = []
        problems = []
        for index, text in enumerate(config.trusted_proxies):
            try:
                trusted += networks.get(text) or (ipaddress.ip_network(text),)
            except ValueError:
                problems.append(
                    Problem(
                        f"{text!r} is neither a CIDR block nor one of `networks`",
                        key=f"trusted_proxies.{index}",
                    )
                )
        if problems:
            raise ConfigError(tuple(problems))
        standing = _standings(networks, tuple(trusted))

        @lru_cache(maxsize=4096)
        def direct(peer: str, scheme: str) -> Source:
            address = _normal(peer)
            found = standing(address)
            return Source(
                address=address, networks=found.networks, scheme=scheme, trusted=found.trusted
            )

        return cls(standing=standing, direct=direct)

    def read(self, head: Head) -> Source:
        """The source of a request; RouteError BAD_HEADER or BAD_HOST as the class says.

        HEAD_TOO_LARGE where a trusted proxy's headers have too many pieces.
        """
        source = self.direct(head.peer, head.scheme)
        return self._behind_proxies(head, source) if source.trusted else source

    def _behind_proxies(self, head: Head, peer: Source) -> Source:
        check_proxies_pieces(head)
        chain = self._chain(_elements(head, b"x-forwarded-for"))
        forwarded = _forwarded(_lines(head, b"forwarded"))
        standard = self._chain([element.get("for", "") for element in forwarded])
        if chain and standard and standard[0] != chain[0]:
            raise _bad("X-Forwarded-For and Forwarded name different clients")
        hops = chain or standard
        client = hops[0] if hops else peer.address
        told = forwarded[-len(standard)] if standard else {}
        host = _agreed(_elements(head, b"x-forwarded-host"), told.get("host"))
        if host:
            canonical_host(host.encode("latin-1"))
        scheme = _agreed(_elements(head, b"x-forwarded-proto"), told.get("proto"))
        if scheme and scheme not in _SCHEMES:
            raise _bad("X-Forwarded-Proto or Forwarded is neither http nor https")
        ids = _lines(head, b"x-request-id")
        return Source(
            address=client,
            networks=self.standing(client).networks,
            scheme=_SCHEMES[scheme] if scheme else peer.scheme,
            trusted=True,
            forwarded_for=", ".join(hops),
            forwarded_host=host,
            request_id=ids[0] if len(ids) == 1 and _REQUEST_ID.fullmatch(ids[0]) else "",
        )

    def _chain(self, parts: list[str]) -> list[str]:
        """The addresses from the client on: the right-most untrusted one and the proxies after it.

        What stands left of it is not read at all.
        """
        hops: list[str] = []
        for part in reversed(parts):
            hops.insert(0, _node(part))
            if not self.standing(hops[0]).trusted:
                break
        return hops


def _standings(
    networks: Mapping[str, tuple[Network, ...]], trusted: tuple[Network, ...]
) -> Callable[[str], Standing]:
    @lru_cache(maxsize=4096)
    def standing(text: str) -> Standing:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:  # a Unix socket has no address, and is in no network
            return Standing(networks=(), trusted=False)
        return Standing(
            networks=tuple(
                name
                for name, blocks in networks.items()
                if any(address in block for block in blocks)
            ),
            trusted=any(address in block for block in trusted),
        )

    return standing


def _normal(text: str) -> str:
    """An address in its one spelling: no zone, IPv4 also where it comes inside IPv6."""
    try:
        address: Address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text
    return str(getattr(address, "ipv4_mapped", None) or address)


def _node(text: str) -> str:
    """The address of a chain's element (RFC 7239 §6), without port; unknown ones are refused."""
    found = _NODE.fullmatch(text)
    address = _normal(next(filter(None, found.groups()))) if found else ""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise _bad("a trusted proxy's chain holds what is no address") from None
    return address


def _forwarded(lines: list[str]) -> list[dict[str, str]]:
    """The elements of `Forwarded`, each a mapping of its lower-case parameters.

    Every line is read for itself, so that a quote in one cannot swallow the next.
    """
    return [element for line in lines for element in _forwarded_line(line)]


def _forwarded_line(line: str) -> list[dict[str, str]]:
    read: list[dict[str, str]] = [{}]
    at, mark = 0, ";"
    while mark:
        found = _PAIR.match(line, at)
        if not found or found[1].lower() in read[-1]:
            raise _bad("Forwarded is malformed")
        quoted = re.sub(r"\\(.)", r"\1", found[3] or "")
        read[-1][found[1].lower()] = found[2] or quoted
        at, mark = found.end(), found[4]
        if mark == ",":
            read.append({})
    return read


def _agreed(elements: list[str], told: str | None) -> str:
    """The one value that both headers give, lower-case, or "" if neither gives one."""
    given = {value.lower() for value in (*elements, told) if value is not None}
    if len(given) > 1:
        raise _bad("forwarding headers give several values for one thing")
    return next(iter(given), "")


def _lines(head: Head, name: bytes) -> list[str]:
    return [value.decode("latin-1") for value in head.fields.get(name, ())]


def _elements(head: Head, name: bytes) -> list[str]:
    return [part.decode("latin-1") for part in wire.elements(head.fields.get(name, ()))]


def _bad(detail: str) -> RouteError:
    return RouteError(Code.BAD_HEADER, detail)
