"""json.match_schema and json.verify_schema, a line a keyword."""

import pytest

from gateway.rego.errors import BuiltinError
from tests.support.rego_values import call

# schema, documents that fit, documents that do not (arrays and objects only: a string argument
# is JSON text)
CASES = [
    ({"type": "object"}, [{}], [[]]),
    ({"type": ["array", "object"]}, [{}, []], []),
    ({"items": {"type": "integer"}}, [[1, 2.0]], [[1.5], [True], ["1"]]),
    ({"items": {"type": "number"}}, [[1, 1.5]], [["1"], [None]]),
    ({"items": {"type": "boolean"}}, [[True]], [[1]]),
    ({"items": {"type": "null"}}, [[None]], [[False]]),
    ({"items": {"enum": [1, "a", [1]]}}, [[1.0, "a", [1]]], [[True], ["b"]]),
    ({"items": {"const": {"a": 1}}}, [[{"a": 1}]], [[{"a": 2}]]),
    ({"items": {"multipleOf": 0.1}}, [[0.3, 1, "x"]], [[0.35]]),
    ({"items": {"maximum": 3}}, [[3, "x"]], [[3.1]]),
    ({"items": {"minimum": 3}}, [[3]], [[2.9]]),
    ({"items": {"maximum": 3, "exclusiveMaximum": True}}, [[2]], [[3]]),
    ({"items": {"exclusiveMaximum": 3}}, [[2.9]], [[3]]),
    ({"items": {"exclusiveMinimum": 3}}, [[3.1]], [[3]]),
    ({"items": {"maxLength": 1}}, [["é", 55]], [["ab"]]),
    ({"items": {"minLength": 1}}, [["é"]], [[""]]),
    ({"items": {"pattern": "^a+$"}}, [["aa", 5]], [["b"]]),
    ({"items": [{"type": "string"}, True]}, [["a"], ["a", 1, 2], []], [[1]]),
    ({"items": [True], "additionalItems": False}, [[1]], [[1, 2]]),
    ({"items": [True], "additionalItems": {"type": "string"}}, [[1, "a"]], [[1, 2]]),
    ({"maxItems": 1}, [[1], {"a": 1, "b": 2}], [[1, 2]]),
    ({"minItems": 1}, [[1]], [[]]),
    ({"uniqueItems": True}, [[1, True, "1"]], [[1, 1.0], [{"a": 1}, {"a": 1}]]),
    ({"contains": {"const": 1}}, [[2, 1]], [[2], []]),
    ({"required": ["a"]}, [{"a": None}, []], [{"b": 1}]),
    ({"properties": {"a": {"type": "string"}}}, [{"a": "x"}, {}], [{"a": 1}]),
    ({"patternProperties": {"^x": {"type": "string"}}}, [{"xa": "1", "b": 1}], [{"xa": 1}]),
    ({"properties": {"a": True}, "additionalProperties": False}, [{"a": 1}], [{"b": 1}]),
    ({"additionalProperties": {"type": "string"}}, [{"a": "x"}], [{"a": 1}]),
    ({"propertyNames": {"maxLength": 1}}, [{"a": 1}], [{"ab": 1}]),
    ({"maxProperties": 1}, [{"a": 1}], [{"a": 1, "b": 2}]),
    ({"minProperties": 1}, [{"a": 1}], [{}]),
    ({"dependencies": {"a": ["b"]}}, [{"a": 1, "b": 1}, {}], [{"a": 1}]),
    ({"dependencies": {"a": {"required": ["b"]}}}, [{"b": 1}], [{"a": 1}]),
    ({"allOf": [{"required": ["a"]}, {"required": ["b"]}]}, [{"a": 1, "b": 1}], [{"a": 1}]),
    ({"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, [{"b": 1}], [{}]),
    ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, [{"b": 1}], [{}, {"a": 1, "b": 1}]),
    ({"not": {"required": ["a"]}}, [{}], [{"a": 1}]),
    ({"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": {"required": ["c"]}},
     [{"a": 1, "b": 1}, {"c": 1}], [{"a": 1}, {}]),
    ({"definitions": {"n": {"type": "integer"}}, "items": {"$ref": "#/definitions/n"}}, [[1]], [["a"]]),
    ({"properties": {"next": {"$ref": "#"}, "v": {"type": "integer"}}},
     [{"next": {"next": {"v": 1}}}], [{"next": {"next": {"v": "x"}}}]),
    ({"items": {"format": "date-time"}}, [["2020-01-01T00:00:00Z", 5]], [["2020-13-01T00:00:00Z"]]),
    ({"items": {"format": "date"}}, [["2020-02-29"]], [["2021-02-29"], ["x"]]),
    ({"items": {"format": "time"}}, [["10:00:00Z"]], [["25:00:00Z"]]),
    ({"items": {"format": "email"}}, [["a@b.c"]], [["ab"]]),
    ({"items": {"format": "hostname"}}, [["a.example"]], [["-a"], ["a" * 300]]),
    ({"items": {"format": "ipv4"}}, [["10.0.0.1"]], [["10.0.0"], ["::1"]]),
    ({"items": {"format": "ipv6"}}, [["::1"]], [["10.0.0.1"], ["fe80::1%x"]]),
    ({"items": {"format": "uri"}}, [["https://a/b"]], [["/b"], ["%"]]),
    ({"items": {"format": "uuid"}}, [["6ba7b810-9dad-11d1-80b4-00c04fd430c8"]], [["6ba7b810"]]),
    ({"items": {"format": "regex"}}, [["a+"]], [["("]]),
    ({"items": {"format": "json-pointer"}}, [["/a~0", ""]], [["a"], ["/~2"]]),
    ({"items": {"format": "relative-json-pointer"}}, [["0#", "1/a"]], [["a"], ["01"]]),
    ({"items": {"format": "uri-template"}}, [["/{a}"]], [["/{a"]]),
    ({"items": {"format": "uri-reference"}}, [["", "a"]], [["\\"]]),
    ({"items": {"format": "unheard-of"}}, [["x"]], []),
    ({"items": False}, [[]], [[1]]),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "fitting", "failing"), CASES, ids=lambda case: str(case)[:50])
