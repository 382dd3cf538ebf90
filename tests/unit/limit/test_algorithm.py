import pytest
from hypothesis import given, settings, strategies as st

from gateway.limit.algorithm import forgotten_at, step
from gateway.model import Quota

ALGORITHMS = ("gcra", "fixed", "sliding")
START = 1_000_000.0


def quota(algorithm, requests=10, per=60.0, burst=None):
    return Quota(requests=requests, per=per, algorithm=algorithm, burst=burst or requests)


def run(made, moments, cost=1):
    """The steps of charges at these moments, after START."""
    state, steps = (0.0, 0.0, 0.0), []
    for moment in moments:
        found = step(state, made, cost, START + moment)
        state = found[0]
        steps.append(found)
    return steps


def allowed(made, moments, cost=1):
    return [found[1] for found in run(made, moments, cost)]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_quota_is_given_at_once_and_no_more(algorithm):
    start = -START % 60.0  # where a window begins
    assert allowed(quota(algorithm), [start] * 11) == [True] * 10 + [False]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_remains_counts_down(algorithm):
    start = -START % 60.0
    steps = run(quota(algorithm, requests=3), [start] * 4)
    assert [found[2] for found in steps] == [2, 1, 0, 0]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_cost_is_so_many_requests(algorithm):
    assert allowed(quota(algorithm), [0.0] * 4, cost=3) == [True, True, True, False]


def test_gcra_gives_one_back_in_each_interval():
    made = quota("gcra", requests=60, per=60.0, burst=2)
    assert allowed(made, [0, 0, 0.5, 1.0, 1.5, 2.0]) == [True, True, False, True, False, True]


def test_fixed_windows_begin_anew():
    made, start = quota("fixed", requests=2), -START % 60.0
    moments = [start + 59, start + 59, start + 59.9, start + 60, start + 60, start + 61]
    assert allowed(made, moments) == [True, True, False, True, True, False]


def test_a_sliding_window_remembers_the_one_before():
    made, start = quota("sliding", requests=10), -START % 60.0
    full = [start + 59.9] * 10
    assert allowed(made, [*full, start + 60.0])[-1] is False
    assert allowed(made, [*full, start + 60 + 6.1])[-1] is True
    assert allowed(made, [*full, start + 60 + 6.1, start + 60 + 6.1])[-1] is False


MOMENTS = st.lists(st.floats(0, 40), min_size=1, max_size=60).map(
    lambda gaps: [sum(gaps[: index + 1]) for index in range(len(gaps))]
)
QUOTAS = st.builds(
    quota,
    st.sampled_from(ALGORITHMS),
    requests=st.integers(1, 20),
    per=st.floats(0.5, 100),
    burst=st.integers(1, 20),
)


@given(QUOTAS, MOMENTS)
def test_a_span_of_time_never_gives_more_than_the_quota(made, moments):
    given_at = [moment for moment, ok in zip(moments, allowed(made, moments), strict=True) if ok]
    for start in given_at:
        inside = sum(start <= moment < start + made.per for moment in given_at)
        # A window's edge may lie inside; gcra gives the burst besides.
        most = made.requests + made.burst if made.algorithm == "gcra" else 2 * made.requests
        assert inside <= most


@given(QUOTAS, MOMENTS, st.integers(1, 5))
def test_after_the_wait_that_is_named_the_charge_is_taken(made, moments, cost):
    state, cost = (0.0, 0.0, 0.0), min(cost, made.requests, made.burst)
    for moment in moments:
        state, ok, _, _, wait = step(state, made, cost, START + moment)
        if not ok:
            assert step(state, made, cost, START + moment + wait + 1e-6 * made.per)[1]
        assert (wait > 0) is not ok


@given(QUOTAS, MOMENTS)
def test_what_is_forgotten_made_no_difference(made, moments):
    state = run(made, moments)[-1][0]
    late = max(forgotten_at(state, made), START + moments[-1]) + made.per * 1e-6
    fresh = step((0.0, 0.0, 0.0), made, 1, late)
    kept = step(state, made, 1, late)
    assert (kept[1], kept[2]) == (fresh[1], fresh[2])


@settings(max_examples=50)
@given(QUOTAS, MOMENTS)
def test_what_remains_is_what_is_given_at_once(made, moments):
    state, now = (0.0, 0.0, 0.0), START
    for moment in moments:
        now = START + moment
        state, _, remaining, _, _ = step(state, made, 1, now)
        more = 0
        after = state
        while True:
            after, ok, *_ = step(after, made, 1, now)
            if not ok:
                break
            more += 1
        assert more == remaining
