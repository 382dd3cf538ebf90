import pytest

from gateway.jose.claim_path import ABSENT, find

CLAIMS = {
    "sub": "alice",
    "nothing": None,
    "realm": {"access": {"roles": ["a"]}, "dotted.name": 1},
    "https://example.com/roles": ["b"],
    "https://example.com/app": {"roles": ["c"]},
    "a.b": {"c": "literal first"},
    "a": {"b": {"c": "second"}, "only": {"here": 1}},
    "list": [{"x": 1}],
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("sub", "alice"),
        ("nothing", None),
        ("nothing.more", ABSENT),
        ("realm.access.roles", ["a"]),
        ("realm.dotted.name", 1),
        ("realm.access.missing", ABSENT),
        ("https://example.com/roles", ["b"]),
        ("https://example.com/app.roles", ["c"]),
        ("a.b.c", "literal first"),
        ("a.only.here", 1),
        ("sub.x", ABSENT),
        ("list.0", ABSENT),
        ("list.0.x", ABSENT),
        ("", ABSENT),
        (".", ABSENT),
        ("realm.", ABSENT),
    ],
)
def test_find(path, value):
    assert find(CLAIMS, path) is value or find(CLAIMS, path) == value
