"""How verdicts differ, and how they are told."""

import pytest

from gateway.decide.compare import Verdict, compare
from gateway.errors import Code, DecisionError
from gateway.model import Chosen, Decision, Reason


def allow(**changes):
    return Verdict(decision=Decision(allow=True, **changes))


def deny(code=Code.POLICY_DENIED, **changes):
    return Verdict(decision=Decision(allow=False, code=code, **changes), code=code)


def failed(code=Code.EVAL_ERROR):
    return Verdict(decision=None, code=code)


REASON = (Reason(code="role-missing"),)


@pytest.mark.parametrize(
    ("enforced", "shadow", "difference"),
    [
        (allow(), allow(), "same"),
        (allow(result=True), allow(result={"allow": True}), "same"),  # it comes to the same
        (allow(headers=(("a", "1"), ("b", "2"))), allow(headers=(("b", "2"), ("a", "1"))), "same"),
        (allow(headers=(("a", "1"),)), allow(headers=(("a", "2"),)), "other"),
        (allow(), allow(remove_headers=("a",)), "other"),
        (allow(), allow(response_headers=(("a", "1"),)), "other"),
        (allow(reasons=REASON), allow(), "other"),
        (allow(rate_limit=Chosen(key="k", limit="gold")), allow(), "other"),
        (allow(status=403), allow(status=404), "same"),  # nobody sees it
        (deny(), deny(), "same"),
        (deny(), deny(status=404), "other"),
        (deny(reasons=REASON), deny(), "other"),
        (deny(), deny(Code.UNDEFINED), "other"),
        (deny(body=1, has_body=True), deny(body=True, has_body=True), "other"),
        (deny(body={"a": 1, "b": 2}, has_body=True), deny(body={"b": 2, "a": 1}, has_body=True), "same"),
        (deny(body=None, has_body=True), deny(), "other"),
        (deny(headers=(("a", "1"),)), deny(), "same"),  # a refusal sets none
        (deny(), allow(), "deny_to_allow"),
        (deny(Code.UNDEFINED), allow(), "deny_to_allow"),
        (failed(), allow(), "deny_to_allow"),
        (allow(), deny(), "allow_to_deny"),
        (allow(), failed(), "error"),
        (deny(), failed(), "error"),
        (failed(), failed(), "same"),
        (failed(), failed(Code.WORK_LIMIT), "error"),
        (failed(), deny(), "other"),
    ],
)  # fmt: skip
def test_difference(enforced, shadow, difference):
    assert compare(enforced, shadow) == difference


@pytest.mark.parametrize(
    ("verdict", "told"),
    [
        (allow(), "allow"),
        (allow(reasons=REASON), "allow: role-missing"),
        (deny(reasons=(*REASON, Reason(code="late"))), "policy-denied: role-missing, late"),
        (failed(), "eval-error"),
    ],
)
def test_told(verdict, told):
    assert verdict.told(reasons=True) == told
    assert verdict.told(reasons=False) == told.partition(":")[0]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DecisionError(Code.WORK_LIMIT, "more than 10 steps"), Code.WORK_LIMIT),
        (RuntimeError("a fault of ours"), Code.INTERNAL_ERROR),
        (MemoryError(), Code.INTERNAL_ERROR),
        (RecursionError(), Code.INTERNAL_ERROR),
    ],
)
def test_whatever_is_raised_is_a_verdict(error, code):
    class Raising:
        def decide(self, *_):
            raise error

    verdict = Verdict.of(Raising(), {}, None, 0.0)
    assert (verdict.decision, verdict.code, verdict.allow) == (None, code, False)
