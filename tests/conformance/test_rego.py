"""OPA's own conformance suite, compiled and decided as the gateway does it."""

from __future__ import annotations

import fnmatch
import json
import time
from pathlib import Path

import pytest
import yaml

from gateway.rego import UNDEFINED, CompileError, EvalError, Policy
from gateway.rego.compiler import Unit, finish, plan_text, read_sources
from gateway.rego.values import equal, number_from_text, sorted_values, to_json
from tests.support.rego import answers

SUITE = Path(__file__).parents[3] / "shared/conformance/rego/opa-v1-given.jsonl"
KNOWN = yaml.safe_load(Path(__file__).with_name("known_issues.yaml").read_text())


def _cases() -> list[dict]:
    if not SUITE.exists():
        return []
    with SUITE.open() as lines:
        return [json.loads(line, parse_float=number_from_text) for line in lines]


def _unit(case: dict, observe: str = "") -> Unit:
    return Unit(
        modules={f"module-{n}.rego": text for n, text in enumerate(case.get("modules") or [])},
        query=case["query"],
        strict=bool(case.get("strict_error")),
        observe=observe,
    )


def _term_unit(text: str) -> Unit:
    return Unit(modules={}, entrypoints=(), query=f"x = {text}", strict=True)


CASES = _cases()
pytestmark = pytest.mark.skipif(not CASES, reason="../shared/conformance/rego is not there")


@pytest.fixture(scope="module")
def plans() -> dict[str, dict]:
    """The compiler's answer for each case, and for each input that is a Rego term."""
    units = {}
    for case in CASES:
        unit = _unit(case)
        try:
            read_sources(unit)
        except CompileError:
            continue
        units[case["id"]] = unit
        if "input_term" in case:
            units[case["input_term"]] = _term_unit(case["input_term"])
    return dict(zip(units, answers(list(units.values())), strict=True))


def _evaluate(unit: Unit, answer: dict, document, data) -> list[dict]:
    sources = read_sources(unit)
    program = finish(unit, plan_text(answer, sources), sources)
    rows = Policy(program, data).run(program.query, document, now=time.time())
    return [row["result"]["bindings"] for row in rows]


def _listed(case: dict, kind: str) -> str | None:
    return next((why for p, why in KNOWN[kind].items() if fnmatch.fnmatch(case["id"], p)), None)


@pytest.mark.filterwarnings("ignore:Parsed a serial number which wasn't positive")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_case(case: dict, plans: dict[str, dict]) -> None:
    refused = _listed(case, "skip")
    if refused:
        sources = read_sources(_unit(case))
        with pytest.raises(CompileError) as caught:
            finish(_unit(case), plan_text(plans[case["id"]], sources), sources)
        assert {problem.code for problem in caught.value.problems} == {"unsupported-builtin"}
        pytest.skip(refused)
    failing = _listed(case, "fail")
    passed, seen = _judge(case, plans)
    for observe in ("coverage", "trace"):
        assert _judge(case, plans, observe) == (passed, seen), observe
    if failing:
        assert not passed, "passes now: take it off known_issues.yaml"
        pytest.xfail(failing)
    assert passed, seen


def _judge(case: dict, plans: dict[str, dict], observe: str = "") -> tuple[bool, object]:
    if case["id"] not in plans:
        return False, "refused"
    document = case.get("input", UNDEFINED)
    if "input_term" in case:
        term = case["input_term"]
        document = _evaluate(_term_unit(term), plans[term], None, {})[0]["x"]
    try:
        rows = _evaluate(_unit(case, observe), plans[case["id"]], document, case.get("data"))
    except EvalError as error:
        wanted = case.get("want_error_code")
        expected = "want_error" in case or wanted is not None
        return expected and wanted in (None, error.code), f"{error.code}: {error}"
    if "want_error" in case or "want_error_code" in case:
        return False, rows
    order = case.get("sort_bindings", False)
    got = [_comparable(row, order=order) for row in rows]
    wanted_rows = [_comparable(row, order=order) for row in case.get("want_result") or []]
    same = len(got) == len(wanted_rows) and all(
        any(equal(row, other) for other in got) for row in wanted_rows
    )
    return same, got


def _comparable(row: dict, *, order: bool) -> dict:
    plain = {name: to_json(value) for name, value in row.items()}
    if not order:
        return plain
    return {n: sorted_values(v) if isinstance(v, list) else v for n, v in plain.items()}


def test_every_known_issue_is_a_case() -> None:
    for kind in ("skip", "fail"):
        for pattern in KNOWN[kind]:
            assert any(fnmatch.fnmatch(case["id"], pattern) for case in CASES), pattern
