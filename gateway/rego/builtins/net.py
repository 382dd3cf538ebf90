"""IP addresses and CIDR blocks, as Go's net package reads them.

An IPv4 address in IPv6 clothes (`::ffff:10.0.0.1`) is the IPv4 address; an IPv6 block never
contains it.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from gateway.rego.builtins.operands import string
from gateway.rego.builtins.registry import Builtin, State, charged, pure
from gateway.rego.errors import BuiltinError
from gateway.rego.values import RegoSet, Value, make_set, sorted_items, sorted_members

if TYPE_CHECKING:
    from collections.abc import Iterator

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAPPED_BITS: Final = 96
EXPAND_STEPS: Final = 20
"""What listing one address costs."""

MERGE_STEPS: Final = 100
"""What merging one block costs."""

MATCH_STEPS: Final = 5

_BLOCK: Final = re.compile(r"([0-9A-Fa-f.:]+)/(0|[1-9][0-9]{0,2})")
_ADDRESS: Final = re.compile(r"[0-9A-Fa-f.:]+")


@lru_cache(maxsize=8192)
def _network(text: str) -> Network | None:
    """Read `address/prefix`, dropping host bits; None if it is no CIDR block."""
    if not _BLOCK.fullmatch(text):
        return None
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= MAPPED_BITS:
        inner = network.network_address.ipv4_mapped
        if inner is not None:
            return ipaddress.IPv4Network((int(inner), network.prefixlen - MAPPED_BITS))
    return network


@lru_cache(maxsize=8192)
def _address(text: str) -> Address | None:
    """Read an address; None if it is none."""
    if not _ADDRESS.fullmatch(text):
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _block(value: Value, position: int = 1) -> Network:
    network = _network(string(value, position))
    if network is None:
        raise BuiltinError(f"invalid CIDR address: {value[:100]}")
    return network


def contains(block: Value, inner: Value) -> bool:
    """Tell whether a CIDR block holds an address or another block."""
    outer = _block(block)
    address = _address(string(inner, 2))
    if address is not None:
        return address in outer
    network = _network(inner)
    if network is None:
        raise BuiltinError(
            f"not a valid textual representation of an IP address or CIDR: {inner[:100]}"
        )
    return network.version == outer.version and network.subnet_of(outer)  # type: ignore[arg-type]


def intersects(left: Value, right: Value) -> bool:
    """Tell whether two CIDR blocks share an address."""
    first, second = _block(left), _block(right, 2)
    return first.version == second.version and first.overlaps(second)


def is_valid(value: Value) -> bool:
    """Tell whether a string is a CIDR block."""
    return value.__class__ is str and _network(value) is not None


def contains_matches(state: State, blocks: Value, inners: Value) -> RegoSet:
    """Return [key, key] for each pair of which the first, a block, contains the second."""
    outer, inner = list(_candidates(blocks, 1)), list(_candidates(inners, 2))
    state.charge(MATCH_STEPS * len(outer) * len(inner))
    return make_set(
        [block_key, inner_key]
        for block_key, block in outer
        for inner_key, text in inner
        if contains(block, text)
    )


def _candidates(value: Value, position: int) -> Iterator[tuple[Value, Value]]:
    kind = value.__class__
    if kind is str:
        yield value, value
        return
    pairs: list[tuple[Value, Value]] = []
    if kind is list:
        pairs = list(enumerate(value))
    elif kind is RegoSet:
        pairs = [(member, member) for member in sorted_members(value)]
    elif kind is dict:
        pairs = sorted_items(value)
    for key, item in pairs:
        text = item[0] if item.__class__ is list and item else item
        if (item.__class__ is not str and item.__class__ is not list) or text.__class__ is list:
            raise BuiltinError(f"operand {position}: element must be string or non-empty array")
        yield key, text


def expand(state: State, block: Value) -> RegoSet:
    """Return the set of a block's addresses."""
    network = _block(block)
    state.charge(network.num_addresses * EXPAND_STEPS)
    return make_set(map(str, network))


def merge(state: State, blocks: Value) -> RegoSet:
    """Return the fewest blocks that hold the same addresses."""
    if blocks.__class__ is not list and blocks.__class__ is not RegoSet:
        raise BuiltinError("operand must be an array")
    state.charge(len(blocks) * MERGE_STEPS)
    elements = blocks.values() if blocks.__class__ is RegoSet else blocks
    networks = list(map(_mergeable, elements))
    fours = [network for network in networks if isinstance(network, ipaddress.IPv4Network)]
    sixes = [network for network in networks if isinstance(network, ipaddress.IPv6Network)]
    return make_set(
        str(network)
        for family in (
            ipaddress.collapse_addresses(fours),
            ipaddress.collapse_addresses(sixes),
        )
        for network in family
    )


def _mergeable(value: Value) -> Network:
    """Read a block, or an IPv4 address as the block of its class (A, B or C)."""
    if value.__class__ is not str:
        raise BuiltinError("element must be string")
    address = _address(value)
    if address is None:
        return _block(value)
    if isinstance(address, ipaddress.IPv6Address):
        raise BuiltinError("IPv6 invalid: needs prefix length")
    first = int(address) >> 24
    prefix = next((size for limit, size in _CLASSES if first < limit), None)
    if prefix is None:
        raise BuiltinError("IPv4 address without a class: needs prefix length")
    return ipaddress.IPv4Network((int(address), prefix), strict=False)


_CLASSES: Final = ((128, 8), (192, 16), (224, 24))

BUILTINS: Final[tuple[Builtin, ...]] = (
    pure("net.cidr_contains", contains, 2, steps=10),
    pure("net.cidr_intersects", intersects, 2, steps=10),
    pure("net.cidr_is_valid", is_valid, 1),
    charged("net.cidr_contains_matches", contains_matches, 2),
    charged("net.cidr_expand", expand, 1),
    charged("net.cidr_merge", merge, 1),
)
