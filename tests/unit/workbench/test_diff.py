"""Comparing two policies: what is found, how it is told, and what it is found with."""

from functools import partial

import pytest

from gateway.decide import read_value
from gateway.rego.values import dumps
from gateway.workbench import diff as module
from gateway.workbench.diff import Case, diff
from gateway.workbench.diff_report import as_json, as_lines
from tests.support.versions import RULE, version

NOW = 1_790_000_000.0


def compared(old, new, cases=(), tries=1500, seed=0, data=({}, {})):
    versions = version(old, data[0]), version(new, data[1])
    return diff(*versions, [RULE], cases, tries=tries, seed=seed, now=NOW)


def recorded(document, **also):
    return Case(source="recorded", entrypoint=RULE, document=document, now=NOW, **also)


ALLOW = 'default allow := false\n\nallow if {\n\tinput.role == "admin"\n\tinput.mfa\n}\n'

FOUND = {
    "a condition less": (
        ALLOW,
        ALLOW.replace("\tinput.mfa\n", ""),
        ["deny → allow"],
        {"role": "admin"},
        ["holds new 8", "fails old 9"],
    ),
    "a condition more": (
        ALLOW.replace("\tinput.mfa\n", ""),
        ALLOW,
        ["allow → deny"],
        {"role": "admin"},
        ["fails new 9", "holds old 8"],
    ),
    "another default": (
        "default allow := false\n\nallow if input.x == 1",
        "default allow := true\n\nallow if input.x == 1",
        ["deny → allow"],
        {},
        ["rule new 5", "rule old 5"],
    ),
    "an error": (
        "allow if input.x == 1",
        "allow if input.x == 1\n\nallow if 1 / input.y == 1",
        ["deny → allow", "error"],
        {"y": 1},
        ["holds new 7"],
    ),
    "another result": (
        'allow := {"allow": false, "why": "a"} if input.x == 1',
        'allow := {"allow": false, "why": "b"} if input.x == 1',
        ["other result"],
        {"x": 1},
        ["holds new 5", "holds old 5"],
    ),
    "in a rule that the rule asks": (
        'allow if ok\n\nok if startswith(input.path, "/admin/")',
        'allow if ok\n\nok if startswith(input.path, "/admin")',
        ["deny → allow"],
        {"path": "/admin"},
        ["holds new 7", "fails old 7"],
    ),
    "by one": (
        "allow if input.total < 500",
        "allow if input.total <= 500",
        ["deny → allow"],
        {"total": 500},
        ["holds new 5", "fails old 5"],
    ),
    "a pattern": (
        r"allow if regex.match(`^/orders/[0-9]{4}$`, input.path)",
        r"allow if regex.match(`^/orders/[0-9]{4}`, input.path)",
        ["deny → allow"],
        {"path": "/orders/0000x"},
        ["holds new 5", "fails old 5"],
    ),
    "a network": (
        'allow if net.cidr_contains("192.0.2.0/24", input.address)',
        'allow if net.cidr_contains("192.0.2.0/23", input.address)',
        ["deny → allow"],
        {"address": "192.0.3.0"},
        ["holds new 5", "fails old 5"],
    ),
    "a member of many": (
        'allow if {\n\tsome item in input.items\n\titem.kind == "a"\n\titem.size > 3\n}',
        'allow if {\n\tsome item in input.items\n\titem.kind == "a"\n}',
        ["deny → allow"],
        {"items": [{"kind": "a"}]},
        None,
    ),
}


def told(places):
    return [f"{place.what} {place.side} {place.row}" for place in places]


@pytest.mark.parametrize("name", FOUND)
def test_the_smallest_input_and_the_lines(name):
    old, new, changes, smallest, places = FOUND[name]
    report = compared(old, new)
    assert [each.change for each in report.differences] == changes
    first = report.differences[0]
    assert first.document == smallest
    if places is not None:
        assert sorted(told(first.places)) == sorted(places)


def test_no_difference():
    report = compared(ALLOW, ALLOW + "\n# the same\n")
    assert report.differences == ()
    assert report.tried == {"scenario": 0, "recorded": 0, "generated": 1500}
    assert list(as_lines(report)) == [
        "tried 0 scenarios, 0 recorded decisions, 1500 generated inputs",
        "lines reached: 3/3 of OLD, 3/3 of NEW",
        "no difference found, which is no proof that there is none",
    ]


def test_the_data_may_differ():
    policy = "allow if input.role in data.roles"
    report = compared(policy, policy, data=({"roles": ["a1"]}, {"roles": ["a1", "b2"]}))
    (found,) = report.differences
    assert (found.change, found.document) == ("deny → allow", {"role": "b2"})


def test_two_reasons_are_told_apart():
    old = 'allow if input.x == "p"\n\nallow if {\n\tinput.y == "q"\n\tinput.z\n}'
    new = 'allow if input.x == "r"\n\nallow if {\n\tinput.y == "q"\n}'
    found = compared(old, new).differences
    assert {(each.change, dumps(each.document)) for each in found} >= {
        ("deny → allow", '{"x":"r"}'),
        ("deny → allow", '{"y":"q"}'),
        ("allow → deny", '{"x":"p"}'),
    }
    changes = [each.change for each in found]
    assert changes == sorted(changes, reverse=True)  # deny → allow stands first


