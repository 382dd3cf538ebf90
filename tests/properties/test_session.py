"""Where logins lead back to, and how the gateway's own cookies leave a request."""

from urllib.parse import urljoin, urlsplit

from hypothesis import example, given, strategies as st

from gateway.errors import Code, RouteError
from gateway.model import Session, Source
from gateway.route.own_path import own_path
from gateway.session.cookies import separate
from gateway.session.origin import own_origin
from gateway.session.record import Ticket
from tests.support.stages import head

PIECES = [
    "/", "//", "\\", ".", "..", "%2e", "%2f", "%5c", "%09", "\t", "\n", "@", ":", "evil.example",
    "http:", "https://", "?", "#", "&", "=", "a", ";", " ", "\x00", "ä", "．", "／", "javascript:",
    "/.well-known/gateway/", "%00", "%25", "[::1]",
]  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=30),
    st.lists(st.sampled_from(PIECES), max_size=8).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=8).map(lambda pieces: "/" + "".join(pieces)),
)
OWN = "https://app.example"


def as_browsers_read(place):
    """What a browser makes of a Location (WHATWG URL §4.4): tabs and line breaks go, \\ is /."""
    text = "".join(
        sign for sign in place.strip("".join(map(chr, range(33)))) if sign not in "\t\r\n"
    )
    return urljoin(f"{OWN}/x", text.replace("\\", "/"))


@given(text=TEXTS)
@example(text="/\\evil.example")
@example(text="/\t/evil.example")
@example(text="/a/../..//evil.example")
def test_a_login_leads_back_to_the_own_host_or_nowhere(text):
    try:
        place = own_path(text)
    except RouteError as error:
        assert error.code is Code.RETURN_REFUSED
        return
    parts = urlsplit(as_browsers_read(place))
    assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "app.example", "")
    assert parts.path + ("?" + parts.query if "?" in place else "") == place
    assert not place.startswith("/.well-known/gateway/")
    assert place.isascii() and place.isprintable() and " " not in place
    assert own_path(place) == place


NAMES = st.sampled_from([
    b"__Host-session-web", b"__Host-session~web~0123456789", b"__host-session-web", b"__HOST-SESSION-WEB",
    b"__Host-session", b"__Host-sessionx", b"session", b"a", b"", b" __Host-session-web", b"__Host-session-web ",
])  # fmt: skip
COOKIES = st.tuples(NAMES, st.sampled_from([b"=", b" = ", b""]), st.binary(max_size=5)).map(
    b"".join
)
LINES = st.lists(st.lists(COOKIES, max_size=4).map(b";".join), max_size=3)
PREFIXES = (b"__Host-session-", b"__Host-session~")


@given(lines=LINES)
def test_no_cookie_of_the_gateway_stays_and_every_other_does(lines):
    sent = head("/", *[(b"cookie", line) for line in lines], (b"a", b"b"))
    left, found = separate(sent, PREFIXES)

    def names(given):
        return [
            part.strip(b" \t").partition(b"=")[0].rstrip(b" \t")
            for line in given.fields.get(b"cookie", ())
            for part in line.split(b";")
        ]

    own = tuple(map(bytes.lower, PREFIXES))
    before, after = names(sent), names(left)
    assert not any(name.lower().startswith(own) for name in after)
    others = [name for name in before if name and not name.lower().startswith(own)]
    assert [name for name in after if name] == others
    read = sum(map(len, found.values()))
    assert read == sum(name.startswith(PREFIXES) and name.isascii() for name in before)
    assert left.fields[b"a"] == [b"b"]
    assert separate(left, PREFIXES) == (left, {})


@given(secret=st.binary(min_size=32, max_size=32), other=st.binary(max_size=45))
def test_a_session_has_one_cookie(secret, other):
    ticket = Ticket(secret)
    assert Ticket.read(ticket.cookie.encode()) == ticket
    read = Ticket.read(other)
    assert read is None or read.cookie.encode() == other
    assert len({ticket.cookie, ticket.key.hex(), ticket.id}) == 3
    assert ticket.cookie not in repr(Session(login="web", token=ticket.cookie.encode()))


def test_own_origins():
    def source(scheme, host=""):
        return Source(address="", networks=(), scheme=scheme, trusted=True, forwarded_host=host)

    asked = head("/", authority=b"App.Example:443")
    assert own_origin(asked, source("https")) == b"https://app.example"
    assert own_origin(asked, source("http")) == b"http://app.example:443"
    assert own_origin(asked, source("https", "shop.example:80")) == b"https://shop.example:80"
