"""The configuration reference: a table for each mapping, made from the model's docstrings.

`python -m gateway.config.reference docs/configuration.md` brings the page up to date.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from gateway.config.load import FIXED
from gateway.config.model import Config, Section
from gateway.config.validate import inner_section
from gateway.config.values import DURATION_UNITS, SIZE_UNITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic.fields import FieldInfo

MARKER = "<!-- Below is made from gateway/config/model.py: python -m gateway.config.reference -->\n"


def updated(page: str) -> str:
    """The page with everything below the marker made anew."""
    introduction, marker, _ = page.partition(MARKER)
    if not marker:
        raise ValueError("the page has no marker")
    return introduction + MARKER + reference()


def reference() -> str:
    """All sections as Markdown."""
    return "".join(_section(heading, section) for heading, section in _ordered(Config, ""))


@cache
def headings() -> Mapping[type[Section], str]:
    """The shortest key that leads to each section, `NAME` and `[]` for what is inside others."""
    found: dict[type[Section], str] = {Config: ""}
    waiting = deque(found.items())
    while waiting:
        section, heading = waiting.popleft()
        for inner, key in _inside(section, heading):
            if inner not in found:
                found[inner] = key
                waiting.append((inner, key))
    return found


def _ordered(section: type[Section], heading: str) -> Iterator[tuple[str, type[Section]]]:
    yield heading, section
    for inner, key in _inside(section, heading):
        if headings()[inner] == key:
            yield from _ordered(inner, key)


def _inside(section: type[Section], heading: str) -> Iterator[tuple[type[Section], str]]:
    for name, field in section.model_fields.items():
        inner, container = inner_section(field.annotation)
        if inner is not None:
            yield inner, ".".join(filter(None, (heading, name))) + INSIDE[container]


INSIDE: Mapping[type | None, str] = {None: "", tuple: "[]", dict: ".NAME"}


def _section(heading: str, section: type[Section]) -> str:
    properties = _properties(section)
    place = tuple(heading.replace("[]", "").replace(".NAME", "").split(".")) if heading else ()
    rows = [
        f"| `{name}` | {_type(section, name, properties[name])} "
        f"| {_default(field, properties[name])} | {_meaning(field, (*place, name))} |\n"
        for name, field in section.model_fields.items()
    ]
    return (
        f"\n{'#' * (1 + max(1, len(place)))} {heading or 'Top level'}\n\n{section.__doc__}\n\n"
        f"| Key | Type | Default | Meaning |\n|---|---|---|---|\n{''.join(rows)}"
    )


def _properties(section: type[Section]) -> Mapping[str, Any]:
    schema = _whole_schema()
    found: Mapping[str, Any] = schema if section is Config else schema["$defs"][section.__name__]
    properties: Mapping[str, Any] = found["properties"]
    return properties


@cache
def _whole_schema() -> Mapping[str, Any]:
    return Config.model_json_schema()


def _meaning(field: FieldInfo, key: tuple[str, ...]) -> str:
    fixed = any(key[: len(each)] == each for each in FIXED)
    text = (field.description or "").replace("|", "\\|").replace("\n", " ")
    return f"{text} *(restart)*" if fixed else text


def _type(section: type[Section], name: str, schema: Mapping[str, Any]) -> str:
    inner, container = inner_section(section.model_fields[name].annotation)
    if inner is None:
        return _words(schema)
    heading = headings()[inner]
    # As GitHub makes anchors of headings.
    anchor = "".join(char for char in heading.lower() if char.isalnum() or char == "_")
    return f"{HOLDS[container]}[{heading.removesuffix(INSIDE[container])}](#{anchor})"


HOLDS: Mapping[type | None, str] = {None: "", tuple: "list of ", dict: "mapping of name to "}


def _words(schema: Mapping[str, Any]) -> str:
    """A JSON Schema in words."""
    match schema:
        case {"anyOf": [one, {"type": "array"}]}:
            return f"{_words(one)} (or a list)"
        case {"anyOf": choices}:
            named = [_words(each) for each in choices if each.get("type") != "null"]
            return " or ".join(dict.fromkeys(named))
        case {"enum": choices}:
            return ", ".join(f"`{choice}`" for choice in choices)
        case {"type": "array", "items": items}:
            return f"list of {_words(items)}"
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"mapping of text to {_words(values)}"
        case {"format": "path"}:
            return "file name"
        case {"format": "password"}:
            return "secret"
        case {"type": [number, "string"]}:
            return "size" if number == "integer" else "duration"
        case {"type": kind}:
            return KINDS[kind]
        case _:
            return "any value"


KINDS = {
    "boolean": "true or false",
    "integer": "whole number",
    "number": "number",
    "object": "mapping",
    "string": "text",
}


def _default(field: FieldInfo, schema: Mapping[str, Any]) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value in (None, "", (), {}) or isinstance(value, Section):
        return ""
    words = _words(schema)
    if isinstance(value, float) and "duration" in words:
        return f"`{_with_unit(value, DURATION_UNITS)}`"
    if isinstance(value, int) and "size" in words:
        return f"`{_with_unit(value, {'': 1, 'KiB': 1024, 'MiB': SIZE_UNITS['mib']})}`"
    shown = schema.get("default", value)
    return f"`{shown if isinstance(shown, str) else json.dumps(to_jsonable_python(shown))}`"


def _with_unit(value: float, units: Mapping[str, float]) -> str:
    unit, factor = max(
        (
            (unit, factor)
            for unit, factor in units.items()
            if value % factor == 0 and value >= factor
        ),
        key=lambda pair: pair[1],
        default=("s", 1.0),
    )
    return f"{value / factor:g}{unit}"


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(updated(page.read_text()))
