"""The balancer and the budget for retries hold what they promise, whatever happens."""

from __future__ import annotations

from hypothesis import given, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.config.model import Ejection, Retries
from gateway.serve.upstream.balance import Balancer, Health
from gateway.serve.upstream.retry import Budget


class Fake:
    def __init__(self, rules):
        self.health = Health(rules)
        self.under_way = []

    @property
    def pending(self):
        return len(self.under_way)


class Requests(RuleBasedStateMachine):
    """Requests that begin and end in any order, with any outcome, at any time."""

    @initialize(
        count=st.integers(1, 4),
        policy=st.sampled_from(["round_robin", "least_pending"]),
        failures=st.integers(0, 3),
    )
    def start(self, count, policy, failures):
        rules = Ejection(failures=failures, base_time=10, max_time=40, silence=1)
        self.targets = [Fake(rules) for _ in range(count)]
        self.balancer = Balancer(policy)
        self.rules = rules
        self.answered = {}
        self.now = 1.0

    def picks(self):
        return [pick for target in self.targets for pick in target.under_way]

    @rule(tried=st.sets(st.integers(0, 3)))
    def begin(self, tried):
        tried = [target for number, target in enumerate(self.targets) if number in tried]
        taking_part = [target for target in self.targets if target.health.is_open(self.now)]
        pending = {target: target.pending for target in self.targets}
        pick = self.balancer.pick(self.targets, self.now, tried)
        candidates = [each for each in taking_part or self.targets if each not in tried]
        assert (pick is None) == (not candidates)
        if pick is None:
            return
        assert pick.target in candidates
        if self.balancer._least and taking_part:
            assert pending[pick.target] == min(pending[each] for each in candidates)
        pick.target.under_way.append(pick)

    @precondition(lambda self: self.picks())
    @rule(
        data=st.data(),
        outcome=st.sampled_from(["succeeded", "failed", "abandoned"]),
        certain=st.booleans(),
    )
    def end(self, data, outcome, certain):
        pick = data.draw(st.sampled_from(self.picks()))
        pick.target.under_way.remove(pick)
        before = pick.target.health.state()
        if outcome == "failed":
            silent = self.now - self.answered.get(pick.target, -1e9) >= self.rules.silence
            ejected = pick.target.health.failed(pick, self.now, certain=certain)
            assert not ejected or self.rules.failures
            assert not ejected or pick.target.health.until > self.now
            assert not ejected or certain or silent or pick.probe
        elif outcome == "succeeded":
            counted = pick.ejections == pick.target.health.ejections
            pick.target.health.succeeded(pick, self.now)
            if counted:
                self.answered[pick.target] = self.now
        else:
            pick.target.health.abandoned(pick)
        if outcome == "abandoned" and before == "healthy":
            assert pick.target.health.state() == "healthy"

    @rule(seconds=st.sampled_from([0.5, 5.0, 10.0, 50.0]))
    def wait(self, seconds):
        self.now += seconds

    @invariant()
    def at_most_one_probe_at_once(self):
        for target in getattr(self, "targets", ()):
            probes = [pick for pick in target.under_way if pick.probe]
            assert len(probes) <= 1
            assert (target.health.state() == "probing") <= len(probes)

    @invariant()
    def an_ejection_ends(self):
        for target in getattr(self, "targets", ()):
            assert target.health.until <= self.now + self.rules.max_time


TestRequests = Requests.TestCase


@given(
    st.integers(0, 100),
    st.integers(0, 20),
    st.lists(st.tuples(st.integers(0, 50), st.sampled_from([0.0, 0.01, 0.3, 7.0]))),
)
def test_the_budget_is_never_exceeded(percent, per_second, steps):
    """In any stretch of time; each step is some requests, then one that would be sent again."""
    budget = Budget(Retries(budget_percent=percent, budget_per_second=per_second))
    now, history = 1000.0, []
    for requests, pause in steps:
        now += pause
        budget.requests += requests
        history.append((now, requests, budget.take(now)))
    for first in range(len(history)):
        granted = asked = 0
        for later, requests, taken in history[first:]:
            asked += requests
            granted += taken
            # A step's requests may have come before the stretch began; they are counted in it.
            seconds = later - history[first][0] + steps[first][1]
            most = budget.burst + asked * percent / 100 + seconds * per_second
            assert granted <= most + 1e-6


@given(st.integers(1, 100), st.integers(0, 20))
def test_the_budget_is_used(percent, requests):
    """What requests have earned is granted, up to the burst."""
    budget = Budget(Retries(budget_percent=percent, budget_per_second=0))
    while budget.take(0.0):
        pass
    budget.requests += requests
    granted = 0
    while budget.take(0.0):
        granted += 1
    assert granted == int(min(budget.burst, requests * percent / 100) + 1e-9)
