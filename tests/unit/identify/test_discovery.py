import json

import pytest

from gateway.config.model import Issuer
from gateway.identify.discovery import MAX_BYTES, DiscoveryError, discovery_url, parse

ISSUER = "https://issuer.example/tenant"


def metadata(**changes):
    members = {
        "issuer": ISSUER,
        "jwks_uri": "https://keys.example/jwks?v=1",
        "other": [],
        **changes,
    }
    return json.dumps({name: value for name, value in members.items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("discovery", "url"),
    [
        (True, f"{ISSUER}/.well-known/openid-configuration"),
        ("https://other.example/document", "https://other.example/document"),
    ],
)
def test_where_it_is(discovery, url):
    issuer = Issuer(
        issuer=f"{ISSUER}/", audience="a", algorithms="ES256", keys={"discovery": discovery}
    )
    assert discovery_url(issuer) == url


def test_good():
    assert parse(metadata(), ISSUER) == "https://keys.example/jwks?v=1"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/jwks", "http://localhost/jwks", "http://[::1]/jwks"]
)
def test_plain_http_on_loopback(url):
    assert parse(metadata(jwks_uri=url), ISSUER) == url


def test_plain_http_when_allowed():
    url = "http://keys.example/jwks"
    assert parse(metadata(jwks_uri=url), ISSUER, insecure_http=True) == url


REFUSED = {
    "not JSON": b"<html>",
    "a list": b"[]",
    "duplicates": metadata()[:-1] + b',"issuer":"https://issuer.example/tenant"}',
    "too large": metadata(other="x" * MAX_BYTES),
    "no issuer": metadata(issuer=...),
    "issuer null": metadata(issuer=None),
    "another issuer": metadata(issuer="https://evil.example"),
    "issuer with a slash": metadata(issuer=ISSUER + "/"),
    "issuer in capitals": metadata(issuer=ISSUER.upper()),
    "no jwks_uri": metadata(jwks_uri=...),
    "jwks_uri null": metadata(jwks_uri=None),
    "jwks_uri a list": metadata(jwks_uri=["https://keys.example"]),
    "jwks_uri empty": metadata(jwks_uri=""),
    "jwks_uri relative": metadata(jwks_uri="/jwks"),
    "plain http": metadata(jwks_uri="http://keys.example/jwks"),
    "plain http, loopback as a name's part": metadata(jwks_uri="http://127.0.0.1.evil.example/"),
    "plain http, loopback as user": metadata(jwks_uri="http://127.0.0.1@evil.example/"),
    "file": metadata(jwks_uri="file:///etc/passwd"),
    "file on localhost": metadata(jwks_uri="file://localhost/etc/passwd"),
    "data": metadata(jwks_uri="data:,x"),
    "no host": metadata(jwks_uri="https:///jwks"),
    "bad port": metadata(jwks_uri="https://keys.example:99999/"),
    "user": metadata(jwks_uri="https://user:pw@keys.example/"),
    "fragment": metadata(jwks_uri="https://keys.example/#x"),
    "line break": metadata(jwks_uri="https://keys.example/\r\nHost: x"),
    "tab": metadata(jwks_uri="https://keys.exa\tmple/"),
    "blank": metadata(jwks_uri="https://keys.example/ HTTP/1.1"),
    "not ASCII": metadata(jwks_uri="https://k\u00e9ys.example/"),
    "very long": metadata(jwks_uri="https://keys.example/" + "x" * 3000),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_refused(data):
    with pytest.raises(DiscoveryError):
        parse(data, ISSUER)
