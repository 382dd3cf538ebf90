"""What gives a variable a second value: it is compared with the first one.

The compiler overwrites the first one instead where one side of `=` is a constant: by its plan
`role := input.role; role = "admin"` holds for every role.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.rego.plan import (
    Assign,
    Blocks,
    Compare,
    Mock,
    Not,
    Plan,
    Reset,
    Scan,
    With,
    steps,
    targets,
)

if TYPE_CHECKING:
    from gateway.rego.plan import Block, Function, Statement


def with_comparisons(plan: Plan) -> Plan:
    """Return a plan that gives no local a second value."""
    return replace(plan, functions=tuple(map(_function, plan.functions)))


def _function(function: Function) -> Function:
    found = Counter(step.target for step in steps(function.blocks) if isinstance(step, Assign))
    if not any(count > 1 for count in found.values()):
        return function
    given = frozenset(function.parameters)
    blocks = tuple(_block(block, set(given)) for block in function.blocks)
    return replace(function, blocks=blocks)


def _block(block: Block, given: set[int]) -> Block:
    return tuple(_statement(step, given) for step in block)


def _statement(step: Statement, given: set[int]) -> Statement:
    """Return a step; `given` are the locals that have a value before it, and then behind it."""
    match step:
        case Reset(target=target):
            given.discard(target)
        case Assign(target=target, source=source) if target in given:
            return Compare(step.at, target, source, negate=False)
        case Blocks(blocks=blocks):
            return replace(step, blocks=tuple(_block(block, set(given)) for block in blocks))
        case Scan(key=key, value=value, block=block):
            return replace(step, block=_block(block, {*given, key, value}))
        case Not(block=block):
            return replace(step, block=_block(block, set(given)))
        case With(block=block) | Mock(block=block):
            return replace(step, block=_block(block, given))
        case _:
            given.update(targets(step))
    return step
