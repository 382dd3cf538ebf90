"""Whatever the file holds, it is a Config or problems with their places, in finite time."""

from pathlib import Path

import yaml
from hypothesis import HealthCheck, given, settings, strategies as st

from gateway.config.load import read
from gateway.config.model import Config
from gateway.errors import ConfigError
from tests.unit.config.test_load import BASE

KEYS = st.sampled_from(
    ["routes", "issuers", "upstreams", "corp", "keys", "id", "paths", "upstream", "upstrem", "tls",
     "limits", "log", "networks", "cors", "identity_headers", "discovery", "audience", "x", "a.b"]
)  # fmt: skip
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["${X}", "${", "corp", "/a", "GET", "10.0.0.0/8", "http://h", "1m", "\0"]),
)
JUNK = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def places(node, key=()):
    yield key
    pairs = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for name, value in pairs:
        yield from places(value, (*key, name))


def put(node, key, value):
    if not key:
        return value
    if isinstance(node, dict):
        return {**node, key[0]: put(node.get(key[0]), key[1:], value)}
    if isinstance(node, list) and key[0] < len(node):
        return [put(item, key[1:], value) if n == key[0] else item for n, item in enumerate(node)]
    return node


def outcome(data):
    path = Path("/nowhere/gateway.yaml")
    try:
        return read(data, path, {})
    except ConfigError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.file == str(path)
            assert problem.message
        return error


GOOD = yaml.safe_load(BASE)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_broken_configurations(data):
    tree = GOOD
    for _ in range(data.draw(st.integers(1, 4))):
        key = data.draw(st.sampled_from(sorted(places(tree), key=str)))
        if data.draw(st.booleans()) and key and isinstance(key[-1], str):
            key = (*key[:-1], data.draw(KEYS))
        tree = put(tree, key, data.draw(JUNK))
    outcome(yaml.dump(tree).encode())


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes(data):
    assert not isinstance(getattr(outcome(data), "config", None), Config)
