"""`plan` never raises, whatever the head; warm caches change no answer."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from gateway.errors import Code
from gateway.identify import Identifier, Keyring
from gateway.identify.revoked import KINDS, Denial, Denied, Key
from gateway.jose.sign import generate, public_jwks, sign
from gateway.model import Answer, Facts, Forward, Head, Introspected, Need, Refuse, Session
from gateway.pipeline import plan
from gateway.snapshot import load
from tests.support.gateway import CONFIG, POLICY

NOW = 1_800_000_000.0
octets = st.binary(max_size=40)
names = st.sampled_from(
    [b"host", b"authorization", b"cookie", b"origin", b"connection", b"content-length",
     b"x-forwarded-for", b"x_auth_subject", b"access-control-request-method", b"upgrade"]
)  # fmt: skip
heads = st.builds(
    Head,
    id=st.just("01"),
    method=st.sampled_from(["GET", "POST", "OPTIONS", "", "\x00", "CONNECT"]) | st.text(max_size=8),
    scheme=st.sampled_from(["http", "https"]),
    authority=octets,
    raw_path=octets | st.sampled_from([b"/items", b"/open/x", b"/items/%2e%2e", b"*"]),
    query_string=octets,
    headers=st.lists(st.tuples(names | octets, octets), max_size=8).map(tuple),
    http_version=st.sampled_from(["1.0", "1.1", "2"]),
    peer=st.sampled_from(["", "127.0.0.1", "::1", "10.0.0.1"]) | st.text(max_size=8),
    websocket=st.booleans(),
)


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    (folder / "policies").mkdir()
    (folder / "policies" / "authz.rego").write_text(POLICY)
    (folder / "jwks.json").write_text(json.dumps(public_jwks([generate("ES256")])))
    path = folder / "gateway.yaml"
    path.write_text(CONFIG.format(port=9, keys="{jwks_file: jwks.json}"))
    return load(path, {})


@settings(max_examples=300, deadline=None)
@given(head=heads)
def test_plan_never_raises_and_is_repeatable(snapshot, head):
    first = plan(head, Facts(), snapshot, NOW)
    assert isinstance(first, Forward | Refuse | Answer | Need)
    if isinstance(first, Refuse):
        assert first.code is not Code.INTERNAL_ERROR, first.trail.detail
    assert plan(head, Facts(), snapshot, NOW) == first


# With all that a request may wait for: sessions, issuers that are asked, keys, bodies.

FACTS = """
token_endpoints:
  corp: {url: "https://idp.example/token", client: {id: gw, secret: s}}
logins:
  web: {issuer: idp, client: {id: gw, authentication: none}}
  people: {issuer: idp, client: {id: people, authentication: none}, token: id}
issuers:
  idp:
    issuer: https://idp.example
    audience: api
    algorithms: [ES256]
    keys: {discovery: true}
    introspection: {url: "https://idp.example/asked", client: {id: gw, secret: s}}
routes:
  - {id: items, paths: [/items], upstream: service, login: web, forward_token: true}
  - id: people
    paths: [/people]
    upstream: service
    login: people
    authentication: optional
    upstream_token: {endpoint: corp, audience: x}
  - {id: bearers, paths: [/open/x], upstream: service}
