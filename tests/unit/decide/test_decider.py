"""Real policies through the stage: documents in, decisions out."""

import pytest

from gateway.decide import Decider
from gateway.errors import Code, DecisionError
from gateway.model import Facts
from gateway.rego import Policy, compile
from tests.support.stages import ALICE, ANONYMOUS, NOW, config, head, match, source

MODULES = {
    "native.rego": """package native
default allow := false
allow if {
    input.identity.authenticated
    input.claims.sub == "alice"
    input.request.segments == ["orders", input.route.params.id]
    time.now_ns() == input.time.unix * 1000000000
}
undefined if input.nothing
error := {"allow": 1 / input.request.size == 1}
conflict := 1 if input.request.method == "GET"
conflict := 2 if input.request.method == "GET"
long := count([x | some x in numbers.range(1, 100000)]) > 0
odd := {"allow": "yes"}
large := {"allow": true, "body": [ns | ns := numbers.range(1, 1000); some n in ns]}
rich := {"allow": false, "reasons": reasons, "headers": {"x-a": sprintf("%v", [1])}}
reasons contains "b"
reasons contains {"code": "a", "message": "A."}
""",
    "envoy.rego": """package envoy.authz
default allow := {"allowed": false, "http_status": 401, "body": "no"}
allow := {"allowed": true, "headers": {"x-user": user}} if {
    input.attributes.request.http.method == "GET"
    input.parsed_path[0] == "orders"
    startswith(input.attributes.request.http.headers.authorization, "Bearer ")
    user := input.attributes.metadataContext.filterMetadata["envoy.filters.http.jwt_authn"].corp.sub
}
""",
    "kong.rego": """package kong
allow if {
    input.request.http.method == "GET"
    input.request.http.querystring.page == "2"
    input.consumer.username == "alice"
}
""",
    "apisix.rego": """package apisix
default allow := false
allow if input.var.timestamp > 0
decision := {"allow": allow, "status_code": 302, "reason": {"m": 1}}
""",
}
ENTRYPOINTS = {
    "allow": "native/allow", "undefined": "native/undefined", "error": "native/error",
    "conflict": "native/conflict", "long": "native/long", "odd": "native/odd",
    "large": "native/large", "rich": "native/rich", "envoy": "envoy/authz/allow", "kong": "kong/allow",
    "apisix": "apisix/decision",
}  # fmt: skip
DIALECTS = ("envoy", "kong", "apisix")


@pytest.fixture(scope="module")
def decider():
    given = [
        {"id": name, "paths": [f"/{name}"], "dialect": name if name in DIALECTS else "native"}
        for name in ENTRYPOINTS
    ]
    settings = config(*given, policy={"steps": 20_000})
    policy = Policy(compile(MODULES), {})
    return settings, Decider.build(settings, policy, ENTRYPOINTS)


def decide(decider, name, principal=ALICE):
    settings, built = decider
    (route,) = [route for route in settings.routes if route.id == name]
    found = match(route, query={"page": ["2"]})
    asked = head("/orders/42?page=2", ("authorization", "Bearer t"))
    document = built.document(asked, found, principal, source(), Facts(), NOW)
    return built.decide(document, found, NOW)


@pytest.mark.parametrize(
    ("name", "principal", "allow"),
    [
        ("allow", ALICE, True),
        ("allow", ANONYMOUS, False),
        ("envoy", ALICE, True),
        ("envoy", ANONYMOUS, False),
        ("kong", ALICE, True),
        ("apisix", ALICE, True),
    ],
)
def test_verdicts(decider, name, principal, allow):
    assert decide(decider, name, principal).allow is allow


def test_undefined_refuses(decider):
    for name, principal in (("undefined", ALICE), ("kong", ANONYMOUS)):
        found = decide(decider, name, principal)
        assert (found.allow, found.code) == (False, Code.UNDEFINED)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("error", Code.EVAL_ERROR),
        ("conflict", Code.EVAL_ERROR),
        ("long", Code.WORK_LIMIT),
        ("odd", Code.DECISION_SHAPE),
    ],
)
def test_what_cannot_decide_refuses(decider, name, code):
    with pytest.raises(DecisionError) as refusal:
        decide(decider, name)
    assert refusal.value.code is code


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("error", "eval_builtin_error: divide by zero (in data.native.error, native.rego:10)"),
        (
            "conflict",
            "eval_conflict_error: complete rules must not produce multiple outputs "
            "(in data.native.conflict, native.rego:12)",
        ),
        (
            "long",
            "eval_step_limit: the policy takes more than 20000 steps "
            "(in data.native.long, native.rego:13)",
        ),
        (
            "large",
            "the result has more than 200000 values; "
            'the result is {"allow": true, "body": array of 1000}',
        ),
        ("odd", 'allow must be true or false; the result is {"allow": string}'),
    ],
)
def test_the_detail_tells_where(decider, name, detail):
    with pytest.raises(DecisionError) as refusal:
        decide(decider, name)
    assert refusal.value.detail == detail


def test_sets_of_the_engine_are_reasons(decider):
    assert [reason.code for reason in decide(decider, "rich").reasons] == ["a", "b"]


def test_the_envoy_policys_words(decider):
    assert decide(decider, "envoy").headers == (("x-user", "alice"),)
    found = decide(decider, "envoy", ANONYMOUS)
    assert (found.status, found.body, found.text) == (401, "no", True)
