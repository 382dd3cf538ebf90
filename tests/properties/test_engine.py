"""Random policies mean the same with OPA, without the index, and while they are observed.

The seeds are fixed, so that a run says the same each time. `ENGINE_SEEDS=from:count` compares
others, and as many as there is time for: `ENGINE_SEEDS=100000:5000 pytest tests/properties/…`.
"""

from __future__ import annotations

import os
from random import Random

import pytest

from gateway.rego import UNDEFINED, CompileError, EvalError, Policy
from gateway.rego.compiler import Unit, compile_all
from gateway.rego.errors import StepLimitExceeded
from gateway.rego.values import dumps, equal, loads, to_json
from tests.support import policies
from tests.support.opa import needs_opa, opa
from tests.support.rego import NOW

FIRST, COUNT = map(int, os.environ.get("ENGINE_SEEDS", "1:100").split(":"))
STEPS = 100_000


def _unit(made: policies.Made, **options) -> Unit:
    entrypoints = tuple(ask.replace(".", "/") for ask in made.asks)
    return Unit(modules=made.modules, entrypoints=entrypoints, **options)


@pytest.fixture(scope="module")
def compiled():
    """Random policies that compile, each with its program."""
    made = [
        policies.policy(Random(seed), packages=2, rules=3) for seed in range(FIRST, FIRST + COUNT)
    ]
    programs = compile_all([_unit(each) for each in made])
    pairs = [
        (each, program)
        for each, program in zip(made, programs, strict=True)
        if not isinstance(program, CompileError)
    ]
    assert len(pairs) > COUNT // 4
    return pairs


def _decide(policy: Policy, ask: str, document, steps: int = STEPS):
    """Return a decision as (kind, value); whatever else is raised is a fault of the engine."""
    given = UNDEFINED if document is None else document
    try:
        value = policy.decide(ask.replace(".", "/"), given, now=NOW, steps=steps)
    except EvalError as error:
        assert "internal error" not in str(error), error
        return ("error", error.code)
    return ("undefined", None) if value is UNDEFINED else ("value", to_json(value))


def _decisions(policy: Policy, made: policies.Made):
    return [_decide(policy, ask, document) for ask in made.asks for document in made.inputs]


def _same(left, right) -> bool:
    return left[0] == right[0] and (left[0] != "value" or equal(left[1], right[1]))


def test_a_decision_is_a_value_or_an_error_within_its_steps(compiled):
    for made, program in compiled:
        policy = Policy(program, made.data)
        for ask in made.asks:
            for document in made.inputs:
                for steps in (1, 100):
                    try:
                        policy.decide(ask.replace(".", "/"), document, now=NOW, steps=steps)
                    except EvalError as error:
                        assert "internal error" not in str(error), error
                    if steps == 1:
                        with pytest.raises(EvalError) as caught:
                            policy.decide(ask.replace(".", "/"), document, now=NOW, steps=0)
                        assert isinstance(caught.value, StepLimitExceeded)


def test_observed_code_decides_the_same(compiled):
    some = compiled[:25]  # compiling takes most of the time
    units = [_unit(each, observe=observe) for each, _ in some for observe in ("coverage", "trace")]
    programs = iter(compile_all(units))
    for each, program in some:
        expected = _decisions(Policy(program, each.data), each)
        for _ in range(2):
            seen = _decisions(Policy(next(programs), each.data), each)
            assert all(map(_same, seen, expected)), each.modules


def _mutated(random: Random, document, path=()):
    """Return a document that differs in one place at any depth, and that place."""
    below = document if isinstance(document, (dict, list)) else ()
    if path and (not below or random.random() < 0.4):
        return policies.document(random), path
    if isinstance(document, list):
        at = random.randrange(len(document))
        inner, changed = _mutated(random, document[at], (*path, at))
        return [*document[:at], inner, *document[at + 1 :]], changed
    key = random.choice((*policies.KEYS, *document))
    if key in document and random.random() < 0.2:
        return {other: item for other, item in document.items() if other != key}, (*path, key)
    inner, changed = _mutated(random, document.get(key), (*path, key))
    return {**document, key: inner}, changed


def _covered(changed, paths) -> bool:
    """Whether a footprint reads the place, something below it, or something above it."""
    return any(not path or path[: len(changed)] == changed[: len(path)] for path in paths)