def test_keyword(schema, fitting, failing):
    assert call("json.verify_schema", schema) == [True, None]
    for document in fitting:
        assert call("json.match_schema", document, schema) == [True, []]
    for document in failing:
        fits, errors = call("json.match_schema", document, schema)
        assert not fits
        assert errors
        assert all(error.keys() == {"error", "type", "field", "desc"} for error in errors)


def test_errors_say_where():
    schema = {"properties": {"a": {"items": {"type": "string"}}}}
    _, (error,) = call("json.match_schema", '{"a": ["x", 1]}', schema)
    assert error["field"] == "a.1"
    assert error["type"] == "invalid_type"
    assert error["desc"] == "Invalid type. Expected: string, given: integer"
    assert error["error"] == "a.1: Invalid type. Expected: string, given: integer"


def test_a_combination_is_an_error_of_its_own():
    _, errors = call("json.match_schema", {}, {"allOf": [{"required": ["a"]}]})
    assert [error["type"] for error in errors] == ["required", "number_all_of"]


def kinds(document, schema):
    return [error["type"] for error in call("json.match_schema", document, schema)[1]]


def test_the_nearest_of_what_does_not_fit_is_shown():
    schemas = [{"type": "string"}, {"required": ["a"]}, {"required": ["a", "b"]}]
    assert kinds({}, {"anyOf": schemas}) == ["number_any_of", "required"]
    assert kinds({}, {"oneOf": schemas}) == ["number_one_of", "required"]
    assert kinds({}, {"oneOf": [True, {}]}) == ["number_one_of"]
    assert kinds([1], {"contains": {"type": "string"}}) == ["contains", "invalid_type"]
    assert kinds({"ab": 1}, {"propertyNames": {"maxLength": 1}}) == [
        "invalid_property_name",
        "string_lte",
    ]
    assert kinds({}, {"if": True, "then": {"required": ["a"]}}) == ["condition_then", "required"]


def test_the_draft_says_which_keywords_there_are():
    four, six = (f"http://json-schema.org/draft-0{draft}/schema#" for draft in (4, 6))
    assert kinds([], {"$schema": four, "const": 1}) == []
    assert kinds([], {"$schema": six, "const": 1}) == ["const"]
    assert kinds([], {"$schema": six, "if": True, "then": False}) == []


@pytest.mark.parametrize(
    ("document", "schema", "text"),
    [
        (
            "1",
            {"type": ["string", "null"]},
            "Invalid type. Expected: [string,null], given: integer",
        ),
        ("3", {"maximum": 3, "exclusiveMaximum": True}, "Must be less than 3"),
        ([1, 2, 1], {"uniqueItems": True}, "array items[0,2] must be unique"),
        ("1", {"const": {"a": 1}}, '(Root) does not match: {"a":1}'),
        ("1", {"enum": ["a", [1, 2]]}, '(Root) must be one of the following: "a", [1,2]'),
    ],
)
def test_texts(document, schema, text):
    _, (error,) = call("json.match_schema", document, schema)
    assert error["desc"] == text
    assert error["error"] == f"(Root): {text}"


BAD = [
    {"type": "text"}, {"type": 5}, {"type": ["null", "null"]}, {"required": "a"}, {"enum": [1, 1]}, {"multipleOf": 0},
    {"maximum": "1"}, {"maxLength": -1}, {"minItems": 1.5}, {"pattern": "("}, {"pattern": 1},
    {"properties": []}, {"allOf": {}}, {"minLength": 2, "maxLength": 1}, {"$ref": "#a"}, {"title": 5},
    {"exclusiveMaximum": True}, {"required": ["a", "a"]}, {"items": 5}, {"not": 5}, {"uniqueItems": 1},
    {"patternProperties": {"(": {}}}, {"$ref": "#/nowhere"}, {"$ref": "other.json"}, {"$ref": 5},
    {"definitions": {"a": {"type": "x"}}}, {"dependencies": {"a": 5}},
]  # fmt: skip


@pytest.mark.parametrize("schema", BAD, ids=str)
def test_a_bad_schema(schema):
    valid, message = call("json.verify_schema", schema)
    assert not valid
    assert message.startswith("jsonschema: ")
    with pytest.raises(BuiltinError):
        call("json.match_schema", {}, schema)


def test_what_is_no_document():
    for document in (5, None, "nope"):
        with pytest.raises(BuiltinError):
            call("json.match_schema", document, {})
    assert call("json.verify_schema", "nope")[0] is False
    assert call("json.verify_schema", 5)[0] is False
