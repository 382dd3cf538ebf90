"""Nothing that the client sends can look like what the gateway says."""

import re

from hypothesis import given, strategies as st

from gateway.errors import Code, ForwardError
from gateway.forward import Forwarder, response_headers
from gateway.model import Decision
from tests.support.stages import ALICE, ALLOWED, ANONYMOUS, config, head, match, source, trail

CONFIG = config({}, {"hosts": ["b.x"], "identity_headers": {"x-tenant-id": "claims.org.id"}})
FORWARDER = Forwarder.build(CONFIG)
SPOKEN = (
    "x-auth-subject", "x-auth-issuer", "x-auth-scopes", "x-auth-groups", "x-auth-roles",
    "x-tenant-id", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id",
    "x-decision-id", "host", "authorization", "content-length", "transfer-encoding", "x-real-ip",
    "x-original-url", "forwarded",
)  # fmt: skip
SIGNS = "-_.~!#$%&'*+^`|"
EVIL = b"evil"


@st.composite
def spellings(draw):
    """A name of ours with other signs between its words."""
    name = draw(st.sampled_from(SPOKEN))
    return "".join(draw(st.sampled_from(SIGNS)) if sign == "-" else sign for sign in name)


OTHERS = st.sampled_from(["accept", "cookie", "x-custom", "content-type", "te", "upgrade", "via"])
OPTIONS = st.lists(st.one_of(spellings(), st.sampled_from(SPOKEN), OTHERS, st.just("close")))
LINES = st.lists(
    st.one_of(
        st.tuples(st.one_of(spellings(), st.sampled_from(SPOKEN), OTHERS), st.just("evil")).filter(
            lambda line: line[0] != "content-length"  # the server has checked its value
        ),
        st.tuples(st.just("connection"), OPTIONS.map(", ".join)),
    ),
    max_size=12,
)


def cgi(name):
    """What CGI makes of a header's name (RFC 3875 §4.1.18), and its heirs of other signs."""
    return re.sub(rb"[^A-Z0-9]", b"_", name.upper())


OURS = {cgi(name.encode()) for name in SPOKEN}


def forward(lines, principal=ALICE, trusted=False, decision=ALLOWED):
    asked = head("/x", *lines)
    return FORWARDER.forward(
        asked, match(CONFIG.routes[0]), principal, decision, source(trusted=trusted),
        trail=trail(asked), cors=None, now=0.0,
    )  # fmt: skip


@given(LINES, st.sampled_from([ALICE, ANONYMOUS]))
def test_no_inbound_header_of_ours_survives_in_any_spelling(lines, principal):
    clean = forward([], principal).headers
    try:
        found = forward(lines, principal).headers
    except ForwardError as error:
        assert error.code is Code.BAD_HEADER
        return
    assert [line for line in found if cgi(line[0]) in OURS] == list(clean)


@given(LINES)
def test_a_trusted_proxy_cannot_speak_for_the_gateway_either(lines):
    believed = {b"X_REAL_IP"}
    try:
        found = forward(lines, trusted=True).headers
    except ForwardError as error:
        assert error.code is Code.BAD_HEADER
        return
    ours = [line for line in found if cgi(line[0]) in OURS - believed]
    assert ours == list(forward([], trusted=True).headers)


@given(LINES)
def test_no_two_headers_of_the_upstream_are_one_to_cgi(lines):
    try:
        found = forward(lines).headers
    except ForwardError:
        return
    names = {name for name, _ in found}
    assert len({cgi(name) for name in names}) == len(names)


@given(LINES, spellings().filter(lambda name: name[:7] != "content"))
def test_what_the_policy_sets_is_all_there_is_of_it(lines, spelling):
    decision = Decision(allow=True, headers=(("x-custom", "good"),), remove_headers=("accept",))
    lines = [*lines, ("x_custom", "evil"), ("x.custom", "evil")]
    try:
        found = forward(lines, decision=decision).headers
    except ForwardError:
        return
    assert [value for name, value in found if cgi(name) == b"X_CUSTOM"] == [b"good"]
    assert not any(cgi(name) == b"ACCEPT" for name, _ in found)


@given(LINES)
def test_response_headers_of_the_connection_never_pass(lines):
    received = tuple((name.encode(), value.encode()) for name, value in lines)
    for name, value in response_headers(received, forward([])):
        assert name not in (b"connection", b"te", b"upgrade", b"transfer-encoding")
        assert value == EVIL
