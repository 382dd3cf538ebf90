"""Whom a canary takes: the same subjects every time, more of them the larger its share."""

from fractions import Fraction
from types import SimpleNamespace

import pytest
from hypothesis import given, strategies as st

from gateway.config.values import fraction
from gateway.decide.variants import REQUESTS, SUBJECTS, Canary, Shadow, first, place_of
from gateway.model import ANONYMOUS, Principal

SHARES = st.builds("{}%".format, st.decimals(0, 100, places=4))
SUBJECT = st.text(st.characters()) | st.integers() | st.just(10**5000)


def canary(share, claim="sub", salt=""):
    return Canary(
        policies=SimpleNamespace(revision="c1"), decider=None, tested={},
        places=first(fraction(share), SUBJECTS), claim=claim, salt=salt,
    )  # fmt: skip


def principal(claims, issuer="corp"):
    return Principal(authenticated=True, issuer=issuer, subject="alice", claims=claims)


@given(subject=SUBJECT, one=SHARES, other=SHARES, salt=st.text())
def test_a_larger_share_only_adds_subjects(subject, one, other, salt):
    less, more = sorted((one, other), key=fraction)
    who = principal({"sub": subject})
    assert canary(more, salt=salt).takes(who) or not canary(less, salt=salt).takes(who)


@given(subject=SUBJECT, salt=st.text())
def test_no_share_takes_nobody_and_the_whole_everybody(subject, salt):
    who = principal({"sub": subject})
    assert not canary("0%", salt=salt).takes(who)
    assert canary("100%", salt=salt).takes(who)


@given(subject=SUBJECT, others=st.dictionaries(st.text(), st.integers()), share=SHARES)
def test_nothing_but_the_claim_and_the_issuer_counts(subject, others, share):
    made = canary(share)
    plain, adorned = principal({"sub": subject}), principal({**others, "sub": subject})
    assert made.takes(plain) == made.takes(adorned)


@given(salt=st.text(), issuer=st.text(), subject=SUBJECT)
def test_places_are_places(salt, issuer, subject):
    assert 0 <= place_of(salt, issuer, subject) < SUBJECTS


@pytest.mark.parametrize("subject", [None, True, 1.5, [], ["alice"], {}, {"sub": "alice"}])
def test_what_names_nobody_is_not_taken(subject):
    assert not canary("100%").takes(principal({"sub": subject}))


def test_without_the_claim_nobody_is_taken():
    assert not canary("100%").takes(ANONYMOUS)
    assert not canary("100%", claim="tenant.id").takes(principal({"sub": "alice", "tenant": {}}))
    assert canary("100%", claim="tenant.id").takes(principal({"tenant": {"id": 7}}))


def test_names_do_not_run_into_each_other():
    """Text and number, salt and issuer and subject: each is told apart."""
    places = {
        place_of("", "corp", "1"), place_of("", "corp", 1), place_of("corp", "", "1"),
        place_of("", "corp1", ""), place_of("c", "orp", "1"), place_of("", "corp", "\ud800"),
    }  # fmt: skip
    assert len(places) == 6


def test_subjects_are_spread_evenly():
    for share in (1, 10, 50):
        made = canary(f"{share}%")
        taken = sum(made.takes(principal({"sub": f"user-{number}"})) for number in range(20_000))
        assert abs(taken / 200 - share) < 1.5


def test_another_salt_draws_others():
    subjects = [principal({"sub": f"user-{number}"}) for number in range(1_000)]
    drawn = [{each.claims["sub"] for each in subjects if canary("20%", salt=salt).takes(each)}
             for salt in ("a", "b")]  # fmt: skip
    assert len(drawn[0] & drawn[1]) < 100


@given(decision_id=st.text(), one=SHARES, other=SHARES)
def test_a_larger_sample_only_adds_requests(decision_id, one, other):
    less, more = sorted((fraction(one), fraction(other)))

    def samples(share: Fraction) -> bool:
        made = Shadow(
            policies=None, decider=None, tested={}, sampled=first(share, REQUESTS), queue=1, cpu=1.0
        )
        return made.samples(decision_id.encode("utf-8", "replace").decode())

    assert samples(more) or not samples(less)
    assert samples(Fraction(1))
    assert not samples(Fraction(0))
