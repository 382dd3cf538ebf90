"""IP addresses and CIDR blocks, as Go's net package reads them.

An IPv4 address in IPv6 clothes (`::ffff:10.0.0.1`) is the IPv4 address; an IPv6 block never
contains it.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.rego.builtins.operands import charge_sort, string
from gateway.rego.builtins.registry import Builtin, State, charged, pure
from gateway.rego.errors import BuiltinError
from gateway.rego.values import RegoSet, Value, make_set, sorted_items, sorted_members

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAPPED_BITS: Final = 96
MAPPED: Final = 0xFFFF << 32
"""The IPv6 number of 0.0.0.0."""

EXPAND_STEPS: Final = 45
"""What listing one address costs."""

MERGE_STEPS: Final = 200
"""What merging one block costs."""

PARSE_STEPS: Final = 160
"""What reading one address or block costs."""

MATCH_STEPS: Final = 16

MAX_TEXT: Final = 64
"""Longer than any address or block; a longer text is neither, and is not kept in the caches."""

_BLOCK: Final = re.compile(r"([0-9A-Fa-f.:]+)/0*([0-9]{1,3})")
_ADDRESS: Final = re.compile(r"[0-9A-Fa-f.:]+")


def _network(text: str) -> Network | None:
    """Read `address/prefix`, dropping host bits; None if it is no CIDR block."""
    return _known_network(text) if len(text) <= MAX_TEXT else None


@lru_cache(maxsize=8192)
def _known_network(text: str) -> Network | None:
    found = _BLOCK.fullmatch(text)
    if found is None:
        return None
    try:
        network = ipaddress.ip_network((found[1], int(found[2])), strict=False)
    except ValueError:
        return None
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= MAPPED_BITS:
        inner = network.network_address.ipv4_mapped
        if inner is not None:
            return ipaddress.IPv4Network((int(inner), network.prefixlen - MAPPED_BITS))
    return network


def _address(text: str) -> Address | None:
    """Read an address; None if it is none."""
    return _known_address(text) if len(text) <= MAX_TEXT else None


@lru_cache(maxsize=8192)
def _known_address(text: str) -> Address | None:
    if not _ADDRESS.fullmatch(text):
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return _plain(address)


def _plain(address: Address) -> Address:
    """Take an IPv4 address out of IPv6 clothes."""
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
    return all(end in outer for end in _ends(inner))


def _ends(value: Value) -> tuple[Address, ...]:
    """Return the first and the last address of an address or a CIDR block."""
    address = _address(string(value, 2))
    if address is not None:
        return (address,)
    network = _network(value)
    if network is None:
        raise BuiltinError(
            f"not a valid textual representation of an IP address or CIDR: {value[:100]}"
        )
    return _plain(network[0]), _plain(network[-1])


def intersects(left: Value, right: Value) -> bool:
    """Tell whether two CIDR blocks share an address."""
    first, second = _block(left), _block(right, 2)
    return first.version == second.version and first.overlaps(second)


def is_valid(value: Value) -> bool:
    """Tell whether a string is a CIDR block."""
    return value.__class__ is str and _network(value) is not None


def contains_matches(state: State, blocks: Value, inners: Value) -> RegoSet:
    """Return [key, key] for each pair of which the first, a block, contains the second."""
    outer = list(_candidates(state, blocks, 1))
    inner = list(_candidates(state, inners, 2)) if outer else []
    if not inner:
        return RegoSet()
    state.charge(PARSE_STEPS * (len(outer) + len(inner)))
    networks = [(key, _block(text)) for key, text in outer]
    ends = [(key, _ends(text)) for key, text in inner]
    state.charge(MATCH_STEPS * len(networks) * len(ends))
    return make_set(
        [block_key, inner_key]
        for block_key, block in networks
        for inner_key, addresses in ends
        if all(address in block for address in addresses)
    )


def _candidates(state: State, value: Value, position: int) -> Iterator[tuple[Value, Value]]:
    """Yield (key, text) of a string or a collection of strings or of arrays that begin with one."""
    kind = value.__class__
    if kind is str:
        yield value, value
        return
    pairs: list[tuple[Value, Value]] = []
    if kind is list:
        pairs = list(enumerate(value))
    elif kind is RegoSet:
        charge_sort(state, value)
        pairs = [(member, member) for member in sorted_members(value)]
    elif kind is dict:
        charge_sort(state, value)
        pairs = sorted_items(value)
    for key, item in pairs:
        if item.__class__ is not str and (item.__class__ is not list or not item):
            raise BuiltinError(f"operand {position}: element must be string or non-empty array")
        yield key, item if item.__class__ is str else item[0]


def expand(state: State, block: Value) -> RegoSet:
    """Return the set of a block's addresses."""
    network = _block(block)
    state.charge(network.num_addresses * EXPAND_STEPS)
    return make_set(map(str, network))


def merge(state: State, blocks: Value) -> RegoSet:
    """Return the fewest blocks that hold the same addresses.

    An IPv4 address counts as the IPv6 address that it maps to; a block that touches no other is
    written as it came.
    """
    if blocks.__class__ is not list and blocks.__class__ is not RegoSet:
        raise BuiltinError("operand must be an array")
    state.charge(len(blocks) * MERGE_STEPS)
    ranges = sorted(map(_range, blocks.values() if blocks.__class__ is RegoSet else blocks))
    merged: list[_Range] = []
    for last, first, text in reversed(ranges):
        if merged and merged[-1].first <= last + 1:
            above = merged.pop()
            merged.append(_Range(above.last, min(first, above.first), ""))
        else:
            merged.append(_Range(last, first, text))
    return make_set(text for item in merged for text in _texts(item))


class _Range(NamedTuple):
    """Addresses from first to last as IPv6 numbers; `text` shows them if they are one block."""

    last: int
    first: int
    text: str


def _range(value: Value) -> _Range:
    """Read a block, or an IPv4 address as one of the block of its class (A, B or C)."""
    if value.__class__ is not str:
        raise BuiltinError("element must be string")
    address = _address(value)
    if isinstance(address, ipaddress.IPv6Address):
        raise BuiltinError("IPv6 invalid: needs prefix length")
    if address is None:
        network = _block(value)
        text = str(network)
    else:
        first = int(address) >> 24
        text = f"{address}/{8 if first < 128 else 16 if first < 192 else 24}"
        network = ipaddress.IPv4Network(text, strict=False)
    base = MAPPED if network.version == 4 else 0
    return _Range(base + int(network[-1]), base + int(network[0]), text)


def _texts(item: _Range) -> Iterable[str]:
    if item.text:
        return [item.text]
    if item.first >= MAPPED and item.last < MAPPED + (1 << 32):
        fours = (ipaddress.IPv4Address(end - MAPPED) for end in (item.first, item.last))
        return map(str, ipaddress.summarize_address_range(*fours))
    sixes = map(ipaddress.IPv6Address, (item.first, item.last))
    return map(str, ipaddress.summarize_address_range(*sixes))


BUILTINS: Final[tuple[Builtin, ...]] = (
    pure("net.cidr_contains", contains, 2, steps=100),
    pure("net.cidr_intersects", intersects, 2, steps=100),
    pure("net.cidr_is_valid", is_valid, 1, steps=60),
    charged("net.cidr_contains_matches", contains_matches, 2),
    charged("net.cidr_expand", expand, 1),
    charged("net.cidr_merge", merge, 1),
)
