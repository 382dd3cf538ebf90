"""What an issuer's answer about a token must be (RFC 7662 §2.2), and who is asked about which."""

import json
from decimal import Decimal

import pytest
from hypothesis import given, strategies as st

from gateway.config.model import Config
from gateway.errors import Code, IdentityError
from gateway.identify import Identifier
from gateway.identify.opaque import is_compact
from gateway.identify.revoked import Denial, Denied, Key, check as check_denied
from gateway.model import ANONYMOUS, Facts, Introspected, Missing, Need, Principal, Session
from tests.support.tokens import (
    AUDIENCE, ISSUER, NOW, claims, config, head, key, keyring, match, token,
)  # fmt: skip

OPAQUE = b"2YotnFZFEjr1zCsicMWpAA"
ASKED = {"url": "https://issuer.example/introspect", "client": {"id": "gw", "secret": "s"}}
ONLY = {"keys": None, "algorithms": (), "introspection": ASKED}
MAIN = {"main": keyring(key())}


def issuer(asked=None, **changes):
    return {**ONLY, "introspection": {**ASKED, **(asked or {})}, **changes}


def answer(**changes):
    """What the issuer says of a good token; a change of `...` removes a member."""
    members = {"active": True, "token_type": "Bearer", "scope": "a b", **claims(), **changes}
    return {name: value for name, value in members.items() if value is not ...}


def outcome(of, members=None, bearer=OPAQUE, now=NOW, keyrings=MAIN, identifier=None):
    """The principal, the code of the refusal, or the Need."""
    said = None if members is None else Introspected(members=members, revision=repr(members))
    facts = Facts(keyrings=keyrings, introspected=said)
    try:
        return (identifier or Identifier.build(of)).identify(
            head(bearer=bearer), match(of), facts, keyrings, now
        )
    except IdentityError as error:
        return error.code
    except Missing as missing:
        return missing.need


