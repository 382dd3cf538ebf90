"""The JSON Schema says what the loader says."""

import jsonschema
import pytest
import yaml

from gateway.config.schema import json_schema

ROUTES = "routes: [{id: a, paths: [/a], upstream: x}]\n"


@pytest.fixture(scope="module")
def validator():
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize(
    "text",
    [
        ROUTES,
        "routes: [{id: a, paths: /a, upstream: x, methods: GET}]",
        ROUTES + "limits: {body: 64KiB, idle_timeout: 30s, headers: 10}",
        ROUTES + "limits: {body: 65536, idle_timeout: 1.5, headers: '${N}'}",
        ROUTES + "log: {access: {sink: '${SINK:-stderr}'}}",
        ROUTES + "issuers: {a: {issuer: b, algorithms: ES256, keys: {discovery: true}}}",
        ROUTES + "issuers: {a: {issuer: b, keys: {discovery: 'https://x'}}}",
        ROUTES + "cors: null",
        ROUTES + "upstreams: {a: {url: 'http://a'}, b: {targets: ['http://a', 'http://b']}}",
        ROUTES + "policy: {tests: 'off'}\nreload: {watch: 'Yes'}",
    ],
)
def test_what_it_takes(validator, text):
    assert not list(validator.iter_errors(yaml.safe_load(text)))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{}", "routes"),
        (ROUTES + "upstream: {}", "upstream"),
        ("routes: [{id: a, paths: [/a], upstream: x, method: GET}]", "method"),
        (ROUTES + "limits: {headers: many}", "many"),
        (ROUTES + "policy: {tests: maybe}", "maybe"),
        (ROUTES + "limits: {headers: 1}", "1"),
        (ROUTES + "log: {access: {sink: syslog}}", "syslog"),
        (ROUTES + "issuers: {a: {issuer: b, algorithms: [none], keys: {}}}", "none"),
        ("routes: []", "[]"),
        (ROUTES + "upstreams: {a: {}}", "is not valid"),
        (ROUTES + "upstreams: {a: {url: 'http://a', targets: 'http://b'}}", "is valid under each"),
    ],
)
def test_what_it_refuses(validator, text, part):
    errors = list(validator.iter_errors(yaml.safe_load(text)))
    assert errors
    assert any(part in error.message for error in errors)


def test_every_key_is_described():
    schema = json_schema()
    for name, section in {"": schema, **schema["$defs"]}.items():
        for key, value in section.get("properties", {}).items():
            assert value.get("description") or "$ref" in value, f"{name}.{key}"
