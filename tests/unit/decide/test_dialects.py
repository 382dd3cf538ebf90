import pytest

from gateway import wire
from gateway.decide import DIALECTS
from gateway.errors import Code, DecisionError
from gateway.rego.values import UNDEFINED
from tests.support.stages import ALICE, ANONYMOUS, head, inquiry, route

RESERVED = wire.RESERVED | {b"x-auth-subject"}
BODY = b'{"a":1}'
ASKED = head(
    "/orders/42?page=2&tag=a&tag=b",
    ("authorization", "Bearer t"), ("content-type", "application/json"), ("content-length", "7"),
    authority=b"Api.Example:8443", method="POST",
)  # fmt: skip
QUERY = {"page": ["2"], "tag": ["a", "b"]}
HEADERS = {"authorization": "Bearer t", "content-type": "application/json", "content-length": "7"}


def ask(dialect, head_=ASKED, body=BODY, principal=ALICE, **matched):
    given = {"route_": route(body={"max": 100}), "query": QUERY, **matched}
    return DIALECTS[dialect].document(inquiry(head_, body=body, principal=principal, **given))


def read(dialect, value):
    return DIALECTS[dialect].decision(value, RESERVED)


def test_envoy_document():
    path = "/orders/42?page=2&tag=a&tag=b"
    assert ask("envoy") == {
        "attributes": {
            "source": {"address": {"socketAddress": {"address": "203.0.113.9"}}},
            "destination": {},
            "request": {
                "time": "2026-09-21T14:13:20Z",
                "http": {
                    "id": "01JTESTID",
                    "method": "POST",
                    "headers": {
                        ":authority": "Api.Example:8443", ":method": "POST", ":path": path, **HEADERS,
                    },
                    "host": "Api.Example:8443",
                    "path": path,
                    "scheme": "https",
                    "protocol": "HTTP/1.1",
                    "size": 7,
                    "body": '{"a":1}',
                },
            },
            "metadataContext": {
                "filterMetadata": {"envoy.filters.http.jwt_authn": {"corp": ALICE.claims}}
            },
        },
        "parsed_path": ["orders", "42"],
        "parsed_query": QUERY,
        "parsed_body": {"a": 1},
        "truncated_body": False,
        "version": {"ext_authz": "v3", "encoding": "protojson"},
    }  # fmt: skip


def test_envoy_document_of_little():
    asked = head("/", ("transfer-encoding", "chunked"))
    found = ask(
        "envoy", asked, principal=ANONYMOUS, route_=route(), path="/", segments=(), query={}
    )
    assert found["parsed_path"] == [""]
    assert found["attributes"]["metadataContext"]["filterMetadata"] == {
        "envoy.filters.http.jwt_authn": {}
    }
    assert found["attributes"]["request"]["http"]["size"] == -1
    assert found["parsed_body"] is None


def test_kong_document():
    assert ask("kong") == {
        "request": {
            "http": {
                "host": "api.example",
                "port": "8443",
                "tls": {},
                "method": "POST",
                "scheme": "https",
                "path": "/orders/42",
                "querystring": {"page": "2", "tag": ["a", "b"]},
                "headers": HEADERS,
                "uri_captures": {"named": {"id": "42"}, "unnamed": ["42"]},
                "body": '{"a":1}',
                "body_size": 7,
                "parsed_body": {"a": 1},
            }
        },
        "client_ip": "203.0.113.9",
        "route": {"id": "r", "name": "r", "paths": ["/{rest:path}"]},
        "consumer": {"id": "alice", "username": "alice"},
    }
    assert "consumer" not in ask("kong", principal=ANONYMOUS)


def test_apisix_document():
    assert ask("apisix") == {
        "type": "http",
        "request": {
            "scheme": "https",
            "method": "POST",
            "host": "api.example",
            "port": 8443,
            "path": "/orders/42",
            "headers": HEADERS,
            "query": {"page": "2", "tag": ["a", "b"]},
        },
        "var": {"server_port": "8443", "remote_addr": "203.0.113.9", "timestamp": 1790000000},
        "route": {"id": "r", "name": "r", "uris": ["/{rest:path}"]},
        "consumer": {"username": "alice"},
    }


@pytest.mark.parametrize(
    ("authority", "port"),
    [(b"a.b", 443), (b"a.b:8", 8), (b"[::1]", 443), (b"[::1]:9", 9), (b"7", 443)],
)
def test_ports(authority, port):
    found = ask("apisix", head("/", authority=authority), None)
    assert found["request"]["port"] == port


