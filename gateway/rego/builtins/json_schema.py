"""JSON Schema (drafts 4, 6 and 7): json.match_schema and json.verify_schema.

Only references inside of the schema are followed. Patterns are RE2's, so no text makes a match
slow; `uniqueItems` and equality are Rego's, where 1 and 1.0 are the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.rego.builtins import regex
from gateway.rego.builtins.charges import dear
from gateway.rego.builtins.encoding import charge_json
from gateway.rego.builtins.operands import charge_value, rego_text, to_decimal, utf8
from gateway.rego.builtins.registry import Builtin, State, charged
from gateway.rego.builtins.schema_formats import FORMATS
from gateway.rego.errors import BuiltinError
from gateway.rego.values import (
    MAX_DEPTH,
    NUMBERS,
    Value,
    dumps,
    equal,
    key_form,
    loads,
    sorted_items,
    to_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from decimal import Decimal

TYPES: Final = ("array", "boolean", "integer", "number", "null", "object", "string")
MAX_ERRORS: Final = 1_000
FORMAT_STEPS: Final = 350
"""What a look at a short string costs."""


# --- documents and schemas


def _document(state: State, value: Value) -> Value:
    """Read an argument: JSON text, an object or an array."""
    charge_value(dear(state, 4), value)
    if value.__class__ is str:
        charge_json(state, value)
        try:
            return loads(value)
        except ValueError:
            raise BuiltinError("invalid JSON string") from None
    if value.__class__ is dict or value.__class__ is list:
        return to_json(value)
    raise BuiltinError("wrong type, expected string or object")


def verify_schema(state: State, schema: Value) -> list[Value]:
    """Return [true, null] for a valid schema, else [false, what is wrong]."""
    try:
        _Checker(state).check(_document(state, schema))
    except BuiltinError as error:
        return [False, f"jsonschema: {error}"]
    return [True, None]


def match_schema(state: State, document: Value, schema: Value) -> list[Value]:
    """Return whether a document fits a schema, and an array of what does not."""
    value, root = _document(state, document), _document(state, schema)
    _Checker(state).check(root)
    match = _Match(state, root, _ignored(root))
    _apply(match, root, value, _Place())
    return [not match.errors, match.errors]


def _ignored(root: Value) -> frozenset[str]:
    """Return the keywords that the draft does not know which a schema names as its own."""
    draft = root.get("$schema", "") if root.__class__ is dict else ""
    return next((names for url, names in _NEWER.items() if draft.startswith(url)), frozenset())


_NEWER: Final[dict[str, frozenset[str]]] = {
    "http://json-schema.org/draft-04/schema": frozenset(
        ("const", "contains", "propertyNames", "if")
    ),
    "http://json-schema.org/draft-06/schema": frozenset(("if",)),
}


class _Checker:
    """Checks that every part of a schema has the shape that its keyword wants."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.root: Value = None

    def check(self, schema: Value) -> None:
        self.root = schema
        self._schema(schema, 0)

    def _schema(self, schema: Value, depth: int) -> None:
        self.state.charge(22)
        if schema.__class__ is bool:
            return
        if schema.__class__ is not dict or depth > MAX_DEPTH:
            raise BuiltinError("schema is invalid")
        for keyword, value in sorted_items(schema):
            if keyword in _SHAPES:
                _SHAPES[keyword](keyword, value)
            if keyword == "pattern":
                regex.pattern(self.state, value)
            if keyword == "$ref":
                _resolve(self.root, value)
            for inner in _subschemas(keyword, value):
                self._schema(inner, depth + 1)
        for pattern in schema.get("patternProperties", ()):
            regex.pattern(self.state, pattern)
        _check_pairs(schema)


def _check_pairs(schema: dict[str, Value]) -> None:
    for kind in ("Length", "Items", "Properties"):
        low, high = schema.get(f"min{kind}"), schema.get(f"max{kind}")
        if low is not None and high is not None and low > high:
            raise BuiltinError(f"min{kind} cannot be greater than max{kind}")
    for bound in ("maximum", "minimum"):
        exclusive = "exclusive" + bound.capitalize()
        if schema.get(exclusive).__class__ is bool and bound not in schema:
            raise BuiltinError(f"{exclusive} cannot be used without {bound}")


def _subschemas(keyword: str, value: Value) -> list[Value]:
    if keyword in ("not", "if", "then", "else", "contains", "propertyNames"):
        return [value]
    if keyword in ("additionalItems", "additionalProperties"):
        return [value]
    if keyword == "items":
        return value if value.__class__ is list else [value]
    if keyword in ("allOf", "anyOf", "oneOf"):
        return list(value)
    if keyword in ("properties", "patternProperties", "definitions"):
        return list(value.values())
    if keyword == "dependencies":
        return [item for item in value.values() if item.__class__ is not list]
    return []


