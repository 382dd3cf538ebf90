"""The YAML of a METADATA comment, as `rego.metadata.rule()` shows it."""

from __future__ import annotations

import datetime as dt
import itertools
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import yaml

from gateway.rego.builtins.yaml_scalars import MERGE
from gateway.rego.builtins.yaml_text import LOADER, Builder, levels
from gateway.rego.errors import BuiltinError, StepLimitExceeded
from gateway.rego.runtime import State
from gateway.rego.values import number_from_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.rego.values import Value

MAX_STEPS: Final = 1_000_000
"""Most parts of one comment, with the characters for which its aliases stand."""


class MetadataError(Exception):
    """Annotations that cannot be read; `line` counts from 1 below METADATA, 0 is unknown."""

    def __init__(self, message: str, remedy: str = "", line: int = 0) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.line = line


class Scalar(NamedTuple):
    """A scalar as it is written, and the value that it has where any may stand.

    `plain` is one without quotes.
    """

    text: str
    value: Value
    plain: bool


class _OtherKey(str):
    """A key that is no string."""

    __slots__ = ()


def read_metadata(text: str) -> dict[str, Value]:
    """Return the annotations in the YAML of a comment; MetadataError if it cannot be read.

    What is empty is left out, and what is no annotation is not looked at.
    """
    if not text.strip():
        raise MetadataError("METADATA without annotations", "write `# title: …` below it")
    found = _parsed(text)
    if found is None or (isinstance(found, Scalar) and found.value is None):
        return {}
    if not isinstance(found, dict):
        raise MetadataError("annotations are a mapping", "write `# title: …`")
    made: dict[str, Value] = {}
    for name, node in found.items():
        if name in _FIELDS:
            value = _FIELDS[name](name, node)
            if value:
                made[name] = value
    return made


# --- YAML


def _parsed(text: str) -> Any:
    remedy = "write YAML behind each `#`"
    try:
        events = yaml.parse(text, Loader=LOADER)
        first = itertools.takewhile(
            lambda event: not isinstance(event, yaml.DocumentEndEvent), events
        )
        return _Reader(State(0, MAX_STEPS, strict=True)).build(first)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise MetadataError(f"yaml: {error.problem or error.context}", remedy, line) from None
    except StepLimitExceeded:
        raise MetadataError("yaml: more than annotations may hold", "write less") from None
    except (yaml.YAMLError, BuiltinError, ValueError) as error:
        said = str(error).removeprefix("yaml: ")[:200]
        raise MetadataError(f"yaml: {said}", remedy) from None


class _Reader(Builder):
    """Builds scalars as Scalar; a key that comes twice in a mapping is an error."""

    def scalar(self, event: Any) -> Any:
        if event.tag is not None:
            raise BuiltinError("a tag, which annotations do not have")
        if event.implicit[0] and event.value == "<<":
            return MERGE
        plain = event.implicit[0]
        return Scalar(event.value, _plain(event.value) if plain else event.value, plain)

    def key(self, key: Any) -> str:
        if not isinstance(key, Scalar) or key.value is None:
            raise BuiltinError("a key must be a string")
        return key.text if isinstance(key.value, str) else _OtherKey(key.text)

    def charge_copy(self, node: Any) -> None:
        super().charge_copy(node)
        for level in levels(node):
            self.state.charge(sum(len(each.text) for each in level if isinstance(each, Scalar)))

    def mapping(self, items: list[Any]) -> dict[str, Any]:
        keys = [self.key(key) for key in items[::2] if key is not MERGE]
        if len(set(keys)) < len(keys):
            raise BuiltinError("a key comes twice in a mapping")
        return super().mapping(items)


_CONSTANTS: Final[Mapping[str, Value]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_DATE: Final = re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})([Tt ].*)?", re.DOTALL)
_INTEGER: Final = re.compile(
    r"([-+]?)(?:0b([01_]+)|0x([0-9a-fA-F_]+)|0o?([0-7_]+)|(0|[1-9][0-9_]*))"
)
_FLOAT: Final = re.compile(r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9_]+)(?:[eE][-+]?[0-9]+)?")
_SPECIAL: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_BASES: Final = (2, 16, 8, 10)
_UNCLEAR: Final = ...
"""Stands for a value that OPA reads in a way of its own."""


