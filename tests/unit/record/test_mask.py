from __future__ import annotations

import copy
import json

import pytest

from gateway.config.model import Config
from gateway.errors import Code, ConfigError
from gateway.model import Decision
from gateway.record import mask as masking
from gateway.record.event import build
from gateway.record.mask import MAX_LINE, Mask, edited, pointer, sealed, text_of, without
from tests.support.recording import CONFIG, document, early, exchange, forward, head

SECRET = "s3cret-value"
JWS = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"


def mask_of(*pointers, **credentials):
    given = CONFIG.model_dump()
    given["log"]["decisions"]["mask"] = pointers
    given["credentials"].update(credentials)
    return Mask.build(Config.model_validate(given))


def masked(outcome, *pointers, dialect="native", **credentials):
    """The event as it is written, after a check that what it shares was not changed."""
    trail = outcome.trail
    before = copy.deepcopy((trail.document, trail.decision and trail.decision.result))
    event = build(outcome, exchange(), labels={})
    event = mask_of(*pointers, **credentials).apply(event, dialect)
    line = sealed(event)
    assert (trail.document, trail.decision and trail.decision.result) == before
    return json.loads(line)


def test_nothing_to_erase_is_the_event_itself():
    event = build(forward(), exchange(), labels={})
    assert mask_of().apply(event) is event


@pytest.mark.parametrize(
    ("request_", "erased"),
    [
        ({"headers": {"authorization": SECRET}}, ["/input/request/headers/authorization"]),
        ({"headers": {"X-Api-Key": SECRET}}, ["/input/request/headers/X-Api-Key"]),
        (
            {"headers": {"cookie": f"a={SECRET}"}, "cookies": {"a": SECRET}},
            ["/input/request/headers/cookie", "/input/request/cookies"],
        ),
        (
            {"query": {"access_token": [SECRET]}, "query_string": f"access_token={SECRET}"},
            ["/input/request/query/access_token"],
        ),
        (
            {"query": {"a~b/token": [SECRET]}, "query_string": f"a%7Eb%2Ftoken={SECRET}"},
            ["/input/request/query/a~0b~1token"],
        ),
        (
            {"body": {"user": "a", "new": [{"password": SECRET}]}},
            ["/input/request/body/new/0/password"],
        ),
    ],
)
def test_secrets_of_a_request(request_, erased):
    event = masked(forward(document=document(**request_)))
    assert event["erased"] == erased
    assert SECRET not in json.dumps(event)


def test_query_string_keeps_what_is_not_secret():
    query = {"page": ["2"], "token": [SECRET]}
    event = masked(forward(document=document(query=query, query_string=f"page=2&token={SECRET}&x")))
    assert event["input"]["request"]["query_string"] == "page=2&token=[erased]&x"
    assert event["input"]["request"]["query"] == {"page": ["2"]}
    assert event["masked"] == ["/input/request/query_string"]


def test_referer_loses_its_tokens():
    headers = {"referer": f"https://app.example/cb?code={SECRET}&x=1", "accept": "*/*"}
    event = masked(forward(document=document(headers=headers)))
    assert event["input"]["request"]["headers"] == {
        "referer": "https://app.example/cb?code=[erased]&x=1",
        "accept": "*/*",
    }
    assert event["masked"] == ["/input/request/headers/referer"]


@pytest.mark.parametrize(
    "name",
    ["Referer", "x-original-uri", "x-original-url", "x-envoy-original-path", "x-forwarded-url",
     "x-forwarded-path", "x-forwarded-uri", "X_Rewrite_Url", "content-location"],
)  # fmt: skip
def test_urls_in_headers_lose_their_secrets(name):
    given = {name: f"https://user:{SECRET}@app.example/cb?access.token={SECRET}&x=1"}
    event = masked(forward(document=document(headers=given)))
    expected = "https://[erased]@app.example/cb?access.token=[erased]&x=1"
    assert event["input"]["request"]["headers"] == {name: expected}
    result = {"allow": True, "response_headers": given}
    event = masked(forward(decision=Decision(allow=True, result=result)))
    assert event["result"]["response_headers"] == {name: expected}


