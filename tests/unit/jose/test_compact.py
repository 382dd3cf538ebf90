import json

import pytest

from gateway.errors import Code
from gateway.jose import base64url
from gateway.jose.compact import TokenError, parse

GOOD = b'{"alg":"ES256"}'


def compact(header=GOOD, payload=b"{}", signature=b"sig"):
    return b".".join(map(base64url.encode, (header, payload, signature)))


def refusal(token, **limits):
    with pytest.raises(TokenError) as caught:
        parse(token, **limits)
    return caught.value.code


def test_parts():
    found = parse(
        compact(b'{"typ":"application/AT+jwt","alg":"ES256","kid":"k","x":1}', b"payload")
    )
    assert (found.algorithm, found.key_id, found.type) == ("ES256", "k", "at+jwt")
    assert (found.payload, found.signature) == (b"payload", b"sig")
    assert found.header["x"] == 1
    assert found.signing_input + b"." + base64url.encode(b"sig") == compact(
        b'{"typ":"application/AT+jwt","alg":"ES256","kid":"k","x":1}', b"payload"
    )
    assert parse(compact()).type == ""
    assert parse(compact()).key_id is None


MALFORMED = {
    "empty": b"",
    "one part": b"abc",
    "two parts": compact().rpartition(b".")[0],
    "four parts": compact() + b".",
    "JWE": b"a.b.c.d.e",
    "ten thousand dots": b"." * 8000,
    "empty header": b"." + compact().partition(b".")[2],
    "padding": compact(signature=b"1") + b"==",
    "standard alphabet": compact(signature=b"\xff\xff\xff").replace(b"_", b"/"),
    "unused bits": compact(signature=b"1")[:-1] + b"R",
    "blank inside": compact()[:3] + b" " + compact()[3:],
    "line break at the end": compact() + b"\n",
    "NUL": compact() + b"\x00",
    "not ASCII": compact() + "é".encode(),
    "JSON serialization": b'{"payload":"","signatures":[]}',
    "header not JSON": compact(b"alg"),
    "header a list": compact(b'["alg"]'),
    "header a string": compact(b'"alg"'),
    "header null": compact(b"null"),
    "header with duplicates": compact(b'{"alg":"none","alg":"ES256"}'),
    "header with duplicates, escaped": compact(b'{"alg":"none","\\u0061lg":"ES256"}'),
    "header with a BOM": compact(b"\xef\xbb\xbf" + GOOD),
    "header in UTF-16": compact(GOOD.decode().encode("utf-16")),
    "header with NaN": compact(b'{"alg":"ES256","x":NaN}'),
    "header with a lone surrogate": compact(b'{"alg":"ES256","kid":"\\ud800"}'),
    "header nested 1,000 deep": compact(b'{"alg":"ES256","x":' + b"[" * 1000 + b"]" * 1000 + b"}"),
    "header with trailing data": compact(GOOD + b"{}"),
}


@pytest.mark.parametrize("token", MALFORMED.values(), ids=MALFORMED)
def test_malformed(token):
    assert refusal(token) is Code.TOKEN_MALFORMED


REFUSED = [
    {},
    {"alg": None},
    {"alg": 1},
    {"alg": ["ES256"]},
    {"alg": "ES256", "crit": []},
    {"alg": "ES256", "crit": None},
    {"alg": "ES256", "crit": ["alg"]},
    {"alg": "ES256", "crit": ["exp"], "exp": 1},
    {"alg": "ES256", "crit": "exp"},
    {"alg": "ES256", "crit": ["b64"], "b64": False},
    {"alg": "ES256", "b64": True},
    {"alg": "ES256", "b64": False},
    {"alg": "ES256", "zip": "DEF"},
    {"alg": "dir", "enc": "A128GCM"},
    {"alg": "ES256", "kid": None},
    {"alg": "ES256", "kid": 1},
    {"alg": "ES256", "kid": ["k1"]},
    {"alg": "ES256", "typ": None},
    {"alg": "ES256", "typ": 1},
    {"alg": "ES256", "typ": ""},
    {"alg": "ES256", "typ": "application/"},
    {"alg": "ES256", "typ": "to\u212aen+jwt"},
    {"alg": "ES256", "cty": 1},
]


@pytest.mark.parametrize("header", REFUSED, ids=str)
def test_refused_headers(header):
    assert refusal(compact(json.dumps(header).encode())) is Code.TOKEN_HEADER_REFUSED


@pytest.mark.parametrize(
    "extra",
    [
        {"x5c": ["A" * 1000]},
        {"x5t": "a", "x5t#S256": "b"},
        {"jku": "https://evil.example/jwks", "x5u": "https://evil.example/x"},
        {"nonce": "n", "ver": "1.0", "ctx": None},
        {"cty": "example"},
    ],
    ids=str,
)
def test_legal_extras_are_not_refused(extra):
    assert (
        parse(compact(json.dumps({"alg": "ES256", **extra}).encode())).header.keys() > extra.keys()
    )


def test_size_of_the_token():
    token = compact(payload=b"p" * 100)
    assert parse(token, max_size=len(token))
    assert refusal(token, max_size=len(token) - 1) is Code.TOKEN_TOO_LARGE


def test_size_of_the_header():
    header = b'{"alg":"ES256","x":"' + b"x" * 600 + b'"}'
    assert parse(compact(header), max_header=len(header))
    assert refusal(compact(header), max_header=len(header) - 1) is Code.TOKEN_TOO_LARGE
