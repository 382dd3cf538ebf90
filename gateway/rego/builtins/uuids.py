"""UUIDs (RFC 9562)."""

from __future__ import annotations

import re
import uuid
from typing import Final

from gateway.rego.builtins.operands import charge_value, string
from gateway.rego.builtins.registry import Builtin, State, impure, pure
from gateway.rego.values import UNDEFINED, Undefined, Value, key_form

_HEX: Final = "[0-9a-fA-F]"
_SHAPE: Final = re.compile(rf"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}")
_BARE: Final = re.compile(rf"{_HEX}{{32}}")
_PREFIX: Final = "urn:uuid:"
_LENGTH: Final = 36

# 100 ns intervals from the Gregorian calendar's start to 1970.
_GREGORIAN_OFFSET: Final = 0x01B21DD213814000

_WRAP: Final = 1 << 63
"""Nanoseconds are signed and of 64 bits: what is later or earlier wraps around."""


def random_uuid(state: State, key: Value) -> str:
    """Make a random UUID, the same for the same key within a decision."""
    charge_value(state, key)
    known = ("uuid.rfc4122", key_form(key))
    if known not in state.memo:
        state.memo[known] = str(uuid.uuid4())
    made: str = state.memo[known]
    return made


def parse(value: Value) -> dict[str, Value] | Undefined:
    """Tell what a UUID says of itself; undefined if the string is none."""
    text = string(value)
    if len(text) == _LENGTH + 2 and text.isascii():
        text = text[1:-1]  # braces, or what stands in their place
    elif text[: len(_PREFIX)].lower() == _PREFIX:
        text = text[len(_PREFIX) :]
        if len(text) != _LENGTH:
            return UNDEFINED
    if _SHAPE.fullmatch(text) is None and _BARE.fullmatch(text) is None:
        return UNDEFINED
    if len(text) != _LENGTH and text is not value:
        return UNDEFINED
    parsed = uuid.UUID(text)
    version = parsed.int >> 76 & 0xF
    fields: dict[str, Value] = {"version": version, "variant": _variant(parsed)}
    if version in (1, 2):
        fields |= _machine_and_time(parsed)
    if version == 2:
        domain = parsed.bytes[9]
        fields["id"] = parsed.time_low
        fields["domain"] = _DOMAINS.get(domain, f"Domain{domain}")
    return fields


_DOMAINS: Final = {0: "Person", 1: "Group", 2: "Org"}


def _variant(parsed: uuid.UUID) -> str:
    octet = parsed.bytes[8]
    if octet & 0xC0 == 0x80:
        return "RFC4122"
    if octet & 0xE0 == 0xC0:
        return "Microsoft"
    return "Future" if octet & 0xE0 == 0xE0 else "Reserved"


def _machine_and_time(parsed: uuid.UUID) -> dict[str, Value]:
    octets = parsed.bytes[10:]
    administered = "local" if octets[0] & 2 else "global"
    cast = "multicast" if octets[0] & 1 else "unicast"
    return {
        "nodeid": "-".join(f"{octet:02x}" for octet in octets),
        "macvariables": f"{administered}:{cast}",
        "time": ((parsed.time - _GREGORIAN_OFFSET) * 100 + _WRAP) % (2 * _WRAP) - _WRAP,
        "clocksequence": parsed.clock_seq,
    }


BUILTINS: Final[tuple[Builtin, ...]] = (
    impure("uuid.rfc4122", random_uuid, 1, steps=45),
    pure("uuid.parse", parse, 1, steps=80),
)
