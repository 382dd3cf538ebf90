"""Every case of tests/cases but shell.yaml, through the real `plan` with a real policy."""

import json
from dataclasses import replace

import pytest

from gateway.errors import Code
from gateway.identify import Keyring
from gateway.model import Answer, Facts, Forward, Need, Refuse
from gateway.pipeline import plan
from tests.support.cases import Snapshots, tables
from tests.support.tables import NOW, SHELL, lines, load

CASES = [case for table in tables() for case in table]
KINDS = {Forward: ("forward", "target"), Refuse: ("refuse", "code"), Answer: ("answer", "status")}


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    return Snapshots(tmp_path_factory.mktemp("cases"))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case, snapshots):
    snapshot = snapshots.of(case)
    if case.after:
        before, _ = carry(case, case.earlier, snapshot, NOW - case.after["seconds"])
        assert isinstance(before, Forward), "the request before must be allowed"
    outcome, needs = carry(case, case.head, snapshot, NOW)
    check(case, outcome)
    assert needs == case.needs
    # What the first time has left in caches changes nothing.
    assert carry(case, case.head, snapshot, NOW) == (outcome, needs)


def carry(case, head, snapshot, now):
    """Plan a request and bring what it needs, as the shell does; the outcome and the needs."""
    facts, needs = Facts(), []
    while isinstance(outcome := plan(head, facts, snapshot, now), Need):
        needs.append(outcome.kind)
        assert len(needs) == len(set(needs)), "asked twice for one thing"
        if outcome.kind == "body":
            facts = replace(facts, body=case.body.encode("latin-1"))
        else:
            published = case.fetch and Keyring.from_jwks(case.table.jwks(case.fetch))
            facts = replace(facts, keyrings={outcome.issuer: published or Keyring.unloaded()})
    return outcome, needs


def check(case, outcome):
    """Compare with what the case expects, and with what holds for every outcome of its kind."""
    kind, shorthand = KINDS[type(outcome)]
    expected = getattr(case, kind)
    assert expected is not None, f"another outcome: {kind} {getattr(outcome, shorthand)}"
    expected = dict(expected) if isinstance(expected, dict) else {shorthand: expected}
    match outcome:
        case Forward():
            assert outcome.target.decode() == expected.pop("target")
            check_lines(case, expected.pop("response_headers", {}), outcome.response_headers)
        case Refuse():
            assert outcome.code.text == expected.pop("code"), outcome.trail.detail
            assert outcome.status == expected.pop("status", outcome.code.status)
            if "text" in expected:
                assert outcome.body.decode() == expected.pop("text")
            else:
                assert json.loads(outcome.body) == expected.pop("body", problem(outcome))
            always = {"cache-control": "no-store", "x-decision-id": case.head.id}
            check_lines(case, always, outcome.headers)
            assert outcome.status != 401 or b"www-authenticate" in dict(outcome.headers)
        case Answer():
            assert outcome.status == expected.pop("status")
    check_lines(case, expected.pop("headers", {}), outcome.headers)
    names = {name.decode() for name, _ in outcome.headers}
    assert names.isdisjoint(expected.pop("without", ()))
    assert not expected, "no outcome of this kind has these"


def check_lines(case, expected, headers):
    """Every name in `expected` has exactly these lines, in this order; `[]` for none."""
    wanted = lines(expected, case.minted)
    for name in expected:
        assert [line for line in headers if line[0] == name.encode()] == [
            line for line in wanted if line[0] == name.encode()
        ]


def problem(refusal):
    """The problem document, which tells nothing of what the client sent."""
    return {
        "type": "about:blank",
        "title": refusal.code.title,
        "status": refusal.status,
        "code": refusal.code.text,
        "decision_id": refusal.trail.head.id,
    }


def test_every_code_has_a_case():
    shell = load(SHELL)["cases"].values()
    covered = {case.code for case in CASES}
    covered |= {case.get("refuse") or case.get("counted") for case in shell}
    assert covered - {None} == {code.text for code in Code}
