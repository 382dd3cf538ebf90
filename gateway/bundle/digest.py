"""Hashes of a bundle's files as OPA's signatures have them.

A structured file is hashed as what it says and not as it is written: objects sorted by name,
nothing between the tokens, numbers as they stand in JSON.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from gateway.config.document import read_document
from gateway.jose.strict_json import JsonError, loads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

STRUCTURED: Final = frozenset({"data.json", "data.yaml", ".manifest", "signatures.json"})
"""Last parts of names. `data.yml` is not among them: OPA hashes its bytes."""

MAX_DEPTH = 256
MAX_YAML = 4 * 1024**2
"""YAML takes some hundred times as long to read as JSON."""

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
    is_structured = name.rpartition("/")[2] in STRUCTURED
    return str(made(_canonical(name, data) if is_structured else data).hexdigest())


def _canonical(name: str, data: bytes) -> bytes:
    """What a structured file says, in the one form that is hashed."""
    mark = secrets.token_hex(8)  # json can write no number but its own
    value = _value(name, data, mark)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    text = re.sub(f'"{mark}([^"]*)"', r"\1", text)
    # Go's encoder escapes these two whatever it is told.
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").encode()


def _value(name: str, data: bytes, mark: str) -> Any:
    """The value in a file, the numbers that Python would write otherwise as marked texts."""
    try:
        value = loads(
            data, max_depth=MAX_DEPTH, max_members=len(data) + 1
        )  # refuses what has two readings
    except JsonError:
        if not name.endswith(".yaml"):
            raise
    else:
        if name.endswith(".yaml"):  # which is served as YAML
            document = read_document(data, None, max_bytes=MAX_YAML)
            if document.problems or document.tree != value:
                raise ValueError("it says one thing as JSON and another as YAML")
        return json.loads(
            data,
            parse_float=lambda text: mark + text,
            parse_int=lambda text: mark + text if text == "-0" else int(text),
        )
    document = read_document(data, None, max_bytes=MAX_YAML)
    for problem in document.problems:
        raise ValueError(f"line {problem.line}: {problem.message}")
    return _marked(document.tree, mark)


def _marked(value: Any, mark: str) -> Any:
    """The value with its numbers as OPA has them, which turns YAML into JSON first."""
    match value:
        case dict():
            return {name: _marked(each, mark) for name, each in value.items()}
        case list():
            return [_marked(each, mark) for each in value]
        case bool() | str() | None:
            return value
        case int() if -(2**63) <= value < 2**64:
            return value
        case float():
            return mark + _float(value)
        case _:
            # OPA hashes the nearest double, and another number would be served than was signed.
            number = float(str(value))
            if Decimal(number) != value:
                raise ValueError("a number that no double holds")
            return mark + _float(number)


def _float(number: float) -> str:
    """A double as Go's encoder writes it."""
    if number != 0 and not 1e-6 <= abs(number) < 1e21:
        return repr(number).replace("e-0", "e-")
    text = format(Decimal(repr(number)), "f")
    return text.removesuffix(".0")