@pytest.mark.parametrize("name", ["headers", "response_headers"])
def test_credentials_that_the_policy_sets(name):
    result = {"allow": True, name: {"Authorization": SECRET, "set-cookie": [SECRET], "x-a": "b"}}
    event = masked(forward(decision=Decision(allow=True, result=result)))
    assert event["result"] == {"allow": True, name: {"x-a": "b"}}
    assert event["erased"] == [f"/result/{name}/Authorization", f"/result/{name}/set-cookie"]


def test_configured_credential_header():
    given = document(headers={"x-ticket": SECRET})
    assert SECRET in json.dumps(masked(forward(document=given)))
    assert SECRET not in json.dumps(masked(forward(document=given), header="X-Ticket"))
    given = document(headers={"X_Ticket": SECRET})
    assert SECRET not in json.dumps(masked(forward(document=given), header="X-Ticket"))


ENVOY = {
    "attributes": {
        "request": {
            "http": {
                "headers": {"authorization": SECRET, ":path": f"/x?token={SECRET}", "a": "b"},
                "path": f"/x?token={SECRET}",
                "body": f'{{"password":"{SECRET}"}}',
            }
        }
    },
    "parsed_query": {"token": [SECRET]},
    "parsed_body": {"password": SECRET},
}
KONG = {
    "request": {
        "http": {
            "headers": {"authorization": SECRET},
            "querystring": {"token": SECRET},
            "path": f"/x?token={SECRET}",
            "body": SECRET,
            "parsed_body": {"secret": SECRET},
        }
    }
}
APISIX = {
    "request": {
        "headers": {"authorization": SECRET, "cookie": SECRET},
        "query": {"token": SECRET},
        "path": f"/x?token={SECRET}",
    }
}


@pytest.mark.parametrize(
    ("dialect", "given"), [("envoy", ENVOY), ("kong", KONG), ("apisix", APISIX)]
)
def test_dialects(dialect, given):
    result = {"allowed": True, "headers": [{"authorization": SECRET}, {"x-a": "b"}]}
    event = masked(
        forward(document=given, dialect=dialect, decision=Decision(allow=True, result=result)),
        dialect=dialect,
    )
    assert SECRET not in json.dumps(event)
    assert event["result"]["headers"] == [{}, {"x-a": "b"}]


def test_early_refusal_is_masked_in_its_own_shape_whatever_the_dialect():
    outcome = early(Code.BAD_PATH, head=head(query_string=f"access_token={SECRET}".encode()))
    for dialect in masking.PLACES:
        event = masked(outcome, dialect=dialect)
        assert event["input"]["request"]["query_string"] == "access_token=[erased]"


@pytest.mark.parametrize(
    ("where", "outcome"),
    [
        ("a header", forward(document=document(headers={"x-other": f"a {JWS} b"}))),
        ("a path", early(Code.BAD_PATH, head=head(raw_path=f"/v/{JWS}".encode()))),
        ("a member's name", forward(document=document(query={JWS: ["x"]}))),
        ("an error", early(Code.BAD_HEADER, detail=f"what is {JWS}?")),
        ("the result", forward(decision=Decision(allow=True, result={"echo": [JWS]}))),
    ],
)
def test_whole_tokens_are_found_anywhere(where, outcome):
    event = masked(outcome)
    assert JWS.split(".")[2] not in json.dumps(event), where
    assert event["masked"]


def test_masked_names_the_place_of_a_token():
    event = masked(forward(document=document(headers={"x-other": f"a {JWS} b"})))
    assert event["input"]["request"]["headers"]["x-other"] == "a [erased] b"
    assert event["masked"] == ["/input/request/headers/x-other"]