def _must(condition: object, keyword: str, wanted: str) -> None:
    if not condition:
        raise BuiltinError(f"{keyword} must be {wanted}")


def _is_count(value: Value) -> bool:
    return value.__class__ in NUMBERS and 0 <= value < 1 << 53 and value == int(value)


def _shape(test: Callable[[Value], bool], wanted: str) -> Callable[[str, Value], None]:
    return lambda keyword, value: _must(test(value), keyword, wanted)


def _types(keyword: str, value: Value) -> None:
    names = value if value.__class__ is list else [value]
    for name in names:
        if name not in TYPES:
            shown = name if name.__class__ is str else rego_text(name)
            raise BuiltinError(
                f"has a primitive type that is NOT VALID -- given: /{shown[:100]}/ Expected valid "
                f"values are:[{' '.join(TYPES)}]"
            )
    _must(len(set(names)) == len(names), keyword, "without duplicates")


def _is_strings(value: Value) -> bool:
    return _is_unique(value) and all(item.__class__ is str for item in value)


def _is_unique(value: Value) -> bool:
    return value.__class__ is list and len(set(map(key_form, value))) == len(value)


_COUNT: Final = _shape(_is_count, "an integer that is at least 0")
_NUMBER: Final = _shape(lambda value: value.__class__ in NUMBERS, "of a number")
_LIMIT: Final = _shape(
    lambda value: value.__class__ in NUMBERS or value.__class__ is bool, "a number"
)
_STRING: Final = _shape(lambda value: value.__class__ is str, "a string")
_OBJECT: Final = _shape(lambda value: value.__class__ is dict, "an object")
_LIST: Final = _shape(lambda value: value.__class__ is list, "an array")

_SHAPES: Final[dict[str, Callable[[str, Value], None]]] = {
    "type": _types,
    "required": _shape(_is_strings, "an array of unique strings"),
    "enum": _shape(_is_unique, "an array of unique items"),
    "multipleOf": _shape(lambda value: value.__class__ in NUMBERS and value > 0, "greater than 0"),
    "maximum": _NUMBER,
    "minimum": _NUMBER,
    "exclusiveMaximum": _LIMIT,
    "exclusiveMinimum": _LIMIT,
    **dict.fromkeys(("maxLength", "minLength", "maxItems", "minItems"), _COUNT),
    **dict.fromkeys(("maxProperties", "minProperties"), _COUNT),
    **dict.fromkeys(("pattern", "format", "$ref", "$schema", "$id"), _STRING),
    **dict.fromkeys(("title", "description"), _STRING),
    **dict.fromkeys(("properties", "patternProperties", "definitions", "dependencies"), _OBJECT),
    **dict.fromkeys(("allOf", "anyOf", "oneOf"), _LIST),
    "uniqueItems": _shape(lambda value: value.__class__ is bool, "a boolean"),
}


def _resolve(root: Value, reference: str) -> Value:
    """Find what a reference means; `#` and JSON pointers (RFC 6901) into the schema only."""
    own = root.get("$id", "").partition("#")[0] if root.__class__ is dict else ""
    start, _, pointer = reference.partition("#")
    if start not in ("", own) or (pointer and not pointer.startswith("/")):
        raise BuiltinError("a reference must stay inside of the schema and be a JSON pointer")
    found = root
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if found.__class__ is dict and key in found:
            found = found[key]
        elif found.__class__ is list and key.isdecimal() and int(key[:9]) < len(found):
            found = found[int(key[:9])]
        else:
            raise BuiltinError("a reference leads nowhere")
    return found


