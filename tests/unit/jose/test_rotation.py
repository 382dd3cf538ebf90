from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from gateway.jose.jwk import JwkError
from gateway.jose.rotation import Terms
from gateway.jose.sign import SigningKey, generate

DAY, HOUR = 86400.0, 3600.0
KEY = generate("ES256")


def number_keys():
    """A maker of keys that are one key under many names: making takes time."""
    made = []

    def make(algorithm):
        made.append(algorithm)
        return SigningKey(id=str(len(made)), algorithm=algorithm, key=KEY.key)

    return make


def after(moments, *, algorithm="ES256"):
    make, terms = number_keys(), Terms()
    for moment in moments:
        terms = terms.rotated(moment, algorithm=algorithm, rotate=DAY, overlap=HOUR, make=make)
    return terms


def ids(terms):
    return [term.key.id for term in terms.keys]


@pytest.mark.parametrize(
    ("moments", "published", "signs"),
    [
        ([0], ["1"], "1"),
        ([0, DAY - HOUR - 1], ["1"], "1"),
        ([0, DAY - HOUR], ["1", "2"], "1"),
        ([0, DAY - HOUR, DAY - 1], ["1", "2"], "1"),
        ([0, DAY - HOUR, DAY], ["1", "2"], "2"),
        ([0, DAY - HOUR, DAY + HOUR], ["2"], "2"),
        # Nobody was there when the key was due: it goes on until the next one is known.
        ([0, 9 * DAY], ["1", "2"], "1"),
        ([0, 9 * DAY, 9 * DAY + HOUR], ["1", "2"], "2"),
    ],
)
def test_a_key_is_published_before_it_signs_and_after(moments, published, signs):
    terms = after(moments)
    assert (ids(terms), terms.current(moments[-1]).id) == (published, signs)


def test_another_algorithm_follows_in_time():
    make = number_keys()
    terms = Terms().rotated(0, algorithm="ES256", rotate=DAY, overlap=HOUR, make=make)
    terms = terms.rotated(60, algorithm="EdDSA", rotate=DAY, overlap=HOUR, make=make)
    assert [(term.key.algorithm, term.signs_from) for term in terms.keys] == [
        ("ES256", 0), ("EdDSA", 60 + HOUR),
    ]  # fmt: skip


@given(st.lists(st.floats(0, 3 * DAY), min_size=1, max_size=30))
def test_whoever_signs_was_known_for_long_enough(gaps):
    make, terms, now = number_keys(), Terms(), 0.0
    known: dict[str, float] = {}
    for gap in gaps:
        # Between two looks the keys do not change: whoever signs now is among those of before.
        if terms.keys:
            signer = terms.current(now + gap)
            assert now + gap - known[signer.id] >= HOUR or signer.id == "1"
            assert signer in [term.key for term in terms.keys]
        now += gap
        terms = terms.rotated(now, algorithm="ES256", rotate=DAY, overlap=HOUR, make=make)
        for key in ids(terms):
            known.setdefault(key, now)
        assert len(terms.keys) <= 3
        assert all(a.signs_from < b.signs_from for a, b in pairwise(terms.keys))


def test_what_was_written_is_read():
    terms = after([0, DAY - HOUR])
    real = Terms().rotated(5.0, algorithm="EdDSA", rotate=DAY, overlap=HOUR)
    read = Terms.parse(real.dump())
    assert read.keys[0].key.private_jwk() == real.keys[0].key.private_jwk()
    assert read.keys[0].signs_from == 5.0
    assert b'"d"' not in real.public()
    assert len(terms.keys) == 2


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[]", b'{"keys": []}', b'{"keys": [{}]}', b'{"keys": 7}', b"\xff"]
)
def test_what_is_no_file_of_keys_is_refused(text):
    with pytest.raises(JwkError):
        Terms.parse(text)