TABLE = [
    # name, changes of the issuer, changes of the answer, code or None
    ("a good answer", {}, {}, None),
    ("active is false", {}, {"active": False}, Code.TOKEN_INACTIVE),
    ("active is false and all else is missing", {}, None, Code.TOKEN_INACTIVE),
    ("active is missing", {}, {"active": ...}, Code.TOKEN_INACTIVE),
    ("active is text", {}, {"active": "true"}, Code.TOKEN_INACTIVE),
    ("active is a number", {}, {"active": 1}, Code.TOKEN_INACTIVE),
    ("active is null", {}, {"active": None}, Code.TOKEN_INACTIVE),
    ("active is a list", {}, {"active": [True]}, Code.TOKEN_INACTIVE),
    ("without iss", {}, {"iss": ...}, None),
    ("another iss", {}, {"iss": "https://evil.example"}, Code.ISSUER_UNKNOWN),
    ("iss with a slash more", {}, {"iss": ISSUER + "/"}, Code.ISSUER_UNKNOWN),
    ("iss is a list", {}, {"iss": [ISSUER]}, Code.ISSUER_UNKNOWN),
    ("iss is null", {}, {"iss": None}, Code.ISSUER_UNKNOWN),
    ("without aud", {}, {"aud": ...}, Code.AUDIENCE_MISMATCH),
    ("another aud", {}, {"aud": "other"}, Code.AUDIENCE_MISMATCH),
    ("aud is a list", {}, {"aud": ["other", AUDIENCE]}, None),
    ("aud is an empty list", {}, {"aud": []}, Code.AUDIENCE_MISMATCH),
    ("aud is a number", {}, {"aud": 7}, Code.CLAIM_INVALID),
    ("any aud", {"audience": (), "insecure_any_audience": True}, {"aud": ...}, None),
    ("without exp", {}, {"exp": ...}, Code.CLAIM_REQUIRED),
    ("without exp, where it need not be", {"insecure_no_expiry": True}, {"exp": ...}, None),
    ("expired", {}, {"exp": NOW - 31}, Code.TOKEN_EXPIRED),
    ("expired within the leeway", {}, {"exp": NOW - 29}, None),
    ("expired to the second", {"leeway": 0}, {"exp": NOW}, Code.TOKEN_EXPIRED),
    ("expired though it need not expire", {"insecure_no_expiry": True}, {"exp": 1},
     Code.TOKEN_EXPIRED),
    ("exp is text", {}, {"exp": str(int(NOW + 60))}, Code.CLAIM_INVALID),
    ("exp is true", {}, {"exp": True}, Code.CLAIM_INVALID),
    ("exp is null", {}, {"exp": None}, Code.CLAIM_INVALID),
    ("exp is negative", {}, {"exp": -1}, Code.CLAIM_INVALID),
    ("exp is beyond all times", {}, {"exp": 2**60}, Code.CLAIM_INVALID),
    ("exp is a long decimal", {}, {"exp": Decimal("1790000300.00000000001")}, None),
    ("not yet valid", {}, {"nbf": NOW + 31}, Code.TOKEN_NOT_YET_VALID),
    ("issued in the future", {}, {"iat": NOW + 31}, Code.TOKEN_NOT_YET_VALID),
    ("issued within the leeway", {}, {"iat": NOW + 29}, None),
    ("lives too long", {"max_lifetime": 100}, {}, Code.TOKEN_LIFETIME),
    ("no iat to tell how long", {"max_lifetime": 1000}, {"iat": ...}, Code.CLAIM_REQUIRED),
    ("token_type in other letters", {}, {"token_type": "bearer"}, None),
    ("without token_type", {}, {"token_type": ...}, Code.TOKEN_TYPE),
    ("without token_type, where it need not be", {"introspection": {"token_types": ["", "Bearer"]}},
     {"token_type": ...}, None),
    ("a refresh token", {}, {"token_type": "refresh_token"}, Code.TOKEN_TYPE),
    ("a token with a key of its own", {}, {"token_type": "DPoP"}, Code.TOKEN_TYPE),
    ("token_type is a list", {}, {"token_type": ["Bearer"]}, Code.CLAIM_INVALID),
    ("an ID token", {}, {"nonce": "n"}, Code.TOKEN_TYPE),
    ("an ID token, where they are accepted", {"accept_id_tokens": True}, {"nonce": "n"}, None),
    ("a required claim", {"required_claims": {"tier": "gold"}}, {"tier": "gold"}, None),
    ("a required claim is missing", {"required_claims": {"tier": "*"}}, {}, Code.CLAIM_REQUIRED),
    ("a required claim differs", {"required_claims": {"n": 1}}, {"n": True}, Code.CLAIM_REQUIRED),
    ("a forbidden claim", {"forbidden_claims": ["act"]}, {"act": {}}, Code.CLAIM_FORBIDDEN),
    ("sub is a number", {}, {"sub": 7}, Code.CLAIM_INVALID),
    ("without sub", {}, {"sub": ...}, None),
    ("scope is a list", {}, {"scope": ["a", "b"]}, None),
    ("scope is an object", {}, {"scope": {"a": 1}}, Code.CLAIM_INVALID),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "members", "code"), [row[1:] for row in TABLE],
                         ids=[row[0] for row in TABLE])  # fmt: skip
def test_answers(changes, members, code):
    asked = changes.get("introspection")
    others = {name: value for name, value in changes.items() if name != "introspection"}
    of = config(issuer(asked, **others))
    said = {"active": False} if members is None else answer(**members)
    cold = outcome(of, said)
    identifier = Identifier.build(of)
    warm = [outcome(of, said, identifier=identifier) for _ in range(2)][-1]
    for found in (cold, warm):
        if code is None:
            assert isinstance(found, Principal), found
            assert (found.authenticated, found.issuer) == (True, "main")
        else:
            assert found is code


def test_the_principal_is_what_the_answer_says():
    found = outcome(config(issuer()), answer(groups=["g"], client_id="app"))
    assert (found.subject, found.scopes, found.groups) == ("alice", ("a", "b"), ("g",))
    assert (found.claims["client_id"], found.token_header) == ("app", {})
    assert found.expires_at == NOW + 300


NEED = Need(kind="introspection", issuer="main", token=OPAQUE)
BESIDE = {"introspection": ASKED}
ALWAYS = {"introspection": {**ASKED, "tokens": "always"}}


