import pytest

from gateway.errors import Code, ConfigError, RouteError
from gateway.route.cors import CorsRules
from gateway.route.table import RouteTable
from tests.support.stages import config, head

APP = "https://app.example"
CONFIG = config(
    {"paths": ["/a"], "methods": ["GET", "PUT"], "cors": {"origins": [APP], "expose": ["x-n"]}},
    {"paths": ["/b"], "cors": {"origins": ["*"]}},
    {"paths": ["/c"], "cors": {"origins": [APP, "null"], "credentials": True, "headers": ["*"],
                               "methods": ["GET"], "max_age": 5}},
    {"paths": ["/d"]},
)  # fmt: skip
TABLE = RouteTable.build(CONFIG.routes)
RULES = CorsRules.build(CONFIG)
VARY = b"origin, access-control-request-method, access-control-request-headers"


def ask(path, *, origin=APP, method="GET", names=None, more=()):
    lines = [("origin", origin), ("access-control-request-method", method), *more]
    if names is not None:
        lines.append(("access-control-request-headers", names))
    return head(path, *lines, method="OPTIONS")


def answer(asked):
    found = RULES.preflight(asked, TABLE)
    return found and dict(found.headers)


def test_preflight_answers_from_the_routes_config():
    assert answer(ask("/a", method="PUT", names="Content-Type, authorization")) == {
        b"access-control-allow-origin": b"https://app.example",
        b"access-control-allow-methods": b"GET, HEAD, PUT",
        b"access-control-allow-headers": b"content-type, authorization",
        b"access-control-max-age": b"600",
        b"vary": VARY,
    }


def test_any_origin():
    found = answer(ask("/b", origin="https://whoever.example", method="DELETE"))
    assert found[b"access-control-allow-origin"] == b"*"
    assert b"access-control-allow-headers" not in found


def test_credentials_and_any_header():
    found = answer(ask("/c", origin="null", names="x-whatever"))
    assert found[b"access-control-allow-origin"] == b"null"
    assert found[b"access-control-allow-credentials"] == b"true"
    assert found[b"access-control-allow-headers"] == b"x-whatever"
    assert found[b"access-control-max-age"] == b"5"


@pytest.mark.parametrize(
    "asked",
    [
        ask("/a", origin="https://evil.example"),
        ask("/a", origin="https://app.example.evil.example"),
        ask("/a", origin="HTTPS://APP.EXAMPLE"),
        ask("/a", origin="null"),
        ask("/a", names="x-other"),
        ask("/c", method="PUT"),
        ask("/c", names="bad name"),
        ask("/c", names=b"\xff"),
    ],
)
def test_refused(asked):
    with pytest.raises(RouteError) as refusal:
        RULES.preflight(asked, TABLE)
    assert refusal.value.code is Code.CORS_REFUSED
    assert "b'" not in refusal.value.detail


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (ask("/none"), Code.ROUTE_UNKNOWN),
        (ask("/a", method="DELETE"), Code.METHOD_NOT_ALLOWED),
        (ask("/a", method="get"), Code.METHOD_NOT_ALLOWED),
        (ask("/a/../b"), Code.BAD_PATH),
    ],
)
def test_what_the_table_refuses(asked, code):
    with pytest.raises(RouteError) as refusal:
        RULES.preflight(asked, TABLE)
    assert refusal.value.code is code


@pytest.mark.parametrize(
    "asked",
    [
        ask("/d"),
        head("/a", ("origin", APP), method="OPTIONS"),
        head("/a", ("access-control-request-method", "GET"), method="OPTIONS"),
        head("/a", ("origin", APP), ("access-control-request-method", "GET"), method="GET"),
        ask("/a", more=[("origin", APP)]),
        ask("/a", more=[("access-control-request-method", "GET")]),
    ],
)
def test_not_a_preflight_of_ours(asked):
    assert answer(asked) is None


def test_response_headers():
    first, any_origin, credentials, plain = CONFIG.routes
    asked = head("/", ("origin", APP))
    assert RULES.response_headers(asked, first) == (
        (b"access-control-allow-origin", b"https://app.example"),
        (b"access-control-expose-headers", b"x-n"),
        (b"vary", b"origin"),
    )
    assert RULES.response_headers(head("/"), any_origin) == (
        (b"access-control-allow-origin", b"*"),
    )
    assert (b"access-control-allow-credentials", b"true") in RULES.response_headers(
        asked, credentials
    )
    assert RULES.response_headers(asked, plain) is None
    assert RULES.response_headers(asked, None) is None
    for other in (head("/"), head("/", ("origin", "https://evil.example"))):
        assert RULES.response_headers(other, first) == ((b"vary", b"origin"),)


def test_section_of_the_whole_file():
    rules = CorsRules.build(config({}, {"paths": ["/b"], "cors": {"origins": ["*"]}},
                                   cors={"origins": [APP]}))  # fmt: skip
    asked = head("/", ("origin", APP))
    assert rules.response_headers(asked, None)[0][1] == APP.encode()
    assert set(rules.routes) == {"r0", "r1"}


@pytest.mark.parametrize(
    "origin", ["https://app.example/", "app.example", "https://App.example", ""]
)
def test_malformed_origins_are_config_errors(origin):
    with pytest.raises(ConfigError) as caught:
        CorsRules.build(config({"cors": {"origins": [APP, origin]}}))
    assert [problem.key for problem in caught.value.problems] == ["routes.0.cors.origins.1"]