def test_configured_pointers():
    event = masked(
        forward(document=document(body={"a": [1, {"b": 2}, 3]})),
        "/input/claims/email",
        "/subject",
        "/input/request/body/a/1/b",
        "/input/request/body/a/0",
        "/input/absent/member",
        "/input/request/body/a/9",
        "/input/request/body/a/-",
    )
    assert event["input"]["claims"] == {"sub": "alice"}
    assert "subject" not in event
    assert event["input"]["request"]["body"] == {"a": [None, {}, 3]}
    assert event["erased"] == [
        "/input/claims/email",
        "/subject",
        "/input/request/body/a/1/b",
        "/input/request/body/a/0",
    ]


def test_pointer_to_a_query_parameter_covers_the_query_string():
    given = document(query={"iban": ["DE1"], "x": ["1"]}, query_string="iban=DE1&x=1")
    event = masked(forward(document=given), "/input/request/query/iban")
    assert event["input"]["request"]["query_string"] == "iban=[erased]&x=1"
    outcome = early(Code.BAD_HOST, head=head(query_string=b"iban=DE1&x=1"))
    event = masked(outcome, "/input/request/query/iban")
    assert event["input"]["request"]["query_string"] == "iban=[erased]&x=1"


@pytest.mark.parametrize(
    ("text", "path"),
    [("/a", ("a",)), ("/a~1b/c~0d/~01", ("a/b", "c~d", "~1")), ("/a//b", ("a", "", "b"))],
)
def test_pointers(text, path):
    assert pointer(text) == path
    assert text_of(path) == text


@pytest.mark.parametrize(
    "text", ["", "a", "#/a", "/a~2", "/a~", "/decision_id", "/timestamp/x", "/erased", "/type"]
)
def test_unusable_pointers_are_a_config_error(text):
    with pytest.raises(ConfigError) as caught:
        mask_of("/input/x", text)
    assert [problem.key for problem in caught.value.problems] == ["log.decisions.mask.1"]


def test_edited_shares_what_it_does_not_change():
    node = {"a": {"b": 1, "c": {}}, "d": {}}
    made = edited(node, ("a",), without(("b",)))
    assert made == {"a": {"c": {}}, "d": {}}
    assert made["d"] is node["d"]
    assert made["a"]["c"] is node["a"]["c"]
    assert edited(node, ("a", "x"), without(("y",))) is node
    assert edited(node, ("a",), without(("y",))) is node


def test_many_secret_members_erase_the_whole_body():
    body = [{"password": SECRET} for _ in range(masking.MAX_ERASED + 1)]
    event = masked(forward(document=document(body=body)))
    assert event["erased"] == ["/input/request/body"]


@pytest.mark.parametrize(
    ("outcome", "erased"),
    [
        (forward(document=document(body="x" * MAX_LINE)), ["/input"]),
        (forward(decision=Decision(allow=True, result="x" * MAX_LINE)), ["/input", "/result"]),
    ],
)
def test_long_events_are_cut(outcome, erased):
    event = build(outcome, exchange(), labels={})
    line = sealed(mask_of().apply(event))
    assert len(line) <= MAX_LINE
    assert json.loads(line)["erased"] == erased
    assert json.loads(line)["decision_id"] == "d-1"


def test_many_secret_parameters_erase_the_whole_query():
    """One copy for each would cost a long query its square."""
    names = [f"{n}-token" for n in range(40_000)]
    given = document(
        query=dict.fromkeys(names, [SECRET]), query_string="&".join(f"{n}={SECRET}" for n in names)
    )
    event = masked(forward(document=given))
    assert event["erased"][0] == "/input/request/query"
    assert SECRET not in json.dumps(event)


def test_a_long_list_of_erasures_is_cut():
    long = "x" * 10_000
    body = {long: [{"password": SECRET} for _ in range(5)]}
    assert masked(forward(document=document(body=body)))["erased"] == ["/input"]
    body = {str(n): JWS for n in range(masking.MAX_ERASED + 1)}
    assert masked(forward(document=document(body=body)))["masked"] == ["/input"]
