import itertools

import pytest

from gateway.errors import Code, ConfigError, RouteError
from gateway.route.table import RouteTable
from tests.support.stages import head, route


def table(*given):
    return RouteTable.build([route(id=f"r{n}", **one) for n, one in enumerate(given)])


def taken(built, target, method="GET", host=b"api.example"):
    found = built.match(head(target, method=method, authority=host))
    return found.route.id, dict(found.params)


def refusal(built, target, method="GET", host=b"api.example"):
    with pytest.raises(RouteError) as caught:
        built.match(head(target, method=method, authority=host))
    return caught.value.code, dict(caught.value.headers).get("allow")


SPECIFIC = [
    {"paths": ["/{rest:path}"]},
    {"paths": ["/orders"]},
    {"paths": ["/orders/"]},
    {"paths": ["/orders/{id}"]},
    {"paths": ["/orders/new"]},
    {"paths": ["/orders/{id}/items/{item}"]},
    {"paths": ["/orders/new/{rest:path}"]},
    {"paths": ["/{kind}/{id}/log"]},
    {"paths": ["/"]},
    {"paths": ["/caf%C3%A9/{x}"]},
]


@pytest.mark.parametrize("order", [SPECIFIC, SPECIFIC[::-1]], ids=["given", "reversed"])
@pytest.mark.parametrize(
    ("target", "path", "params"),
    [
        ("/", "/", {}),
        ("/orders", "/orders", {}),
        ("/orders/", "/orders/", {}),
        ("/orders/42", "/orders/{id}", {"id": "42"}),
        ("/orders/a%20b", "/orders/{id}", {"id": "a b"}),
        ("/orders/new", "/orders/new", {}),
        ("/orders/new/", "/orders/new/{rest:path}", {"rest": ""}),
        ("/orders/new/x/y", "/orders/new/{rest:path}", {"rest": "x/y"}),
        ("/orders/7/items/8", "/orders/{id}/items/{item}", {"id": "7", "item": "8"}),
        # The literal branch is tried first and left again where it leads nowhere.
        ("/orders/7/log", "/{kind}/{id}/log", {"kind": "orders", "id": "7"}),
        ("/orders/7/other", "/{rest:path}", {"rest": "orders/7/other"}),
        ("/users/7/log", "/{kind}/{id}/log", {"kind": "users", "id": "7"}),
        ("/caf%c3%a9/1", "/caf%C3%A9/{x}", {"x": "1"}),
        ("/Orders", "/{rest:path}", {"rest": "Orders"}),
    ],
)
def test_most_specific_wins_in_any_order(order, target, path, params):
    found = table(*order).match(head(target))
    assert (found.route.paths, found.params) == ((path,), params)


def test_an_escape_does_not_lead_past_a_literal():
    built = table({"paths": ["/admin@x"]}, {"paths": ["/{rest:path}"]})
    assert taken(built, "/admin%40x")[0] == "r0"
    assert taken(built, "/%61dmin@x")[0] == "r0"


def test_hosts():
    built = table(
        {"hosts": ["api.example"]},
        {"hosts": ["*.example"]},
        {"hosts": ["*.deep.example"]},
        {"paths": ["/any"]},
        {"hosts": ["[::1]"]},
    )
    assert taken(built, "/x", host=b"API.example:443")[0] == "r0"
    assert taken(built, "/x", host=b"a.b.example")[0] == "r1"
    assert taken(built, "/x", host=b"a.deep.example")[0] == "r2"
    assert taken(built, "/x", host=b"deep.example")[0] == "r1"
    assert taken(built, "/any", host=b"other.test")[0] == "r3"
    assert taken(built, "/x", host=b"[0::1]:80")[0] == "r4"
    assert refusal(built, "/x", host=b"example") == (Code.ROUTE_UNKNOWN, None)
    assert refusal(built, "/x", host=b"xexample") == (Code.ROUTE_UNKNOWN, None)