@pytest.mark.parametrize(
    ("of", "bearer", "wanted"),
    [
        (config(ONLY), OPAQUE, NEED),
        (config(BESIDE), OPAQUE, NEED),
        (config(), OPAQUE, Code.TOKEN_MALFORMED),
        (config(ONLY), b"a.b.c", Need(kind="introspection", issuer="main", token=b"a.b.c")),
        (config(ONLY), b"x" * 9000, Code.TOKEN_TOO_LARGE),
        (config(ONLY), b"a,b", Code.CREDENTIAL_AMBIGUOUS),
        (config(ONLY), b'a"b', Code.TOKEN_MALFORMED),
        (config(ONLY), b"a&token=b", Code.TOKEN_MALFORMED),
        (config(ONLY), b"a%00", Code.TOKEN_MALFORMED),
        (config(ONLY), b"\xc3\xa4", Code.TOKEN_MALFORMED),
        (config(ONLY), b"=", Code.TOKEN_MALFORMED),
        (config(BESIDE), token().encode(), None),
        (config(BESIDE), token(iss="other").encode(), Code.ISSUER_UNKNOWN),
        (config(ALWAYS), token().encode(), "asked"),
        (config(ALWAYS), token(exp=int(NOW) - 60).encode(), Code.TOKEN_EXPIRED),
        (config(ALWAYS), token(key("ES256", "evil")).encode(), Code.KEY_UNKNOWN),
        (config(ONLY), token().encode(), "asked"),
        (config(ONLY), token(iss="other").encode(), Code.ISSUER_UNKNOWN),
        (config(ONLY, {"authentication": "anonymous"}), OPAQUE, ANONYMOUS),
        (config(ONLY, {"authentication": "optional"}), OPAQUE, NEED),
    ],
)
def test_who_is_asked_about_which_tokens(of, bearer, wanted):
    found = outcome(of, bearer=bearer)
    if wanted == "asked":
        wanted = Need(kind="introspection", issuer="main", token=bearer)
    if wanted is None:
        assert found.subject == "alice"
    else:
        assert found == wanted


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"active": True}, None),
        (answer(), None),
        ({"active": False}, Code.TOKEN_INACTIVE),
        ({"active": True, "sub": "bob"}, Code.TOKEN_INACTIVE),
        ({"active": True, "jti": "other"}, None),  # the token has none
        ({"active": True, "iss": "other"}, Code.ISSUER_UNKNOWN),
        ({"active": True, "exp": NOW - 31}, Code.TOKEN_EXPIRED),
        ({"active": True, "exp": "soon"}, Code.CLAIM_INVALID),
        ({"active": True, "nbf": NOW + 31}, Code.TOKEN_NOT_YET_VALID),
        ({"active": True, "roles": ["admin"]}, None),
    ],
)
def test_a_token_with_a_good_signature_needs_an_active_answer_too(members, code):
    of = config(ALWAYS)
    signed = token(roles=["reader"]).encode()
    identifier = Identifier.build(of)
    for _ in range(2):  # the second time, the signature is known
        found = outcome(of, members, signed, identifier=identifier)
        if code is None:
            assert found.roles == ("reader",)  # what it signed, whatever the answer adds
        else:
            assert found is code
        assert isinstance(outcome(of, None, signed, identifier=identifier), Need)


def test_what_was_found_good_counts_only_with_its_answer():
    of = config(issuer())
    identifier = Identifier.build(of)
    first = outcome(of, answer(), identifier=identifier)
    assert outcome(of, answer(), identifier=identifier) is first
    assert outcome(of, answer(scope="c"), identifier=identifier).scopes == ("c",)
    assert outcome(of, {"active": False}, identifier=identifier) is Code.TOKEN_INACTIVE
    assert outcome(of, None, identifier=identifier) == NEED
    assert outcome(of, answer(), now=NOW + 331, identifier=identifier) is Code.TOKEN_EXPIRED


def test_a_need_shows_no_token():
    assert OPAQUE.decode() not in repr(outcome(config(ONLY)))


