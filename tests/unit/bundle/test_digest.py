"""Hashes of files: the digests that OPA's own tests hold, and OPA itself asked."""

import hashlib
import json

import pytest

from gateway.bundle import digest
from gateway.bundle.digest import file_digest
from tests.support.opa import needs_opa, opa

MD5, SHA512 = hashlib.md5, hashlib.sha512
KNOWN = [
    (".manifest", '{"revision": "quickbrownfaux"}', MD5, "a005c38a509dc2d5a7407b9494efb2ad"),
    ("a/b/d/data.json", "true", MD5, "b326b5062b2f0e69046810717534cb09"),
    (
        "data.json",
        '{"x": {"y": true}, "a": {"b": {"z": true}}}',
        MD5,
        "36669864a622563256817033b1fc53db",
    ),
    (
        "a/b/c/data.json",
        "[1,2,3]",
        SHA512,
        "60f7b5dc86ded48785436192a08dbfd04894d7f1b417c4f8d3714679a7f78cb3"
        "c833f16a8559a1cf1f32968747dc1d95ef34826263dacf125ded8f5c374be4c0",
    ),
    (
        "a/b/y/data.yaml",
        "foo: 1",
        SHA512,
        "20f27a640a233e6524fe7d138898583cd43475724806feb26be7f214e1d10b29"
        "edf6a0d3cb08f82107a45686b61b8fdabab6406cf4e70efe134f42238dbd70ab",
    ),
]


@pytest.mark.parametrize(("name", "text", "made", "hexadecimal"), KNOWN)
def test_known_digests(monkeypatch, name, text, made, hexadecimal):
    monkeypatch.setattr(digest, "ALGORITHMS", {"any": made})
    assert file_digest(name, text.encode(), "any") == hexadecimal


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("data.json", b'{"a":1,"b":[]}', b' {"b" : [ ],\n"a":1}\n'),
        ("data.json", b'"\\u00e9\\/"', '"é/"'.encode()),
        ("x/data.yaml", b"a: 1\nb: [x, 1.5]\n", b'b:\n- "x"\n- 1.50\na: 1\n'),
        ("data.yaml", b'{"a": 1}', b"a: 1\n"),
        (".manifest", b'{"roots":["a"],"revision":""}', b'{"revision":"","roots":["a"]}'),
    ],
)
def test_only_what_it_says_counts(name, one, other):
    assert file_digest(name, one, "SHA-256") == file_digest(name, other, "SHA-256")


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("data.json", b"1", b"1.0"),
        ("data.json", b"1e3", b"1000"),
        ("data.json", b"-0", b"0"),
        ("data.json", b'"1"', b"1"),
        ("data.json", b"[]", b"{}"),
        ("data.json", b"[[]]", b"[]"),
        ("data.json", b'{"a":null}', b"{}"),
        ("a.rego", b"package a", b"package a\n"),
        ("data.yml", b"a: 1", b"a:  1"),  # not among the structured ones
        ("policy.json", b"1", b" 1"),
    ],
)
def test_everything_else_counts(name, one, other):
    assert file_digest(name, one, "SHA-256") != file_digest(name, other, "SHA-256")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("data.json", b'{"a":1,"a":2}'),
        ("data.json", b"\xef\xbb\xbf1"),
        ("data.json", b"NaN"),
        ("data.json", b"1 2"),
        ("data.json", b""),
        ("data.json", b"a: 1"),
        ("data.json", b"\xff"),
        ("data.json", b"[" * 300),
        ("data.yaml", b"a: 1\na: 2"),
        ("data.yaml", b"a: [1"),
        ("data.yaml", b"a: &x 1\nb: *x"),
        ("data.yaml", b"[" * 300),
        # What is served would be another value than the one that was signed.
        ("data.yaml", b"limit: 100000000000000000001"),
        ("data.yaml", b"limit: 0.10000000000000000001"),
        ("data.yaml", b"limit: " + b"9" * 400),
        ("data.yaml", b'{"denied": ["\\ud83d\\ude00"]}'),
        ("data.yaml", '{"a": ["b\x85c"]}'.encode()),
    ],
)
def test_what_has_two_readings_has_no_digest(name, data):
    with pytest.raises(ValueError):
        file_digest(name, data, "SHA-256")


MODULE = """package ask

of_yaml := crypto.sha256(json.marshal(yaml.unmarshal(input)))

of_json := crypto.sha256(json.marshal(json.unmarshal(input)))
"""

JSON_TEXTS = [
    '{"b": [1, 2.50, -0, 1e3, 1E-7, 123456789012345678901234567890], "a": {"z": {}, "y": []}}',
    json.dumps("".join(map(chr, range(32))) + '\x7f"\\/é☃😀\u2028\u2029\u00ad\ufeff'),
    '{"é": 1, "z": 2, "a\\tb": 3, "": 4, "😀": 5, "\ufffd": 6}',
    '[true, false, null, ""]',
]
YAML_TEXTS = [
    "a: 1\nb: text\nc: [x, 2.5, true, null, -7]\nd: {e: {f: 0.1}}\n",
    "a: 1.50\nb: 1e3\nc: 1e21\nd: 0.0000001\ne: 123456789012\nf: -0.5\ng: 1e20\nh: 9.5e-9\n",
    "a: 18446744073709551615\nb: 9223372036854775808\nc: 18446744073709551616\n",
    'a: "yes"\nb: "1"\nc: "é☃\\u2028"\n',
    "- a\n- [b]\n- {}\n- []\n",
]


@needs_opa
@pytest.mark.parametrize(
    ("name", "rule", "text"),
    [
        *(("data.json", "ask.of_json", text) for text in JSON_TEXTS),
        *(("data.yaml", "ask.of_yaml", text) for text in YAML_TEXTS),
    ],
)
def test_opa_makes_the_same(name, rule, text):
    with opa() as asked:
        (said,) = asked.ask({"ask.rego": MODULE}, [(rule, text)])
    assert said.value == file_digest(name, text.encode(), "SHA-256"), said


@needs_opa
@pytest.mark.parametrize("text", ["a: yes\n", "a: 017\n"])
def test_yaml_that_opa_reads_as_something_else_never_verifies(text):
    with opa() as asked:
        (said,) = asked.ask({"ask.rego": MODULE}, [("ask.of_yaml", text)])
    assert said.value != file_digest("data.yaml", text.encode(), "SHA-256")
