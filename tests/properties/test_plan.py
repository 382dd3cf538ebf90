"""`plan` never raises, whatever the head; warm caches change no answer."""

import json

import pytest
from hypothesis import given, settings, strategies as st

from gateway.errors import Code
from gateway.jose.sign import generate, public_jwks
from gateway.model import Answer, Facts, Forward, Head, Need, Refuse
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