"""
KEY = generate("ES256")
TIMES = {"iat": int(NOW) - 60, "exp": int(NOW) + 60}
SIGNED = [
    sign({}, {"iss": "https://idp.example", "sub": "a", "aud": aud, **TIMES}, KEY).encode()
    for aud in ("api", "people")
]
bearers = st.sampled_from([*SIGNED, b"opaque", b"x.y.z", b"\xff", b""]) | octets
asked_heads = st.builds(
    Head,
    id=st.just("01"),
    method=st.sampled_from(["GET", "POST", "OPTIONS"]),
    scheme=st.just("https"),
    authority=st.just(b"app.example"),
    raw_path=st.sampled_from([b"/items", b"/people", b"/open/x"]),
    query_string=st.sampled_from([b"", b"a=1"]),
    headers=st.lists(
        st.tuples(st.just(b"authorization"), bearers.map(lambda token: b"Bearer " + token))
        | st.tuples(st.just(b"cookie"), st.just(b"__Host-session-web=s; __Host-session-people=s"))
        | st.tuples(
            st.just(b"cookie"),
            st.sampled_from([b"__Host-session-web=s", b"__Host-session-people=s", b"a=b"]),
        )
        | st.tuples(st.just(b"origin"), st.sampled_from([b"https://app.example", b"null"]))
        | st.tuples(st.just(b"accept"), st.just(b"text/html")),
        max_size=3,
    ).map(lambda lines: ((b"host", b"app.example"), *lines)),
    http_version=st.just("2"),
    peer=st.just("127.0.0.1"),
    websocket=st.just(False),
)
sessions = st.builds(
    Session,
    login=st.sampled_from(["web", "people"]),
    id=st.just("s"),
    token=bearers,
    access_token=bearers,
    issuer=st.just("idp"),
    subject=st.sampled_from(["a", "b"]),
    sid=st.sampled_from(["", "s"]),
    began_at=st.sampled_from([0.0, NOW]),
)
claims = st.dictionaries(
    st.sampled_from(["active", "iss", "sub", "aud", "exp", "token_type", "jti", "sid"]),
    st.sampled_from([True, False, None, "a", "api", "Bearer", "https://idp.example", NOW + 60, []]),
).map(lambda given: {"active": True, "token_type": "Bearer", "aud": "api", **TIMES, **given})
keys = st.sampled_from(KINDS).flatmap(
    lambda kind: st.builds(Key, st.just("idp"), st.just(kind), st.sampled_from(["a", "s"]))
)
denials = st.dictionaries(keys, st.sampled_from([Denial(), Denial(before=NOW - 1)]), max_size=2)


@pytest.fixture(scope="module")
def asking(tmp_path_factory):
    folder = tmp_path_factory.mktemp("asking")
    (folder / "policies").mkdir()
    (folder / "policies" / "authz.rego").write_text("package gateway.authz\n\nallow := true\n")
    path = folder / "gateway.yaml"
    path.write_text(
        f"upstreams: {{service: {{url: 'http://127.0.0.1:9'}}}}\npolicy: {{paths: [policies]}}\n{FACTS}"
    )
    return load(path, {})


def carried_out(head, snapshot, session, members):
    """The last outcome, and what was brought for it, as the shell would."""
    facts, needs = Facts(), []
    while isinstance(outcome := plan(head, facts, snapshot, NOW), Need):
        needs.append((outcome.kind, outcome.issuer, outcome.token, outcome.login, outcome.cookie))
        assert len(needs) == len(set(needs)), needs
        match outcome.kind:
            case "session":
                facts = replace(facts, session=session)
            case "introspection":
                answer = Introspected(members=members, revision=repr(members))
                facts = replace(facts, introspected=answer)
            case "keys":
                ring = Keyring.from_jwks(json.dumps(public_jwks([KEY])).encode())
                facts = replace(facts, keyrings={outcome.issuer: ring})
            case kind:
                pytest.fail(f"nobody has asked for a {kind}")
    return outcome, needs


@settings(max_examples=300, deadline=None)
@given(head=asked_heads, session=sessions, members=claims, denied=denials)
def test_whatever_is_brought_is_asked_for_once_and_changes_no_later_answer(
    asking, head, session, members, denied
):
    denied = Denied(tables={"file": denied} if denied else {})
    warm = asking.with_denied(denied)
    cold = replace(warm, identifier=Identifier.build(asking.config))
    outcome, needs = carried_out(head, warm, session, members)
    assert carried_out(head, cold, session, members)[1] == needs
    assert carried_out(head, warm, session, members)[1] == needs
    if isinstance(outcome, Refuse):
        assert outcome.code is not Code.INTERNAL_ERROR, outcome.trail.detail
    for other in (cold, warm):
        again, _ = carried_out(head, other, session, members)
        assert told(again) == told(outcome)
    if isinstance(outcome, Forward):
        lines = [value for name, value in outcome.headers if name == b"cookie"]
        assert not any(b"__Host-session" in line for line in lines)
        assert b"__Host-session" not in repr(outcome.trail.document).encode()


def told(outcome):
    """What others see of an outcome; a principal is equal to itself only."""
    if isinstance(outcome, Forward):
        return outcome.headers, outcome.target, outcome.token, outcome.expires_at
    return outcome.status, outcome.headers, outcome.body
