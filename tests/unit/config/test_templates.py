"""Paths in the notation of other gateways."""

import pytest

from gateway.config.templates import fault
from gateway.route.template import parse_template


@pytest.mark.parametrize(
    "text",
    ["/", "/orders", "/orders/", "/orders/{id}", "/static/{rest:path}", "/{a}/x/{b}", "/v1/x:verb",
     "/odata/$metadata", "/Products(1)", "/a+b", "/~me", "/a%20b", "/a.b,c", "/{tenant}/{rest:path}"],
)  # fmt: skip
def test_templates(text):
    assert fault(text) is None


@pytest.mark.parametrize(
    ("text", "better"),
    [
        ("/*", "/{rest:path}"),
        ("/static/*", "/static/{rest:path}"),
        ("/static/**", "/static/{rest:path}"),
        ("/static*", "/static/{rest:path}"),
        ("/static/*rest", "/static/{rest:path}"),
        ("/static/.*", "/static/{rest:path}"),
        ("/static/(.*)", "/static/{rest:path}"),
        ("/static/{*file}", "/static/{file:path}"),
        ("/static/{file*}", "/static/{file:path}"),
        ("/static/{file...}", "/static/{file:path}"),
        ("/static/{file:.*}", "/static/{file:path}"),
        ("/static/{file:.+}", "/static/{file:path}"),
        ("/static/{file=**}", "/static/{file:path}"),
        ("/static/<path:file>", "/static/{file:path}"),
        ("/api/*/items", "/api/{name}/items"),
        ("/api/*/x/*/items", "/api/{name}/x/{name2}/items"),
        ("/orders/:id", "/orders/{id}"),
        ("/orders/:id/items/:item", "/orders/{id}/items/{item}"),
        ("/orders/:id?", "/orders/{id}"),
        ("/orders/<id>", "/orders/{id}"),
        ("/orders/<int:id>", "/orders/{id}"),
        ("/orders/{id:int}", "/orders/{id}"),
        ("/orders/{id?}", "/orders/{id}"),
    ],
)
def test_other_notations_get_ours(text, better):
    message, remedy = fault(text)
    assert message
    assert remedy == f"write {better}"
    assert fault(better) is None
    parse_template(better)


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("orders", "begins with a slash", "write /orders"),
        ("https://a.example/orders", "begins with a slash", ""),
        ("^/orders$", "not a regular expression", "{rest:path}"),
        ("~ ^/orders", "not a regular expression", "{rest:path}"),
        ("/orders/[0-9]+", "not a regular expression", "{name}"),
        ("/orders/\\d+", "not a regular expression", "{name}"),
        ("/(a|b)", "not a regular expression", "{name}"),
        ("/orders$", "not a regular expression", "{name}"),
        ("/a*b/c", "no wildcard", "{name}"),
        ("/a?b=c", "without a query", ""),
        ("/a//b", "without empty segments", "write /a/b"),
        ("/a;b", "no request can have a path with ';' in it", ""),
        ("/a b", "without a query, a fragment or blanks", ""),
        ("/{rest:path}/x", "has to stand at its end", ""),
        ("/{order-id}", "letters, digits and _ only", "write {order_id}"),
        ("/{id}.json", "whole segment", ""),
        ("/{", "whole segment", ""),
        ("/caf\u00e9/{id}", "percent-encoded", "write /caf%C3%A9/{id}"),
        ("/<", "path template", "{name}"),
    ],
)
def test_what_is_no_template(text, message, remedy):
    told, better = fault(text)
    assert message in told
    assert remedy in better
