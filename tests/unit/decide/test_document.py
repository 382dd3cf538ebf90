import pytest

from gateway.decide.document import native, rfc3339
from gateway.decide.fields import ANYTHING, FIELDS, misread
from gateway.decide.inquiry import exact
from tests.support.stages import ANONYMOUS, NOW, head, inquiry


def test_the_whole_document():
    asked = head("/orders/42?page=2", ("accept", "application/json"), ("authorization", "Bearer x"))
    assert native(inquiry(asked, query={"page": ["2"]})) == {
        "request": {
            "id": "01JTESTID",
            "method": "GET",
            "scheme": "https",
            "host": "api.example",
            "path": "/orders/42",
            "segments": ["orders", "42"],
            "query": {"page": ["2"]},
            "query_string": "page=2",
            "headers": {"accept": "application/json"},
            "cookies": {},
            "body": None,
            "size": 0,
        },
        "claims": {"sub": "alice", "roles": ["reader"], "org": {"id": 7}},
        "identity": {
            "authenticated": True,
            "subject": "alice",
            "issuer": "corp",
            "scopes": ["orders:read", "orders:write"],
            "groups": [],
            "roles": ["reader"],
        },
        "token": {"header": {"alg": "RS256", "kid": "r1"}, "expires_at": 1790000300},
        "route": {"id": "r", "params": {"id": "42"}, "labels": {}},
        "source": {"address": "203.0.113.9", "networks": ["office"]},
        "time": {"unix": 1790000000, "rfc3339": "2026-09-21T14:13:20Z"},
    }


def test_the_fields_that_are_told_of_are_those_that_there_are():
    found = native(inquiry(head()))
    assert {key: sorted(value) for key, value in found.items() if FIELDS[key] is not ANYTHING} == {
        key: sorted(known) for key, known in FIELDS.items() if known is not ANYTHING
    }
    nested = {
        (key, name)
        for key, value in found.items()
        if FIELDS[key] is not ANYTHING
        for name, item in value.items()
        if isinstance(item, dict) or item is None and name == "body"
    }
    assert nested == {
        (key, name)
        for key, known in FIELDS.items()
        for name, below in (known or {}).items()
        if below is ANYTHING
    }


@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        ("request.path", None),
        ("request.headers.x-tenant", None),
        ("claims.any.thing", None),
        ("route.labels.tier", None),
        ("", None),
        ("request.pth", "did you mean input.request.path?"),
        ("requests", "did you mean input.request?"),
        ("request.path.length", "docs/policies.md lists what input holds"),
        ("attributes.request", "docs/policies.md lists what input holds"),
        ("request.headers.X-Tenant", "names of headers are lower-case: "
            'input.request.headers["x-tenant"]'),
        ("request.headers.Authorization", "policies are not shown credentials; what a token says "
            "is in input.claims"),
    ],
)  # fmt: skip
def test_what_is_read_and_never_there(path, remedy):
    assert misread(path.split(".") if path else ()) == remedy


def test_anonymous():
    found = native(inquiry(head(), principal=ANONYMOUS))
    assert found["claims"] == {}
    assert found["token"] == {"header": {}, "expires_at": None}
    assert found["identity"] == {
        "authenticated": False, "subject": "", "issuer": "", "scopes": [], "groups": [],
        "roles": [],
    }  # fmt: skip


def plain(value):
    """Whether a value is made of what the engine takes as it is."""
    if type(value) is dict:
        return all(type(key) is str and plain(item) for key, item in value.items())
    if type(value) is list:
        return all(map(plain, value))
    return value is None or type(value) in (str, int, float, bool)


def test_documents_are_plain_json():
    assert plain(native(inquiry(head("/x?a=1", ("cookie", "a=1")), query={"a": ["1"]})))


@pytest.mark.parametrize(
    ("lines", "headers"),
    [
        ([("accept", "a"), ("accept", "b")], {"accept": "a, b"}),
        ([("x", b"caf\xc3\xa9")], {"x": "cafÃ©"}),
        ([("proxy-authorization", "secret"), ("x-ticket", "secret")], {}),
        ([("connection", "x-a, close"), ("x-a", "1"), ("X_A".lower(), "2"), ("x-b", "3")],
         {"connection": "x-a, close", "x-b": "3"}),
        ([("connection", "keep-alive"), ("keep-alive", "5")],
         {"connection": "keep-alive", "keep-alive": "5"}),
    ],
)  # fmt: skip
def test_headers(lines, headers):
    found = native(inquiry(head("/", ("authorization", "secret"), *lines), header="x-ticket"))
    assert found["request"]["headers"] == headers


@pytest.mark.parametrize(
    ("lines", "header", "cookies"),
    [
        (["a=1; b=2"], "a=1; b=2", {"a": "1", "b": "2"}),
        (["a=1", "b=2"], "a=1; b=2", {"a": "1", "b": "2"}),
        (["a=1; session=SECRET; b=2"], "a=1; b=2", {"a": "1", "b": "2"}),
        (["session=SECRET"], None, {}),
        (["a=1; session = SECRET", "session=SECRET2"], "a=1", {"a": "1"}),
        (["a=1; b=2; a=3"], "a=1; b=2; a=3", {"b": "2"}),
        (["a=b=c; d; =e; ;"], "a=b=c; d; =e; ;", {"a": "b=c", "d": ""}),
        (['a="x; y"'], 'a="x; y"', {"a": '"x', 'y"': ""}),
        (["Session=1"], "Session=1", {"Session": "1"}),
    ],
)
def test_cookies(lines, header, cookies):
    asked = head("/", *(("cookie", line) for line in lines))
    found = native(inquiry(asked, cookie="session"))["request"]
    assert found["headers"].get("cookie") == header
    assert found["cookies"] == cookies
    assert "SECRET" not in str(found)


def test_many_cookies_with_one_name_cost_no_more_than_many_others():
    line = "; ".join([f"c{n}=1" for n in range(4000)] + ["c0=2"] * 4000)
    assert len(native(inquiry(head("/", ("cookie", line))))["request"]["cookies"]) == 3999


def test_whole_numbers_are_integers():
    assert (exact(1.0), exact(1.5), exact(7)) == (1, 1.5, 7)
    assert type(exact(1.0)) is int
    found = native(inquiry(head(), now=NOW + 0.25))["time"]
    assert found == {"unix": NOW + 0.25, "rfc3339": "2026-09-21T14:13:20Z"}
    assert rfc3339(0) == "1970-01-01T00:00:00Z"