def _footprints(compiled):
    """Yield what can be asked with an input, and the footprint."""
    for made, program in compiled:
        policy = Policy(program, made.data)
        for ask in made.asks:
            footprint = program.footprints.get(ask.replace(".", "/"))
            # None: a package, or a rule whose head has several parts.
            if footprint is not None:
                for document in filter(lambda each: isinstance(each, dict), made.inputs):
                    yield policy, ask, document, footprint.paths


def test_what_is_outside_of_the_footprint_does_not_decide(compiled):
    outside = deep = 0
    for number, (policy, ask, document, paths) in enumerate(_footprints(compiled)):
        random = Random(number)
        before = _decide(policy, ask, document)
        for _ in range(5):
            other, changed = _mutated(random, document)
            if not _covered(changed, paths):
                outside += 1
                deep += len(changed) > 1
                seen = _decide(policy, ask, other)
                assert _same(seen, before), (ask, policy.program.source, document, other)
    assert outside > 5 * COUNT
    assert deep > COUNT


TELLING = {
    "compared": ("p if input.{path} == 1", [0, 1]),
    "compared at the end": ("p if {{ x := input; x.{path} == 1 }}", [0, 1]),
    "there": ("p if input.{path}", [False, True]),
    "not there": ("p if not input.{path}", [False, True]),
    "returned": ("p := input.{path}", [1, 2]),
    "a member": ("p if 1 in input.{path}", [[0], [1]]),
    "scanned": ("p contains x if some x in input.{path}", [[0], [1]]),
    "key": ("p := data.d[input.{path}]", ["a", "b"]),
    "in a function": ("p := f(input)\nf(x) := x.{path}", [1, 2]),
    "in a rule": ("p := count(q)\nq := input.{path}", ["a", "ab"]),
    "replaced": ("p if q with data.d as input.{path}\nq if data.d == 1", [1, 2]),
    "below": ("p if input.{path}.z.y == 1", [{"z": {"y": 1}}, {"z": 1}]),
}


def _with(path, value):
    for key in reversed(path):
        value = {key: value}
    return value


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_what_is_inside_of_the_footprint_decides(depth):
    path = tuple("abcd"[:depth])
    texts = {
        name: f"package t\n\n{body.format(path='.'.join(path))}\n"
        for name, (body, _) in TELLING.items()
    }
    units = [Unit(modules={"t.rego": text}, entrypoints=("t/p",)) for text in texts.values()]
    for (name, (_, values)), program in zip(TELLING.items(), compile_all(units), strict=True):
        policy = Policy(program, {"d": {"a": 1, "b": 2}})
        paths = program.footprints["t/p"].paths
        left, right = (_decide(policy, "t.p", _with(path, value)) for value in values)
        assert not _same(left, right), name
        assert _covered(path, paths), name
        assert () not in paths, name
        around = _with(path, values[0]) | {"other": 1}
        assert not _covered(("other",), paths)
        assert _same(_decide(policy, "t.p", around), left), name


@needs_opa
def test_opa_decides_the_same(compiled):
    """An error on one side only is passed over.

    The compiler puts the statements of a body in an order of its own, so that another one can
    fail first, and what fails in OPA can be left out here, or the other way round.
    """
    compared = 0
    with opa() as oracle:
        for made, program in compiled:
            asks = [(ask, document) for ask in made.asks for document in made.inputs]
            said = oracle.ask(made.modules, asks, made.data)
            if said[0].kind == "refused":
                # OPA's `print` takes no variables that `=` or the result of a call gave a value.
                reasons = ("rego_type_error", "is undeclared")
                assert any(each in said[0].text for each in reasons), (made.modules, said[0].text)
                continue
            seen = _decisions(Policy(program, made.data), made)
            for (ask, document), one, other in zip(asks, seen, said, strict=True):
                if "error" in (one[0], other.kind):
                    continue
                compared += 1
                expected = (other.kind, _canonical(other.value))
                found = (one[0], _canonical(one[1]))
                assert _same(found, expected), (ask, document, made.modules, found, expected)
    assert compared > COUNT


def _canonical(value):
    """Write keys that are numbers or composites as this engine does: `2.5` for `2.50`."""
    if isinstance(value, list):
        return list(map(_canonical, value))
    if isinstance(value, dict):
        return {_key(key): _canonical(item) for key, item in value.items()}
    return value


def _key(key: str) -> str:
    try:
        return dumps(_canonical(loads(key)))
    except ValueError:
        return key
