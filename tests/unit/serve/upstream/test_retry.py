from __future__ import annotations

import pytest

from gateway.config.model import Retries
from gateway.errors import Code
from gateway.serve.upstream.retry import REASONS, Budget, blame, verdict

CONNECT, BUSY, PROTOCOL = Code.UPSTREAM_CONNECT, Code.UPSTREAM_BUSY, Code.UPSTREAM_PROTOCOL
RESET, TIMEOUT = Code.UPSTREAM_RESET, Code.UPSTREAM_TIMEOUT
TABLE = [
    # code, sent, answered, replayable → verdict
    (CONNECT, False, False, False, "yes"),
    (BUSY, False, False, False, "yes"),
    (PROTOCOL, False, False, False, "yes"),
    (RESET, False, False, False, "yes"),
    (CONNECT, False, False, True, "yes"),
    (RESET, True, False, True, "by budget"),
    (TIMEOUT, True, False, True, "by budget"),
    (RESET, True, False, False, "no"),
    (TIMEOUT, True, False, False, "no"),
    (RESET, True, True, True, "no"),
    (TIMEOUT, True, True, True, "no"),
    (PROTOCOL, True, True, True, "no"),
    (PROTOCOL, True, False, True, "no"),
    (Code.SHUTTING_DOWN, False, False, True, "no"),
    (Code.BODY_TOO_LARGE, True, False, True, "no"),
    (Code.INTERNAL_ERROR, False, False, True, "no"),
]


@pytest.mark.parametrize(("code", "sent", "answered", "replayable", "expected"), TABLE)
def test_verdict(code, sent, answered, replayable, expected):
    assert verdict(code, sent=sent, answered=answered, replayable=replayable) == expected


@pytest.mark.parametrize("code", Code)
def test_nothing_that_was_answered_or_is_not_replayable_is_sent_twice(code):
    for answered, replayable in ((True, True), (True, False), (False, False)):
        assert verdict(code, sent=True, answered=answered, replayable=replayable) == "no"


@pytest.mark.parametrize(
    ("code", "begun", "sent", "expected"),
    [
        (CONNECT, False, False, "certain"),
        (PROTOCOL, False, False, "certain"),  # it spoke first
        (RESET, False, False, "certain"),
        (RESET, True, True, "possible"),
        (RESET, True, False, "none"),  # content that came too slowly, or was too much
        (TIMEOUT, True, True, "possible"),
        (TIMEOUT, True, False, "possible"),  # the target takes no content
        (PROTOCOL, True, True, "possible"),
        (PROTOCOL, True, False, "possible"),
        (BUSY, False, False, "none"),
        (Code.BODY_TOO_LARGE, True, False, "none"),
        (Code.SHUTTING_DOWN, False, False, "none"),
        (None, True, True, "none"),
    ],
)
def test_blame(code, begun, sent, expected):
    assert blame(code, begun=begun, sent=sent) == expected


@pytest.mark.parametrize("code", Code)
def test_no_request_is_certain_to_be_the_targets_fault(code):
    assert blame(code, begun=True, sent=True) != "certain"
    assert (blame(code, begun=False, sent=False) == "certain") == (
        code in REASONS and code is not BUSY
    )


def taken(budget, now, tries):
    return sum(budget.take(now) for _ in range(tries))


def test_a_share_of_the_requests():
    budget = Budget(Retries(budget_percent=20, budget_per_second=0))
    assert taken(budget, 0.0, 100) == budget.burst == 10
    budget.requests += 20
    assert taken(budget, 0.0, 100) == 4
    budget.requests += 4
    assert taken(budget, 1e9, 1) == 0
    budget.requests += 1
    assert taken(budget, 1e9, 2) == 1


def test_so_many_a_second():
    budget = Budget(Retries(budget_percent=0, budget_per_second=2))
    assert taken(budget, 0.0, 100) == budget.burst == 20
    budget.requests += 1000
    assert taken(budget, 3.0, 100) == 6
    assert taken(budget, 1e9, 100) == 20


def test_nothing():
    budget = Budget(Retries(budget_percent=0, budget_per_second=0))
    budget.requests += 1000
    assert taken(budget, 0.0, 10) == taken(budget, 100.0, 10) == 0


def test_a_clock_that_stands_still_or_goes_back_gives_nothing():
    budget = Budget(Retries(budget_percent=0, budget_per_second=1))
    assert taken(budget, 100.0, 100) == 10
    assert taken(budget, 50.0, 100) == 0
    assert taken(budget, 50.0, 100) == 0