def test_a_parameter_is_never_empty():
    built = table({"paths": ["/orders/{id}", "/orders/{id}/x"]})
    assert refusal(built, "/orders/") == (Code.ROUTE_UNKNOWN, None)


def test_a_less_specific_host_takes_what_the_specific_one_does_not():
    built = table({"hosts": ["api.example"], "paths": ["/a"]}, {"paths": ["/{rest:path}"]})
    assert taken(built, "/b")[0] == "r1"


def test_methods():
    built = table(
        {"paths": ["/a"], "methods": ["GET", "POST"]},
        {"paths": ["/a"], "methods": ["DELETE"]},
        {"paths": ["/b"]},
        {"paths": ["/c"], "methods": ["TRACE"]},
        {"paths": ["/d/{x}"], "methods": ["PUT"]},
        {"paths": ["/d/e"], "methods": ["GET"]},
    )
    assert taken(built, "/a", "POST")[0] == "r0"
    assert taken(built, "/a", "HEAD")[0] == "r0"
    assert taken(built, "/a", "DELETE")[0] == "r1"
    assert taken(built, "/b", "PROPFIND")[0] == "r2"
    assert taken(built, "/c", "TRACE")[0] == "r3"
    assert taken(built, "/d/e", "PUT")[0] == "r4"
    assert refusal(built, "/a", "PUT") == (Code.METHOD_NOT_ALLOWED, "DELETE, GET, HEAD, POST")
    assert refusal(built, "/d/e", "POST") == (Code.METHOD_NOT_ALLOWED, "GET, HEAD, PUT")
    assert refusal(built, "/a", "OPTIONS")[0] is Code.METHOD_NOT_ALLOWED
    assert refusal(built, "/none", "PUT") == (Code.ROUTE_UNKNOWN, None)
    for method in ("CONNECT", "TRACE", "get", "Get", "GE T", ""):
        if method:
            assert refusal(built, "/b", method)[0] is Code.METHOD_NOT_ALLOWED
    assert refusal(built, "/b", "CONNECT")[1] == "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"


def test_explicit_head_is_not_get():
    built = table({"paths": ["/a"], "methods": ["GET"]}, {"paths": ["/a"], "methods": ["HEAD"]})
    assert taken(built, "/a", "HEAD")[0] == "r1"


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ([{"paths": ["/a/{x}"]}, {"paths": ["/a/{y}"]}], "routes.1.paths.0"),
        ([{"paths": ["/a", "/a"]}], "routes.0.paths.1"),
        ([{"methods": ["GET"]}, {"methods": ["POST", "GET"]}], "routes.1.paths.0"),
        ([{"methods": ["GET"]}, {}], "routes.1.paths.0"),
        ([{}, {"methods": ["GET"]}], "routes.1.paths.0"),
        ([{"hosts": ["a.x", "b.x"]}, {"hosts": ["B.x"]}], "routes.1.paths.0"),
        ([{"paths": ["/a!"]}, {"paths": ["/a%21"]}], "routes.1.paths.0"),
        ([{"paths": ["a"]}], "routes.0.paths.0"),
        ([{"paths": ["/a", "/a//b"]}], "routes.0.paths.1"),
        ([{"paths": ["//{rest:path}"]}], "routes.0.paths.0"),
        ([{"paths": ["/a/../b"]}], "routes.0.paths.0"),
        ([{"paths": ["/%61"]}], "routes.0.paths.0"),
        ([{"paths": ["/caf\u00e9"]}], "routes.0.paths.0"),
        ([{"paths": ["/a%2Fb"]}], "routes.0.paths.0"),
        ([{"paths": ["/a{x}"]}], "routes.0.paths.0"),
        ([{"paths": ["/{x:path}/b"]}], "routes.0.paths.0"),
        ([{"paths": ["/{x}/{x}"]}], "routes.0.paths.0"),
        ([{"paths": ["/{x}/{x:path}"]}], "routes.0.paths.0"),
        ([{"paths": ["/{1x}"]}], "routes.0.paths.0"),
        ([{"paths": ["/a"], "strip_prefix": "/b"}], "routes.0.strip_prefix"),
        ([{"paths": ["/apix"], "strip_prefix": "/api"}], "routes.0.strip_prefix"),
        ([{"paths": ["/{x}/y"], "strip_prefix": "/api"}], "routes.0.strip_prefix"),
        ([{"paths": ["/a/b"], "strip_prefix": "/{x}"}], "routes.0.strip_prefix"),
        ([{"hosts": ["a.x", "a:80"]}], "routes.0.hosts.1"),
        ([{"hosts": ["*"]}], "routes.0.hosts.0"),
        ([{"hosts": ["a.*.x"]}], "routes.0.hosts.0"),
        ([{"hosts": ["a.x."]}], "routes.0.hosts.0"),
        ([{"methods": ["GET", "CONNECT"]}], "routes.0.methods.1"),
    ],
)  # fmt: skip
def test_config_errors_name_their_place(given, key):
    with pytest.raises(ConfigError) as caught:
        table(*given)
    assert [problem.key for problem in caught.value.problems] == [key]