# --- matching


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the document a value is."""

    path: tuple[str, ...] = ()

    def __truediv__(self, part: str | int) -> _Place:
        return _Place((*self.path, str(part)))

    def __str__(self) -> str:
        return ".".join(self.path) or "(Root)"


@dataclass(slots=True)
class _Match:
    """One run over a document: the schema's root, keywords it does not know, the errors found."""

    state: State
    root: Value
    ignored: frozenset[str]
    errors: list[dict[str, str]] = field(default_factory=list)
    depth: int = 0
    score: int = 0
    """How near the value came: of the schemas that fail, the errors of the nearest are shown."""

    def fail(self, place: _Place, kind: str, text: str) -> None:
        self.state.charge(30)
        self.score -= 2
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(
                {"error": f"{place}: {text}", "type": kind, "field": str(place), "desc": text}
            )

    def trial(self, schema: Value, value: Value, place: _Place) -> _Match:
        """Match a value by itself."""
        self.state.charge(15)
        trial = _Match(self.state, self.root, self.ignored, depth=self.depth)
        _apply(trial, schema, value, place)
        return trial

    def fits(self, schema: Value, value: Value, place: _Place) -> bool:
        """Tell whether a value fits, without a record of why not."""
        return not self.trial(schema, value, place).errors

    def merge(self, trial: _Match | None) -> None:
        """Take over the errors of a trial."""
        if trial is not None:
            self.state.charge(len(trial.errors))
            self.errors += trial.errors[: MAX_ERRORS - len(self.errors)]
            self.score += trial.score


def _nearest(trials: Iterable[_Match]) -> tuple[int, _Match | None]:
    """Return how many trials fit, and the first of those with the best score among the others."""
    fitting = 0
    best: _Match | None = None
    for trial in trials:
        if not trial.errors:
            fitting += 1
        elif best is None or trial.score > best.score:
            best = trial
    return fitting, best


def _apply(match: _Match, schema: Value, value: Value, place: _Place) -> None:
    match.state.charge(15)
    if schema.__class__ is bool:
        if not schema:
            match.fail(place, "false", "False always fails validation")
        return
    match.depth += 1
    # References may form a circle that the document does not end.
    if match.depth > MAX_DEPTH:
        raise BuiltinError("schema is nested too deeply")
    if "$ref" in schema:
        _apply(match, _resolve(match.root, schema["$ref"]), value, place)
    else:
        _judge(match, schema, value, place)
    match.depth -= 1


def _judge(match: _Match, schema: dict[str, Any], value: Value, place: _Place) -> None:
    if schema.get("type") and not _has_type(match, schema["type"], value, place):
        return
    for keyword, wanted in schema.items():
        judge = _KEYWORDS.get(keyword)
        if judge is not None and keyword not in match.ignored:
            match.state.charge(8)
            judge(match, schema, wanted, value, place)
    match.score += 3 if value is None or value.__class__ is bool else 4


def _type_of(value: Value) -> str:
    if value.__class__ in NUMBERS:
        whole = to_decimal(value)
        return "integer" if whole == whole.to_integral_value() else "number"
    return _TYPE_NAMES[value.__class__]


_TYPE_NAMES: Final = {
    type(None): "null",
    bool: "boolean",
    str: "string",
    list: "array",
    dict: "object",
}


def _has_type(match: _Match, wanted: Any, value: Value, place: _Place) -> bool:
    names = wanted if wanted.__class__ is list else [wanted]
    kind = _type_of(value)
    if kind in names or (kind == "integer" and "number" in names):
        return True
    shown = names[0] if len(names) == 1 else "[" + ",".join(names) + "]"
    match.fail(place, "invalid_type", f"Invalid type. Expected: {shown}, given: {kind}")
    return False


def _enum(match: _Match, _: Any, wanted: Any, value: Value, place: _Place) -> None:
    charge_value(dear(match.state, 4), wanted)
    if not any(equal(value, item) for item in wanted):
        shown = ", ".join(map(dumps, wanted))
        match.fail(place, "enum", f"{place} must be one of the following: {shown[:1000]}")


def _const(match: _Match, _: Any, wanted: Any, value: Value, place: _Place) -> None:
    charge_value(dear(match.state, 2), wanted)
    if not equal(value, wanted):
        match.fail(place, "const", f"{place} does not match: {dumps(wanted)[:1000]}")


def _multiple_of(match: _Match, _: Any, wanted: Any, value: Value, place: _Place) -> None:
    if value.__class__ not in NUMBERS:
        return
    match.state.charge(100)
    top, bottom = to_decimal(value).as_integer_ratio(), to_decimal(wanted).as_integer_ratio()
    if top[0] * bottom[1] % (top[1] * bottom[0]):
        match.fail(place, "multiple_of", f"Must be a multiple of {rego_text(wanted)}")