def test_nothing_but_true_allows():
    report = compared("allow := 1 if input.x", 'allow := "yes" if input.x')
    assert [each.change for each in report.differences] == ["other result"]


class TestSources:
    OLD = 'allow if input.code == "x-1"'
    NEW = 'allow if lower(input.code) == concat("-", ["x", "1"])'

    def test_a_recorded_decision(self):
        case = recorded({"code": "X-1", "more": [1, 2]}, name="decisions.log:7")
        report = compared(self.OLD, self.NEW, [case], tries=0)
        (found,) = report.differences
        assert found.document == {"code": "X-1"}
        assert found.names == ("decisions.log:7",)
        assert found.counts == {"scenario": 0, "recorded": 1, "generated": 0}
        assert "   as in  decisions.log:7" in list(as_lines(report))

    def test_what_is_near_one(self):
        """The generator would hardly guess the token; it is one step from what was recorded."""
        old = "allow if {\n\tcrypto.sha256(input.token) == input.hash\n\tinput.on == true\n}"
        new = "allow if crypto.sha256(input.token) == input.hash"
        known = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
        assert compared(old, new).differences == ()
        case = recorded({"token": "foo", "hash": known, "on": True})
        (found,) = compared(old, new, [case]).differences
        assert found.document == {"token": "foo", "hash": known}

    def test_a_time(self):
        old = "allow if time.now_ns() < 1790000000000000001"
        new = "allow if time.now_ns() < 1790000000000000000"
        (found,) = compared(old, new, [recorded({})], tries=0).differences
        assert found.change == "allow → deny"


class TestDeterminism:
    OLD, NEW = FOUND["a member of many"][:2]

    def test_equal_seeds_give_equal_reports(self):
        one, two = (as_json(compared(self.OLD, self.NEW, seed=3)) for _ in range(2))
        assert one == two

    def test_others_try_others(self):
        reports = [compared(self.OLD, self.NEW, seed=seed) for seed in (1, 2)]
        counts = [report.differences[0].counts["generated"] for report in reports]
        assert counts[0] != counts[1]


def test_the_report_as_json():
    (found,) = as_json(compared(*FOUND["by one"][:2]))["differences"]
    assert found.pop("counts")["generated"] > 0
    place = {"rule": "data.gateway.authz.allow", "file": "a.rego", "row": 5}
    assert found == {
        "change": "deny-to-allow",
        "entrypoint": RULE,
        "places": [
            {**place, "side": "new", "what": "holds", "text": "allow if input.total <= 500"},
            {**place, "side": "old", "what": "fails", "text": "allow if input.total < 500"},
        ],
        "input": {"total": 500},
        "old": {},
        "new": {"value": True},
        "names": [],
    }


def test_what_must_be_told_of_a_search_is():
    calm = version("allow if input.x == 1")
    lucky = version('allow if rand.intn("x", 2) == input.x')
    report = diff(calm, lucky, [RULE], tries=0, now=NOW)
    assert "the policies call rand.intn: what differs may be chance" in list(as_lines(report))
    assert as_json(report)["by_chance"] == ["rand.intn"]
    turns = iter((False,) * 10 + (True,) * 1000)
    report = diff(calm, calm, [RULE], tries=500, now=NOW, over=lambda: next(turns))
    assert report.tried["generated"] == 10
    assert "the time was over before all was tried" in list(as_lines(report))
    assert as_json(report)["stopped"]


def test_what_is_kept_of_differences_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "MOST_NAMES", 3)
    monkeypatch.setattr(module, "MOST_WAYS", 2)
    cases = [recorded({"x": n % 5}, name=f"log:{n}") for n in range(20)]
    old = "".join(f"allow if input.x == {n}\n" for n in range(5))
    report = compared(old, "allow if input.y", cases, tries=0)
    assert sum(each.counts["recorded"] for each in report.differences) == 20
    assert len(report.differences) == 5
    assert all(len(each.names) == 3 for each in report.differences)
    monkeypatch.setattr(module, "MOST_FOUND", 2)
    report = compared(old, "allow if input.y", cases, tries=0)
    assert sum(each.counts["recorded"] for each in report.differences) == 20
    assert len(report.differences) == 3


def test_a_value_counts_as_the_gateway_takes_it():
    """A key that no decision has makes a refusal of it."""
    odd = 'allow := {"allow": true, "alow": input.x}'
    good = 'allow := {"allow": true}'
    taken = {RULE: partial(read_value, dialect="native", reserved=frozenset())}
    old, new = (version(text, readings=taken) for text in (odd, good))
    (found,) = diff(old, new, [RULE], [recorded({"x": 1})], tries=0, now=NOW).differences
    assert found.change == "deny → allow"
    assert found.old.error.startswith("decision-shape: unknown key")
    (found,) = compared(odd, good, [recorded({"x": 1})], tries=0).differences
    assert found.change == "other result"


def test_the_work_limit_is_that_of_the_configuration():
    heavy = "allow if count([n | some n in numbers.range(1, 5000)]) == input.x"
    old, new = version(heavy), version(heavy, steps=1000)
    (found,) = diff(old, new, [RULE], [recorded({"x": 5000})], tries=0, now=NOW).differences
    assert found.change == "error"
