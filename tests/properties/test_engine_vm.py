"""Random policies mean the same with regopy's own virtual machine, where that is known right.

`ENGINE_SEEDS=from:count` compares others, as in test_engine.py.
"""

from __future__ import annotations

import json
import os
import re
from random import Random

from gateway.rego import UNDEFINED, CompileError, EvalError, Policy
from gateway.rego.compiler import Unit, compile_all
from gateway.rego.values import equal, to_json
from tests.support import policies
from tests.support.rego import NOW
from tests.support.vm import vm

FIRST, COUNT = map(int, os.environ.get("ENGINE_SEEDS", "1:150").split(":"))

# What the generator leaves out of simple policies: builtins, and operators that are builtins,
# because the virtual machine passes them undefined arguments; `with`; `walk`; `print`.
PLAIN = {
    "\\u00e9": "e",  # its strings stay escaped
    "1.0": "1",  # it finds nothing in an array at 1.0
}
INNER_IN_NEGATION = re.compile(r"\bnot [^\n;}]*[(\[][a-z]")
"""A call or key inside a negated expression is evaluated before it, and must be defined; there it
is not."""


def _made(seed: int) -> policies.Made:
    made = policies.policy(Random(seed), packages=1, rules=3, simple=True)
    text = json.dumps([made.modules, made.data, made.inputs, made.asks])
    for what, instead in PLAIN.items():
        text = text.replace(what, instead)
    modules, *rest = json.loads(text)
    del modules["shown.rego"]  # regopy refuses pairs as heads of comprehensions
    return policies.Made(modules, *rest)


def _said(policy: Policy, path: str, document):
    try:
        value = policy.decide(path.replace(".", "/"), document, now=NOW)
    except EvalError:
        return ("error", None)
    return ("undefined", None) if value is UNDEFINED else ("value", to_json(value))


def _unordered(value):
    """Sort arrays, since sets have no order there; write keys that are composites alike."""
    if isinstance(value, list):
        return sorted(map(_unordered, value), key=json.dumps)
    if isinstance(value, dict):
        return {key.replace(", ", ","): _unordered(value[key]) for key in sorted(value)}
    return value


def test_the_virtual_machine_decides_the_same():
    made = [_made(seed) for seed in range(FIRST, FIRST + COUNT)]
    units = [Unit(modules=each.modules, entrypoints=()) for each in made]
    compared = refused = 0
    with vm() as machine:
        for each, program in zip(made, compile_all(units), strict=True):
            negated = any(map(INNER_IN_NEGATION.search, each.modules.values()))
            if negated or isinstance(program, CompileError):
                continue
            rules = [path for path in each.asks if path.startswith("top.")]
            asks = [(path, document) for path in rules for document in each.inputs]
            said = machine.ask(each.modules, asks, each.data)
            if said is None:
                refused += 1
                continue
            policy = Policy(program, each.data)
            for (path, document), other in zip(asks, said, strict=True):
                kind, value = _said(policy, path, document)
                if "error" in (kind, other[0]):  # statements have no order of their own
                    continue
                compared += 1
                assert kind == other[0], (path, document, each, value, other)
                assert equal(_unordered(value), _unordered(other[1])), (path, document, each)
    assert compared > 2 * COUNT
    assert refused < COUNT // 4
