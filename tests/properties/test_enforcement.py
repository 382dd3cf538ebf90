"""A route that only reports differs from one that enforces in the policy's refusals, and in nothing else."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from gateway.errors import Code
from gateway.jose.sign import generate, public_jwks, sign
from gateway.model import Answer, Facts, Forward, Head, Need, Refuse
from gateway.pipeline import plan
from gateway.snapshot import load
from tests.support.gateway import CONFIG, configured

NOW = 1_800_000_000.0
KEY = generate("ES256")
POLICY = """package gateway.authz

asked := input.request.query.d[0]

decision := {"allow": true, "headers": {"x-tenant": "a"}} if asked == "allow"

decision := {"allow": false, "headers": {"x-tenant": "a"}} if asked == "deny"

decision := "no decision" if asked == "shape"

decision if {
	asked == "error"
	to_number(asked) > 0
}

decision if {
	asked == "work"
	count([1 | some a in numbers.range(1, 1000); some b in numbers.range(1, 1000); a * b == -1]) > 0
}
"""
OF_THE_POLICY = {
    Code.POLICY_DENIED, Code.UNDEFINED, Code.EVAL_ERROR, Code.WORK_LIMIT, Code.DECISION_SHAPE,
}  # fmt: skip
TOKENS = {
    "good": {},
    "late": {"exp": int(NOW) - 600},
    "for others": {"aud": "others"},
}


def token(name):
    claims = {"iss": "https://idp.example", "aud": "api", "sub": "alice", "exp": int(NOW) + 60}
    return sign({}, claims | TOKENS[name], KEY).encode()


CREDENTIALS = [None, b"Bearer nonsense", *(b"Bearer " + token(name) for name in TOKENS)]
LINES = st.lists(
    st.tuples(
        st.sampled_from([b"x-tenant", b"x-auth-subject", b"connection", b"content-length", b"cookie"]),
        st.sampled_from([b"", b"1", b"x-tenant", b"9999999", b"a=b"]),
    ),
    max_size=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    """The same gateway, enforcing and only reporting."""
    folder = tmp_path_factory.mktemp("enforcement")
    (folder / "policies").mkdir()
    (folder / "policies" / "authz.rego").write_text(POLICY)
    (folder / "jwks.json").write_text(json.dumps(public_jwks([KEY])))
    path = folder / "gateway.yaml"
    made = []
    for enforcement in ("enforce", "report"):
        route = {"id": "items", "paths": ["/items/{rest:path}"], "upstream": "service",
                 "enforcement": enforcement}  # fmt: skip
        changes = {"routes": [route], "policy": {"steps": 10_000}}
        text = CONFIG.format(port=9, keys="{jwks_file: jwks.json}")
        path.write_text(configured(text, changes))
        made.append(load(path, {}))
    return made


@settings(max_examples=300, deadline=None)
@given(
    path=st.sampled_from([b"/items/1", b"/items/%2e%2e", b"/other", b"/items/\xff"]),
    asked=st.sampled_from(["allow", "deny", "shape", "error", "work", "nothing"]),
    credential=st.sampled_from(CREDENTIALS),
    lines=LINES,
    method=st.sampled_from(["GET", "POST", "OPTIONS"]),
)
def test_only_refusals_of_the_policy_pass(snapshots, path, asked, credential, lines, method):
    given_ = [(b"host", b"api.example"), *lines]
    if credential:
        given_.append((b"authorization", credential))
    head = Head(
        id="01", method=method, scheme="http", authority=b"api.example", raw_path=path,
        query_string=b"d=" + asked.encode(), headers=tuple(given_), http_version="1.1",
        peer="127.0.0.1",
    )  # fmt: skip
    strict, lax = (plan(head, Facts(), snapshot, NOW) for snapshot in snapshots)
    if not (isinstance(strict, Refuse) and strict.code in OF_THE_POLICY):
        assert without_trail(lax) == without_trail(strict)
        assert lax.trail.unenforced is None
    elif isinstance(lax, Forward):
        assert lax.trail.unenforced is strict.code
        assert lax.trail.decision == strict.trail.decision
        sent = dict(lax.headers)
        assert sent[b"x-auth-subject"] == b"alice"  # nobody passes without a token
        assert (b"x-tenant", b"a") not in lax.headers
    else:  # what comes after the policy refuses as ever
        assert lax.code in {Code.BODY_TOO_LARGE, Code.BAD_HEADER, Code.BAD_FRAMING}
        assert lax.trail.unenforced is strict.code


def without_trail(outcome: Forward | Refuse | Answer | Need) -> object:
    return replace(outcome, trail=None)