def _bound(
    kind: str, text: str, fits: Callable[[Decimal, Decimal], bool], exclusive: str = ""
) -> Callable[[_Match, dict[str, Any], Any, Value, _Place], None]:
    def judge(
        match: _Match, schema: dict[str, Any], wanted: Any, value: Value, place: _Place
    ) -> None:
        if value.__class__ not in NUMBERS or wanted.__class__ is bool:
            return
        match.state.charge(30)
        left, right = to_decimal(value), to_decimal(wanted)
        # Draft 4: `exclusiveMaximum: true` makes `maximum` exclusive.
        if schema.get(exclusive) is True:
            if left == right or not fits(left, right):
                strict = text.removesuffix(" or equal to")
                match.fail(place, kind[:-1], f"Must be {strict} {rego_text(wanted)}")
        elif not fits(left, right):
            match.fail(place, kind, f"Must be {text} {rego_text(wanted)}")

    return judge


def _size(
    kind: str, text: str, types: tuple[Any, ...], fits: Callable[[int, int], bool]
) -> Callable[[_Match, dict[str, Any], Any, Value, _Place], None]:
    def judge(match: _Match, _: Any, wanted: Any, value: Value, place: _Place) -> None:
        if value.__class__ in types and not fits(len(value), int(wanted)):
            match.fail(place, kind, text.format(int(wanted)))

    return judge


def _pattern(match: _Match, _: Any, wanted: Any, value: Value, place: _Place) -> None:
    if value.__class__ is str and not _matches(match.state, wanted, value):
        match.fail(place, "pattern", f"Does not match pattern '{wanted[:200]}'")


def _matches(state: State, source: str, text: str) -> bool:
    state.charge(25)
    return regex.pattern(state, source).search(state, utf8(text)) is not None