@pytest.mark.parametrize("dialect", ["envoy", "kong"])
def test_booleans(dialect):
    assert read(dialect, True).allow
    assert not read(dialect, False).allow


@pytest.mark.parametrize("dialect", ["envoy", "kong", "apisix"])
def test_undefined(dialect):
    assert read(dialect, UNDEFINED).code is Code.UNDEFINED


def test_envoy_allowed():
    found = read("envoy", {
        "allowed": True, "headers": [{"X-A": "1"}, {"x-b": ["2", "3"]}], "http_status": 200 + 103,
        "request_headers_to_remove": ["x-gone"], "response_headers_to_add": {"x-r": "4"},
        "dynamic_metadata": {"k": 1}, "unknown": 1, "query_parameters_to_remove": [],
    })  # fmt: skip
    assert found.allow
    assert found.headers == (("x-a", "1"), ("x-b", "2"), ("x-b", "3"))
    assert found.remove_headers == ("x-gone",)
    assert found.response_headers == (("x-r", "4"),)


def test_envoy_denied():
    found = read("envoy", {
        "allowed": False, "headers": {"location": "/login"}, "http_status": 302, "body": "go",
        "response_headers_to_add": {"x-r": "4"},
    })  # fmt: skip
    assert (found.allow, found.code, found.status) == (False, Code.POLICY_DENIED, 302)
    assert (found.headers, found.response_headers) == ((), (("location", "/login"),))
    assert (found.body, found.has_body, found.text) == ("go", True, True)
    assert read("envoy", {"allowed": False}).status == 403


def test_kong():
    given = {"allow": True, "headers": {"x-a": "1"}, "unknown": 1}
    assert read("kong", given).headers == (("x-a", "1"),)
    found = read("kong", {**given, "allow": False, "status": 503, "message": "no"})
    assert (found.status, found.headers, found.response_headers) == (503, (), (("x-a", "1"),))
    assert (found.body, found.has_body, found.text) == ({"message": "no"}, True, False)
    assert read("kong", {"allow": False, "message": {"m": 1}}).body == {"m": 1}
    assert not read("kong", {"allow": False}).has_body


def test_apisix():
    given = {"allow": True, "headers": {"x-a": "1"}, "helper": [1]}
    assert read("apisix", given).headers == (("x-a", "1"),)
    found = read("apisix", {**given, "allow": False, "status_code": 401, "reason": "no"})
    assert (found.status, found.headers, found.response_headers) == (401, (), (("x-a", "1"),))
    assert (found.body, found.text) == ("no", True)
    found = read("apisix", {"allow": False, "reason": {"m": 1}})
    assert (found.body, found.has_body, found.text) == ({"m": 1}, True, False)


@pytest.mark.parametrize(
    ("dialect", "value"),
    [
        *((dialect, value) for dialect in ("envoy", "kong", "apisix")
          for value in (None, 1, "true", [], {}, {"allow": "true", "allowed": 1},
                        {"allow": True, "allowed": True, "headers": {"host": "x"}},
                        {"allow": True, "allowed": True, "headers": {"X_Auth_Subject": "x"}},
                        {"allow": True, "allowed": True, "headers": {"a": "b\r\nc"}},
                        *({"allow": False, "allowed": False, "http_status": status,
                           "status": status, "status_code": status}
                          for status in (200, 204, 100, 299, 399, 999, "403", 403.5, True)))),
        ("apisix", True),
        ("apisix", False),
        ("apisix", {"allow": False, "reason": [1]}),
        ("kong", {"allow": False, "message": 1}),
        ("kong", {"allowed": True}),
        ("envoy", {"allow": True}),
        ("envoy", {"allowed": False, "body": {}}),
        ("envoy", {"allowed": False, "dynamic_metadata": []}),
        ("envoy", {"allowed": True, "query_parameters_to_remove": ["a"]}),
        ("envoy", {"allowed": True, "query_parameters_to_set": {"a": "b"}}),
        ("envoy", {"allowed": True, "request_headers_to_remove": "a"}),
        ("envoy", {"allowed": True, "response_headers_to_add": [1]}),
    ],
)  # fmt: skip
def test_refused(dialect, value):
    with pytest.raises(DecisionError) as refusal:
        read(dialect, value)
    assert refusal.value.code is Code.DECISION_SHAPE
