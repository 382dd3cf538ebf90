"""Deny lists: which tokens an entry means, and what the text of a list must be."""

import pytest
from hypothesis import given, strategies as st

from gateway.errors import ConfigError, IdentityError
from gateway.identify.denylist import (
    EntryError, MAX_VALUE, as_dict, entry_of, read_entry, read_list, write_list,
)  # fmt: skip
from gateway.identify.revoked import (
    FOREVER, KINDS, NOTHING, Change, Denial, Denied, Key, check, difference,
)  # fmt: skip
from gateway.model import ANONYMOUS, Principal, Session

NOW = 1_790_000_000.0


def principal(subject="alice", issuer="corp", **claims):
    whole = {"sub": "alice", "iat": NOW - 60, **claims}
    whole = {name: value for name, value in whole.items() if value is not ...}
    return Principal(authenticated=True, issuer=issuer, subject=subject, claims=whole)


def code(who, *entries, now=NOW, unsure=None, session=None):
    denied = Denied(tables={"file": dict(entries)} if entries else {}, unsure=unsure or {})
    try:
        check(who, denied, now, session)
    except IdentityError as error:
        return error.code.text
    return None


def entry(kind="sub", value="alice", issuer="corp", **times):
    return Key(issuer, kind, value), Denial(**times)


@pytest.mark.parametrize(
    ("who", "denied", "refused"),
    [
        (principal(), entry(), True),
        (principal(), entry(value="bob"), False),
        (principal(), entry(value="Alice"), False),
        (principal(), entry(issuer="other"), False),
        (principal(), entry(kind="jti"), False),
        (principal(jti="a"), entry(kind="jti", value="a"), True),
        (principal(sid="s"), entry(kind="sid", value="s"), True),
        (principal(jti=7), entry(kind="jti", value="7"), True),
        (principal(jti=True), entry(kind="jti", value="1"), False),
        (principal(jti=["a"]), entry(kind="jti", value="a"), False),
        (principal(sub=...), entry(value=""), False),
        (principal(subject="a@example"), entry(value="a@example"), True),  # as the log shows it
        (principal(subject="a@example"), entry(), True),
        (principal(), entry(until=NOW + 1), True),
        (principal(), entry(until=NOW), False),
        (principal(), entry(before=NOW - 60), True),  # of the same second
        (principal(), entry(before=NOW - 61), False),
        (principal(iat=...), entry(before=1.0), True),
        (principal(iat=NOW - 60.5), entry(before=NOW - 60), True),
        (principal(), entry(before=NOW, until=NOW), False),
        (ANONYMOUS, entry(value=""), False),
    ],
)
def test_which_tokens_an_entry_means(who, denied, refused):
    assert code(who, denied) == ("token-revoked" if refused else None)


@pytest.mark.parametrize(
    ("denied", "refused"),
    [
        (entry(kind="sid", value="s"), True),
        (entry(kind="sid", value="s", issuer="idp"), True),
        (entry(kind="sid", value="s", issuer="other"), False),
        (entry(value="pairwise", issuer="idp"), True),
        (entry(value="pairwise"), False),
        (entry(kind="jti", value="s", issuer="idp"), False),
        (entry(before=NOW - 3600), True),  # the token was issued since, the login was before
        (entry(before=NOW - 3601), False),
        (entry(value="pairwise", issuer="idp", before=NOW - 3600), True),
        (entry(value="pairwise", issuer="idp", before=NOW - 3601), False),
    ],
)
def test_a_session_is_refused_by_what_its_login_was(denied, refused):
    session = Session(login="web", issuer="idp", subject="pairwise", sid="s", began_at=NOW - 3600)
    told = "token-revoked" if refused else None
    assert code(principal(sid="s"), denied, session=session) == told


def test_a_list_that_may_lack_entries_lets_nobody_in():
    assert code(principal(), unsure={"redis": "it is away"}) == "revocation-unavailable"
    assert code(ANONYMOUS, unsure={"redis": "it is away"}) is None
    assert code(principal(), entry(), unsure={"redis": "away"}) == "revocation-unavailable"


def test_changes_of_several_sources():
    key, denial = entry()
    made = NOTHING.changed(Change(source="a", put={key: denial}))
    made = made.changed(Change(source="b", put={key: Denial(until=1.0)}))
    assert not NOTHING
    with pytest.raises(IdentityError):
        check(principal(), made, NOW)  # whatever another source says of it
    made = made.changed(Change(source="b", drop=(key,), unsure="away"))
    assert (dict(made.tables), dict(made.unsure)) == ({"a": {key: denial}}, {"b": "away"})
    made = made.changed(Change(source="b", unsure=""))
    made = made.changed(Change(source="a", drop=(key, entry(value="bob")[0])))
    assert not made


