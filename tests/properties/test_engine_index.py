"""The rule index never changes a decision: random rules of many bodies, with and without it."""

from __future__ import annotations

import os
import re
from random import Random

from gateway.rego import UNDEFINED, CompileError, EvalError, Policy
from gateway.rego.compiler import Unit, compile_all
from gateway.rego.values import equal, to_json
from tests.support.rego import NOW

FIRST, COUNT = map(int, os.environ.get("ENGINE_SEEDS", "1:60").split(":"))
DOCUMENTS = 60

TEXTS = ("", "a", "b", "ab", "abc", "a/b", "b/a", "GET", "é", "1", "true")
SCALARS = (*TEXTS, 0, 1, 2, -1, 1.5, 12345678901234567890, True, False, None)
WRITTEN = ("null", "true", "false", "0", "1", "2", "1.0", "1.5", "-1", "12345678901234567890")
PLACES = ("input.a", "input.b", "input.c.d", "input.xs[0]", "input.xs[1]", 'input["é"]', "data.k")


def _constant(random: Random) -> str:
    return random.choice((*(f'"{text}"' for text in TEXTS), *WRITTEN))


def _constants(random: Random) -> str:
    return ", ".join(_constant(random) for _ in range(random.randint(1, 4)))


def _served(random: Random, place: str) -> str:
    """Return a condition of a kind that the index knows."""
    start = random.choice(TEXTS)
    return random.choice(
        (
            f"{place} == {_constant(random)}",
            f"{place} == {_constant(random)}",
            f"{_constant(random)} == {place}",
            f"{place} = {_constant(random)}",
            f"{place} in {{{_constants(random)}}}",
            f"{place} in [{_constants(random)}]",
            f"{{{_constants(random)}}}[{place}]",
            f'{{"{start}": true, "z": false, 1: 2}}[{place}]',
            f'startswith({place}, "{start}")',
            f'glob.match("{start}*", ["/"], {place})',
            f'glob.match("{start}/**", [], {place})',
            f'glob.match("{start}?{{a,b}}", null, {place})',
            f"[{_constant(random)}, _] = input.xs",
            f"v := {place}; v == {_constant(random)}",
        )
    )


def _condition(random: Random, place: str) -> str:
    """Return a condition of any kind."""
    if random.random() < 0.5:
        return _served(random, place)
    return random.choice(
        (
            f"{place} != {_constant(random)}",
            f"not {place} == {_constant(random)}",
            f"{place} < {_constant(random)}",
            f"some z in input.xs; z == {_constant(random)}",
            f"count({place}) > 0",
            f"to_number({place}) == 1",
            f'endswith({place}, "b")',
            place,
            "input.always",
        )
    )


def _body(random: Random, places: tuple[str, ...]) -> str:
    # Most bodies look at one place first, or there would be no index.
    if random.random() < 0.85:
        conditions = [_served(random, places[0])]
    else:
        conditions = [_condition(random, random.choice(places))]
    for _ in range(random.choice((0, 0, 1, 2))):
        conditions.append(_condition(random, random.choice(places)))
    # A variable is declared once in a body.
    return "; ".join(
        re.sub(r"\b([vz]) (?=:=|==|in)", rf"\g<1>{number} ", text)
        for number, text in enumerate(conditions)
    )


def _rule(random: Random) -> str:
    """Return a rule or function `p` of 8 to 30 bodies, and how it is asked: `ask`."""
    count = random.randint(8, 30)
    kind = random.choice(("true", "values", "set", "object", "else", "function", "patterns"))
    places = tuple(random.sample(PLACES, len(PLACES)))
    asked = "ask := p"
    if kind in ("function", "patterns"):
        places = ("x", "y", "x.d", "input.a")
        asked = f"ask := p({random.choice(PLACES[:5])}, {random.choice(PLACES[:5])})"
    lines = [asked]
    if kind in ("true", "values", "else") and random.random() < 0.5:
        lines.append('default p := "none"')
    for number in range(count):
        value = number if random.random() < 0.2 else 1
        head = {
            "true": "p",
            "values": f"p := {value}",
            "else": f"p := {value}",
            "set": f"p contains {number}",
            "object": f"p[{number % 5}] := {value}",
            "function": f"p(x, y) := {value}",
            "patterns": f"p({_constant(random)}, y) := {value}",
        }[kind]
        some = ("y", "input.a", "input.b") if kind == "patterns" else places
        text = f"{head} if {{ {_body(random, some)} }}"
        if kind == "else" and random.random() < 0.2:
            text += f" else := {value} if {{ {_body(random, some)} }}"
        lines.append(text)
    return "package t\n\n" + "\n".join(lines) + "\n"


def _value(random: Random):
    kind = random.random()
    if kind < 0.85:
        return random.choice(SCALARS)
    return random.choice(([], ["a"], [1, "b"], {}, {"d": "a"}, {"d": 1}, [[]]))


def _document(random: Random):
    if random.random() < 0.05:
        return random.choice((None, "a", 1, [], ["a"], {}))
    made = {key: _value(random) for key in ("a", "b", "é") if random.random() < 0.85}
    if random.random() < 0.8:
        made["c"] = {"d": _value(random)} if random.random() < 0.8 else _value(random)
    if random.random() < 0.8:
        made["xs"] = [_value(random) for _ in range(random.randrange(4))]
    if random.random() < 0.2:
        made["xs"] = {0: "a", "0": "b"}.get(random.choice((0, "0")))
    if random.random() < 0.2:
        made["always"] = random.choice((True, False))
    return made


def _outcome(policy: Policy, document):
    try:
        value = policy.decide("t/ask", document, now=NOW)
    except EvalError as error:
        return (error.code, str(error))
    return ("undefined", None) if value is UNDEFINED else ("value", to_json(value))


def test_the_index_changes_nothing():
    seeds = [Random(seed) for seed in range(FIRST, FIRST + COUNT)]
    texts = [_rule(random) for random in seeds]
    programs = compile_all(
        [
            Unit(modules={"t.rego": text}, entrypoints=(), indexed=indexed)
            for text in texts
            for indexed in (True, False)
        ]
    )
    with_index = [one for one in programs[::2] if not isinstance(one, CompileError) and one.indexes]
    assert len(with_index) > COUNT // 3
    kinds = set()
    for random, text, *pair in zip(seeds, texts, programs[::2], programs[1::2], strict=True):
        if isinstance(pair[0], CompileError):
            continue
        indexed, plain = (Policy(program, {"k": random.choice(SCALARS)}) for program in pair)
        plain = plain.with_data({"k": indexed.data["k"]})
        for _ in range(DOCUMENTS):
            document = _document(random)
            seen, expected = _outcome(indexed, document), _outcome(plain, document)
            kinds.add(seen[0])
            assert seen[0] == expected[0], (text, document, seen, expected)
            assert equal(seen[1], expected[1]), (text, document, seen, expected)
    assert {"value", "undefined", "eval_conflict_error", "eval_type_error"} <= kinds
