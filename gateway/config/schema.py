"""The JSON Schema of gateway.yaml, for editors that complete and check while typing."""

from __future__ import annotations

from typing import Any

from gateway.config.model import Config

DIALECT = "https://json-schema.org/draft/2020-12/schema"
REFERENCE = {"type": "string", "pattern": r"\$\{", "description": "An environment variable."}

# A pattern and no enumeration: editors should not offer them.
SWITCH = {
    "type": "string",
    "pattern": "^([Oo]n|ON|[Oo]ff|OFF|[Yy]es|YES|[Nn]o|NO)$",
    "description": "true or false as YAML 1.1 wrote them.",
}


def json_schema() -> dict[str, Any]:
    """The schema (draft 2020-12), with each key's description."""
    schema = Config.model_json_schema()
    definitions = {name: _written(each) for name, each in schema.pop("$defs").items()}
    return {
        "$schema": DIALECT,
        **_written(schema),
        "title": "gateway.yaml",
        "$defs": {**definitions, "Reference": REFERENCE, "Switch": SWITCH},
    }


def _written(schema: Any) -> Any:
    """The schema of what people write: a `${VARIABLE}` may stand for any single value."""
    if isinstance(schema, list):
        return [_written(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {
        name: {key: _written(value) for key, value in each.items()}
        if name == "properties"
        else each
        if name in ("default", "examples", "enum", "required")
        else _written(each)
        for name, each in schema.items()
        # The name of a class says nothing to an editor's user.
        if name != "title"
    }
    kind = schema.get("type")
    if kind not in ("integer", "number", "boolean") and "enum" not in schema:
        return schema
    outer = {name: schema.pop(name) for name in ("description", "default") if name in schema}
    others = ["Switch", "Reference"] if kind == "boolean" else ["Reference"]
    return {**outer, "anyOf": [schema, *({"$ref": f"#/$defs/{name}"} for name in others)]}
