import pytest

from gateway.errors import Code, ConfigError, ForwardError
from gateway.forward import Forwarder
from gateway.route.table import RouteTable
from tests.support.stages import ALICE, ALLOWED, config, head, source, trail


def forward(route, target, **changes):
    settings = config(route)
    asked = head(target, **changes)
    found = RouteTable.build(settings.routes).match(asked)
    return Forwarder.build(settings).forward(
        asked, found, ALICE, ALLOWED, source(), trail=trail(asked), cors=None, now=0.0
    )


API = {"paths": ["/api/v1", "/api/v1/{rest:path}"], "strip_prefix": "/api/v1"}
ODD = {"paths": ["/a@b/{rest:path}"], "strip_prefix": "/a@b"}
SLASHES = {"paths": ["/x/{y}/{rest:path}"], "strip_prefix": "/x", "encoded_slashes": "pass"}


@pytest.mark.parametrize(
    ("route", "asked", "target"),
    [
        ({}, "/", b"/"),
        ({}, "/a/%62?x=%20y&z", b"/a/b?x=%20y&z"),
        ({}, "/a?", b"/a"),
        ({}, "/a??b?c", b"/a??b?c"),
        (API, "/api/v1", b"/"),
        (API, "/api/v1/", b"/"),
        (API, "/api/v1/orders/42/?a=/api/v1", b"/orders/42/?a=/api/v1"),
        (API, "/api/v1/api/v1/x", b"/api/v1/x"),
        (API, "/%61pi/v1/x", b"/x"),
        (ODD, "/a%40b/c", b"/c"),
        (ODD, "/a@b/c", b"/c"),
        (SLASHES, "/x/a%2fb/c", b"/a%2Fb/c"),
    ],
)
def test_targets(route, asked, target):
    assert forward(route, asked).target == target


def test_upstream_by_name_and_by_url():
    settings = config(
        {"upstream": "orders"}, {"hosts": ["a.x"], "upstream": "http://127.0.0.1:1"},
        {"hosts": ["b.x"], "upstream": "http://127.0.0.1:1"},
        upstreams={"orders": {"url": "https://orders.example"}},
    )  # fmt: skip
    built = Forwarder.build(settings)
    assert built.targets["r0"].upstream is settings.upstreams["orders"]
    assert built.targets["r1"].upstream == built.targets["r2"].upstream
    assert len(built.upstreams) == 2


@pytest.mark.parametrize("upstream", ["nowhere", "ftp://x", "http://u:p@x", "http://x/path"])
def test_no_such_upstream(upstream):
    with pytest.raises(ConfigError) as caught:
        Forwarder.build(config({}, {"hosts": ["a.x"], "upstream": upstream}))
    assert [p.key for p in caught.value.problems] == ["routes.1.upstream"]


@pytest.mark.parametrize(
    ("route", "size", "limit"),
    [({}, 16 * 1024**2, 16 * 1024**2), ({"max_body": 5}, 5, 5), ({"max_body": 0}, 0, 0)],
)
def test_body_limit(route, size, limit):
    line = ((b"content-length", b"%d" % size),)
    assert forward(route, "/", headers=line).max_body == limit
    with pytest.raises(ForwardError) as refusal:
        forward(route, "/", headers=((b"content-length", b"%d" % (size + 1)),))
    assert refusal.value.code is Code.BODY_TOO_LARGE


def test_what_a_forward_holds():
    found = forward({}, "/", method="PUT")
    assert (found.method, found.expires_at, found.cors) == ("PUT", ALICE.expires_at, False)
    assert found.response_headers == ()
