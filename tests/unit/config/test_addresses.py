"""Addresses of listeners, networks, issuers and upstreams, and what is told of others."""

import pytest

from gateway.config import addresses
from gateway.config.values import Malformed


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1:8080", "0.0.0.0:0", "localhost:65535", "gateway.internal:80", "[::1]:8080",
     "[fe80::1%eth0]:1", "unix:/run/gateway.sock", "unix:/run/" + "x" * 102],
)  # fmt: skip
def test_listeners(text):
    assert addresses.address(text) == text


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        (8080, "write 127.0.0.1:8080, or 0.0.0.0:8080"), ("8080", "write 127.0.0.1:8080"),
        (":8080", "write 0.0.0.0:8080"), ("*:8080", "write 0.0.0.0:8080"),
        ("localhost", "write localhost:8080"), ("[::1]", "write [::1]:8080"),
        ("::1:8080", "write [::1]:8080"), ("http://127.0.0.1:8080", "write 127.0.0.1:8080"),
        ("https://a.example:8443/x", "write a.example:8443"), ("http://a.example", ""),
        ("127.0.0.1:99999", ""), ("127.0.0.1:http", ""), ("my host:80", ""), ("300.1.1.1:80", ""),
        ("[127.0.0.1]:80", ""), ("[x]:80", ""), ("", ""), (None, ""), (["a:1"], ""), (True, ""),
        ("/run/x.sock", "write unix: before"), ("unix:run/x.sock", "such as unix:/run/x.sock"),
        ("unix:./x.sock", "such as unix:/run/x.sock"), ("unix:", "such as unix:/run/gateway.sock"),
        ("unix:/run/" + "x" * 103, "use a shorter one"), ("unix:/a\0b", ""), ("unix:/\udd00", ""),
    ],
)  # fmt: skip
def test_other_listeners(given, remedy):
    with pytest.raises(Malformed) as caught:
        addresses.address(given)
    assert caught.value.remedy.startswith(remedy)
    assert bool(caught.value.remedy) == bool(remedy)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("10.1.2.3/8", "write 10.0.0.0/8 for the block around it"),
        ("2001:db8::1/32", "write 2001:db8::/32 for the block around it"),
        ("10.0.0.*", "write 10.0.0.0/24"), ("10.*", "write 10.0.0.0/8"), ("*", ""), ("x.*", ""),
        ("10.0.0.1-10.0.0.9", "write a range as CIDR blocks"), ("10.0.0.0/33", ""), ("office", ""),
    ],
)  # fmt: skip
def test_other_networks(text, remedy):
    with pytest.raises(Malformed, match="expected an address or CIDR block") as caught:
        addresses.cidr(text)
    assert caught.value.remedy == remedy


@pytest.mark.parametrize("text", ["https://a.example/jwks?x=1", "http://[::1]:8080", "http://a"])
def test_urls(text):
    assert addresses.http_url(text) == text


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("a.example/jwks", "write https://a.example/jwks"), ("jwks", ""), ("ftp://a.example", ""),
        ("https://a.example:x/", ""), ("https://a.example:99999/", ""), ("https://[::1/", ""),
        ("https://a.example:0/", ""), ("https://", ""), ("https://u:p@a.example", ""),
        ("https://a.example/#x", ""), ("https://a b/", "percent-encode"), ("", "percent-encode"),
        ("https://caf\u00e9.example/", "percent-encode"), ("https://a.example/\n", "percent-encode"),
    ],
)  # fmt: skip
def test_other_urls(text, remedy):
    with pytest.raises(Malformed, match="expected a") as caught:
        addresses.http_url(text)
    assert caught.value.remedy.startswith(remedy)
    assert "Port" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["http://a", "https://a.example:8443/", "http://[::1]:1", "http+unix:/run/x.sock"]
)
def test_upstreams(text):
    assert addresses.upstream_url(text) == text


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("127.0.0.1:9000", "write http://127.0.0.1:9000"), ("orders", "write http://orders"),
        ("unix:/run/x.sock", "write http+unix:/run/x.sock"),
        ("unix:///run/x.sock", "write http+unix:/run/x.sock"),
        ("ws://a:1", "write http://a:1, and websocket: true in the route"),
        ("wss://a", "write https://a, and"), ("grpc://a", "upstreams are asked over HTTP/1.1"),
        ("http+unix:x.sock", "such as http+unix:/run/x.sock"), ("a b", ""), ("http://a/v1", ""),
        ("http://a?x", ""), ("http+unix:/" + "x" * 107, "use a shorter one"),
    ],
)  # fmt: skip
def test_other_upstreams(text, remedy):
    with pytest.raises(Malformed) as caught:
        addresses.upstream_url(text)
    assert caught.value.remedy.startswith(remedy)
