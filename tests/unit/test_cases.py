"""Every case of tests/cases but shell.yaml, through the real `plan` with a real policy."""

import json
from contextlib import closing
from dataclasses import replace

import pytest

from gateway.errors import Code
from gateway.identify import Keyring
from gateway.model import Answer, Facts, Forward, Need, Refuse, Taken
from gateway.pipeline import plan, settled
from gateway.serve.quota import Table
from gateway.workbench.request import answered
from tests.support.cases import Snapshots, tables
from tests.support.logins import LOGIN_CASES
from tests.support.tables import NOW, SHELL, lines, load

CASES = [case for table in tables() for case in table]
KINDS = {Forward: ("forward", "target"), Refuse: ("refuse", "code"), Answer: ("answer", "status")}


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    return Snapshots(tmp_path_factory.mktemp("cases"))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case, snapshots):
    snapshot = snapshots.of(case).with_denied(case.lists)
    outcome, needs = everything(case, snapshot)
    check(case, outcome)
    assert needs == case.needs
    # What the first time has left in caches changes nothing.
    assert everything(case, snapshot) == (outcome, needs)


def everything(case, snapshot):
    """What becomes of the request, after the one before; nothing is counted yet."""
    with closing(Table.create(64)) as counts:
        if case.after:
            for _ in range(case.after.get("times", 1)):
                then = NOW - case.after["seconds"]
                before, _ = carry(case, case.earlier, snapshot, then, counts)
                assert isinstance(before, Forward), "the request before must be allowed"
        return carry(case, case.head, snapshot, NOW, counts)


def carry(case, head, snapshot, now, counts):
    """Plan a request and bring what it needs, as the shell does; the outcome and the needs."""
    facts, needs = Facts(), []

    def take(charges):
        return Taken(charges=charges, error="away") if case.uncounted else counts.take(charges, now)

    while isinstance(outcome := plan(head, facts, snapshot, now), Need):
        needs.append(outcome.kind)
        assert len(needs) == len(set(needs)), "asked twice for one thing"
        if outcome.kind == "body":
            facts = replace(facts, body=case.body.encode("latin-1"))
        elif outcome.kind == "introspection":
            facts = replace(facts, introspected=answered(case.introspection))
        elif outcome.kind == "quota":
            facts = replace(facts, admitted=take(outcome.charges))
        elif outcome.kind == "session":
            facts = replace(facts, session=case.found(outcome.login))
        else:
            published = case.fetch and Keyring.from_jwks(case.table.jwks(case.fetch))
            facts = replace(facts, keyrings={outcome.issuer: published or Keyring.unloaded()})
    charges = outcome.trail.charges
    return settled(outcome, take(charges) if charges else None, snapshot), needs


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
    covered = {case.code for case in CASES} | {case.code.text for case in LOGIN_CASES}
    covered |= {case.get("refuse") or case.get("counted") for case in shell}
    assert covered - {None} == {code.text for code in Code}