def _format(match: _Match, _: Any, wanted: Any, value: Value, place: _Place) -> None:
    check = FORMATS.get(wanted)
    if check is None or value.__class__ is not str:
        return
    match.state.charge(FORMAT_STEPS + len(value) // 4)
    try:
        fits = check(match.state, value)
    except (ValueError, BuiltinError):
        fits = False
    if not fits:
        match.fail(place, "format", f"Does not match format '{wanted[:100]}'")


# --- arrays


def _items(match: _Match, schema: dict[str, Any], wanted: Any, value: Value, place: _Place) -> None:
    if value.__class__ is not list:
        return
    if wanted.__class__ is not list:
        for index, item in enumerate(value):
            _apply(match, wanted, item, place / index)
        return
    for index, (inner, item) in enumerate(zip(wanted, value, strict=False)):
        _apply(match, inner, item, place / index)
    further = schema.get("additionalItems", True)
    if further is False and len(value) > len(wanted):
        text = "No additional items allowed on array"
        match.fail(place, "array_no_additional_items", text)
    elif further is not True:
        for index, item in enumerate(value[len(wanted) :], len(wanted)):
            _apply(match, further, item, place / index)


def _unique_items(match: _Match, _: Any, wanted: Any, value: Value, place: _Place) -> None:
    if not wanted or value.__class__ is not list:
        return
    charge_value(dear(match.state, 4), value)
    seen: dict[Any, int] = {}
    for index, form in enumerate(map(key_form, value)):
        if form in seen:
            text = f"array items[{seen[form]},{index}] must be unique"
            match.fail(place, "unique", text)
        seen[form] = index


def _contains(match: _Match, _: Any, wanted: Any, value: Value, place: _Place) -> None:
    if value.__class__ is list:
        fitting, best = _nearest(
            match.trial(wanted, item, place / index) for index, item in enumerate(value)
        )
        if not fitting:
            match.fail(place, "contains", "At least one of the items must match")
            match.merge(best)


# --- objects


def _required(match: _Match, _: Any, wanted: Any, value: Value, place: _Place) -> None:
    if value.__class__ is dict:
        match.state.charge(len(wanted))
        for name in wanted:
            if name not in value:
                match.fail(place, "required", f"{name} is required")


def _properties(match: _Match, _: Any, wanted: Any, value: Value, place: _Place) -> None:
    if value.__class__ is dict:
        match.state.charge(len(wanted))
        for name, inner in wanted.items():
            if name in value:
                _apply(match, inner, value[name], place / name)


def _pattern_properties(match: _Match, _: Any, wanted: Any, value: Value, place: _Place) -> None:
    if value.__class__ is dict:
        for source, inner in wanted.items():
            for name, item in value.items():
                if _matches(match.state, source, name):
                    _apply(match, inner, item, place / name)


def _additional_properties(
    match: _Match, schema: dict[str, Any], wanted: Any, value: Value, place: _Place
) -> None:
    if value.__class__ is not dict or wanted is True:
        return
    for name in _additional(match, schema, value):
        if wanted is False:
            text = f"Additional property {name} is not allowed"
            match.fail(place, "additional_property_not_allowed", text)
        else:
            _apply(match, wanted, value[name], place / name)


def _additional(match: _Match, schema: dict[str, Any], value: dict[str, Value]) -> Iterator[str]:
    known = schema.get("properties", {})
    patterns = schema.get("patternProperties", {})
    for name in value:
        match.state.charge(8)
        if name not in known and not any(_matches(match.state, item, name) for item in patterns):
            yield name


def _property_names(match: _Match, _: Any, wanted: Any, value: Value, place: _Place) -> None:
    if value.__class__ is dict:
        for name in value:
            trial = match.trial(wanted, name, place)
            if trial.errors:
                text = f'Property name of "{name}" does not match'
                match.fail(place, "invalid_property_name", text)
                match.merge(trial)


def _dependencies(match: _Match, _: Any, wanted: Any, value: Value, place: _Place) -> None:
    if value.__class__ is not dict:
        return
    for name, needs in wanted.items():
        if name not in value:
            continue
        if needs.__class__ is not list:
            _apply(match, needs, value, place)
            continue
        for other in needs:
            if other.__class__ is not str or other not in value:
                text = f"Has a dependency on {rego_text(other, quoted=False)}"
                match.fail(place, "missing_dependency", text)


# --- combinations


def _all_of(match: _Match, _: Any, wanted: Any, value: Value, place: _Place) -> None:
    before = len(match.errors)
    for inner in wanted:
        _apply(match, inner, value, place)
    if len(match.errors) > before:
        match.fail(place, "number_all_of", "Must validate all the schemas (allOf)")


def _any_of(match: _Match, _: Any, wanted: Any, value: Value, place: _Place) -> None:
    fitting, best = _nearest(match.trial(inner, value, place) for inner in wanted)
    if wanted and not fitting:
        match.fail(place, "number_any_of", "Must validate at least one schema (anyOf)")
        match.merge(best)


def _one_of(match: _Match, _: Any, wanted: Any, value: Value, place: _Place) -> None:
    fitting, best = _nearest(match.trial(inner, value, place) for inner in wanted)
    if wanted and fitting != 1:
        match.fail(place, "number_one_of", "Must validate one and only one schema (oneOf)")
        match.merge(None if fitting else best)


def _not(match: _Match, _: Any, wanted: Any, value: Value, place: _Place) -> None:
    if match.fits(wanted, value, place):
        match.fail(place, "number_not", "Must not validate the schema (not)")


def _if(match: _Match, schema: dict[str, Any], wanted: Any, value: Value, place: _Place) -> None:
    branch = "then" if match.fits(wanted, value, place) else "else"
    trial = match.trial(schema.get(branch, True), value, place)
    if trial.errors:
        was = "valid" if branch == "then" else "not valid"
        match.fail(place, f"condition_{branch}", f'Must validate "{branch}" as "if" was {was}')
        match.merge(trial)


_KEYWORDS: Final[dict[str, Callable[[_Match, dict[str, Any], Any, Value, _Place], None]]] = {
    "enum": _enum,
    "const": _const,
    "multipleOf": _multiple_of,
    "maximum": _bound(
        "number_lte", "less than or equal to", lambda a, b: a <= b, "exclusiveMaximum"
    ),
    "minimum": _bound(
        "number_gte", "greater than or equal to", lambda a, b: a >= b, "exclusiveMinimum"
    ),
    "exclusiveMaximum": _bound("number_lt", "less than", lambda a, b: a < b),
    "exclusiveMinimum": _bound("number_gt", "greater than", lambda a, b: a > b),
    "maxLength": _size(
        "string_lte", "String length must be less than or equal to {}", (str,), int.__le__
    ),
    "minLength": _size(
        "string_gte", "String length must be greater than or equal to {}", (str,), int.__ge__
    ),
    "maxItems": _size("array_max_items", "Array must have at most {} items", (list,), int.__le__),
    "minItems": _size("array_min_items", "Array must have at least {} items", (list,), int.__ge__),
    "maxProperties": _size(
        "array_max_properties", "Must have at most {} properties", (dict,), int.__le__
    ),
    "minProperties": _size(
        "array_min_properties", "Must have at least {} properties", (dict,), int.__ge__
    ),
    "pattern": _pattern,
    "format": _format,
    "items": _items,
    "uniqueItems": _unique_items,
    "contains": _contains,
    "required": _required,
    "properties": _properties,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "propertyNames": _property_names,
    "dependencies": _dependencies,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
    "if": _if,
}

BUILTINS: Final[tuple[Builtin, ...]] = (
    charged("json.match_schema", match_schema, 2),
    charged("json.verify_schema", verify_schema, 1),
)
