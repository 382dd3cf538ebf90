import pytest

from gateway.errors import Code, ForwardError
from gateway.forward import Forwarder, response_headers
from gateway.model import Decision
from tests.support.stages import ALICE, ALLOWED, ANONYMOUS, config, head, match, source, trail


def forward(
    *lines, routes=({},), principal=ALICE, decision=ALLOWED, from_=None, cors=None, target="/x",
    settings=None, **changes,
):  # fmt: skip
    settings = config(*routes, **(settings or {}))
    asked = head(target, *lines, **changes)
    return Forwarder.build(settings).forward(
        asked,
        match(settings.routes[0], path=target, segments=()),
        principal,
        decision,
        from_ or source(),
        trail=trail(asked),
        cors=cors,
        now=0.0,
    )


def sent(*lines, **given):
    """The client's lines that pass, apart from what the gateway sets."""
    own = len(forward(**given).headers)
    found = forward(*lines, **given).headers
    return [(n.decode(), v.decode()) for n, v in found[1 : len(found) - own + 1]]


def named(found, name):
    return [value.decode() for key, value in found.headers if key == name.encode()]


def test_what_the_gateway_sets():
    found = forward(("accept", "*/*"), ("user-agent", "x"))
    assert found.headers == (
        (b"host", b"api.example"),
        (b"accept", b"*/*"),
        (b"user-agent", b"x"),
        (b"x-forwarded-for", b"203.0.113.9"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"api.example"),
        (b"x-request-id", b"01JTESTID"),
        (b"x-decision-id", b"01JTESTID"),
        (b"x-auth-subject", b"alice"),
        (b"x-auth-issuer", b"corp"),
        (b"x-auth-scopes", b"orders:read,orders:write"),
        (b"x-auth-roles", b"reader"),
    )


DROPPED = [
    "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    "http2-settings", "proxy-authorization", "content-length", "expect", "authorization", "host",
    "sec-websocket-key", "sec-websocket-protocol",
    "x-auth-subject", "x_auth_subject", "x.auth.subject", "x~auth~subject", "x-auth_roles",
    "x'auth!subject", "X-Auth-Subject", "x-elsewhere", "x_elsewhere",
    "x-forwarded-for", "x_forwarded_for", "x-forwarded-proto", "x-forwarded-host",
    "x-forwarded-port", "x-forwarded-prefix", "x-forwarded-anything", "x-forwarded", "forwarded",
    "forwarded-for", "x-real-ip", "x_real_ip", "x-original-url", "x-rewrite-url",
    "x-http-method-override", "x_http_method_override", "x-http-method", "x-method-override",
    "x-client-ip", "client-ip", "true-client-ip", "cf-connecting-ip", "proxy",
    "x-original-method", "x-original-path", "x-http-path-override", "x-override-url", "x-method",
    "x-envoy-original-path", "x-envoy-external-address", "x-azure-clientip", "x-proxyuser-ip",
    "wl-proxy-client-ip", "x-appengine-user-ip", "x-remote-addr",
    "x-request-id", "x_request_id", "x-decision-id", "content_length", "transfer_encoding",
]  # fmt: skip


@pytest.mark.parametrize("name", DROPPED)
def test_dropped(name):
    routes = ({}, {"hosts": ["b.x"], "identity_headers": {"x-elsewhere": "claims.x"}})
    assert sent((name, "0"), ("x-kept", "1"), routes=routes) == [("x-kept", "1")]


ADDRESSES = [
    "x_real_ip", "x-client-ip", "client-ip", "cf-connecting-ip", "x-envoy-external-address",
    "x-azure-clientip", "x-proxyuser-ip", "wl-proxy-client-ip", "x-appengine-user-ip",
    "x-remote-addr",
]  # fmt: skip
BELIEVED = ["x-real-ip", "true-client-ip", "via"]


@pytest.mark.parametrize("name", DROPPED + BELIEVED)
def test_a_trusted_proxy_is_believed_only_where_nothing_else_is_decided_by_it(name):
    routes = ({}, {"hosts": ["b.x"], "identity_headers": {"x-elsewhere": "claims.x"}})
    passes = name in (*BELIEVED, *ADDRESSES)
    expected = [(name, "0")] if passes else []
    assert sent((name, "0"), routes=routes, from_=source(trusted=True)) == expected


