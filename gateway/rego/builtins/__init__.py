"""The builtin functions of Rego, in modules by OPA's own groups.

Each is total: whatever its arguments, it returns a value, `UNDEFINED`, or raises BuiltinError or
StepLimitExceeded, after work that it has charged for. docs/builtins.md lists them.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from gateway.rego.builtins import (
    aggregates,
    arrays,
    bits,
    certificates,
    comparison,
    crypto,
    encoding,
    formatting,
    glob,
    graphs,
    internal,
    json_documents,
    json_schema,
    net,
    numbers,
    objects,
    regex,
    semver,
    sets,
    strings,
    templates,
    times,
    tokens,
    types,
    units,
    uris,
    uuids,
    yaml_text,
)
from gateway.rego.builtins.registry import Builtin, State
from gateway.rego.builtins.unsupported import ANNOTATIONS, UNSUPPORTED

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ANNOTATIONS", "BUILTINS", "GROUPS", "UNSUPPORTED", "Builtin", "State"]

GROUPS: Final[Mapping[str, tuple[Builtin, ...]]] = MappingProxyType(
    {
        "comparison and membership": comparison.BUILTINS,
        "numbers": numbers.BUILTINS,
        "bits": bits.BUILTINS,
        "aggregates": aggregates.BUILTINS,
        "arrays": arrays.BUILTINS,
        "sets": sets.BUILTINS,
        "objects": objects.BUILTINS,
        "strings": strings.BUILTINS + formatting.BUILTINS + templates.BUILTINS,
        "regular expressions": regex.BUILTINS,
        "globs": glob.BUILTINS,
        "types and conversions": types.BUILTINS,
        "encoding": encoding.BUILTINS + yaml_text.BUILTINS,
        "JSON documents": json_documents.BUILTINS + json_schema.BUILTINS,
        "cryptography": crypto.BUILTINS + certificates.BUILTINS,
        "tokens": tokens.BUILTINS,
        "URIs": uris.BUILTINS,
        "time": times.BUILTINS,
        "network": net.BUILTINS,
        "graphs": graphs.BUILTINS,
        "semantic versions": semver.BUILTINS,
        "units": units.BUILTINS,
        "UUIDs": uuids.BUILTINS,
        "print and template strings": internal.BUILTINS,
    }
)

BUILTINS: Final[Mapping[str, Builtin]] = MappingProxyType(
    {builtin.name: builtin for group in GROUPS.values() for builtin in group}
)
