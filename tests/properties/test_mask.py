"""Whatever a request holds: its secrets are not in the log, and the log is one line of JSON."""

from __future__ import annotations

import copy
import json
import string

from hypothesis import given, settings, strategies as st

from gateway.errors import Code
from gateway.model import Decision
from gateway.record import access
from gateway.record.encode import encode
from gateway.record.event import build
from gateway.record.mask import MAX_LINE, PLACES, Mask, sealed
from tests.support.recording import document, early, exchange, forward, head

# Its letters are in nothing else that an event holds.
SECRETS = st.text("QXZqxz", min_size=12, max_size=40)
AROUND = st.text(string.ascii_lowercase + " .=;,&?/%\"'\\\n", max_size=20)
NAMES = st.sampled_from(
    ["authorization", "Authorization", "cookie", "set-cookie", "proxy-authorization", "x-api-key"]
)
PARAMETERS = st.sampled_from(["access_token", "id_token", "Token", "code", "client_secret"])
TEXT = st.text(st.characters(), max_size=20)  # lone surrogates too
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.decimals() | TEXT
    | st.integers(min_value=2**60, max_value=2**80),
    lambda children: st.lists(children, max_size=4)
    | st.dictionaries(TEXT, children, max_size=4)
    | st.sets(st.integers() | TEXT, max_size=4),
    max_leaves=20,
)  # fmt: skip


def lines_of(outcome, dialect="native"):
    event = Mask().apply(build(outcome, exchange(), labels={}), dialect)
    return sealed(event), access.line(event)


@given(secret=SECRETS, before=AROUND, after=AROUND, name=NAMES)
def test_a_credential_header_is_in_no_line(secret, before, after, name):
    value = f"Bearer {secret}"
    given_headers = ((name.lower().encode(), value.encode()),)
    places = {
        "native": document(headers={name: value}, cookies={"s": value}),
        "envoy": {"attributes": {"request": {"http": {"headers": {name: value}}}}},
        "kong": {"request": {"http": {"headers": {name: value}}}},
        "apisix": {"request": {"headers": {name: value}}},
    }
    result = {"allow": True, "headers": {name: value}}
    for dialect, input_ in places.items():
        kept = copy.deepcopy(input_)
        decision = Decision(allow=True, result=result)
        outcome = forward(
            dialect=dialect, document=input_, decision=decision, head=head(headers=given_headers)
        )
        assert all(secret.encode() not in line for line in lines_of(outcome, dialect))
        assert input_ == kept
    detail = f"{before}{value}{after}{secret}"
    refused = early(Code.TOKEN_MALFORMED, head=head(headers=given_headers), detail=detail)
    assert all(secret.encode() not in line for line in lines_of(refused))


@given(secret=SECRETS, name=PARAMETERS, others=st.lists(st.tuples(AROUND, AROUND), max_size=3))
def test_a_secret_parameter_is_in_no_line(secret, name, others):
    pairs = [*others, (name, secret), *others]
    raw = "&".join(f"{key}={value}" for key, value in pairs if "&" not in key + value)
    input_ = document(query={name: [secret]}, query_string=raw)
    refused = early(Code.BAD_QUERY, head=head(query_string=raw.encode()))
    for outcome in (forward(document=input_), refused):
        assert all(secret.encode() not in line for line in lines_of(outcome))


@given(value=JSON)
def test_encoding_never_raises_and_is_one_line_of_json(value):
    line = encode({"value": value})
    assert b"\n" not in line
    json.loads(line.decode("utf-8"))


@settings(max_examples=60)
@given(
    input_=JSON,
    result=JSON,
    detail=TEXT,
    raw=st.binary(max_size=40),
    dialect=st.sampled_from([*PLACES]),
)
def test_recording_never_raises(input_, result, detail, raw, dialect):
    decision = Decision(allow=False, code=Code.POLICY_DENIED, result=result)
    outcomes = (
        forward(dialect=dialect, document={"request": input_}, decision=decision),
        forward(dialect=dialect, document=document(headers=input_, query=input_, body=input_)),
        early(Code.BAD_PATH, head=head(raw_path=raw, authority=raw), detail=detail),
    )
    for outcome in outcomes:
        line, text = lines_of(outcome, dialect)
        event = json.loads(line)
        assert event["decision_id"] == "d-1"
        assert len(line) <= MAX_LINE
        assert text.isascii()
        assert text.decode().isprintable()
        assert text.count(b" ") == len(access.FIELDS) - 1