@pytest.mark.parametrize(
    "option", ["x-auth-subject", "X-Forwarded-For", "x-forwarded-proto", "host", "x-decision-id"]
)
def test_connection_cannot_take_away_what_the_gateway_says(option):
    spoofed = forward(("connection", f"close, {option}"), (option, "evil"))
    assert spoofed.headers == forward().headers


def test_connection_takes_away_what_it_names_in_every_spelling():
    lines = [("connection", "x-hop ,X-Other"), ("connection", "cookie"), ("x-hop", "1"),
             ("x_hop", "2"), ("x-other", "3"), ("cookie", "a=1"), ("x-kept", "4")]  # fmt: skip
    assert sent(*lines) == [("x-kept", "4")]


@pytest.mark.parametrize(
    ("pair", "refused"),
    [
        (("x-tenant", "x_tenant"), True),
        (("x.tenant", "x_tenant"), True),
        (("content-type", "content_type"), True),
        (("x_tenant", "x_tenant"), False),
        (("x-tenant", "x-tenant"), False),
        (("x_tenant", "y_tenant"), False),
    ],
)
def test_one_name_in_two_spellings(pair, refused):
    lines = [(name, "v") for name in pair]
    if not refused:
        assert sent(*lines) == lines
        return
    with pytest.raises(ForwardError) as refusal:
        forward(*lines)
    assert refusal.value.code is Code.BAD_HEADER


def test_chain_of_trusted_proxies():
    behind = source(
        trusted=True, address="198.51.100.1", forwarded_for="198.51.100.1, 10.0.0.2",
        forwarded_host="shop.example:444", scheme="http", request_id="theirs",
    )  # fmt: skip
    found = forward(peer="10.0.0.1", from_=behind)
    assert named(found, "x-forwarded-for") == ["198.51.100.1, 10.0.0.2, 10.0.0.1"]
    assert named(found, "x-forwarded-host") == ["shop.example:444"]
    assert named(found, "x-forwarded-proto") == ["http"]
    assert named(found, "x-request-id") == ["theirs"]
    assert named(found, "x-decision-id") == ["01JTESTID"]
    assert named(forward(peer=""), "x-forwarded-for") == ["unknown"]


@pytest.mark.parametrize(
    ("route", "authority", "host"),
    [
        ({}, b"API.Example:8443", "api.example:8443"),
        ({}, b"api.example", "api.example"),
        ({"host": "upstream"}, b"api.example", "127.0.0.1:9000"),
        ({"host": "upstream", "upstream": "http+unix:/run/x"}, b"api.example", "localhost"),
        ({"host": "inner.example"}, b"api.example", "inner.example"),
    ],
)
def test_host(route, authority, host):
    found = forward(("host", "evil"), routes=(route,), authority=authority)
    assert named(found, "host") == [host]


TOKEN = {"credentials": {"header": "x-ticket", "cookie": "session"}}


@pytest.mark.parametrize(
    ("route", "passed"),
    [
        ({}, [("cookie", "a=1; b=2")]),
        ({"authentication": "anonymous"}, [("cookie", "a=1; b=2")]),
        ({"forward_token": True}, [("authorization", "Bearer t"), ("x-ticket", "t"),
                                   ("cookie", "a=1; session=t; b=2")]),
    ],
)  # fmt: skip
def test_credentials(route, passed):
    lines = [("authorization", "Bearer t"), ("x-ticket", "t"), ("x_ticket", "t"),
             ("cookie", "a=1; session=t; b=2"), ("proxy-authorization", "t")]  # fmt: skip
    if "forward_token" in route:
        lines.remove(("x_ticket", "t"))
    assert sent(*lines, routes=(route,), settings=TOKEN) == passed