@given(st.binary(max_size=40) | st.text("abceyJ0.=-_{}", max_size=40).map(str.encode))
def test_every_token_is_read_in_one_way(raw):
    assert is_compact(raw) is (is_compact(raw) and raw.count(b".") == 2)
    assert isinstance(outcome(config(ONLY), bearer=raw), Need | Code)


def test_what_looks_like_a_jwt():
    assert is_compact(token().encode())
    for other in (b"", b"..", b"a.b", b"e30.b", b"W10.b.c", b"e30.b.c.d.e", b"!!.b.c"):
        assert not is_compact(other)
    assert is_compact(b"IHt9.b.c")  # a blank before the object


def test_denied_subjects_of_answers():
    found = outcome(config(issuer()), answer(sid="s"))
    for kind, value in (("sub", "alice"), ("sid", "s")):
        denied = Denied(tables={"x": {Key("main", kind, value): Denial()}})
        with pytest.raises(IdentityError, match="token-revoked"):
            check_denied(found, denied, NOW)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keys": None, "algorithms": ()}, "keys is missing"),
        (issuer(algorithms=["ES256"]), "algorithms: has no effect without keys"),
        (issuer({"tokens": "always"}), "there are no keys"),
        (issuer({"url": "http://issuer.example/i"}), "plain http"),
        (issuer({"client": {"id": "gw"}}), "client_secret_basic needs secret"),
    ],
)
def test_configurations_that_are_refused(changes, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  pydantic's
        config(changes)
    assert message.rpartition(": ")[2] in str(caught.value)


def test_types_are_told_to_have_no_effect(tmp_path):
    from gateway.config.checks import Names, check

    names = Names(issuers=frozenset({"main"}), upstreams=None, networks=None)
    (fault,) = [
        fault for fault in check(config(issuer(types=["JWT"])), names) if "types" in fault.key
    ]
    assert fault.message == "has no effect without keys"


def test_an_opaque_token_that_could_be_of_several_issuers():
    from gateway.config.checks import Names, check

    two = {
        name: {"issuer": name, "audience": "api", "introspection": ASKED} for name in ("one", "two")
    }
    names = Names(issuers=frozenset(two), upstreams=None, networks=None)

    def faults(**route):
        whole = {"id": "all", "paths": "/", "upstream": "http://127.0.0.1:9", **route}
        of = Config.model_validate({"issuers": two, "routes": [whole]})
        return [fault.message for fault in check(of, names) if "issuers" in fault.key]

    assert faults() == ["an opaque token could be of several issuers: one, two"]
    assert faults(issuers=["one"]) == []
    assert faults(authentication="anonymous") == []
    assert json.dumps(faults(issuers=["one", "two"])).count("several") == 1


@pytest.mark.parametrize("kind", ["access", "id"])
@pytest.mark.parametrize("asked", [True, False], ids=["asked", "not asked"])
def test_no_issuer_but_the_logins_sees_the_opaque_token_of_a_session(kind, asked):
    """Those of other clients go to whoever the route says, also where they are of other issuers."""
    issuers = {
        name: {
            "issuer": f"https://{name}.example",
            "audience": AUDIENCE,
            "algorithms": ["ES256"],
            "keys": {"discovery": True},
        }
        for name in ("idp", "other")
    }
    issuers["other"]["introspection"] = ASKED
    if asked:
        issuers["idp"]["introspection"] = ASKED
    login = {"issuer": "idp", "client": {"id": "gw", "secret": "s"}, "token": kind}
    of = Config.model_validate({
        "issuers": issuers,
        "logins": {"web": login},
        "routes": [{"id": "all", "paths": "/", "upstream": "http://127.0.0.1:9", "login": "web"}],
    })  # fmt: skip
    session = Session(login="web", id="s", token=OPAQUE, access_token=OPAQUE)
    try:
        Identifier.build(of).identify(head(), match(of), Facts(), {}, NOW, session)
    except Missing as missing:
        assert (asked, kind, missing.need.issuer) == (True, "access", "idp")
    except IdentityError as error:
        assert error.code is Code.TOKEN_MALFORMED
        assert not asked or kind == "id"
