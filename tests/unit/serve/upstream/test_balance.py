from __future__ import annotations

from collections import Counter

import pytest

from gateway.config.model import Ejection
from gateway.serve.upstream.balance import Balancer, Health

RULES = Ejection(failures=3, base_time=10, max_time=35, silence=2)


class Fake:
    def __init__(self, name, pending=0, rules=RULES):
        self.name = name
        self.pending = pending
        self.health = Health(rules)

    def __repr__(self):
        return self.name


def three():
    return [Fake("a"), Fake("b"), Fake("c")]


def fail(target, now, times=1, *, certain=True):
    health = target.health
    return [health.failed(health.begin(target, now), now, certain=certain) for _ in range(times)]


def names(balancer, targets, count, now=0.0):
    return "".join(balancer.pick(targets, now).target.name for _ in range(count))


def test_round_robin_takes_turns():
    assert names(Balancer("round_robin"), three(), 7) == "abcabca"


def test_least_pending_takes_the_one_with_the_fewest_and_equal_ones_in_turn():
    targets, balancer = three(), Balancer("least_pending")
    targets[0].pending = 1
    assert names(balancer, targets, 4) == "bcbc"
    targets[2].pending = 2
    targets[1].pending = 3
    assert names(balancer, targets, 3) == "aaa"


def test_what_was_tried_is_not_taken_again():
    targets, balancer = three(), Balancer("round_robin")
    tried = []
    while (pick := balancer.pick(targets, 0.0, tried)) is not None:
        tried.append(pick.target)
    assert tried == targets


def test_retries_take_turns_of_their_own():
    targets, balancer = three(), Balancer("round_robin")
    first, again = [], []
    for _ in range(9):
        first.append(balancer.pick(targets, 0.0).target)
        again.append(balancer.pick(targets, 0.0, [first[-1]]).target)
    assert first == targets * 3
    assert Counter(again) == dict.fromkeys(targets, 3)


@pytest.mark.parametrize("policy", ["round_robin", "least_pending"])
def test_a_target_that_fails_so_often_in_a_row_is_left_out(policy):
    targets, balancer = three(), Balancer(policy)
    assert fail(targets[1], 0.0, 2) == [False, False]
    targets[1].health.succeeded(targets[1].health.begin(targets[1], 0.0), 0.0)
    assert fail(targets[1], 0.0, 3) == [False, False, True]
    assert targets[1].health.state() == "ejected"
    assert names(balancer, targets, 4, now=9.9) == "acac"


def test_one_request_decides_whether_it_takes_part_again():
    targets, balancer = three(), Balancer("round_robin")
    fail(targets[0], 0.0, 3)
    probe = balancer.pick(targets, 10.0)
    assert (probe.target.name, probe.probe) == ("a", True)
    assert targets[0].health.state() == "probing"
    assert names(balancer, targets, 4, now=20.0) == "bcbc"
    assert targets[0].health.succeeded(probe, 20.0)
    assert targets[0].health.state() == "healthy"
    assert names(balancer, targets, 3, now=20.0) == "abc"
    assert fail(targets[0], 20.0, 2) == [False, False]  # counted from nothing again


def test_each_further_ejection_lasts_twice_as_long_up_to_the_limit():
    target, balancer = Fake("a"), Balancer("round_robin")
    other = Fake("b")
    fail(target, 0.0, 3)
    now, lasted = 10.0, []
    for _ in range(4):
        pick = balancer.pick([target, other], now)
        while pick.target is not target:
            pick = balancer.pick([target, other], now)
        assert target.health.failed(pick, now, certain=True)
        lasted.append(target.health.until - now)
        now = target.health.until
    assert lasted == [20.0, 35.0, 35.0, 35.0]
    assert target.health.ejections == 5
    target.health.succeeded(target.health.begin(target, now), now)
    fail(target, now, 3)
    assert target.health.until - now == 10.0


def test_a_probe_that_is_given_up_lets_another_one_begin():
    target, other = Fake("a"), Fake("b")
    fail(target, 0.0, 3)
    probe = target.health.begin(target, 10.0)
    assert not target.health.is_open(10.0)
    target.health.abandoned(probe)
    assert target.health.is_open(10.0)
    assert Balancer("least_pending").pick([target, other], 10.0).probe


def test_what_began_before_an_ejection_and_ends_after_it_says_nothing():
    target = Fake("a")
    late = [target.health.begin(target, 0.0) for _ in range(3)]
    fail(target, 0.0, 3)
    assert not target.health.succeeded(late[0], 1.0)
    assert not target.health.failed(late[1], 5.0, certain=True)
    assert (target.health.state(), target.health.until) == ("ejected", 10.0)


def test_if_all_are_ejected_all_are_used_and_an_answer_brings_one_back():
    targets, balancer = three(), Balancer("round_robin")
    for target in targets:
        fail(target, 0.0, 3)
    picks = [balancer.pick(targets, 1.0) for _ in range(3)]
    assert [pick.target for pick in picks] == targets
    assert not any(pick.probe for pick in picks)
    assert not targets[0].health.failed(picks[0], 1.0, certain=True)  # it would only grow longer
    assert targets[0].health.until == 10.0
    assert targets[1].health.succeeded(picks[1], 1.0)
    assert names(balancer, targets, 2, now=1.0) == "bb"


def test_where_one_takes_part_no_ejected_one_is_tried_instead_of_it():
    targets, balancer = three(), Balancer("round_robin")
    fail(targets[1], 0.0, 3)
    fail(targets[2], 0.0, 3)
    assert balancer.pick(targets, 0.0, [targets[0]]) is None


def test_requests_that_fail_beside_those_that_are_answered_eject_nothing():
    """However many fail at once, and however long each of them takes."""
    target = Fake("a")
    health = target.health
    slow = [health.begin(target, 0.0) for _ in range(50)]
    for second in range(1, 50):
        assert not any(fail(target, second - 0.5, 50, certain=False))
        assert not health.failed(slow.pop(), second - 0.1, certain=False)
        assert not health.succeeded(health.begin(target, second), second)
    assert health.state() == "healthy"
    assert fail(target, 50.0, 3, certain=True)[-1]  # what no request can bring about does


def test_such_failures_eject_what_answers_nobody_for_a_while():
    target = Fake("a")
    target.health.succeeded(target.health.begin(target, 0.0), 0.0)
    assert not any(fail(target, 1.0, 9, certain=False))
    assert not any(fail(target, 2.9, 9, certain=False))
    assert fail(target, 3.0, certain=False) == [True]
    hangs = Fake("b")
    picks = [hangs.health.begin(hangs, 0.0) for _ in range(3)]
    failed = [hangs.health.failed(pick, 60.0, certain=False) for pick in picks]
    assert failed == [False, False, True]  # they have waited long enough


def test_a_probe_that_fails_at_once_by_its_request_lengthens_no_ejection():
    target = Fake("a")
    fail(target, 0.0, 3)
    for _ in range(5):
        now = target.health.until
        assert fail(target, now, certain=False) == [True]
        assert target.health.until - now == 10.0
    now = target.health.until
    hangs = target.health.begin(target, now)
    assert target.health.failed(hangs, now + 60.0, certain=False)
    assert target.health.until - now == 60.0 + 20.0


def test_zero_failures_never_eject():
    target = Fake("a", rules=Ejection(failures=0))
    assert not any(fail(target, 0.0, 100))


def test_a_long_row_of_ejections_stays_finite():
    target = Fake("a")
    fail(target, 0.0, 3)
    for _ in range(2000):
        now = target.health.until
        assert target.health.failed(target.health.begin(target, now), now, certain=True)
    assert target.health.until - now == 35.0
