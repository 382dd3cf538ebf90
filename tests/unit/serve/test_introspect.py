"""The answers at hand: how long, how many, and which give way."""

from gateway.model import Introspected
from gateway.serve.introspect import INACTIVE, Answers


def answer(**members):
    return Introspected(members={"active": True, **members}, revision="1")


def test_an_answer_is_good_until_then():
    answers, said = Answers(), answer()
    answers.put(b"a", said, 10.0)
    answers.put(b"b", INACTIVE, 10.0)
    assert answers.get(b"a", 9.9) is said
    assert answers.get(b"b", 9.9) is INACTIVE
    assert answers.get(b"a", 10.0) is None
    assert answers.get(b"b", 10.0) is None
    assert answers.get(b"c", 0.0) is None
    assert answers.size == 0


def test_the_newest_answer_counts():
    answers = Answers()
    answers.put(b"a", answer(), 10.0)
    answers.put(b"a", INACTIVE, 20.0)
    assert answers.get(b"a", 0.0) is INACTIVE
    answers.put(b"a", said := answer(), 30.0)
    assert answers.get(b"a", 0.0) is said
    assert answers.get(b"a", 30.0) is None
    assert len(answers) == 0


def test_the_least_recently_used_gives_way_and_no_other_kind():
    answers = Answers(max_entries=3)
    for name in (b"a", b"b", b"c"):
        answers.put(name, answer(), 10.0)
    answers.get(b"a", 0.0)
    answers.put(b"d", answer(), 10.0)
    for number in range(100):  # made-up tokens
        answers.put(b"%d" % number, INACTIVE, 10.0)
    found = [name for name in (b"a", b"b", b"c", b"d") if answers.get(name, 0.0)]
    assert found == [b"a", b"c", b"d"]
    assert len(answers) == 6


def test_memory_is_bounded():
    answers = Answers(max_bytes=100_000)
    for number in range(200):
        answers.put(b"%d" % number, answer(x="y" * 1000), 10.0)
        assert answers.size <= 100_000
    assert 50 < len(answers) < 100
    answers.put(b"large", answer(x="y" * 50_000), 10.0)
    assert answers.get(b"large", 0.0) is None
