import pytest

from gateway.errors import Code, RouteError
from gateway.route.host import canonical_host, read_host
from tests.support.stages import head


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        (b"api.example", "api.example"),
        (b"API.Example:8443", "api.example"),
        (b"my_service", "my_service"),
        (b"xn--caf-dma.example", "xn--caf-dma.example"),
        (b"10.0.0.7", "10.0.0.7"),
        (b"10.0.0.7:80", "10.0.0.7"),
        (b"[::1]:8080", "[::1]"),
        (b"[0:0::1]", "[::1]"),
        (b"1.example", "1.example"),
    ],
)
def test_valid(authority, host):
    assert canonical_host(authority) == host


@pytest.mark.parametrize(
    "authority",
    [
        b"", b":80", b"api.example:", b"api.example:0", b"api.example:65536", b"api.example:080",
        b"api.example:http", b"user@api.example", b"a:b@api.example", b"api.example.", b".example",
        b"a..b", b"-a.example", b"a-.example", b"a b", b"a/b", b"a?b", b"a#b", b"a\\b", b"a,b",
        b"caf\xc3\xa9.example", b"%61pi.example", b"*.example", b"a\x00b", b"a\r\nb",
        b"10.0.0", b"10.0.0.256", b"010.0.0.1", b"0x7f.1", b"0x7f000001", b"2130706433", b"a.1",
        b"::1", b"[::1", b"[::1%25eth0]", b"[::g]", b"[1.2.3.4]", b"[::1]x", b"a" * 64,
        b".".join([b"a" * 60] * 6),
    ],
)  # fmt: skip
def test_refused(authority):
    with pytest.raises(RouteError) as refusal:
        canonical_host(authority)
    assert refusal.value.code is Code.BAD_HOST


@pytest.mark.parametrize(
    ("lines", "good"),
    [
        ((), True),
        ((("host", "api.example"),), True),
        ((("host", "API.example"),), True),
        ((("host", "other.example"),), False),
        ((("host", "api.example:80"),), False),
        ((("host", "api.example"), ("host", "api.example")), False),
        ((("host", ""),), False),
    ],
)
def test_host_line_and_authority_agree(lines, good):
    if good:
        assert read_host(head("/", *lines)) == "api.example"
    else:
        with pytest.raises(RouteError):
            read_host(head("/", *lines))
