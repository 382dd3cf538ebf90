"""Coverage and trace: what observed code tells, and that it decides the same."""

import pytest

from gateway.rego import UNDEFINED, EvalError, Policy, compile as compile_rego
from gateway.rego.coverage import coverage
from gateway.rego.trace import MAX_EVENTS, Evaluation, Failure
from tests.support.rego import NOW

SOURCE = """package t

default allow := false

allow if {
	some role in input.roles
	role == "admin"
}

allow if {
	owns(input.user, input.path)
	not blocked
}

owns(user, path) if startswith(path, user)

blocked if input.user in data.blocked

never if {
	input.x
	input.y
}

decision := {"allow": allow, "reasons": reasons}

reasons contains "blocked" if blocked

reasons contains "stranger" if not allow
"""
DATA = {"blocked": ["mallory"]}
ALICE = {"user": "alice", "path": "alice/1", "roles": ["reader", "writer"]}
MALLORY = {"user": "mallory", "path": "mallory/1", "roles": []}


def policy(observe, source=SOURCE):
    return Policy(compile_rego({"t.rego": source}, observe=observe), DATA)


@pytest.fixture(scope="module")
def traced():
    return policy("trace")


def decided(traced, entrypoint, document):
    trace = traced.trace()
    value = traced.decide(entrypoint, document, now=NOW, observer=trace)
    return value, trace


def failures(evaluation):
    for body in evaluation.bodies:
        for step in body.steps:
            if isinstance(step, Failure):
                yield step
            else:
                yield from failures(step)


def test_lines_are_covered_by_what_is_evaluated():
    covered = policy("coverage")
    reached = set()
    covered.decide("t/decision", ALICE, now=NOW, observer=reached)
    found = coverage(covered.program, reached)["t.rego"]
    assert {6, 7, 11, 12, 15, 17, 24, 26} <= set(found.covered)
    assert set(found.not_covered) == {19, 20, 21}
    assert 0 < found.percent < 100
    covered.decide("t/never", {"x": 1}, now=NOW, observer=reached)
    assert coverage(covered.program, reached)["t.rego"].percent == 100
    # A body that is left early is covered up to there.
    reached = set()
    covered.decide("t/never", {}, now=NOW, observer=reached)
    assert {20} == {20, 21} & set(coverage(covered.program, reached)["t.rego"].covered)


def test_the_tree_shows_rules_bodies_and_values(traced):
    value, trace = decided(traced, "t/allow", ALICE)
    assert value is True
    (allow,) = trace.roots
    assert (allow.name, allow.value) == ("data.t.allow", True)
    assert [body.site.row for body in allow.bodies] == [6, 11]
    first, second = allow.bodies
    assert [(step.site.row, dict(step.seen).get("")) for step in first.steps] == [
        (7, "reader"),
        (7, "writer"),
    ]
    owns, blocked = (step for step in second.steps if isinstance(step, Evaluation))
    assert (owns.name, owns.arguments, owns.value) == ("data.t.owns", ("alice", "alice/1"), True)
    assert (blocked.name, blocked.value) == ("data.t.blocked", UNDEFINED)


def test_a_failure_names_what_it_read(traced):
    value, trace = decided(traced, "t/never", {"x": 5})
    assert value is UNDEFINED
    (failure,) = failures(trace.roots[0])
    assert (failure.site.file, failure.site.row, failure.negated) == ("t.rego", 21, False)
    _, trace = decided(traced, "t/allow", MALLORY)
    blocked, failed = trace.roots[0].bodies[1].steps[1:]
    assert (blocked.name, blocked.value) == ("data.t.blocked", True)
    assert (failed.site.row, failed.site.col) == (12, 6)


def test_what_fails_inside_not_is_marked(traced):
    _, trace = decided(traced, "t/reasons", MALLORY)
    body = trace.roots[0].bodies[-1]
    (negated,) = [step for step in body.steps if isinstance(step, Failure)]
    assert negated.negated
    assert ("data.t.allow", False) in negated.seen


def test_a_value_that_is_known_is_not_evaluated_again(traced):
    _, trace = decided(traced, "t/decision", MALLORY)
    (decision,) = trace.roots
    (body,) = decision.bodies
    names = [step.name for step in body.steps if isinstance(step, Evaluation)]
    assert names == ["data.t.allow", "data.t.reasons"]
    reasons = body.steps[1]
    again = [s for b in reasons.bodies for s in b.steps if isinstance(s, Evaluation) and s.again]
    assert {step.name for step in again} == {"data.t.allow", "data.t.blocked"}


def test_an_error_ends_the_tree_where_it_happened():
    failing = policy("trace", "package t\np if q\nq if to_number(input.x) == 1\n")
    trace = failing.trace()
    with pytest.raises(EvalError):
        failing.decide("t/p", {"x": "no"}, now=NOW, observer=trace)
    (p,) = trace.roots
    (q,) = p.bodies[0].steps
    assert (q.name, q.value) == ("data.t.q", UNDEFINED)


def test_a_trace_is_bounded():
    many = policy(
        "trace", "package t\np if { some x in input.xs; some y in input.xs; x == y + 1000 }\n"
    )
    trace = many.trace()
    many.decide("t/p", {"xs": list(range(200))}, now=NOW, observer=trace)
    assert sum(1 for _ in failures(trace.roots[0])) < MAX_EVENTS
    assert trace.dropped > 30_000


def test_nobody_has_to_watch():
    for observe in ("coverage", "trace"):
        assert policy(observe).decide("t/allow", ALICE, now=NOW) is True


def test_what_is_observed_has_no_index_and_is_not_the_served_program():
    bodies = "\n".join(f'p if input.path == "/{n}"' for n in range(20))
    plain, seen = (
        compile_rego({"t.rego": f"package t\n{bodies}\n"}, observe=o) for o in ("", "trace")
    )
    assert plain.indexes
    assert not seen.indexes
    assert "observer" not in plain.source


def test_a_local_that_a_failed_body_did_not_set_is_not_told():
    source = "package t\np[[]] := {1 | input.x == 1} if input.no\n"
    policy = Policy(compile_rego({"a.rego": source}, ("t/p",), observe="trace"))
    assert policy.decide("t/p", {}, now=NOW) == {}


HELD = """package t

default allow := false

allow if "x" in input.r

allow if {
	some r in input.r
	r == "y"
}

f(x) := "big" if x > 3

f(x) := "small" if x <= 3

d := {"allow": true, "size": f(input.n)} if allow

d := {"allow": false} if not allow
"""


@pytest.mark.parametrize(
    ("rule", "document", "held"),
    [
        ("allow", {"r": ["z"]}, []),
        ("allow", {"r": ["x", "y"]}, [5]),
        ("allow", {"r": ["z", "y"]}, [8]),  # though its scan failed at first
        ("d", {"r": ["z", "y"], "n": 5}, [16]),
        ("d", {"r": ["z"]}, [18]),
        ("d", {"r": ["x"]}, []),
    ],
)
def test_the_body_that_gives_the_value_is_known(rule, document, held):
    _, trace = decided(policy("trace", HELD), f"t/{rule}", document)
    assert [body.site.row for body in trace.roots[0].bodies if body.held] == held
