"""Builtins of OPA that are not here, and what to do instead."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_NO_INPUT_OUTPUT: Final = "a decision does no input or output"
_GRAPHQL: Final = "GraphQL is not parsed here; decide on the parsed body, `input.request.body`"
_REMOVED: Final = "Rego v1 has it no more"

UNSUPPORTED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "all": f"{_REMOVED}; write `every x in xs {{ x == true }}`",
        "any": f"{_REMOVED}; write `true in xs`",
        "cast_array": f"{_REMOVED}; write `[x | some x in xs]`",
        "cast_boolean": f"{_REMOVED}; test with is_boolean",
        "cast_null": f"{_REMOVED}; test with is_null",
        "cast_object": f"{_REMOVED}; test with is_object",
        "cast_set": f"{_REMOVED}; write `{{x | some x in xs}}`",
        "cast_string": f"{_REMOVED}; test with is_string",
        "net.cidr_overlap": f"{_REMOVED}; call net.cidr_contains",
        "re_match": f"{_REMOVED}; call regex.match",
        "set_diff": f"{_REMOVED}; write `left - right`",
        "trace": "call print, whose text the tests show",
        "http.send": f"{_NO_INPUT_OUTPUT}; put what it fetches into a data file that is reloaded",
        "net.lookup_ip_addr": f"{_NO_INPUT_OUTPUT}; compare addresses with net.cidr_contains",
        "opa.runtime": "the process environment is not visible to policies; use a data file",
        "rego.parse_module": "policies are compiled when they are loaded, not while they decide",
        "graphql.is_valid": _GRAPHQL,
        "graphql.parse": _GRAPHQL,
        "graphql.parse_and_verify": _GRAPHQL,
        "graphql.parse_query": _GRAPHQL,
        "graphql.parse_schema": _GRAPHQL,
        "graphql.schema_is_valid": _GRAPHQL,
        "providers.aws.sign_req": f"{_NO_INPUT_OUTPUT}, so there is no request to sign",
        "test.sleep": "a decision does not wait",
    }
)

ANNOTATIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        name: f"assign `x := {name}()` in the body, outside of texts"
        for name in ("rego.metadata.chain", "rego.metadata.rule")
    }
)
"""Builtins whose calls have their value before compilation (annotations.py), and what to write
where a call is in another form and has none."""
