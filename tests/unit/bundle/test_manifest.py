"""`.manifest`: what is read, what is refused, and who owns what."""

import pytest

from gateway.bundle.errors import BundleError
from gateway.bundle.manifest import Manifest, dump, overlap, parse, root_of


def test_what_opa_writes():
    found = parse(
        b'{"revision":"7a9","roots":["gateway/authz","/acl/"],"rego_version":1,'
        b'"file_rego_versions":{"/old.rego":0},"metadata":{"by":"ci","n":1.50}}\n'
    )
    assert found == Manifest(
        revision="7a9",
        roots=(("gateway", "authz"), ("acl",)),
        rego_version=1,
        file_rego_versions={"/old.rego": 0},
        metadata={"by": "ci", "n": 1.5},
    )


@pytest.mark.parametrize("text", [b"{}", b'{"revision":"","roots":null,"wasm":[],"other":1}'])
def test_without_roots_it_owns_everything(text):
    assert parse(text) == Manifest()
    assert Manifest().owns(("any", "thing"))


def test_what_is_written():
    made = Manifest(revision="é", roots=(("a", "b"), ()), rego_version=1, metadata={"x": [1]})
    assert dump(made) == (
        '{"revision":"é","roots":["a/b",""],"rego_version":1,"metadata":{"x":[1]}}\n'.encode()
    )
    assert dump(Manifest()) == b'{"revision":"","roots":[""]}\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "line 1"),
        (b"[]", "expected a JSON object"),
        (b'{"revision":1}', "revision: expected printable text"),
        (b'{"revision":"a\\nb"}', "revision: expected printable text"),
        (b'{"revision":"a","revision":"b"}', "occurs twice"),
        (b'{"Roots":["a"]}', "'Roots' is written 'roots'"),
        (b'{"roots":"a"}', "roots: expected a list"),
        (b'{"roots":["a",1]}', "roots: expected a list"),
        (b'{"roots":["a//b"]}', "'a//b' has an empty name"),
        (b'{"roots":["a/b","a"]}', "data.a.b and data.a overlap"),
        (b'{"roots":["a","a"]}', "data.a and data.a overlap"),
        (b'{"roots":["","a"]}', "data and data.a overlap"),
        (b'{"rego_version":2}', "rego_version: expected 0 or 1"),
        (b'{"rego_version":true}', "rego_version: expected 0 or 1"),
        (b'{"rego_version":"1"}', "rego_version: expected 0 or 1"),
        (b'{"file_rego_versions":{"a":2}}', "a: expected 0 or 1"),
        (b'{"metadata":[]}', "metadata: expected an object"),
        (b" " * (1024**2 + 1), "more than 1048576 bytes"),
    ],
)
def test_what_is_refused(text, said):
    with pytest.raises(BundleError) as refused:
        parse(text)
    assert refused.value.reason.code == "manifest-malformed"
    assert said in str(refused.value)
    assert refused.value.problems[0].file == ".manifest"


def test_webassembly_is_refused():
    with pytest.raises(BundleError) as refused:
        parse(b'{"wasm":[{"entrypoint":"a/allow","module":"/policy.wasm"}]}')
    assert refused.value.reason.code == "content-refused"
    assert refused.value.problems[0].remedy == "build it with --target rego"


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("a", "a", True), ("a", "a/b", True), ("", "a", True), ("a/b", "a", True),
        ("a", "ab", False), ("a/b", "a/c", False), ("a", "b", False),
    ],
)  # fmt: skip
def test_overlap(one, other, both):
    assert overlap(root_of(one), root_of(other)) is both


@pytest.mark.parametrize(
    ("document", "strays"),
    [
        ({"a": {"b": 1}}, []),
        ({"a": {"b": {"c": 1}}}, []),
        ({}, []),
        ({"a": {}}, []),
        ({"a": {"c": 1, "b": 2}}, [("a", "c")]),
        ({"a": 1}, [("a",)]),
        ({"x": {}}, [("x",)]),
        ({"a/b": 1}, [("a/b",)]),
        ({"acl": [1]}, []),
        ([], [()]),
    ],
)
def test_what_lies_outside_of_the_roots(document, strays):
    manifest = Manifest(roots=(("a", "b"), ("acl",)))
    assert list(manifest.strays((), document)) == strays


def test_a_bundle_without_roots_at_all_owns_nothing():
    assert parse(b'{"roots":[]}').roots == ()
    assert list(parse(b'{"roots":[]}').strays((), {"a": 1})) == [()]