def _plain(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    date = _DATE.fullmatch(text)
    if date:
        return _UNCLEAR if date[4] else _date(text)
    number = _number_or_text(text)
    if number.__class__ is int and number.bit_length() == 64:
        return _UNCLEAR
    if number.__class__ in (int, Decimal) and not -(1 << 63) <= number < 1 << 63:
        return _rounded(number, text)
    return number


def _number_or_text(text: str) -> Value:
    """Read a plain scalar that is no word for null or a boolean."""
    integer = _INTEGER.fullmatch(text)
    if integer:
        return _read_integer(integer)
    if _SPECIAL.fullmatch(text):
        raise BuiltinError("yaml: JSON has no infinity and no NaN")
    return _read_float(text) if _FLOAT.fullmatch(text) else text


def _read_integer(found: re.Match[str]) -> Value:
    sign, *digits = found.groups()
    for base, text in zip(_BASES, digits, strict=True):
        plain = text.replace("_", "") if text else ""
        if plain:
            if base == 10:
                return number_from_text(("-" if sign == "-" else "") + plain)
            if len(plain) > 4_000:
                raise BuiltinError("yaml: number too long")
            return int(plain, base) * (-1 if sign == "-" else 1)
    return found[0]


def _read_float(text: str) -> Value:
    plain = text.replace("_", "").removeprefix("+")
    sign = "-" if plain.startswith("-") else ""
    whole, point, rest = plain.removeprefix("-").partition(".")
    fraction = re.match(r"[0-9]*", rest)
    digits = fraction[0] if fraction else ""
    exponent = rest[len(digits) :]
    return number_from_text(f"{sign}{whole or '0'}{point if digits else ''}{digits}{exponent}")


def _rounded(number: Any, text: str) -> Value:
    """Return the nearest binary number; beyond them all is a text."""
    try:
        return number_from_text(repr(float(number)))
    except (OverflowError, ValueError):
        return text


def _date(text: str) -> str:
    """Return a date as a time, as which it counts; text that is no date as it is."""
    try:
        return dt.date(*map(int, text.split("-"))).isoformat() + "T00:00:00Z"
    except ValueError:
        return text


# --- fields


def _text(name: str, node: Any) -> str:
    """Return any scalar as text; null is empty."""
    if not isinstance(node, Scalar):
        raise MetadataError(f"`{name}` is a text")
    return "" if node.value is None else node.text


def _string(node: Any) -> str:
    """Return a string without the blanks around it; empty for all else."""
    is_string = isinstance(node, Scalar) and isinstance(node.value, str)
    return node.text.strip() if is_string else ""


def _flag(name: str, node: Any) -> bool:
    if isinstance(node, Scalar) and node.plain and (node.value is None or node.text in _FLAGS):
        return node.value is not None and _FLAGS[node.text]
    raise MetadataError(f"`{name}` is true or false")


def _list(name: str, node: Any) -> list[Any]:
    if isinstance(node, Scalar) and node.value is None:
        return []
    if not isinstance(node, list):
        raise MetadataError(f"`{name}` is a list", "write each behind a `-`")
    return node


def _texts(name: str, node: Any) -> Value:
    return [
        _text(name, each)
        for each in _list(name, node)
        if not isinstance(each, Scalar) or each.value is not None
    ]


def _authors(name: str, node: Any) -> Value:
    return [_author(each) for each in _list(name, node)]


def _author(node: Any) -> Value:
    if isinstance(node, dict):
        made = {key: _string(node.get(key)) for key in ("name", "email")}
    else:
        *words, last = _string(node).split() or [""]
        address = re.fullmatch(r"<(.*)>", last)
        made = {
            "name": " ".join(words if address else (*words, last)),
            "email": address[1] if address else "",
        }
        if not last:
            made = {}
    if not any(made.values()) and (not made or isinstance(node, dict)):
        raise MetadataError("an author without a name", "write `- name <email>`")
    return {key: text for key, text in made.items() if text}


_PCHAR: Final = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
_URL: Final = re.compile(
    rf"(?:[a-z][a-z0-9+.-]*:(?://[A-Za-z0-9.-]+(?::[0-9]+)?(?=[/?#]|\Z)|(?=[A-Za-z0-9]))|(?=/)(?!//)|(?=[A-Za-z0-9._-]+(?:[/?#]|\Z)))"
    rf"(?:{_PCHAR}|/)*(?:\?(?:{_PCHAR}|[/?])*)?(?:#(?:{_PCHAR}|[/?])+)?"
)
"""A URL that is written as OPA shows it."""


def _resources(name: str, node: Any) -> Value:
    return [_resource(each) for each in _list(name, node)]


def _resource(node: Any) -> Value:
    made = (
        {key: _string(node.get(key)) for key in ("ref", "description")}
        if isinstance(node, dict)
        else {"ref": _string(node)}
    )
    if not _URL.fullmatch(made["ref"]):
        remedy = "write `- ref: https://…`, with other characters as %XX"
        raise MetadataError("a related resource without a URL", remedy)
    return {key: text for key, text in made.items() if text}


_REFERENCE: Final = re.compile(r'(?:input|data|schema)(?:\.[A-Za-z_][A-Za-z0-9_]*|\["[^"\\]+"\])*')


def _reference(text: str, roots: tuple[str, ...]) -> Value:
    """Return the parts of a reference below one of `roots`."""
    if not _REFERENCE.fullmatch(text) or not text.startswith(roots):
        message = f"no reference below `{'` or `'.join(roots)}`"
        raise MetadataError(message, "write `- input.x: schema.name`")
    parts = re.findall(r'[A-Za-z0-9_]+|"[^"]+"', text)
    return [part.strip('"') for part in parts]


def _schemas(name: str, node: Any) -> Value:
    return [_schema(each) for each in _list(name, node)]


def _schema(node: Any) -> Value:
    if not isinstance(node, dict) or len(node) != 1:
        raise MetadataError("a schema without one path", "write `- input: schema.name`")
    ((path, schema),) = node.items()
    made: dict[str, Value] = {"path": _reference(path, ("input", "data"))}
    if isinstance(schema, dict):
        return {**made, "definition": _value(schema)}
    return {**made, "schema": _reference(_string(schema), ("schema",))}


def _custom(name: str, node: Any) -> Value:
    return {str(key): _value(item) for key, item in _mapping(name, node).items()}


def _unshown(name: str, node: Any) -> Value:
    _mapping(name, node)
    return None


def _mapping(name: str, node: Any) -> dict[str, Any]:
    if isinstance(node, Scalar) and node.value is None:
        return {}
    if not isinstance(node, dict):
        raise MetadataError(f"`{name}` is an object")
    return node


def _value(node: Any) -> Value:
    """Return a node as the value that it has where any may stand."""
    if isinstance(node, dict):
        if any(isinstance(key, _OtherKey) for key in node):
            raise MetadataError("a key that is no string", "put it into quotes")
        return {key: _value(item) for key, item in node.items()}
    if isinstance(node, list):
        return [_value(item) for item in node]
    if isinstance(node, Scalar) and node.value is _UNCLEAR:
        raise MetadataError(
            f"`{node.text[:40]}` is read as a time or a number", "put it into quotes"
        )
    return node.value if isinstance(node, Scalar) else node


_FLAGS: Final[Mapping[str, bool]] = {
    spelling: truth
    for truth, words in ((True, ("true", "yes", "on", "y")), (False, ("false", "no", "off", "n")))
    for word in words
    for spelling in (word, word.capitalize(), word.upper())
}
_FIELDS: Final[Mapping[str, Callable[[str, Any], Value]]] = {
    "scope": _text,
    "title": _text,
    "description": _text,
    "entrypoint": _flag,
    "organizations": _texts,
    "related_resources": _resources,
    "authors": _authors,
    "schemas": _schemas,
    "custom": _custom,
    "compile": _unshown,
}