keys = st.builds(Key, st.sampled_from(["corp", "b"]), st.sampled_from(KINDS),
                 st.text(min_size=1, max_size=20))  # fmt: skip
times = st.integers(1, 4_000_000_000).map(float) | st.just(FOREVER)
tables = st.dictionaries(keys, st.builds(Denial, times, st.just(FOREVER)), max_size=8)


@given(tables, tables)
def test_a_difference_makes_the_other_list(before, after):
    put, drop = difference(before, after)
    made = {**before, **put}
    for key in drop:
        del made[key]
    assert made == after


@given(tables)
def test_what_is_written_is_read(table):
    kept = {key: denial for key, denial in table.items() if denial.until > NOW}
    assert read_list(write_list(table), None, NOW, file="f") == kept


@given(st.binary(max_size=200))
def test_nothing_else_is_a_list(data):
    try:
        assert read_list(data, None, NOW, file="f") == {}
    except ConfigError as error:
        assert error.problems


GOOD = '{"issuer": "corp", "jti": "a"}'


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["f: the list is not whole (its last line is {\"end\": true})"]),
        (GOOD, ["f: the list is not whole (its last line is {\"end\": true})"]),
        (GOOD + '\n{"end": tru', ["f: the list is not whole (its last line is {\"end\": true})"]),
        ('{"end": 1}', ["f: the list is not whole (its last line is {\"end\": true})"]),
        ('{"end": true}\n' + GOOD, ["f: the list is not whole (its last line is {\"end\": true})"]),
        ('{"end": true}\n{"end": true}', ["f:1: unknown key 'end'"]),
        ('x\n# y\n{"issuer": 1}\n{"end": true}', [
            "f:1: not JSON: Expecting value at line 1, column 1",
            "f:3: issuer is missing (the name of one in gateway.yaml)",
        ]),
        ('{"issuer": "crop", "jti": "a"}\n{"end": true}',
         ["f:1: there is no issuer 'crop' (did you mean 'corp'?)"]),
        ('{"issuer": "corp", "jti": "a", "sub": "b"}\n{"end": true}',
         ["f:1: expected exactly one of jti, sub, sid"]),
        ('{"issuer": "corp", "jti": 7}\n{"end": true}',
         [f"f:1: jti: expected text of at most {MAX_VALUE} characters"]),
        ('{"issuer": "corp", "jti": ""}\n{"end": true}',
         [f"f:1: jti: expected text of at most {MAX_VALUE} characters"]),
        ('{"issuer": "corp", "jti": "a", "before": 1}\n{"end": true}',
         ["f:1: before is for sub and sid: a jti is of one token (leave it out)"]),
        ('{"issuer": "corp", "jti": "a", "until": "2026-12-01T00:00:00"}\n{"end": true}',
         ["f:1: until: expected a time with its zone (write 2026-12-01T00:00:00Z, or Unix "
          "seconds)"]),
        ("\n".join(['{"a": 1}'] * 30 + ['{"end": true}']),
         [f"f:{line}: unknown key 'a'" for line in range(1, 21)]),
    ],
)  # fmt: skip
def test_a_list_that_is_none(text, problems):
    with pytest.raises(ConfigError) as caught:
        read_list(text.encode(), {"corp"}, NOW, file="f")
    assert [str(problem).partition(" (known here")[0] for problem in caught.value.problems] == (
        problems
    )


@pytest.mark.parametrize("value", [True, -1, 1e300, "soon", None, [], "9999-99-99T00:00:00Z"])
def test_times_that_are_none(value):
    with pytest.raises(EntryError, match="expected a time"):
        entry_of({"issuer": "corp", "sub": "a", "before": value}, None)


def test_one_entry_for_two_lines_denies_what_either_does():
    text = (
        b'{"issuer": "corp", "sub": "a", "until": 1790000100}\n'
        b'{"issuer": "corp", "sub": "a", "before": 1790000000}\n{"end": true}\n'
    )
    assert read_list(text, None, NOW, file="f") == {Key("corp", "sub", "a"): Denial()}


def test_an_entry_as_json():
    text = '{"issuer":"corp","sub":"a","until":"2026-12-01T01:00:00+01:00","before":1790000000.5}'
    assert as_dict(*read_entry(text, None)) == {
        "issuer": "corp",
        "sub": "a",
        "until": "2026-12-01T00:00:00Z",
        "before": "2026-09-21T14:13:20.500000Z",
    }


def test_a_list_that_is_too_long(monkeypatch):
    monkeypatch.setattr("gateway.identify.denylist.MAX_ENTRIES", 1)
    text = b'{"issuer": "corp", "jti": "a"}\n{"issuer": "corp", "jti": "b"}\n{"end": true}'
    with pytest.raises(ConfigError, match="more than 1 entries"):
        read_list(text, None, NOW, file="f")
