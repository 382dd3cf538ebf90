"""What a measurement says of a decision."""

import itertools

import pytest

from gateway.bundle.folder import parse_files, read_files
from gateway.rego import EvalError, Policy, compile as compile_rego
from gateway.workbench.bench import LEAST, Question, as_table, measure
from gateway.workbench.observed import observed

BODIES = "\n".join(f'found if input.path == "/{number}"' for number in range(20))
SOURCE = f"""package t
{BODIES}
by(path) := 1 if path == "/a"
by(path) := 2 if path == "/b"
{"".join(f'by(path) := {n} if path == "/{n}"' + chr(10) for n in range(3, 20))}
decision := {{"allow": found, "number": by(input.path)}}
wrong if to_number(input.path) == 1
plain if input.x == 1
"""


@pytest.fixture(scope="module")
def policies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rules")
    (folder / "t.rego").write_text(SOURCE)
    sources = parse_files(read_files((folder,)), (folder,))
    return Policy(compile_rego(sources.modules), sources.data), observed(sources, "trace")


def measured(policies, entrypoint, document, **more):
    question = Question(name="q", entrypoint=entrypoint, document=document, now=0.0)
    return measure(question, *policies, **{"steps": 10_000, "seconds": 0.0} | more)


def test_times(policies):
    ticks = itertools.count(0, 1000)
    found = measured(policies, "t/plain", {"x": 1}, clock=lambda: next(ticks))
    assert (found.count, found.mean, found.p50, found.p99) == (LEAST, 1000, 1000, 1000)
    slow = itertools.chain([0] * (1 + 20 * 2), [0, 7], itertools.repeat(7))
    found = measured(policies, "t/plain", {}, clock=lambda: next(slow))
    assert (found.p50, found.p99, found.mean) == (0, 7, 7 / LEAST)


def test_steps_are_the_least_limit_that_suffices(policies):
    found = measured(policies, "t/decision", {"path": "/7"})
    policy = policies[0]
    policy.decide("t/decision", {"path": "/7"}, now=0.0, steps=found.steps)
    with pytest.raises(EvalError, match="more than"):
        policy.decide("t/decision", {"path": "/7"}, now=0.0, steps=found.steps - 1)


def test_bodies_of_rules_and_functions(policies):
    found = measured(policies, "t/decision", {"path": "/7"})
    assert (found.tried, found.skipped) == (2, 20 + 19 - 2)
    found = measured(policies, "t/plain", {"x": 1})
    assert (found.tried, found.skipped) == (0, 0)


def test_an_error_is_told(policies):
    found = measured(policies, "t/wrong", {"path": "x"})
    assert found.error.startswith("eval_builtin_error")
    assert "eval_builtin_error" in as_table([found])[1]
    assert found.as_dict()["us"]["p50"] > 0


def test_values_that_were_known_are_counted(tmp_path):
    (tmp_path / "t.rego").write_text(
        "package t\n\nvip if input.vip\n\nrich if { vip; input.money }\n\nallow if { vip; rich }\n"
    )
    sources = parse_files(read_files((tmp_path,)), (tmp_path,))
    policies = Policy(compile_rego(sources.modules), sources.data), observed(sources, "trace")
    assert measured(policies, "t/allow", {"vip": True, "money": True}).reused == 1
    assert measured(policies, "t/allow", {}).reused == 0
    assert measured(policies, "t/vip", {"vip": True}).as_dict()["reused"] == 0
