import pytest

from gateway.errors import Code, ConfigError, RouteError
from gateway.route.source import SourceReader
from tests.support.stages import config, head

CONFIG = config(
    networks={
        "office": ["10.0.0.0/8"],
        "lab": ["10.9.0.0/16", "2001:db8::/32"],
        "edge": ["192.0.2.0/24"],
    },
    trusted_proxies=["edge", "10.1.0.0/16", "::1"],
)
READER = SourceReader.build(CONFIG)
PROXY = "192.0.2.1"


def read(peer, *lines, **changes):
    return READER.read(head("/", *lines, peer=peer, **changes))


@pytest.mark.parametrize(
    ("peer", "address", "networks"),
    [
        ("203.0.113.9", "203.0.113.9", ()),
        ("10.9.1.1", "10.9.1.1", ("office", "lab")),
        ("::ffff:10.9.1.1", "10.9.1.1", ("office", "lab")),
        ("2001:DB8:0:0::7", "2001:db8::7", ("lab",)),
        ("fe80::1%eth0", "fe80::1", ()),
        ("", "", ()),
        ("a name", "a name", ()),
    ],
)
def test_direct(peer, address, networks):
    spoofed = [("x-forwarded-for", "10.9.9.9"), ("forwarded", "for=10.9.9.9"),
               ("x-forwarded-proto", "http"), ("x-forwarded-host", "evil"), ("x-request-id", "1"),
               ("x-real-ip", "10.9.9.9")]  # fmt: skip
    found = read(peer, *spoofed)
    assert (found.address, found.networks, found.scheme) == (address, networks, "https")
    assert (found.trusted, found.forwarded_for, found.forwarded_host, found.request_id) == (
        False, "", "", "",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "address", "passed_on"),
    [
        ([], PROXY, ""),
        (["203.0.113.9"], "203.0.113.9", "203.0.113.9"),
        (["10.9.9.9, 203.0.113.9"], "203.0.113.9", "203.0.113.9"),
        (["10.9.9.9", "203.0.113.9"], "203.0.113.9", "203.0.113.9"),
        (["203.0.113.9, 10.1.2.3"], "203.0.113.9", "203.0.113.9, 10.1.2.3"),
        (["unknown, 203.0.113.9"], "203.0.113.9", "203.0.113.9"),
        (["<script>,203.0.113.9"], "203.0.113.9", "203.0.113.9"),
        (["10.1.2.3, 192.0.2.7"], "10.1.2.3", "10.1.2.3, 192.0.2.7"),
        (["203.0.113.9:1234"], "203.0.113.9", "203.0.113.9"),
        (["[2001:db8::7]:99"], "2001:db8::7", "2001:db8::7"),
        (["2001:db8::7"], "2001:db8::7", "2001:db8::7"),
        (["::ffff:203.0.113.9"], "203.0.113.9", "203.0.113.9"),
        ([" , 203.0.113.9 ,"], "203.0.113.9", "203.0.113.9"),
    ],
)
def test_x_forwarded_for_of_a_trusted_proxy(lines, address, passed_on):
    found = read(PROXY, *(("x-forwarded-for", line) for line in lines))
    assert (found.address, found.forwarded_for, found.trusted) == (address, passed_on, True)


@pytest.mark.parametrize(
    ("lines", "address", "scheme"),
    [
        (["for=203.0.113.9"], "203.0.113.9", "https"),
        (["For=10.9.9.9, for=203.0.113.9;proto=http;by=_x"], "203.0.113.9", "http"),
        (["for=10.9.9.9;proto=http", 'for="203.0.113.9:80";proto=https'], "203.0.113.9", "https"),
        (['for="[2001:db8::7]:1"'], "2001:db8::7", "https"),
        (["for=203.0.113.9;proto=http, for=10.1.2.3;proto=https"], "203.0.113.9", "http"),
    ],
)
def test_forwarded_of_a_trusted_proxy(lines, address, scheme):
    found = read(PROXY, *(("forwarded", line) for line in lines))
    assert (found.address, found.scheme) == (address, scheme)


@pytest.mark.parametrize(
    "lines",
    [
        [("x-forwarded-for", "unknown")],
        [("x-forwarded-for", "203.0.113.9, garbage")],
        [("x-forwarded-for", "203.0.113.999")],
        [("x-forwarded-for", "127.1")],
        [("x-forwarded-for", "fe80::1%eth0")],
        [("x-forwarded-for", b"\xff")],
        [("forwarded", "for=unknown")],
        [("forwarded", "proto=https")],
        [("forwarded", "for=203.0.113.9;for=10.9.9.9")],
        [("forwarded", "for=203.0.113.9;")],
        [("forwarded", "for=203.0.113.9,")],
        [("forwarded", 'for=10.9.9.9;by=", for=203.0.113.9')],
        [("forwarded", 'for=10.9.9.9;by="'), ("forwarded", 'for=203.0.113.9;host="x"')],
        [("forwarded", 'for=203.0.113.9;by="'), ("forwarded", '";proto=https')],
        [("forwarded", "nonsense")],
        [("forwarded", "for=203.0.113.9"), ("x-forwarded-for", "203.0.113.8")],
        [("x-forwarded-proto", "ftp")],
        [("x-forwarded-proto", "https, http")],
        [("x-forwarded-proto", "http"), ("forwarded", "for=203.0.113.9;proto=https")],
        [("x-forwarded-host", "a.example, b.example")],
        [("x-forwarded-host", "a.example/../")],
        [("x-forwarded-host", "u@a.example")],
    ],
)
def test_what_a_trusted_proxy_may_not_say(lines):
    with pytest.raises(RouteError) as refusal:
        read(PROXY, *lines)
    assert refusal.value.code in (Code.BAD_HEADER, Code.BAD_HOST)


def test_forwarded_and_x_forwarded_for_that_agree():
    lines = [("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=203.0.113.9")]
    assert read(PROXY, *lines).address == "203.0.113.9"


@pytest.mark.parametrize(
    ("value", "scheme"), [("http", "http"), ("HTTPS", "https"), ("wss", "https"), ("ws", "http")]
)
def test_scheme(value, scheme):
    assert read(PROXY, ("x-forwarded-proto", value)).scheme == scheme


def test_host_and_request_id():
    found = read(PROXY, ("x-forwarded-host", "Shop.Example:8443"), ("x-request-id", "a-1_2:3"))
    assert (found.forwarded_host, found.request_id) == ("shop.example:8443", "a-1_2:3")


@pytest.mark.parametrize("value", ["a b", "a,b", "", "x" * 129, "a\x00", b"\xff", '"'])
def test_a_malformed_request_id_is_not_taken(value):
    assert read(PROXY, ("x-request-id", value)).request_id == ""


def test_two_request_ids_are_none():
    assert read(PROXY, ("x-request-id", "a"), ("x-request-id", "a")).request_id == ""


def test_networks_of_the_client_not_of_the_proxy():
    found = read("10.1.0.1", ("x-forwarded-for", "203.0.113.9"))
    assert (found.address, found.networks) == ("203.0.113.9", ())


def test_unknown_trusted_proxy_is_a_config_error():
    with pytest.raises(ConfigError) as caught:
        SourceReader.build(config(trusted_proxies=["::1", "nowhere", "10.0.0.1/8"]))
    assert [p.key for p in caught.value.problems] == ["trusted_proxies.1", "trusted_proxies.2"]
