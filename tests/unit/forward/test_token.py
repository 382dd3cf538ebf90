"""What a token endpoint is asked for a request, and what of its answer is taken."""

import pytest
from hypothesis import given, strategies as st

from gateway.config.model import Route
from gateway.errors import Code, ForwardError
from gateway.forward.token import AnswerError, Issued, Requester, read_answer
from gateway.model import ANONYMOUS, Principal, Session, TokenRequest

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
TYPE = "urn:ietf:params:oauth:token-type:"
NOW = 1_790_000_000.0
GOOD = {
    "access_token": "a.b-c_d~e+f/g==",
    "token_type": "Bearer",
    "issued_token_type": f"{TYPE}access_token",
    "expires_in": 100,
}


def requester(**section):
    section = {"endpoint": "corp", "audience": "orders", **section}
    section = {name: value for name, value in section.items() if value is not None}
    route = {"id": "r", "paths": ["/r"], "upstream": "http://u", "upstream_token": section}
    return Requester.build(Route.model_validate(route))


def alice(token=b"h.p.s", **changes):
    whole = {"authenticated": True, "issuer": "corp", "subject": "alice", "token": token}
    return Principal(**{**whole, **changes})


def taken(answer, *, keep=300.0, **request):
    whole = {"endpoint": "corp", "fields": (), "key": b"", "issued_types": frozenset()}
    asked = TokenRequest(**{**whole, **request})
    return read_answer(answer, asked, keep=keep, now=NOW)


def test_an_exchange():
    made = requester(
        audience=["orders", "stock"],
        resource="https://orders.example/api",
        scopes=["read", "write"],
        requested_token_type="jwt",
    ).of(alice(expires_at=NOW))
    assert (made.endpoint, made.subject_token, made.expires_at) == ("corp", b"h.p.s", NOW)
    assert made.fields == (
        ("grant_type", EXCHANGE),
        ("audience", "orders"),
        ("audience", "stock"),
        ("resource", "https://orders.example/api"),
        ("scope", "read write"),
        ("subject_token_type", f"{TYPE}access_token"),
        ("requested_token_type", f"{TYPE}jwt"),
    )
    assert made.issued_types == {f"{TYPE}jwt"}
    assert "h.p.s" not in repr(made)


def test_client_credentials_are_for_whoever_asks():
    asks = requester(grant="client_credentials", audience=None, scopes="read")
    assert asks.of(alice()) == asks.of(ANONYMOUS) == asks.of(alice(b"other"))
    made = asks.of(ANONYMOUS)
    assert made.fields == (("grant_type", "client_credentials"), ("scope", "read"))
    assert (made.subject_token, made.issued_types) == (b"", frozenset())


def test_who_is_anonymous_has_nothing_to_exchange():
    assert requester().of(ANONYMOUS) is None
    assert Requester.build(Route(id="r", paths="/r", upstream="http://u")) is None


def test_who_is_known_without_a_token_does_not_go_on_as_somebody_anonymous():
    with pytest.raises(ForwardError) as refusal:
        requester().of(alice(b""))
    assert refusal.value.code is Code.EXCHANGE_REFUSED


@pytest.mark.parametrize(
    ("kind", "used"), [("access_token", b"access"), ("jwt", b"access"), ("id_token", b"id")]
)
def test_a_session_exchanges_its_access_token_unless_it_is_to_be_the_id_token(kind, used):
    asks = requester(subject_token_type=kind)
    session = Session(login="web", token=b"id", access_token=b"access")
    made = asks.of(alice(b"id"), session)
    assert made.subject_token == used
    assert made.key == asks.of(alice(used)).key


def test_no_token_is_shown():
    assert "secret" not in repr(Issued(header=b"Bearer secret", used_for=1.0, renew_after=None))


