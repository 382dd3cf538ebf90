"""Hashes of a bundle's files as OPA's signatures have them.

A structured file is hashed as what it says and not as it is written: objects sorted by name,
nothing between the tokens, numbers as they stand in JSON.
"""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any, Final

from gateway.config.document import read_document
from gateway.jose.strict_json import JsonError, loads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

STRUCTURED: Final = frozenset({"data.json", "data.yaml", ".manifest", "signatures.json"})
"""Last parts of names. `data.yml` is not among them: OPA hashes its bytes."""

MAX_DEPTH = 256

ALGORITHMS: Mapping[str, Callable[[bytes], Any]] = {
    "SHA-256": hashlib.sha256,
    "SHA-384": hashlib.sha384,
    "SHA-512": hashlib.sha512,
}
"""OPA itself writes SHA-256. It would take MD5 and SHA-1 as well, which can be made to collide."""


def file_digest(name: str, data: bytes, algorithm: str) -> str:
    """The hash of a file in hex; ValueError where a structured file cannot be read.

    `algorithm` is one of ALGORITHMS.
    """
    made = ALGORITHMS[algorithm]
    if name.rpartition("/")[2] not in STRUCTURED:
        return str(made(data).hexdigest())
    return str(made("".join(_pieces(_value(name, data))).encode()).hexdigest())


class _Number(str):
    """A number of JSON as it is written."""

    __slots__ = ()


def _value(name: str, data: bytes) -> Any:
    try:
        loads(data, max_depth=MAX_DEPTH, max_members=len(data) + 1)  # refuses what has two readings
    except JsonError:
        if not name.endswith(".yaml"):
            raise
    else:
        return json.loads(data, parse_int=_Number, parse_float=_Number)
    document = read_document(data, None, max_bytes=len(data))
    for problem in document.problems:
        raise ValueError(f"line {problem.line}: {problem.message}")
    return document.tree


def _pieces(value: Any) -> Iterator[str]:
    match value:
        case dict():
            mark = "{"
            for name in sorted(value):
                yield f"{mark}{_string(name)}:"
                yield from _pieces(value[name])
                mark = ","
            yield "}" if value else "{}"
        case list():
            mark = "["
            for each in value:
                yield mark
                yield from _pieces(each)
                mark = ","
            yield "]" if value else "[]"
        case _:
            yield _scalar(value)


def _scalar(value: Any) -> str:
    match value:
        case _Number():
            return value
        case str():
            return _string(value)
        case True | False | None:
            return {True: "true", False: "false", None: "null"}[value]
        case int() if -(2**63) <= value < 2**64:
            return str(value)
        case _:
            return _float(float(value))


def _string(text: str) -> str:
    """A string as Go's encoder writes it without HTML escapes."""
    return encode_basestring(text).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _float(number: float) -> str:
    """A number of YAML, which OPA turns into JSON first: a double as Go's encoder writes it."""
    if number != 0 and not 1e-6 <= abs(number) < 1e21:
        return repr(number).replace("e-0", "e-")
    text = format(Decimal(repr(number)), "f")
    return text.removesuffix(".0")