@pytest.mark.parametrize(
    ("lines", "cookie"),
    [
        (["session=t"], None),
        (["a=1", "session=t", "b=2"], "a=1; b=2"),
        (["a=1;session=t;  b=2;"], "a=1; b=2"),
        (["session =t; Session=x"], "Session=x"),
        (["xsession=t; session.x=1"], "xsession=t; session.x=1"),
    ],
)
def test_credential_cookie(lines, cookie):
    passed = sent(*(("cookie", line) for line in lines), settings=TOKEN)
    assert passed == ([("cookie", cookie)] if cookie else [])


def test_split_cookies_become_one_line():
    assert sent(("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")) == [
        ("x", "y"), ("cookie", "a=1; b=2"),
    ]  # fmt: skip


def test_what_the_policy_sets_replaces_the_clients():
    decision = Decision(
        allow=True,
        headers=(("x-tenant", "t1"), ("x-tenant", "t2"), ("authorization", "Basic x")),
        remove_headers=("x-gone",),
    )
    lines = [("x_tenant", "evil"), ("x-tenant", "evil"), ("X.Gone".lower(), "1"), ("x-gone", "2")]
    found = forward(*lines, decision=decision)
    assert named(found, "x-tenant") == ["t1", "t2"]
    assert named(found, "authorization") == ["Basic x"]
    assert "evil" not in str(found.headers)
    assert not any(b"gone" in name for name, _ in found.headers)


def test_anonymous_requests_have_no_identity():
    found = forward(("x-auth-subject", "evil"), principal=ANONYMOUS)
    assert not any(name.startswith(b"x-auth") for name, _ in found.headers)


def answered(*lines, **given):
    received = tuple((name.encode(), value.encode()) for name, value in lines)
    return [(n.decode(), v.decode()) for n, v in response_headers(received, forward(**given))]


def test_response_headers_of_the_connection_stay_behind():
    lines = [("connection", "x-hop"), ("x-hop", "1"), ("x_hop", "2"), ("keep-alive", "5"),
             ("transfer-encoding", "chunked"), ("trailer", "x"), ("upgrade", "h2c"),
             ("proxy-authenticate", "x"), ("alt-svc", "h3=':1'"), ("content-length", "3"),
             ("www-authenticate", "Basic"), ("x", "y")]  # fmt: skip
    assert answered(*lines) == [
        ("content-length", "3"), ("www-authenticate", "Basic"), ("x", "y"),
    ]  # fmt: skip


def test_response_headers_of_the_policy():
    decision = Decision(
        allow=True,
        response_headers=(("cache-control", "no-store"), ("set-cookie", "a=1"), ("vary", "x")),
    )
    lines = [("cache-control", "public"), ("set-cookie", "b=2"), ("vary", "accept")]
    assert answered(*lines, decision=decision) == [
        ("set-cookie", "b=2"), ("vary", "accept"),
        ("cache-control", "no-store"), ("set-cookie", "a=1"), ("vary", "x"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("upstream", "policy", "expected"),
    [
        (["origin"], [], ["origin"]),
        (["Accept, Origin"], [], ["Accept, Origin"]),
        (["*"], [], ["*", "origin"]),
        (["accept"], [], ["accept", "origin"]),
        (["accept", "origin"], ["accept"], ["accept", "origin"]),
        (["accept"], ["origin"], ["accept", "origin"]),
        (["accept"], ["origin, x"], ["accept", "origin, x"]),
    ],
)
def test_what_a_response_varies_by_is_said_once(upstream, policy, expected):
    decision = Decision(allow=True, response_headers=tuple(("vary", line) for line in policy))
    lines = [("vary", line) for line in upstream]
    found = answered(*lines, decision=decision, cors=((b"vary", b"origin"),))
    assert [value for _, value in found] == expected


@pytest.mark.parametrize(
    ("cors", "expected"),
    [
        (None, [("access-control-allow-origin", "*"), ("access-control-max-age", "9")]),
        (((b"vary", b"origin"),), [("vary", "origin")]),
        (((b"access-control-allow-origin", b"https://a"),),
         [("access-control-allow-origin", "https://a")]),
    ],
)  # fmt: skip
def test_the_upstream_does_not_answer_for_cors_where_the_gateway_does(cors, expected):
    lines = [("access-control-allow-origin", "*"), ("access-control-max-age", "9")]
    assert answered(*lines, cors=cors) == expected