def test_requests_that_one_token_answers_have_one_key():
    asks = requester()
    assert asks.of(alice()).key == requester().of(alice(subject="bob", scopes=("x",))).key
    keys = {
        asks.of(alice()).key,
        asks.of(alice(b"h.p.t")).key,
        asks.of(alice(issuer="other")).key,
        requester(audience="stock").of(alice()).key,
        requester(scopes="read").of(alice()).key,
        requester(endpoint="other").of(alice()).key,
        requester(resource="https://orders").of(alice()).key,
        requester(audience=None, resource="https://orders").of(alice()).key,
        requester(subject_token_type="jwt").of(alice()).key,
        requester(grant="client_credentials").of(alice()).key,
    }
    assert len(keys) == 10


@given(st.tuples(st.text(), st.binary(min_size=1)), st.tuples(st.text(), st.binary(min_size=1)))
def test_no_subject_has_the_key_of_another(one, other):
    asks = requester()
    keys = [asks.of(alice(token, issuer=issuer)).key for issuer, token in (one, other)]
    assert (keys[0] == keys[1]) is (one == other)


def test_a_good_answer():
    issued = taken(GOOD, issued_types=frozenset({f"{TYPE}access_token"}))
    assert issued.header == b"Bearer a.b-c_d~e+f/g=="
    assert (issued.used_for, issued.renew_after) == (90.0, 67.5)


@pytest.mark.parametrize(
    ("expires_in", "keep", "expires_at", "used_for", "renewed"),
    [
        (10, 300, None, 9, True),
        (3600, 300, None, 300, True),
        (200, 300, None, 190, True),
        (200, 300, NOW + 20, 20, False),
        (200, 300, NOW - 5, 0, False),
        (200, 300, NOW + 1000, 190, True),
        (None, 300, None, 54, True),
    ],
)
def test_how_long_it_is_used(expires_in, keep, expires_at, used_for, renewed):
    answer = {**GOOD, "expires_in": expires_in}
    answer = {name: value for name, value in answer.items() if value is not None}
    issued = taken(answer, keep=keep, expires_at=expires_at)
    assert issued.used_for == used_for
    assert (issued.renew_after is not None) is renewed


BAD = {
    "no token": {"access_token": None},
    "an empty token": {"access_token": ""},
    "a number": {"access_token": 7},
    "a newline in the token": {"access_token": "a\r\nx-auth-subject: root"},
    "a newline at its end": {"access_token": "a\n"},
    "a blank in it": {"access_token": "a b"},
    "two tokens": {"access_token": "a, Bearer b"},
    "beyond ASCII": {"access_token": "ä"},
    "an endless one": {"access_token": "a" * 8193},
    "no type": {"token_type": None},
    "another type": {"token_type": "DPoP"},
    "no header at all": {"token_type": "N_A"},
    "a list of types": {"token_type": ["Bearer"]},
    "nothing issued": {"issued_token_type": None},
    "a refresh token": {"issued_token_type": f"{TYPE}refresh_token"},
    "a SAML assertion": {"issued_token_type": f"{TYPE}saml2"},
    "a list of issued types": {"issued_token_type": [f"{TYPE}access_token"]},
    "text for a time": {"expires_in": "300"},
    "true for a time": {"expires_in": True},
    "a fraction": {"expires_in": 1.5},
    "no time left": {"expires_in": 0},
    "a time before": {"expires_in": -1},
    "an age": {"expires_in": 10**12},
    "null for a time": {"expires_in": ()},
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_answer(name):
    answer = GOOD | BAD[name]
    answer = {key: value for key, value in answer.items() if value is not None}
    if answer.get("expires_in") == ():
        answer["expires_in"] = None
    taken(GOOD, issued_types=frozenset({f"{TYPE}access_token"}))
    with pytest.raises(AnswerError) as caught:
        taken(answer, issued_types=frozenset({f"{TYPE}access_token"}))
    assert not any(str(value) in str(caught.value) for value in BAD[name].values() if value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional={name: JSON for name in GOOD}))
def test_whatever_comes_is_taken_or_refused(answer):
    try:
        issued = taken(GOOD | answer, issued_types=frozenset({f"{TYPE}access_token"}))
    except AnswerError:
        return
    assert issued.header.startswith(b"Bearer ")
    assert all(33 <= byte <= 126 for byte in issued.header[7:])
    assert 0 < issued.used_for <= 300