def test_all_problems_at_once():
    with pytest.raises(ConfigError) as caught:
        table({"paths": ["a", "/{x"]}, {"hosts": [":"]}, {"methods": ["CONNECT"]})
    keys = [problem.key for problem in caught.value.problems]
    assert keys == [
        "routes.0.paths.0",
        "routes.0.paths.1",
        "routes.1.hosts.0",
        "routes.2.methods.0",
    ]


def test_same_shape_with_other_methods_or_hosts_is_no_tie():
    table(
        {"methods": ["GET"]}, {"methods": ["POST"]}, {"hosts": ["a.x"]}, {"hosts": ["*.x"]},
        {"paths": ["/{x}"]},
    )  # fmt: skip


def test_encoded_slashes_pass_only_on_the_route_that_says_so():
    built = table(
        {"paths": ["/repos/{name}"], "encoded_slashes": "pass"},
        {"paths": ["/repos/{name}/raw"]},
        {"paths": ["/x/{y}"], "methods": ["GET"]},
    )
    assert taken(built, "/repos/a%2fb") == ("r0", {"name": "a/b"})
    assert taken(built, "/repos/ab/raw")[0] == "r1"
    for target in ("/repos/a%2Fb/raw", "/none%2F", "/repos/a%2f..", "/x/a%2Fb"):
        assert refusal(built, target)[0] is Code.BAD_PATH
    assert refusal(built, "/x/a%2Fb", "POST")[0] is Code.BAD_PATH


def test_query_is_read_with_the_route():
    assert table({}).match(head("/x?a=1&a=2&b")).query == {"a": ["1", "2"], "b": [""]}
    assert refusal(table({}), "/x?a=%ff")[0] is Code.BAD_QUERY


@pytest.mark.parametrize("target", ["/../x", "*", "/a%00"])
def test_bad_path(target):
    assert refusal(table({}), target)[0] is Code.BAD_PATH


def test_deep_paths_and_templates_do_not_recurse_without_bound():
    built = table({"paths": ["/" + "/".join(["{a%d}" % n for n in range(40)])]}, {})
    assert taken(built, "/a" * 4000)[0] == "r1"


def test_every_choice_of_literal_and_parameter_is_found():
    """All mixtures of literals and parameters over five segments, each found by its own path."""
    mixtures = list(itertools.product(["x", "{p%d}"], repeat=5))
    paths = ["/" + "/".join(p % n if "%" in p else p for n, p in enumerate(m)) for m in mixtures]
    built = table(*({"paths": [path]} for path in paths))
    for index, mixture in enumerate(mixtures):
        target = "/" + "/".join("x" if piece == "x" else "y" for piece in mixture)
        assert taken(built, target)[0] == f"r{index}"
