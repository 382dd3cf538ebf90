"""Builtins of documents, times, addresses, encodings and tokens, each call compared with OPA.

Arguments are drawn with fixed seeds; those that OPA refuses to compile, or crashes over, are
left out. What differs on purpose is listed with its reason.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from gateway.rego.builtins import BUILTINS
from gateway.rego.errors import BuiltinError
from gateway.rego.values import UNDEFINED, equal, to_json
from tests.support.opa import needs_opa, opa
from tests.support.rego_values import Work

if TYPE_CHECKING:
    from collections.abc import Iterator

Call = tuple[str, list[Any]]

DELIBERATE = {
    "time.date": (lambda a: a[0][1] == "Local", "Local would depend on the machine"),
    "net.cidr_merge": (
        lambda a: any("ffff:" in str(block) for block in a[0]),
        "OPA crashes over, or loses, IPv4 blocks that are written as IPv6",
    ),
    **dict.fromkeys(
        ("json.unmarshal", "json.is_valid"),
        (lambda a: "null" in a[0], "OPA takes anything behind a value that begins with null"),
    ),
    "yaml.marshal": (
        lambda a: "\u2028" in json.dumps(a, ensure_ascii=False),
        "libyaml indents behind a line separator at the end of a text",
    ),
}


def _pick(source: random.Random, pieces: list[str], most: int) -> str:
    return "".join(source.choice(pieces) for _ in range(source.randint(0, most)))


def _documents(source: random.Random, depth: int = 3) -> Any:
    kind = source.randint(0, 9 if depth else 6)
    if kind > 7:
        return [_documents(source, depth - 1) for _ in range(source.randint(0, 3))]
    if kind > 6:
        keys = (source.choice(["a", "b", "0", "a/b", "~", ""]) for _ in range(3))
        return {key: _documents(source, depth - 1) for key in keys}
    return source.choice([None, True, 0, 1, -2.5, "", "x", "<&>", "é\u2028", "yes", "1.5", "- a"])


def _times(source: random.Random) -> Iterator[Call]:
    layouts = ["RFC3339", "RFC1123", "UnixDate", "Mon Jan _2 15:04:05.000 -07:00 2006", "002 06",
               "2006-01-02", "3:04PM 1/2/2006 MST", "Z0700 2006", "Kitchen"]  # fmt: skip
    zones = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "EST", "No/Where", "Local"]
    for _ in range(300):
        moment = [source.randint(-(2**62), 2**62), source.choice(zones)]
        yield "time.date", [moment]
        if moment[1] == "Local":
            continue
        for name in ("time.clock", "time.weekday"):
            yield name, [moment]
        yield "time.format", [[*moment, source.choice(layouts)]]
        yield "time.diff", [moment, source.randint(-(2**62), 2**62)]
        yield "time.add_date", [moment, *(source.randint(-99, 99) for _ in range(3))]
        text = _pick(
            source, ["1", "23", ".", "h", "m", "s", "ms", "ns", "d", "w", "y", "-", "+"], 6
        )
        yield "time.parse_duration_ns", [text]
        text = f"20{source.randint(0, 99):02}-{source.randint(0, 13):02}-{source.randint(0, 32):02}"
        text += "T10:20:30" + _pick(source, [".5", "Z", "+01:00", "-24:60", "z", " "], 2)
        yield "time.parse_rfc3339_ns", [text]
        zone = source.choice(["GMT+3", "CET", "UTC", "ABCD", "ABCDT", "+03", "-99", "WITA", "GM"])
        yield "time.parse_ns", ["2006 MST", f"2020 {zone}"]
        yield "time.parse_ns", [source.choice(layouts), text]


def _networks(source: random.Random) -> Iterator[Call]:
    blocks = ["10.0.0.0/8", "10.1.0.0/16", "10.0.1.128/25", "10.0.1.0/25", "::1/128", "2001:db8::/32",
              "::/0", "0.0.0.0/0", "10.0.0.0/08", "1.2.3.4", "::1", "x", "10.0.0.0/33", "::ffff:1.2.3.4",
              "::ffff:10.0.0.0/104", "192.168.1.1/24"]  # fmt: skip
    for _ in range(300):
        left, right = source.choice(blocks), source.choice(blocks)
        yield "net.cidr_contains", [left, right]
        yield "net.cidr_intersects", [left, right]
        yield "net.cidr_is_valid", [left]
        some = [source.choice(blocks) for _ in range(source.randint(0, 4))]
        yield "net.cidr_contains_matches", [some, source.choice([right, {"a": [right, 1]}, some])]
        yield "net.cidr_merge", [sorted(set(some))]
    yield "net.cidr_expand", ["10.0.0.5/29"]
    yield "net.cidr_expand", ["2001:db8::/125"]


def _graphs(source: random.Random) -> Iterator[Call]:
    for _ in range(150):
        graph = {
            node: [source.choice("abcdz") for _ in range(source.randint(0, 3))] for node in "abcd"
        }
        yield "graph.reachable", [graph, [source.choice("abz")]]


def _encodings(source: random.Random) -> Iterator[Call]:
    pieces = [
        "a",
        "YQ",
        "==",
        "=",
        "+",
        "/",
        "-",
        "_",
        "%41",
        "%",
        "%ff",
        "&",
        ";",
        "é",
        "\n",
        "ff",
    ]
    uri = ["http:", "//", "/", "a", ":", "@", "?", "#", "%41", "%", "[", "]", "::1", "80", "é", " "]
    names = ["base64.decode", "base64.is_valid", "base64url.decode", "hex.decode", "urlquery.decode",
             "urlquery.decode_object", "urlquery.encode", "base64.encode", "hex.encode",
             "base64url.encode_no_pad", "crypto.sha256", "crypto.md5"]  # fmt: skip
    for _ in range(300):
        text = _pick(source, pieces, 6)
        for name in names:
            yield name, [text]
        for name in ("uri.parse", "uri.is_valid"):
            yield name, [_pick(source, uri, 8)]
        yield "crypto.hmac.sha512", [text, _pick(source, pieces, 3)]


def _json(source: random.Random) -> Iterator[Call]:
    pieces = [
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        '"a"',
        "1",
        "-",
        "0.5",
        "1e2",
        "null",
        " ",
        "true",
        '"\\u00e9"',
    ]
    paths = ["a", "/a", "a/0", "/a/-", "/0", "", "/b/a", "~01", "/a/b", ["a"], ["a", 0], ["0"]]
    verbs = ["add", "remove", "replace", "move", "copy", "test", "nope"]
    for _ in range(400):
        document = _documents(source)
        yield "json.marshal", [document]
        yield "json.marshal_with_options", [document, {"indent": " ", "prefix": "|"}]
        yield "json.unmarshal", [_pick(source, pieces, 6)]
        yield "json.is_valid", [_pick(source, pieces, 4)]
        some = [source.choice(paths) for _ in range(2)]
        for name in ("json.filter", "json.remove"):
            yield name, [document, some]
        operations = [
            {"op": source.choice(verbs), "path": source.choice(paths), "from": source.choice(paths),
             "value": _documents(source, 1)}
            for _ in range(source.randint(1, 2))
        ]  # fmt: skip
        yield "json.patch", [document, operations]


def _yaml(source: random.Random) -> Iterator[Call]:
    scalars = ["a", "1", "yes", "~", "0x1f", "1_0", ".5", "1e3", "'x'", '"y"', "!!str 1", "2001-01-01",
               "- b", "k: v", "[1, 2]", "{c: d}", "&x 1", "*x", "| \n t", "<<", "18446744073709551616"]  # fmt: skip
    for _ in range(400):
        lines = [f"{source.choice('abc1')}: {source.choice(scalars)}" for _ in range(2)]
        text = source.choice(
            ["\n".join(lines), f"- {source.choice(scalars)}", source.choice(scalars)]
        )
        yield "yaml.unmarshal", [text]
        yield "yaml.is_valid", [text]
        yield "yaml.marshal", [_documents(source)]


def _schemas(source: random.Random) -> Iterator[Call]:
    parts: list[dict[str, Any]] = [
        {"type": "string"}, {"type": ["array", "null"]}, {"minimum": 1}, {"enum": [1, "x"]},
        {"required": ["a"]}, {"properties": {"a": {"type": "integer"}}}, {"maxLength": 1},
        {"items": {"type": "string"}}, {"uniqueItems": True}, {"additionalProperties": False},
        {"const": {"a": 1}}, {"format": "date"}, {"pattern": "^x"}, {"minItems": 2}, {"type": 5},
    ]  # fmt: skip
    for _ in range(300):
        schema = source.choice(parts) | source.choice(parts)
        word = source.choice(["allOf", "anyOf", "oneOf", ""])
        if word:
            schema = {word: [schema, source.choice(parts)]}
        yield "json.match_schema", [json.dumps(_documents(source)), schema]
        yield "json.verify_schema", [schema]


def _tokens(source: random.Random) -> Iterator[Call]:
    key = {"kty": "oct", "k": "c2VjcmV0"}
    claims = [
        {},
        {"exp": 2_000},
        {"nbf": 2_000},
        {"aud": ["a"]},
        {"aud": "b"},
        {"iss": "i"},
        {"exp": "x"},
    ]
    for _ in range(150):
        header = {
            "alg": source.choice(["HS256", "HS512", "none"]),
            "typ": source.choice(["JWT", "x"]),
        }
        payload = source.choice(claims)
        yield "io.jwt.encode_sign", [header, payload, key]
        try:
            token = BUILTINS["io.jwt.encode_sign"].function(Work(), header, payload, key)
        except BuiltinError:
            continue
        if source.random() < 0.3:
            token = token.replace(source.choice(token), source.choice("a.=_\n"), 1)
        wanted = {"secret": "secret", "time": 10**12} | source.choice(
            [{}, {"aud": "a"}, {"iss": "i"}]
        )
        yield "io.jwt.decode", [token]
        yield "io.jwt.verify_hs256", [token, "secret"]
        yield "io.jwt.decode_verify", [token, wanted]


GROUPS = [_times, _networks, _graphs, _encodings, _json, _yaml, _schemas, _tokens]


def _ours(name: str, arguments: list[Any]) -> tuple[str, Any]:
    builtin = BUILTINS[name]
    state = (Work(10**9),) if builtin.needs_state else ()
    try:
        value = builtin.function(*state, *arguments)
    except BuiltinError:
        return "error", None
    return ("undefined", None) if value is UNDEFINED else ("value", to_json(value))


def _comparable(name: str, value: Any) -> Any:
    """Put the errors of a schema in an order: Go walks through objects in any.

    What is wrong with a schema is said in words of our own.
    """
    if name == "json.verify_schema":
        return value[:1]
    if name == "json.match_schema" and value:
        return [value[0], sorted(value[1], key=json.dumps)]
    return value


@needs_opa
@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__[1:])
def test_as_opa_does(group):
    calls = list(group(random.Random(group.__name__)))
    names = sorted({name for name, _ in calls})
    rules = {
        name: f"p{number} := {name}("
        + ", ".join(f"input[{at}]" for at in range(BUILTINS[name].arity))
        + ")"
        for number, name in enumerate(names)
    }
    module = "package t\n" + "\n".join(rules.values()) + "\n"
    asks = [(f"t.{rules[name].split()[0]}", arguments) for name, arguments in calls]
    with opa() as oracle:
        answers = oracle.ask({"a.rego": module}, asks)
    wrong = []
    compared = 0
    for (name, arguments), said in zip(calls, answers, strict=True):
        deliberate, _reason = DELIBERATE.get(name, (lambda _: False, ""))
        if said.kind == "refused" or deliberate(arguments):
            continue
        compared += 1
        kind, value = _ours(name, arguments)
        expected = _comparable(name, said.value)
        if kind != said.kind or not equal(_comparable(name, value), expected):
            wrong.append((name, arguments, (kind, value), said))
    assert not wrong, (len(wrong), wrong[:3])
    assert compared > len(calls) // 2
